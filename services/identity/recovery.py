"""What identity does by the clock: keeps the signing keys fresh, ends kinship facts on their day, looks for misuse."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from chassis import telemetry
from chassis.db import Database, is_transient
from kernel.clock import Clock
from kernel.failures import Failure
from kernel.randomness import Randomness
from services.identity.domain.risk import Thresholds
from services.identity.operations import risk, risk_sweep
from services.identity.operations.kinship import expire_due
from services.identity.operations.signing_keys import SigningKeys

_log = telemetry.logger("recovery")

RISK_FORGET_S: Final = 3_600.0
KEY_CHECK_S: Final = 2.0
"""How often keys are looked at: for so long a replica takes the codes of a key that was ended at another one.

Far below KEY_LEAD, so a key is known here before it signs anywhere."""
EXPIRY_CHECK_S: Final = 60.0
"""How often facts are looked for whose document proves nothing any more: a minute after midnight at the latest."""


async def refresh_keys(keys: SigningKeys) -> None:
    """Takes over what other replicas made, and makes the next key in time, until cancelled."""
    while True:
        await asyncio.sleep(KEY_CHECK_S)
        async with _database_may_be_away("the signing keys could not be looked at"):
            await keys.refresh()


class RiskSweep:
    """What looks like misuse becomes a risk event. Several replicas share the work: one at a time judges a kind."""

    def __init__(
        self, *, database: Database, thresholds: Thresholds, pause_s: float, clock: Clock, randomness: Randomness
    ) -> None:
        self._database = database
        self._thresholds = thresholds
        self._pause_s = pause_s
        self._clock = clock
        self._randomness = randomness
        self._forgot_at = float("-inf")

    async def sweep(self) -> int:
        """Judges what happened since the last time; how many risk events are new. Once an hour forgets what is old."""
        now = self._clock.now()
        raised = await risk_sweep.sweep(
            database=self._database, thresholds=self._thresholds, now=now, randomness=self._randomness
        )
        if (seconds := asyncio.get_running_loop().time()) - self._forgot_at >= RISK_FORGET_S:
            await risk.forget(database=self._database, now=now)
            self._forgot_at = seconds
        return raised

    async def run(self) -> None:
        """Runs until cancelled, whatever goes wrong: it is said, and tried again."""
        while True:
            async with _nothing_ends_it("risks could not be judged"):
                if raised := await self.sweep():
                    _log.info("risk events were raised", count=raised)
            await asyncio.sleep(self._pause_s)


class ExpiringFacts:
    """Kinship facts whose evidence runs out: each ends on its day in Shanghai, and what rested on it is told.

    Several replicas do no harm: whoever comes second finds the fact ended.
    """

    def __init__(self, *, database: Database, clock: Clock, randomness: Randomness) -> None:
        self._database = database
        self._clock = clock
        self._randomness = randomness

    async def sweep(self) -> int:
        """Ends all that have run out; how many this replica ended."""
        return await expire_due(database=self._database, now=self._clock.now(), randomness=self._randomness)

    async def run(self) -> None:
        """Runs until cancelled, whatever goes wrong; a family that others are changing is waited for."""
        while True:
            async with _nothing_ends_it("kinship facts could not be looked at"):
                try:
                    await self.sweep()
                except Failure as failure:
                    _log.warning("a kinship fact could not be ended yet", reason=failure.reason)
            await asyncio.sleep(EXPIRY_CHECK_S)


@asynccontextmanager
async def _nothing_ends_it(what: str) -> AsyncIterator[None]:
    """What comes after the desk must not end who decodes there, and mutual aid with him; one bad row would."""
    try:
        async with _database_may_be_away(what):
            yield
    except Exception:  # noqa: BLE001  As said.
        _log.exception(what)


@asynccontextmanager
async def _database_may_be_away(what: str) -> AsyncIterator[None]:
    try:
        yield
    except Exception as error:
        if not is_transient(error):
            raise
        _log.warning(what, problem=type(error).__name__)
