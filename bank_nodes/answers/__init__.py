"""What a bank works out for each request; every result is a draft that the gate must pass."""
