"""The engine: one object of a process that owns the payments in flight and carries out what the saga decides."""

from __future__ import annotations


class Engine:
    """Drives payments: batches their database steps, sends their ledger commands, answers whoever waits."""
