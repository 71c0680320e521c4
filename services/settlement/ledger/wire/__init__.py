"""Where the ledger's messages and its values meet."""
