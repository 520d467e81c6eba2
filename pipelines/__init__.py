"""What each phase does, in order."""
