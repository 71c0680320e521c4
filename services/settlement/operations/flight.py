"""A payment in flight: what one process keeps of it beside its row."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from kernel.ids import AdmDvs
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
        "released",
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
        self.released: asyncio.Event | None = None  # Made by whoever waits until no ledger is silent any more.
        self.tick: asyncio.TimerHandle | None = None
        self.watch: asyncio.TimerHandle | None = None

    async def acknowledged(self, wait_s: float) -> frozenset[AdmDvs]:
        """The ledgers that have not done within that time what was decided."""
        if self.drive.silent_areas and not self.is_dropped:
            self.released = self.released or asyncio.Event()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self.released.wait()
        return frozenset(self.drive.silent_areas)

    def note_released(self) -> None:
        """Wakes those who wait for the ledgers, if none of them is silent."""
        if self.released is not None and not self.drive.silent_areas:
            self.released.set()

    def rest(self) -> None:
        """Stops its timers."""
        for timer in (self.tick, self.watch):
            if timer is not None:
                timer.cancel()
