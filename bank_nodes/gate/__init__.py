"""The one way out: checks, masks, the ledger's witnesses, and the repair of its record."""
