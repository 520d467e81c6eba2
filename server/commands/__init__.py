"""The `fraudfl` command's parts: what the operator types, and what a terminal shows."""
