"""How money moves, decided purely: states, the coordinator's steps, what every request finds; no SQL, no NATS."""
