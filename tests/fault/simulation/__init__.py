"""A seeded simulation of coordinators, ledgers and terminals: production decides, the simulation plays the world."""
