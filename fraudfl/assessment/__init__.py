"""What banks say about their data before anything is trained, and what follows from the sum of it."""
