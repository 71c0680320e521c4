"""The tables of the settlement database, each with the CHECKs that repeat the domain's invariants."""
