"""From transactions to inputs, inside the bank."""
