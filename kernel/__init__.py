"""The vocabulary every room shares: money, ids, clock, randomness, failures, policy. Pure, standard library only."""
