"""Two settlement processes on one database: both drive, one dies, and nothing depends on which."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.client import Outcome, Patience
from gongji_terminal.failures import Unanswered
from tests.e2e.town import OUTPATIENT, Town, WatchedCounter
from tests.fault.conftest import DRAINED
from tests.fault.victims import COORDINATOR, SECOND, arm, died, revive

PATIENCE: Final = Patience(attempt_s=4.0, request_s=40.0, pause_max_s=0.2)
BRIEF: Final = Patience(attempt_s=4.0, request_s=1.0, pause_max_s=0.2)
EACH: Final = 4
BILL_FEN: Final = 10_000


@pytest.fixture(scope="module")
async def second(town: Town) -> AsyncIterator[None]:
    """The second coordinator runs."""
    await revive(town.world, SECOND)
    yield
    await town.world.kill_process(SECOND)


@pytest.mark.usefixtures("second")
async def test_the_same_request_at_both_coordinators_is_one_payment(town: Town) -> None:
    """Two terminals send one request, each to its own coordinator, again and again: one payment, one answer."""
    family = await town.pair()
    plan = await town.planned(family, BILL_FEN)
    async with (
        town.another_counter(number=31, patience=PATIENCE) as here,
        town.another_counter(number=32, patience=PATIENCE, settlement=SECOND) as there,
    ):
        paid = await here.pay(plan, med_type=OUTPATIENT)
        assert isinstance(paid, pb.Settlement)
        again = pb.SettleRequest(key=paid.key, plan_id=plan.plan_id, plan_digest=plan.digest)
        answers = await asyncio.gather(
            *(
                counter.terminal._settlement.Settle(again, timeout=PATIENCE.attempt_s)
                for counter in (here, there)
                for _ in range(10)
            )
        )
    assert [answer.settlement for answer in answers] == [paid] * 20
    await town.at_rest()
    assert await town.money(family) == [(0, 0), (3_000, 0)]
    await town.check()


@pytest.mark.usefixtures("second")
async def test_one_of_two_coordinators_dies_and_the_other_finishes_what_it_began(
    town: Town, record_property: Callable[[str, object], None]
) -> None:
    """Payments begun at the dead one are ended by the living one alone, and every terminal learns how."""
    families = await town.pairs(2 * EACH)
    plans = [await town.planned(family, BILL_FEN) for family in families]
    # It dies once its first batch is decided: nobody was answered yet, and the other payments are undecided.
    await arm(town.world, SECOND, "settlement.decide.after_commit")
    await town.reached()
    async with (
        town.another_counter(number=33, patience=PATIENCE) as here,
        town.another_counter(number=34, patience=BRIEF, settlement=SECOND) as there,
    ):
        at_the_living = [asyncio.create_task(here.pay(plan, med_type=OUTPATIENT)) for plan in plans[:EACH]]
        at_the_dying = [asyncio.create_task(tried(there, plan, n * 0.03)) for n, plan in enumerate(plans[EACH:])]
        dead_at = await died(town.world, SECOND)
        assert town.world.pid(COORDINATOR) is not None
        await asyncio.gather(*at_the_living, *at_the_dying)
        await town.at_rest()
        record_property(DRAINED, f"{time.monotonic() - dead_at:.1f} (by the living one)")
    # The terminal that was left without an answer asks the living one, out of the same journal.
    async with town.another_counter(number=34, patience=PATIENCE) as there:
        assert not [found for _, found in await there.terminal.recover() if isinstance(found, Unanswered)]
    await town.at_rest()
    for family in families:
        left = [(0, 0), (3_000, 0)] if await town.net_of(family) else [(1_000, 2_000), (10_000, 0)]
        assert await town.money(family) == left
    await town.check()


async def tried(counter: WatchedCounter, plan: pb.Plan, wait_s: float) -> Outcome | Unanswered:
    """Pays after a moment; what stays unanswered is found out about later."""
    await asyncio.sleep(wait_s)
    try:
        return await counter.pay(plan, med_type=OUTPATIENT)
    except Unanswered as unanswered:
        return unanswered
