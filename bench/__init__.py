"""`make bench`: what a settlement costs, beside the same rows written by others on the same PostgreSQL."""
