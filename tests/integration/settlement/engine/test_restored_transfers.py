"""A restored coordinator, transfers and premiums: what the ledgers prove is decided, what they do not is a person's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from kernel.clock import business_date
from kernel.ids import PaymentId
from kernel.policy import Part
from ops.consent import Consent
from ops.embedded.databases import Databases
from ops.places import Places
from ops.restore import beginning, comparing, flow, healing, replaying
from ops.restore.comparing import Difference
from ops.sources import Sources
from ops.verify.premiums import check_premiums
from ops.verify.report import Report
from services.settlement.domain.premium import PremiumState
from services.settlement.domain.split import Role
from services.settlement.operations.crediting import CreditRow, credit_unchecked
from services.settlement.operations.engine import Engine
from services.settlement.operations.premium_list import Totals
from services.settlement.saga.payment import Payment, State
from services.settlement.saga.requests import tombstone
from services.settlement.saga.restoring import UNCLEAR, Verdict
from services.settlement.store.payments import insert_decided
from tests.integration.settlement.engine.conftest import new_databases
from tests.integration.settlement.engine.relatives import relatives_of
from tests.integration.settlement.engine.test_premiums import AMOUNT, Payers
from tests.integration.settlement.engine.test_transfers import Gift
from tests.integration.settlement.engine.world import AREAS, HAMI, URUMQI, World, epoch_of, reason_of, world
from tests.servers import NatsServer

CONSENT: Final = Consent("drill", "a restore drill")
_LOST: Final = "DELETE FROM payments WHERE payment_id = $1"
_AS_BEFORE: Final = """
    UPDATE payments SET state = 'TRYING', decided_at = NULL, finished_at = NULL, reason = '',
                        next_drive_at = now() + interval '1 hour'
     WHERE payment_id = $1"""
_FORGOTTEN: Final = "DELETE FROM branches WHERE payment_id = $1"
_LEGS_FORGOTTEN: Final = "DELETE FROM branch_legs WHERE payment_id = $1"


@pytest.fixture(scope="module")
async def urls(postgres: Databases) -> AsyncIterator[dict[str, str]]:
    """The databases of a world of this module's own: a comparison reads all of it, also what other tests forge."""
    async with new_databases(postgres) as made:
        yield made


@pytest.fixture(scope="module")
async def shared_town(urls: dict[str, str], nats: NatsServer) -> AsyncIterator[World]:
    """That world."""
    ledger_urls = {area: urls[area] for area in AREAS}
    async with world(
        database_url=urls["settlement"], ledger_urls=ledger_urls, nats_url=nats.url, prefix=f"t{uuid4().hex[:12]}"
    ) as made:
        yield made


@pytest.fixture
async def gift(town: World, engine: Engine) -> Gift:
    """5,000 fen in the giver's account; the receiver has no wallet yet."""
    made = Gift(town, town.patient(), town.patient())
    await town.give(engine, made.giver, own=5_000)
    return made


def sources_of(town: World) -> Sources:
    """The databases as an operator names them."""
    return Sources(town.database, {str(area): ledger for area, ledger in town.ledgers.items()}, {})


async def restored(town: World, *, restored_areas: Collection[str] = ()) -> tuple[Sources, dict[UUID, str]]:
    """`restore begin` and `restore finish`; what could not be healed, in words."""
    sources = sources_of(town)
    row = await beginning.begin(sources, CONSENT, before=await beginning.read(sources))
    problems = await healing.heal(sources, await comparing.compare(sources, restored_areas=restored_areas), CONSENT)
    left = [
        item
        for item in (await comparing.compare(sources, restored_areas=restored_areas)).of(*healing.HEALED_BY_FINISH)
        if item.verdict is not Verdict.UNCLEAR
    ]
    await beginning.finish(sources, CONSENT, row=row, left=len(left))
    assert left == []
    return sources, problems


async def stopped(town: World) -> None:
    """No coordinator runs, as while a database is restored."""
    for driver in town.drivers:
        await driver.stop()
    town.drivers.clear()


@pytest.mark.parametrize("how", [_LOST, _AS_BEFORE])
@pytest.mark.parametrize("accepted", [True, False])
async def test_a_decided_transfer_is_decided_again_as_its_ledgers_prove(
    gift: Gift, engine: Engine, how: str, *, accepted: bool
) -> None:
    """Known as asked or not at all: accepted where a ledger has booked it, given up where one has let go."""
    town = gift.town
    pending = await gift.begin(engine)
    await (gift.accept if accepted else gift.decline)(engine, pending)
    ended = State.DONE if accepted else State.CLOSED
    await gift.ended(pending, ended)
    await stopped(town)
    await town.forget(how, pending.payment_id)
    _, problems = await restored(town)
    assert problems == {}
    await town.driver()
    await gift.ended(pending, ended)
    assert await gift.money() == ((2_000, 3_000) if accepted else (5_000, 0))


