"""Transactions: the contract, where they come from, and how they are divided."""
