"""What each section of a privacy report says, made from its facts."""
