"""One phase of a consortium, from its plan to its outcome, and how it follows from those before it."""
