"""After a restore from an older backup: compare coordinator and ledgers, heal what is proved, name what is not."""
