"""Who may join a family group and who may pay for whom: pure rules, no I/O (domain §2)."""
