"""What lies in a workspace: phases, checkpoints, events, the summary, and the operator's line."""
