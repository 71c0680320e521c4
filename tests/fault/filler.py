"""A settlement process that does nothing but begin payments, as fast as it can, and then waits to be killed.

``python -m tests.fault.filler``: the settings of settlement, and FILL_PLANS (ids of stored plans that serve as patterns
in turn, parted by commas), FILL_COUNT, FILL_SERIES (one digit; each series has patients of its own), FILL_LOST.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from itertools import cycle
from typing import Final
from uuid import UUID

from chassis.bus import Bus
from chassis.db import Database
from chassis.process import Process, run
from chassis.settings import load
from gongji.ledger.v1 import ledger_pb2
from kernel.clock import SHANGHAI, SystemClock
from kernel.ids import AdmDvs, PaymentId, PlanId, PsnNo, time_ordered_uuid
from kernel.randomness import SYSTEM_RANDOMNESS
from services.settlement.app import Settings
from services.settlement.clients import LedgerClient
from services.settlement.domain.payment import PRE_SETTLE_OF, Key, request_hash
from services.settlement.domain.plan import Plan
from services.settlement.operations.engine import Engine, EngineSettings
from services.settlement.operations.payments import PlanDocument
from services.settlement.saga.payment import Payment
from services.settlement.store import plans
from services.settlement.store.payments import Beginning, read_standing

PLANNED_AT_ONCE: Final = 8
KEYS_MAX: Final = 10_000
"""A msgid has room for a hundred terminals with a hundred requests a second each."""
SETTLED_BY: Final = {planned_with: settles for settles, planned_with in PRE_SETTLE_OF.items()}


class OneWay(LedgerClient):
    """The ledgers over a link that loses what is decided (CONFIRM, CANCEL), and all that goes to areas in FILL_LOST."""

    def send(self, area: AdmDvs, command: ledger_pb2.Command) -> asyncio.Future[ledger_pb2.Reply | None]:
        """As the real one for a TRY that is not lost; an answer that never comes for anything else."""
        if command.WhichOneof("kind") == "try_command" and area not in os.environ["FILL_LOST"].split(","):
            return super().send(area, command)
        return asyncio.get_running_loop().create_future()


async def serve(process: Process, settings: Settings) -> None:
    """Begins FILL_COUNT payments through the engine's own batches and drives them until it is killed."""
    clock = SystemClock()
    database = await process.enter(Database(settings.database_url, application=process.name))
    bus = await process.enter(Bus(settings.nats_url, name=process.name, prefix=settings.bus_prefix))
    async with database.driver_connection() as connection:
        standing = await read_standing(connection)

    def new_id() -> UUID:
        return time_ordered_uuid(clock.now(), SYSTEM_RANDOMNESS)

    async def nobody_asks(_payment: Payment, _plan: PlanDocument, _silent: frozenset[AdmDvs]) -> PlanId:
        raise AssertionError("a new plan is made for a call, and this process takes none")

    engine = Engine(
        database,
        OneWay(bus, epoch=standing.epoch),
        replan=nobody_asks,
        new_id=new_id,
        clock=clock,
        settings=EngineSettings(vote_deadline_s=settings.vote_deadline_s),
    )
    engine.stand(standing)
    await process.ready({})
    made = await planned(database, new_id)
    beginnings = [
        Beginning(PaymentId(new_id()), key, request_hash("settle", plan.plan_id.bytes), plan.plan_id, plan.digest, "")
        for plan, key in zip(made, keys(made, clock.now()), strict=True)
    ]
    for begun in await asyncio.gather(*(engine.begin(beginning) for beginning in beginnings)):
        assert begun.is_new
    await process.stopped()


async def planned(database: Database, new_id: Callable[[], UUID]) -> list[Plan]:
    """As many plans as are asked for: the patterns', each for a patient of its own."""
    patterns = []
    for plan_id in os.environ["FILL_PLANS"].split(","):
        stored = await plans.load(database, PlanId(UUID(plan_id)))
        assert stored is not None
        patterns.append(stored.plan)
    series = int(os.environ["FILL_SERIES"])
    made = [
        replace(
            pattern,
            plan_id=PlanId(new_id()),
            patient_version=0,
            visit=replace(pattern.visit, psn_no=PsnNo(f"{pattern.visit.insuplc_admdvs}{series}{number:08d}")),
        )
        for number, pattern in zip(range(int(os.environ["FILL_COUNT"])), cycle(patterns), strict=False)
    ]
    gate = asyncio.Semaphore(PLANNED_AT_ONCE)

    async def store(plan: Plan) -> None:
        async with gate:
            await plans.insert(database, plan)

    await asyncio.gather(*map(store, made))
    return made


def keys(made: Sequence[Plan], now: datetime) -> list[Key]:
    """A request key for each plan, as a hundred terminals would make them within some seconds."""
    second = now.astimezone(SHANGHAI).strftime("%Y%m%d%H%M%S")
    assert len(made) <= KEYS_MAX
    return [
        Key(plan.visit.fixmedins_code, SETTLED_BY[plan.visit.infno], f"{plan.visit.fixmedins_code}{second}{number:04d}")
        for number, plan in enumerate(made)
    ]


if __name__ == "__main__":
    run("filler", load(Settings), serve)
