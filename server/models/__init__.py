"""The consortium's registered models: their versions, who is champion, and what may not be used any more."""