async def unclear(gift: Gift, engine: Engine) -> tuple[Sources, Payment]:
    """A transfer that is held at both ledgers when the coordinator's database is restored."""
    pending = await gift.begin(engine)
    await stopped(gift.town)
    sources, problems = await restored(gift.town)
    assert problems == {}
    row = await gift.town.row(pending.key)
    assert row is not None
    assert (row.state, row.quarantine) == (State.TRYING, UNCLEAR)
    return sources, row


@pytest.mark.parametrize("commit", [True, False])
async def test_a_transfer_that_was_put_aside_is_decided_by_a_person(
    gift: Gift, engine: Engine, *, commit: bool
) -> None:
    """`restore decide` moves the row, and the ledgers follow."""
    sources, row = await unclear(gift, engine)
    await healing.decide(sources, await healing.unclear_item(sources, row.payment_id), CONSENT, commit=commit)
    await gift.town.driver()
    await gift.ended(row, State.DONE if commit else State.CLOSED)
    assert await gift.money() == ((2_000, 3_000) if commit else (5_000, 0))


async def test_neither_giver_nor_receiver_decides_a_transfer_that_was_put_aside_but_the_receivers_no(
    gift: Gift, engine: Engine
) -> None:
    """The receiver may have been told that he has the money, the giver that he has it back; a No harms neither."""
    _, row = await unclear(gift, engine)
    later = (await gift.town.driver()).engine
    assert await reason_of(gift.accept(later, row)) == "PAYMENT_IN_PROGRESS"
    assert await reason_of(gift.withdraw(later)) == "PAYMENT_IN_PROGRESS"
    await gift.decline(later, row)
    await gift.ended(row, State.CLOSED)
    assert await gift.money() == (5_000, 0)


async def test_what_a_ledger_holds_that_was_not_read_proves_nothing(gift: Gift, engine: Engine) -> None:
    """A lost payment with a part at a ledger that is not given is no abort: it may be confirmed there."""
    pending = await gift.begin(engine)
    await stopped(gift.town)
    await gift.town.forget(_LOST, pending.payment_id)
    known = {str(area): ledger for area, ledger in gift.town.ledgers.items() if area != URUMQI}
    comparison = await comparing.compare(Sources(gift.town.database, known, {}))
    (item,) = [item for item in comparison.items if item.payment_id == pending.payment_id]
    await restored(gift.town)  # With both, so that it can be finished.
    sources = sources_of(gift.town)
    await healing.decide(sources, await healing.unclear_item(sources, pending.payment_id), CONSENT, commit=False)
    assert (item.difference, item.found[URUMQI]) == (Difference.CONTRADICTION, "NOT READ")


async def test_a_ledger_that_was_restored_too_proves_nothing_to_a_person_either(gift: Gift, engine: Engine) -> None:
    """Held here and lost there is put aside; whoever knows that it was accepted may commit it."""
    pending = await gift.begin(engine)
    await stopped(gift.town)
    async with gift.town.ledgers[URUMQI].driver_connection() as connection:
        await connection.execute(_FORGOTTEN, pending.payment_id)
    sources, _ = await restored(gift.town, restored_areas=[URUMQI])
    proved = await healing.unclear_item(sources, pending.payment_id)
    told = await healing.unclear_item(sources, pending.payment_id, restored_areas=[URUMQI])
    await healing.decide(sources, told, CONSENT, commit=False)
    assert (proved.verdict, told.verdict) == (Verdict.ABORT, Verdict.UNCLEAR)


async def test_nothing_is_written_behind_a_restore_that_begins_between_question_and_insert(town: World) -> None:
    """Whoever comes while a restore begins waits for it and is refused; the lock has waited for everybody else."""
    epoch = await epoch_of(town.database)

    async def insert(key: Payment) -> Payment | None:
        async with town.database.driver_transaction() as connection:
            return await insert_decided(connection, key, epoch=epoch, traceparent="", lease=timedelta(seconds=1))

    first = tombstone(town.key(), payment_id=PaymentId(uuid4()))
    assert await insert(first) is not None
    late = replace(first, payment_id=PaymentId(uuid4()), key=town.key())
    async with town.database.driver_transaction() as beginner:
        await beginner.execute("UPDATE coordinator SET restoring_since = now(), restore_id = gen_random_uuid()")
        await beginner.execute("LOCK TABLE payments IN SHARE MODE")
        inserting = asyncio.create_task(insert(late))
        await asyncio.sleep(0.3)
        assert not inserting.done()
    try:
        assert await reason_of(inserting) == "COORDINATOR_RESTORING"
        assert await town.row(late.key) is None
    finally:
        await town.forget("UPDATE coordinator SET restoring_since = NULL")


