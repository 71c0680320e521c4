"""NATS killed and its data wiped in the middle of payments: it only carries, so nothing of it is missed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

import asyncpg
import pytest

from gongji.notify.v1 import notify_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.client import Outcome, Patience
from kernel.money import Fen
from ops.embedded.nats import EmbeddedNats
from tests.e2e.town import OUTPATIENT, Family, Town, WatchedCounter, bill_of
from tests.fault.conftest import DRAINED
from tests.fault.load import Load, check_load, load_families, load_on
from tests.fault.victims import COORDINATOR, arm, died, revive

PATIENCE: Final = Patience(attempt_s=5.0, request_s=40.0, pause_max_s=0.2)
BILL_FEN: Final = 2_000
HEARD_MAX_S: Final = 60.0
AWAY_S: Final = 3.0


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


@pytest.mark.long
async def test_a_broker_lost_with_all_its_data_under_steady_load_is_missed_by_nobody(
    town: Town, broker: EmbeddedNats, say: Callable[[str], None]
) -> None:
    """Zero lost, zero double; and every event ever said has arrived where it is heard, whatever the stream has lost."""
    families = await load_families(town)
    async with load_on(town, families) as load:
        await load.steady()
        before = await said(town)
        struck_at = time.monotonic()
        await broker.wipe()
        await asyncio.sleep(AWAY_S)
        await broker.start()
        back_at = time.monotonic()
        resumed_s = await load.resumes(since=back_at)
        await load.steady(2)
    drained_s = await town.at_rest()
    await all_heard(town)
    told_at = time.monotonic()
    await each_bill_told_once(town, load)
    await check_load(town, load)
    say(
        f"NATS and its data lost under load: {len(load.settled)} bills, 0 lost, 0 double; {before} events said before "
        f"are said again, 0 missing at their consumers; longest pause {load.pause_s(since=struck_at):.1f} s "
        f"({back_at - struck_at:.1f} s of it NATS away), served {resumed_s:.1f} s after its return, at rest "
        f"{drained_s:.1f} s after the load, everybody told {told_at - back_at:.1f} s after its return"
    )


async def said(town: Town) -> int:
    """How many events the rooms have said so far."""
    return sum([len(await rows(town, room, "SELECT id FROM outbox")) for room in ("identity", "family", "settlement")])


async def all_heard(town: Town) -> None:
    """Waits for every event at every consumer, by the databases: a wiped NATS knows nothing of who has yet to come."""
    end = time.monotonic() + HEARD_MAX_S
    while missing := await unheard(town):
        assert time.monotonic() < end, f"after {HEARD_MAX_S:.0f} s still unheard: {missing}"
        await asyncio.sleep(0.1)


async def unheard(town: Town) -> dict[str, int]:
    """How many events of the outboxes have not arrived, by who should have heard them; empty if all have."""
    missing = {}
    heard = {row["event_id"] for row in await rows(town, "notify", "SELECT event_id FROM inbox")}
    for room in ("family", "settlement"):
        events = {row["event_id"] for row in await rows(town, room, "SELECT event_id FROM outbox")}
        assert events
        missing[f"notify of {room}"] = len(events - heard)
    versions = "SELECT aggregate, max(version) AS version FROM outbox WHERE subject = 'person_changed' GROUP BY 1"
    latest = {row["aggregate"]: row["version"] for row in await rows(town, "identity", versions)}
    known = "SELECT aggregate, version FROM inbox_version"
    family = {row["aggregate"]: row["version"] for row in await rows(town, "family", known)}
    assert latest
    missing["family of identity"] = sum(family.get(person, 0) < version for person, version in latest.items())
    return {who: count for who, count in missing.items() if count}


async def each_bill_told_once(town: Town, load: Load) -> None:
    """Every bill that was ever paid was told to its patient once, among them all that a terminal was told of."""
    patients = [family.patient.psn_no for family in load.families]
    paid = (
        "SELECT payment_id::text AS setl_id FROM payments WHERE kind = 'SETTLE' AND state = 'DONE' AND psn_no = ANY($1)"
    )
    told = "SELECT setl_id FROM messages WHERE topic = 'BILL_PAID' AND psn_no = ANY($1)"
    heard = Counter(row["setl_id"] for row in await rows(town, "notify", told, patients))
    assert heard == Counter(row["setl_id"] for row in await rows(town, "settlement", paid, patients))
    assert {setl_id for _, setl_id in load.settled} <= heard.keys()


async def rows(town: Town, room: str, statement: str, *values: object) -> list[asyncpg.Record]:
    """What a room's database says."""
    connection = await asyncpg.connect(town.world.database_url(room))
    try:
        return list(await connection.fetch(statement, *values))
    finally:
        await connection.close()
