"""The crash matrix: real processes killed at every named point, in every weather of NATS, and killed again."""
