"""The coordinator's side: the fleet, aggregation, checkpoints, registry, and the command line."""
