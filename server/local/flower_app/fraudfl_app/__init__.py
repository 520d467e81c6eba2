"""A shell for Flower: what runs is the fraudfl that is installed."""
