"""What a bank keeps in its folder and reads there itself: identity, models, and its own reports."""
