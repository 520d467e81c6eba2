"""fraudfl: the domain, everything that is true without a network."""
