"""NATS killed and its data wiped in the middle of payments: it only carries, so nothing of it is missed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import pytest

from gongji.notify.v1 import notify_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.client import Outcome, Patience
from kernel.money import Fen
from ops.embedded.nats import EmbeddedNats
from tests.e2e.town import OUTPATIENT, Family, Town, WatchedCounter, bill_of
from tests.fault.conftest import DRAINED
from tests.fault.victims import COORDINATOR, arm, died, revive

PATIENCE: Final = Patience(attempt_s=5.0, request_s=40.0, pause_max_s=0.2)
BILL_FEN: Final = 2_000
HEARD_MAX_S: Final = 60.0


@pytest.fixture
async def counter(town: Town) -> AsyncIterator[WatchedCounter]:
    """A terminal that waits as long as it takes."""
    async with town.another_counter(number=41, patience=PATIENCE) as patient:
        yield patient


async def bills_heard_of(town: Town, families: Sequence[Family]) -> Counter[str]:
    """How often each settlement was told to its patient."""
    heard: Counter[str] = Counter()
    for family in families:
        messages = await town.messages(family.patient)
        heard.update(message.setl_id for message in messages if message.topic == notify_pb2.TOPIC_BILL_PAID)
    return heard


async def everyone_heard(town: Town, families: Sequence[Family], outcomes: Sequence[Outcome]) -> None:
    """Each patient is told of each of his settlements, in the end, and once."""
    settled = {outcome.setl_id: 1 for outcome in outcomes if isinstance(outcome, pb.Settlement)}
    end = time.monotonic() + HEARD_MAX_S
    while await bills_heard_of(town, families) != settled:
        assert time.monotonic() < end, (await bills_heard_of(town, families), settled)
        await asyncio.sleep(0.1)


async def test_a_broker_killed_under_a_payment_and_started_again_costs_time_and_nothing_else(
    town: Town, broker: EmbeddedNats, counter: WatchedCounter, record_property: Callable[[str, object], None]
) -> None:
    """The payment begins while NATS is dead; it is paid or refused whole once NATS is back, as its terminal is told."""
    family = await town.pair()
    before = await town.money(family)
    plan = await town.planned(family, 10_000)
    await broker.kill()
    killed_at = time.monotonic()
    paying = asyncio.create_task(counter.pay(plan, med_type=OUTPATIENT))
    await asyncio.sleep(0.3)
    assert not paying.done()
    await broker.start()
    outcome = await paying
    await town.at_rest()
    record_property(DRAINED, f"{time.monotonic() - killed_at:.1f} (NATS killed for 0.3 s or more)")
    paid = isinstance(outcome, pb.Settlement)
    assert paid or isinstance(outcome, pb.Replan)
    assert await town.money(family) == ([(0, 0), (3_000, 0)] if paid else before)
    await everyone_heard(town, [family], [outcome])
    await town.check()


async def test_a_broker_wiped_between_the_answer_and_the_confirm_loses_neither_money_nor_news(
    town: Town, broker: EmbeddedNats, counter: WatchedCounter, record_property: Callable[[str, object], None]
) -> None:
    """OK was answered; then the coordinator dies and NATS loses all it had: the bill is booked and told once."""
    family = await town.pair()
    plan = await town.planned(family, 10_000)
    await arm(town.world, COORDINATOR, "settlement.confirm.before_send+0.5")
    paid = await counter.pay(plan, med_type=OUTPATIENT)
    assert isinstance(paid, pb.Settlement)
    await broker.wipe()
    dead_at = await died(town.world, COORDINATOR)
    assert await stored_at_ledgers(town, family) == [3_000, 10_000]
    await broker.start()
    await revive(town.world, COORDINATOR)
    await town.reached()
    await town.at_rest()
    record_property(DRAINED, f"{time.monotonic() - dead_at:.1f} (NATS wiped, coordinator killed)")
    assert await town.money(family) == [(0, 0), (3_000, 0)]
    await everyone_heard(town, [family], [paid])
    await town.check()


async def stored_at_ledgers(town: Town, family: Family) -> list[Fen]:
    """Each member's balance straight from the ledgers' databases, where no process need answer."""
    balance = "SELECT past_fen + current_fen FROM accounts WHERE psn_no = $1 AND kind = 'PERSONAL'"
    return [await town.ledgers[member.area].fetchval(balance, member.psn_no) for member in family.members]


async def test_a_broker_wiped_under_load_leaves_every_bill_paid_once_and_told_once(
    town: Town, broker: EmbeddedNats, counter: WatchedCounter, record_property: Callable[[str, object], None]
) -> None:
    """Four patients pay one bill after the other while NATS loses everything: no money and no message is missing."""
    families = await town.pairs(4)
    outcomes: list[Outcome] = []
    wiped = asyncio.Event()

    async def pays_on(family: Family) -> None:
        bills = 0
        while bills < 2 or not wiped.is_set():
            plan = await counter.plan(
                patient=family.patient.psn_no, med_type=OUTPATIENT, bill=bill_of(BILL_FEN), mdtrt_id=f"L{bills}"
            )
            outcomes.append(await counter.pay(plan, med_type=OUTPATIENT))
            bills += 1

    paying = [asyncio.create_task(pays_on(family)) for family in families]
    await asyncio.sleep(0.2)
    await broker.wipe()
    wiped_at = time.monotonic()
    await broker.start()
    wiped.set()
    await asyncio.gather(*paying)
    await town.at_rest()
    record_property(DRAINED, f"{time.monotonic() - wiped_at:.1f} (NATS wiped under load, {len(outcomes)} bills)")
    for family in families:
        left = sum(past + current for past, current in await town.money(family))
        assert left == 13_000 - await town.net_of(family)
    await everyone_heard(town, families, outcomes)
    await town.check()
