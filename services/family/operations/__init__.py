"""The writes of the family room: transaction, load, decide, save, outbox."""
