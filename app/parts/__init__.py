"""What pages are made of: frames, tables, charts, pictures."""
