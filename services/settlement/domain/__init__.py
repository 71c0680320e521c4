"""What a visit costs and who pays it: pure rules, no I/O (domain §6)."""
