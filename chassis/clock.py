"""The present instant by the database's clock: a machine whose own clock is wrong then does no harm.

Tokens, keys and windows are judged by several processes; each of them asks the database that decides for it (protocol
rule 9), not the machine it happens to run on. Between two looks at the database a monotonic clock counts on.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta
from typing import Final

from prometheus_client import Gauge

from chassis import telemetry
from chassis.db import Database, is_transient
from chassis.process import Process
from kernel.clock import Clock

_log = telemetry.logger("clock")

SYNC_S: Final = 10.0
ROUND_TRIP_MAX_S: Final = 1.0
"""An answer that took longer says less about the present than what is known; the first one says more than nothing."""
WRONG_FROM_S: Final = 5.0
"""A machine's clock that is this far from the database's is worth a warning."""

_OFF: Final = Gauge(
    "gongji_machine_clock_off_seconds", "This machine's clock minus the database's.", registry=telemetry.REGISTRY
)


class DatabaseClock:
    """A ``Clock`` that shows the database's time. ``sync`` once before use, ``run`` beside the work."""

    def __init__(self, database: Database, machine: Clock) -> None:
        self._database = database
        self._machine = machine
        self._read_at = time.monotonic()
        self._instant = machine.now()
        self._is_in_step = False
        self._is_wrong = False

    def now(self) -> datetime:
        """The present instant, with its zone."""
        return self._instant + timedelta(seconds=time.monotonic() - self._read_at)

    async def sync(self) -> None:
        """Reads the database's clock."""
        async with self._database.driver_connection() as connection:
            asked_at = time.monotonic()
            instant: datetime = await connection.fetchval("SELECT clock_timestamp()")
            heard_at = time.monotonic()
        if self._is_in_step and heard_at - asked_at > ROUND_TRIP_MAX_S:
            return
        self._read_at, self._instant, self._is_in_step = (asked_at + heard_at) / 2, instant, True
        self._compare()

    async def run(self) -> None:
        """Keeps in step until cancelled; while the database is away the monotonic clock counts on."""
        while True:
            await asyncio.sleep(SYNC_S)
            try:
                await self.sync()
            except Exception as error:
                if not is_transient(error):
                    raise

    def _compare(self) -> None:
        off_s = (self._machine.now() - self.now()).total_seconds()
        _OFF.set(off_s)
        if (is_wrong := abs(off_s) > WRONG_FROM_S) is not self._is_wrong:
            self._is_wrong = is_wrong
            if is_wrong:
                _log.warning("this machine's clock is wrong; the database's counts", off_s=round(off_s, 1))
            else:
                _log.info("this machine's clock is right again")


async def database_clock(process: Process, database: Database) -> DatabaseClock:
    """The clock of a process that this database decides for, in step from now on."""
    clock = DatabaseClock(database, process.clock)
    await clock.sync()
    process.supervise("clock", clock.run())
    return clock
