"""Monitoring: what changed against a quiet reference, how good the model still is, and who is told."""
