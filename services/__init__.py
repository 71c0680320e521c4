"""The four services and the ledger."""
