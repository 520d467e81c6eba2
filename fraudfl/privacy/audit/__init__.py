"""Empirical audits of what leaves a bank: lower bounds of ε, membership inference, and the coordinator's view."""
