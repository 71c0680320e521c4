"""What happened, who is told of it, and in which words: pure rules, no I/O (domain §9)."""
