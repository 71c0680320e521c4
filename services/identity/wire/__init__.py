"""The only place where identity's messages and its domain values meet."""