async def test_a_restored_ledger_holds_again_what_a_receiver_may_still_accept(gift: Gift, engine: Engine) -> None:
    """The giver could spend it meanwhile, and the receiver would be paid from nothing."""
    pending = await gift.begin(engine)
    async with gift.town.ledgers[HAMI].driver_transaction() as connection:
        for statement in (_FORGOTTEN, _LEGS_FORGOTTEN):
            await connection.execute(statement, pending.payment_id)
        await connection.execute("UPDATE accounts SET held_past_fen = 0 WHERE psn_no = $1", gift.giver)
    sources = sources_of(gift.town)
    replay = await replaying.prepare(sources, HAMI, await comparing.compare(sources))
    assert [one.what for one in replay.money] == [f"TRANSFER {pending.payment_id}"]
    assert await replaying.carry_out(sources, replay, CONSENT) == []
    assert await gift.held_fen() == 3_000
    await gift.accept(engine, pending)
    await gift.ended(pending, State.DONE)
    assert await gift.money() == (2_000, 3_000)


async def lost_premiums(town: World) -> None:
    """The backup knows nothing of any premium."""
    await stopped(town)
    await town.forget("DELETE FROM premium_payments")
    await town.forget("DELETE FROM payments WHERE infno LIKE 'PREMIUM%'")


def whose(got: tuple[str, Totals]) -> list[str]:
    """The lines of a list of payers without their day, which a restore may tell by the ledgers' word."""
    return [line.rpartition(",")[0] for line in got[0].splitlines()]


async def unsound(town: World) -> list[str]:
    """What `gongji verify` says of the rows beside the premiums' payments."""
    report, connection = Report(), await asyncpg.connect(town.database_url)
    try:
        await check_premiums(connection, report)
    finally:
        await connection.close()
    return report.checks["I10"].findings


async def test_premiums_that_were_lost_are_made_anew_and_nobody_pays_a_year_twice(town: World, engine: Engine) -> None:
    """Paid, taken back and paid again: the ledgers prove all three, and which of them stands."""
    async with relatives_of(town, engine) as relatives:
        payers = Payers(relatives, business_date(relatives.now + timedelta(days=4)).year)
        await payers.asks()
        parent, child = await payers.family()
        asked = uuid4()
        await payers.revokes(parent, await payers.pays(parent, child))
        paid = await payers.pays(parent, child, request_id=asked)
        await town.drained()
        final = payers.now + timedelta(days=6)
        listed = whose(await payers.listed(URUMQI, final))
        mine = [line for line in listed if child in line]
        assert mine == [f"{URUMQI},{payers.year},{paid.premium_id},{child},{AMOUNT}"]
    await lost_premiums(town)
    _, problems = await restored(town)
    assert problems == {}
    assert await unsound(town) == []
    async with relatives_of(town, (await town.driver()).engine) as relatives:
        payers = Payers(relatives, payers.year)
        relatives.related(parent, child)
        await town.drained()
        assert whose(await payers.listed(URUMQI, final)) == listed
        assert await reason_of(payers.pays(parent, child)) == "PREMIUM_ALREADY_PAID"
        again = await payers.pays(parent, child, request_id=asked)
        assert (again.premium_id, again.state) == (paid.premium_id, PremiumState.PAID)
        assert len(await payers.told(paid)) == 2  # Once before, once after the restore, under one event's id.
        await payers.revokes(parent, again)
        await town.drained()
        assert await relatives.money(parent) == {(HAMI, "PERSONAL"): 500_000}
    assert await unsound(town) == []


async def test_what_no_program_heals_is_named_and_does_not_keep_the_coordinator_from_serving(
    town: World, urls: dict[str, str]
) -> None:
    """A process that worked on the restored rows before the restore began has credited anew: that is a person's."""
    engine = (await town.driver()).engine
    patient, row_id = town.patient(), uuid4().hex

    async def credit() -> None:
        await credit_unchecked(engine, CreditRow(HAMI, row_id, patient, Role.OWN, Part.PAST, 1_000))

    await credit()
    await town.drained()
    async with town.database.driver_connection() as connection:
        lost = await connection.fetchval("DELETE FROM payments WHERE msgid = $1 RETURNING payment_id", row_id)
    await credit()
    await stopped(town)
    places = Places(urls["settlement"], {str(area): urls[area] for area in AREAS})
    await flow.begin(places, operator="drill", reason="a restore drill", yes=True)
    left = await flow.finish(places, restored_areas=(), operator="drill", reason="a restore drill", yes=True)
    comparison = await comparing.compare(sources_of(town))
    (item,) = comparison.of(Difference.LOST_CREDIT)
    assert (item.payment_id, left) == (lost, 1)
    await town.give((await town.driver()).engine, town.patient(), own=1_000)
