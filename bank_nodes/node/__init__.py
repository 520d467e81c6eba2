"""The daemon: its connection, its loop, its health, and the check before it starts."""
