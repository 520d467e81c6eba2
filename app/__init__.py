"""The dashboard: pages over what a workspace holds."""
