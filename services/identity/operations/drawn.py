"""What operations draw from the randomness they are given."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from kernel.ids import time_ordered_uuid
from kernel.randomness import Randomness


def new_id(now: datetime, randomness: Randomness) -> UUID:
    """An id that grows with time."""
    return time_ordered_uuid(now, randomness)


def new_bytes(randomness: Randomness, count: int) -> bytes:
    """So many random bytes: nonces, seeds."""
    return randomness.getrandbits(count * 8).to_bytes(count, "big")
