"""How many unseen request keys an institution may block: each is a row for ever (protocol rule 3)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from kernel.failures import Failure, Kind

PERIOD_S: Final = 60.0
PER_MINUTE_DEFAULT: Final = 600
"""A hospital whose every terminal comes back from a long outage at once stays far below it."""


class Burials:
    """Counts tombstones by institution, in this process, minute by minute.

    A reversal that is put off changes nothing: its original is not blocked, and the terminal asks again.
    """

    def __init__(
        self, per_minute: int = PER_MINUTE_DEFAULT, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._monotonic = monotonic
        self._began_at = monotonic()
        self._made: Counter[str] = Counter()

    def admit(self, fixmedins_code: str) -> None:
        """Counts one more; TOO_MANY_REVERSALS (metadata: retry_after_s) above the minute's number."""
        now = self._monotonic()
        if now - self._began_at >= PERIOD_S:
            self._began_at = now
            self._made.clear()
        if self._made[fixmedins_code] >= self._per_minute:
            left_s = int(self._began_at + PERIOD_S - now) + 1
            raise Failure(Kind.EXHAUSTED, "TOO_MANY_REVERSALS", per_minute=self._per_minute, retry_after_s=left_s)
        self._made[fixmedins_code] += 1
