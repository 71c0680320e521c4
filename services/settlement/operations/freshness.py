"""How recently identity was heard, kept in memory: what every Settle asks costs no statement.

Somebody may have been sanctioned since. While identity has not said for too long that nothing is missing here, mutual
aid is refused rather than paid by somebody who may not fund, or to somebody who may not benefit (domain §8). The
patient's own money is not kept from him.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from prometheus_client import Gauge

from chassis import telemetry

_NEVER: Final = -math.inf
_AGE: Final = Gauge(
    "gongji_settlement_identity_age_seconds",
    "How long ago identity was last heard; above the limit mutual aid is paused.",
    registry=telemetry.REGISTRY,
)


class Freshness:
    """When identity was last asked with success. ``now`` counts seconds and never goes back."""

    def __init__(self, *, age_max_s: float, now: Callable[[], float] = time.monotonic) -> None:
        """With an infinite ``age_max_s`` nothing is ever stale: for a room that has nobody to ask."""
        self._age_max_s = age_max_s
        self._now = now
        self._heard_at = _NEVER

    @property
    def age_s(self) -> float:
        """Seconds since identity was asked with success; infinite if it never was."""
        return self._now() - self._heard_at

    @property
    def is_stale(self) -> bool:
        """Whether too much may have happened that nobody here has heard of."""
        return self.age_s > self._age_max_s

    def heard(self, *, age_s: float = 0.0) -> None:
        """Takes note that identity was asked so many seconds ago, and everything of before stands here."""
        self._heard_at = max(self._heard_at, self._now() - age_s)

    def measure(self) -> None:
        """Shows the age to whoever watches."""
        _AGE.set(self.age_s)
