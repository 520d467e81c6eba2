"""The bank's side: tasks, the gate, and the Flower client app."""
