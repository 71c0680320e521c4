"""A payment in flight: what one process keeps of it beside its row."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.settlement.saga.coordinator import Drive
from services.settlement.saga.payment import Payment


class Flight:
    """A payment in flight: its drive, and who waits for its answer."""

    __slots__ = (
        "begun_at",
        "drive",
        "is_dropped",
        "is_sent_again",
        "outstanding",
        "plan",
        "tick",
        "traceparent",
        "waiters",
        "watch",
    )

    def __init__(self, drive: Drive, plan: Mapping[str, Any] | None, traceparent: str) -> None:
        self.drive = drive
        self.plan = plan
        self.traceparent = traceparent
        self.begun_at = asyncio.get_running_loop().time()
        self.is_dropped = False
        self.is_sent_again = False  # A command had no answer in time, and so its payment is no company to others.
        self.outstanding = 0  # Commands sent whose replies have not come.
        self.waiters: set[asyncio.Future[Payment]] = set()
        self.tick: asyncio.TimerHandle | None = None
        self.watch: asyncio.TimerHandle | None = None

    def rest(self) -> None:
        """Stops its timers."""
        for timer in (self.tick, self.watch):
            if timer is not None:
                timer.cancel()
