"""Randomness as an argument: the edge draws it, everything below is handed it."""

from __future__ import annotations

import secrets
from typing import Final, Protocol


class Randomness(Protocol):
    """Where random bits come from; only the edge holds one (``random.Random(seed)`` will do in a test)."""

    def getrandbits(self, k: int, /) -> int:
        """A whole number of ``k`` random bits."""
        ...


SYSTEM_RANDOMNESS: Final = secrets.SystemRandom()
"""The machine's own, fit for secrets."""
