"""Ends what waits for a person: alarms, money in suspense, dead letters; each with its audit record."""
