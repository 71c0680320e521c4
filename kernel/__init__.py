"""The vocabulary every room shares: money, ids, clock, failures, policy. Pure, standard library only."""
