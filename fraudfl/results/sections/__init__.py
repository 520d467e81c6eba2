"""The sections of the report of results."""
