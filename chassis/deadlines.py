"""The deadline of the work in hand: set at the edge from the caller's, read wherever a further call is made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

MARGIN_S: Final = 0.05
"""What is kept back for our own answer when a call made on a caller's behalf is given the caller's remaining time."""

_deadline: ContextVar[float | None] = ContextVar("gongji_deadline", default=None)


def remaining_s() -> float | None:
    """Seconds left for the work in hand (may be negative); None if nobody waits for it."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def timeout_s(wanted_s: float) -> float:
    """The timeout of a further call: what is wanted, but no more than the caller's remaining time less a margin.

    Zero or less means that there is no time for it.
    """
    left = remaining_s()
    return wanted_s if left is None else min(wanted_s, left - MARGIN_S)


def set_remaining(seconds: float | None) -> None:
    """Sets the deadline for the rest of this task (a handler's task ends with its call)."""
    _deadline.set(None if seconds is None else time.monotonic() + seconds)


@contextmanager
def deadline_in(seconds: float) -> Iterator[None]:
    """Within the block, the work in hand has this long."""
    token = _deadline.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _deadline.reset(token)
