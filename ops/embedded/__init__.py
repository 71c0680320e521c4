"""The embedded runtime: a real PostgreSQL, a real NATS server and the five processes, out of one data folder."""
