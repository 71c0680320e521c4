"""The ledger of one insurance area: accounts, holds, entries and authorisations, driven by commands alone."""
