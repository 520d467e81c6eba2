"""The `bank-node` command's parts: what a bank's IT department types."""
