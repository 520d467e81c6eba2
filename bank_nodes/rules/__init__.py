"""What a bank allows: its policy, its hours, its decisions about plans, and its privacy budget."""
