"""What identity does by the clock: it keeps the ring of signing keys fresh and ends kinship facts on their day."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from chassis import telemetry
from chassis.db import Database, is_transient
from kernel.clock import Clock, business_date
from kernel.failures import Failure
from kernel.randomness import Randomness
from services.identity.domain.risk import Thresholds
from services.identity.domain.sealing import Seals
from services.identity.domain.signing import KEY_LEAD, KeyRing, key_id_of
from services.identity.operations import risk
from services.identity.operations.kinship import expire_fact
from services.identity.operations.signing_keys import current_ring
from services.identity.store.kinship import expired_facts

_log = telemetry.logger("recovery")

RISK_FORGET_S: Final = 3_600.0
KEY_CHECK_S: Final = 60.0
"""How often keys are looked at; well below KEY_LEAD, so that a key is known here before it signs anywhere."""
EXPIRY_CHECK_S: Final = 60.0
"""How often facts are looked for whose document proves nothing any more: a minute after midnight at the latest."""
EXPIRED_AT_ONCE_MAX: Final = 200
UNKNOWN_KEY_PAUSE_S: Final = 1.0
"""How often at most a key that nobody knows makes us look again, so that forgeries cost no statements."""


class SigningKeys:
    """The keys this replica signs and verifies with."""

    def __init__(
        self,
        *,
        database: Database,
        seals: Seals,
        lifetime: timedelta,
        token_lifetime: timedelta,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._database = database
        self._seals = seals
        self._lifetime = lifetime
        # A key signs until its successor does, KEY_LEAD after that one was made; what it signed last then lives on.
        self._overlap = 2 * (token_lifetime + KEY_LEAD)
        self._clock = clock
        self._randomness = randomness
        self._looked_at = float("-inf")
        self.ring = KeyRing(())

    async def refresh(self) -> None:
        """Makes a key if one is needed and takes over what other replicas made."""
        self._looked_at = asyncio.get_running_loop().time()
        self.ring = await current_ring(
            database=self._database,
            seals=self._seals,
            lifetime=self._lifetime,
            overlap=self._overlap,
            now=self._clock.now(),
            randomness=self._randomness,
        )

    async def ring_for(self, token: str) -> KeyRing:
        """The ring, looked up anew if it lacks the key of this token: another replica may have made it just now.

        CODE_MALFORMED (UNAUTHENTICATED) if the token names no key.
        """
        if not self.ring.holds_key_of(token):
            kid = key_id_of(token)
            if kid not in self.ring.kids and asyncio.get_running_loop().time() - self._looked_at >= UNKNOWN_KEY_PAUSE_S:
                await self.refresh()
        return self.ring

    async def run(self) -> None:
        """Runs until cancelled; a database that is away is waited for."""
        while True:
            await asyncio.sleep(KEY_CHECK_S)
            try:
                await self.refresh()
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("the signing keys could not be looked at", problem=type(error).__name__)


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
        raised = await risk.sweep(
            database=self._database, thresholds=self._thresholds, now=now, randomness=self._randomness
        )
        if (seconds := asyncio.get_running_loop().time()) - self._forgot_at >= RISK_FORGET_S:
            await risk.forget(database=self._database, now=now)
            self._forgot_at = seconds
        return raised

    async def run(self) -> None:
        """Runs until cancelled; a database that is away is waited for."""
        while True:
            try:
                if raised := await self.sweep():
                    _log.info("risk events were raised", count=raised)
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("risks could not be judged", problem=type(error).__name__)
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
        ended = 0
        while True:
            now = self._clock.now()
            async with self._database.transaction() as connection:
                due = await expired_facts(connection, today=business_date(now), count_max=EXPIRED_AT_ONCE_MAX)
            for fact_id in due:
                ended += await expire_fact(
                    database=self._database, fact_id=fact_id, now=now, randomness=self._randomness
                )
            if len(due) < EXPIRED_AT_ONCE_MAX:
                return ended

    async def run(self) -> None:
        """Runs until cancelled; a database that is away, or a family that others are changing, is waited for."""
        while True:
            try:
                await self.sweep()
            except Failure as failure:
                _log.warning("a kinship fact could not be ended yet", reason=failure.reason)
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("kinship facts could not be looked at", problem=type(error).__name__)
            await asyncio.sleep(EXPIRY_CHECK_S)
