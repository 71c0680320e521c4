"""A day of many terminals against a system that serves invented people (docs/terminal.md, "A simulated day")."""
