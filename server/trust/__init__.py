"""Keys, certificates and rosters, and what the operator signs: decisions and receipts."""
