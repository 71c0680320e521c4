"""The clock of family: what a request left half done is finished, bindings in doubt judged, invitations ended."""

from __future__ import annotations

import asyncio
from typing import Final

from chassis import telemetry
from chassis.db import Database, is_transient
from kernel.clock import Clock, business_date
from kernel.failures import Failure
from kernel.policy import Policies
from services.family.clients import Identity, Ledgers
from services.family.domain.bindings import Binding
from services.family.operations import bindings, invitations, leaving

_log = telemetry.logger("recovery")

EXPIRY_CHECK_S: Final = 30.0


class Recovery:
    """Sweeps the database; several replicas may, each takes other rows."""

    def __init__(
        self,
        *,
        database: Database,
        identity: Identity,
        ledgers: Ledgers,
        policies: Policies,
        clock: Clock,
        sweep_s: float,
    ) -> None:
        self._database = database
        self._identity = identity
        self._ledgers = ledgers
        self._policies = policies
        self._clock = clock
        self._sweep_s = sweep_s

    async def run(self) -> None:
        """Runs until cancelled. A database that is away is waited for."""
        loop = asyncio.get_running_loop()
        expired_at = float("-inf")
        while True:
            try:
                await self.sweep_doubts()
                await self.sweep()
                await leaving.finish_all(database=self._database, now=self._clock.now())
                if loop.time() - expired_at >= EXPIRY_CHECK_S:
                    await invitations.expire_invitations(database=self._database, now=self._clock.now())
                    expired_at = loop.time()
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("the database is away", problem=type(error).__name__)
            await asyncio.sleep(self._sweep_s)

    async def sweep_doubts(self) -> int:
        """Asks identity whether the bindings that are in doubt still stand; how many those were."""
        doubted = await bindings.take_doubted(database=self._database)
        await asyncio.gather(*(self._judge(binding) for binding in doubted))
        return len(doubted)

    async def sweep(self) -> int:
        """Tells the ledgers once more what is due; how many bindings that were."""
        due = await bindings.take_due(database=self._database)
        # All at once: commands to one area travel in one batch, and a silent area keeps only its own waiting.
        await asyncio.gather(*(self._drive(binding) for binding in due))
        return len(due)

    async def _judge(self, binding: Binding) -> None:
        with telemetry.traced(telemetry.new_trace()):
            now = self._clock.now()
            try:
                await bindings.judge(
                    database=self._database,
                    identity=self._identity,
                    policies=self._policies.on(business_date(now)),
                    binding=binding,
                    now=now,
                )
            except Failure as failure:
                _log.warning("identity could not be asked about a binding", reason=failure.reason)

    async def _drive(self, binding: Binding) -> None:
        with telemetry.traced(telemetry.new_trace()):
            try:
                driven = await bindings.drive(
                    database=self._database, ledgers=self._ledgers, binding=binding, now=self._clock.now()
                )
            except Failure as failure:
                _log.warning("a ledger refuses to be spoken to", area=binding.funder_area, reason=failure.reason)
                return
            if driven.answer is not None:
                _log.info(
                    "a binding was finished by the sweep",
                    binding_id=str(binding.binding_id),
                    state=driven.binding.state.value,
                )
