"""The classifier, its reference, and the bundle that is deployed."""
