"""SQL of the ledger: everything a batch touches is loaded and written back in sets."""
