"""Visits, plans, payments: what a bill costs, who pays it, and how the money moves."""
