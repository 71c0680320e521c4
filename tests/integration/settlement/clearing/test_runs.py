"""Which payments a period counts, to whom they are owed, and that a run is one for ever."""

from __future__ import annotations

import asyncio
import hashlib
from random import Random
from typing import Any, Final

import asyncpg
import pytest

from chassis.db import Database
from kernel.failures import Failure
from kernel.ids import AdmDvs
from services.settlement.domain.clearing import (
    Period,
    PooledPart,
    Share,
    SharePart,
    is_cleared,
    net_positions,
    shares_of_bill,
    shares_of_transfer,
)
from services.settlement.domain.payment import area_of
from services.settlement.domain.split import Role
from services.settlement.operations import clearing
from services.settlement.operations.clearing import Ran
from services.settlement.store import clearing as store
from tests.integration.settlement.clearing.book import HAMI, HANGZHOU, URUMQI, Book, Written, at, leg
from tests.patience import until

MARCH: Final = Period(2025, 3)
APRIL: Final = Period(2025, 4)
MAY: Final = Period(2025, 5)
HAMI_HOSPITAL: Final = "H65050000001"
CUT: Final = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO clearing_pairs%'"""


async def run(book: Book, period: Period, carry_reason: str = "") -> Ran:
    """Runs it."""
    return await clearing.run(book.database, period=period, carry_reason=carry_reason, run_by="operator:test")


async def refusal(book: Book, period: Period) -> tuple[str, dict[str, Any]]:
    """Why it is not run."""
    with pytest.raises(Failure) as refused:
        await run(book, period)
    return refused.value.reason, dict(refused.value.metadata)


async def file_of(database: Database, period: Period) -> bytes:
    """The period's file, as it is exported."""
    parts = [part async for part in clearing.exported(database, period, debtor="", creditor="")]
    return "".join(parts).encode()


def owed(lines: list[dict[str, Any]]) -> list[tuple[str, str, str, int]]:
    """(debtor, creditor, part, fen) of each line."""
    return [(line["debtor_area"], line["creditor_area"], line["part"], line["amount_fen"]) for line in lines]


def shares_of(payment: Written) -> tuple[Share, ...]:
    """What the domain says that a payment makes areas owe."""
    if payment.kind == "TRANSFER":
        return shares_of_transfer(payment.payment_id, payment.legs)
    pooled = PooledPart(AdmDvs(payment.insured), payment.fund_fen)
    care = area_of(payment.fixmedins_code)
    refund = payment.kind == "REFUND"
    return shares_of_bill(payment.payment_id, payment.legs, pooled, area_of_care=care, is_refund=refund)


async def any_month(book: Book, count: int) -> None:
    """A month of payments of every kind, between three areas, some of them local."""
    areas, random = (URUMQI, HAMI, HANGZHOU), Random(11)
    for _ in range(count):
        when = at(f"2025-03-{random.randint(1, 31):02d}", f"{random.randint(0, 23):02d}:30:00")
        sources = [
            leg(role, random.choice(areas), random.choice((0, 0, 70, 1_250)), random.choice((0, 33)))
            for role in (Role.OWN, Role.WALLET, Role.FUNDER, Role.FUNDER)
        ]
        match random.randint(0, 4):
            case 0:
                amount_fen = random.randint(1, 5_000)
                taken = leg(Role.OWN, random.choice(areas), amount_fen - amount_fen // 3, amount_fen // 3)
                await book.transferred(when, taken, leg(Role.RECEIVER, random.choice(areas), amount_fen))
            case kind:
                letter, infno = random.choice((("H", "2207"), ("H", "2304"), ("P", "2102")))
                settled = await book.settled(
                    when,
                    *(source for source in sources if source.amount_fen),
                    institution=f"{letter}{random.choice(areas)}00001",
                    infno=infno,
                    insured=random.choice(areas),
                    fund_fen=random.choice((0, 4_000)),
                )
                if kind == 1:
                    await book.revoked(settled, when)


async def test_lines_are_the_shares_that_the_domain_tells(book: Book) -> None:
    """Of any payments a run writes exactly the domain's shares between areas; the rest it sums as local."""
    await any_month(book, 150)
    ran = (await run(book, MARCH)).run
    shares = [share for payment in book.written for share in shares_of(payment)]
    expected = {
        (share.payment_id, share.leg_no): (share.debtor_area, share.creditor_area, share.part.value, share.amount_fen)
        for share in shares
        if share.is_between_areas
    }
    lines = await book.lines("2025-03")
    assert {(line["payment_id"], line["leg_no"]): one for line, one in zip(lines, owed(lines), strict=True)} == expected
    assert len(expected) > 200
    assert {part for _, _, part, _ in expected.values()} == {part.value for part in SharePart}
    assert (ran.payments_count, ran.lines_count) == (len(book.written), len(expected))
    assert ran.local_fen == sum(share.amount_fen for share in shares if not share.is_between_areas)


async def test_a_premium_is_owed_to_the_area_whose_it_is(book: Book) -> None:
    """By the area that keeps the payer's money; taken back in the next month it is owed the other way."""
    await book.settled(at("2025-03-02"), leg(Role.OWN, URUMQI, 1))
    local = await book.charged(at("2025-03-03"), leg(Role.WALLET, URUMQI, 400), area=URUMQI)
    paid = await book.charged(at("2025-03-04"), leg(Role.OWN, HAMI, 300, 100), area=URUMQI)
    refund = await book.given_back(paid, at("2025-04-01"))
    ran = (await run(book, MARCH)).run
    await run(book, APRIL)
    assert ran.local_fen == 1 + sum(one.amount_fen for one in local.legs)
    assert owed(await book.lines("2025-03")) == [(HAMI, URUMQI, "TRANSFER", 400)]
    [line] = await book.lines("2025-04")
    assert (line["payment_id"], line["original_id"]) == (refund.payment_id, paid.payment_id)
    assert owed([line]) == [(HAMI, URUMQI, "TRANSFER", -400)]


async def test_positions_sum_to_zero_and_follow_from_the_lines(book: Book) -> None:
    """Each area's position is what the lines say of it, and all of them together come to nothing."""
    await any_month(book, 60)
    await run(book, MARCH)
    _, positions = await clearing.view(book.database, MARCH)
    lines = owed(await book.lines("2025-03"))
    net = {
        area: sum(fen for _, creditor, _, fen in lines if creditor == area)
        - sum(fen for debtor, _, _, fen in lines if debtor == area)
        for area in (HANGZHOU, URUMQI, HAMI)
    }
    assert {position.area: position.net_fen for position in positions} == net
    assert sum(net.values()) == 0
    assert any(net.values())


async def test_a_period_is_run_once_and_stays_as_it_is(book: Book) -> None:
    """The second run answers with the first one and writes nothing, though a payment has come to light since."""
    await book.settled(at("2025-03-10"), leg(Role.FUNDER, HAMI, 700))
    first = await run(book, MARCH)
    await book.settled(at("2025-03-11"), leg(Role.FUNDER, HAMI, 900))
    again = await run(book, MARCH)
    assert (first.existed, again.existed, again.run) == (False, True, first.run)
    assert owed(await book.lines("2025-03")) == [(HAMI, URUMQI, "FUNDER", 700)]


async def test_the_same_payments_give_the_same_file(book: Book, another_book: Book) -> None:
    """The file depends on the payments alone, not on the order of their rows; the run keeps its SHA-256."""
    await any_month(book, 40)
    ran = (await run(book, MARCH)).run
    originals = [payment for payment in book.written if payment.kind != "REFUND"]
    another_book.random = Random(1)
    await _copy(book, another_book)
    other = (await run(another_book, MARCH)).run
    content = await file_of(book.database, MARCH)
    assert len(originals) < len(book.written)
    assert content == await file_of(another_book.database, MARCH)
    assert ran.lines_sha256 == other.lines_sha256 == hashlib.sha256(content).digest()
    assert content.count(b"\n") == ran.lines_count + 1


async def _copy(book: Book, other: Book) -> None:
    """Every plan and payment, the latest first."""
    async with book.database.driver_connection() as source, other.database.driver_connection() as target:
        for table in ("plans", "payments"):
            names = [
                row["column_name"]
                for row in await source.fetch(
                    "SELECT column_name FROM information_schema.columns"
                    " WHERE table_name = $1 AND is_generated = 'NEVER' AND table_schema = 'public'",
                    table,
                )
            ]
            rows = await source.fetch(f"SELECT to_jsonb(t)::text AS row FROM {table} t ORDER BY created_at DESC")  # noqa: S608  Ours.
            listed = ", ".join(names)
            await target.executemany(
                f"INSERT INTO {table} ({listed}) SELECT {listed} FROM jsonb_populate_record(NULL::{table}, $1::jsonb)",  # noqa: S608  Ours.
                [(row["row"],) for row in rows],
            )


async def test_a_month_is_one_in_shanghai(book: Book) -> None:
    """The last microsecond of 31 March there belongs to March, midnight to April, whatever day it is in Greenwich."""
    await book.settled(at("2025-03-01", "00:00:00"), leg(Role.FUNDER, HAMI, 1))
    await book.settled(at("2025-03-31", "23:59:59.999999"), leg(Role.FUNDER, HAMI, 2))
    await book.settled(at("2025-04-01", "00:00:00"), leg(Role.FUNDER, HAMI, 4))
    await run(book, MARCH)
    await run(book, APRIL)
    march, april = await book.lines("2025-03"), await book.lines("2025-04")
    assert [(str(line["business_date"]), line["amount_fen"]) for line in march] == [
        ("2025-03-01", 1),
        ("2025-03-31", 2),
    ]
    assert [(str(line["business_date"]), line["amount_fen"]) for line in april] == [("2025-04-01", 4)]


async def test_a_late_revocation_is_cleared_in_its_own_month(book: Book) -> None:
    """What was charged in March and given back in April is owed in March and taken off in April, to the fen."""
    settled = await book.settled(
        at("2025-03-10"),
        leg(Role.FUNDER, URUMQI, 600, 50),
        leg(Role.OWN, HAMI, 300),
        institution=HAMI_HOSPITAL,
        fund_fen=5_000,
    )
    await run(book, MARCH)
    revoked = await book.revoked(settled, at("2025-04-02"))
    await run(book, APRIL)
    charged = [(URUMQI, HAMI, "FUND", 5_000), (URUMQI, HAMI, "FUNDER", 650)]
    assert owed(await book.lines("2025-03")) == charged
    lines = await book.lines("2025-04")
    assert owed(lines) == [(debtor, creditor, part, -fen) for debtor, creditor, part, fen in charged]
    assert {(line["payment_id"], line["original_id"]) for line in lines} == {(revoked.payment_id, settled.payment_id)}
    traced = await clearing.trace(book.database, settled.payment_id)
    assert [(line["period"], line["amount_fen"]) for line in traced] == [
        ("2025-03", 5_000),
        ("2025-03", 650),
        ("2025-04", -5_000),
        ("2025-04", -650),
    ]


async def test_periods_are_run_in_order_once_they_are_over(book: Book) -> None:
    """The first is that of the first plan, then one after another, and none before the day after its end is over."""
    await book.settled(at("2025-03-10"), leg(Role.FUNDER, HAMI, 700))
    out_of_order = ("CLEARING_OUT_OF_ORDER", {"period": "2025-04", "next_period": "2025-03"})
    assert await refusal(book, APRIL) == out_of_order
    await run(book, MARCH)
    assert await refusal(book, MAY) == ("CLEARING_OUT_OF_ORDER", {"period": "2025-05", "next_period": "2025-04"})
    empty = (await run(book, APRIL)).run
    assert (empty.payments_count, empty.lines_count) == (0, 0)
    assert (await refusal(book, Period(2199, 12)))[0] == "CLEARING_PERIOD_NOT_OVER"


async def test_nothing_is_run_before_anything_was_planned(book: Book) -> None:
    """Without a plan or transfer, the present month is the next, so that no month long past can be run by mistake."""
    assert (await refusal(book, MARCH))[0] == "CLEARING_OUT_OF_ORDER"


async def test_an_open_payment_keeps_its_period_from_being_run(book: Book) -> None:
    """While one payment of the month is not booked everywhere nothing is run, and it is named; then it is counted."""
    open_ = await book.settled(at("2025-03-31", "23:59:00"), leg(Role.FUNDER, HAMI, 700), state="COMMITTED")
    said = {"period": "2025-03", "open": "1", "setl_id": str(open_.payment_id)}
    assert await refusal(book, MARCH) == ("CLEARING_PAYMENTS_OPEN", said)
    assert await book.lines("2025-03") == []
    await book.becomes(open_, "DONE")
    ran = (await run(book, MARCH)).run
    assert (ran.lines_count, ran.carried_on_count) == (1, 0)


async def test_a_carried_payment_is_cleared_once_in_the_period_after_it_was_booked(book: Book) -> None:
    """Two months run without it, the third has it with the day of its decision; nothing else is held up."""
    late = await book.settled(at("2025-03-31"), leg(Role.FUNDER, HAMI, 700), state="COMMITTED")
    await book.settled(at("2025-03-30"), leg(Role.FUNDER, HAMI, 30))
    march = (await run(book, MARCH, "Hami's ledger is away")).run
    april = (await run(book, APRIL, "as in March")).run
    await book.becomes(late, "DONE")
    may = (await run(book, MAY)).run
    assert [(each.carried_in_count, each.carried_on_count) for each in (march, april, may)] == [(0, 1), (0, 1), (1, 0)]
    assert owed(await book.lines("2025-03")) == [(HAMI, URUMQI, "FUNDER", 30)]
    assert await book.lines("2025-04") == []
    (line,) = await book.lines("2025-05")
    assert (line["payment_id"], str(line["business_date"]), line["amount_fen"]) == (late.payment_id, "2025-03-31", 700)
    june = (await run(book, Period(2025, 6))).run
    assert (june.payments_count, june.lines_count) == (0, 0)


async def test_what_was_undecided_at_the_run_is_not_lost_whenever_it_counts_as_decided(book: Book) -> None:
    """Of three that had only begun, one is decided with an hour of March, one of April, one never: each counts once."""
    trying = await book.settled(at("2025-03-31", "23:59:00"), leg(Role.FUNDER, HAMI, 10), state="TRYING")
    accepted = await book.transferred(
        at("2025-03-31", "21:00:00"), leg(Role.OWN, HAMI, 55), leg(Role.RECEIVER, URUMQI, 55), state="TRYING"
    )
    declined = await book.transferred(
        at("2025-03-31", "21:30:00"), leg(Role.OWN, HAMI, 66), leg(Role.RECEIVER, URUMQI, 66), state="TRYING"
    )
    await book.settled(at("2025-03-01"), leg(Role.FUNDER, HAMI, 3))
    assert (await run(book, MARCH)).run.lines_count == 1
    await book.becomes(trying, "DONE", decided=at("2025-03-31", "23:59:58"))
    async with book.database.driver_connection() as connection:
        await connection.execute("UPDATE payments SET pending_at = now() WHERE payment_id = $1", accepted.payment_id)
    await book.becomes(accepted, "DONE", decided=at("2025-04-01", "05:00:00"))
    await book.becomes(declined, "CLOSED", decided=at("2025-04-01", "06:00:00"))
    await run(book, APRIL)
    await run(book, MAY)
    assert [line["amount_fen"] for line in await book.lines("2025-04")] == [10, 55]
    assert await book.lines("2025-05") == []


async def test_nothing_is_run_while_the_coordinator_is_restored(book: Book) -> None:
    """A month could lack payments that only the ledgers still know; once the restore is over it is run."""
    await book.settled(at("2025-03-10"), leg(Role.FUNDER, HAMI, 700))
    async with book.database.driver_connection() as connection:
        await connection.execute("UPDATE coordinator SET restoring_since = now(), restore_id = gen_random_uuid()")
        assert (await refusal(book, MARCH))[0] == "COORDINATOR_RESTORING"
        await connection.execute("UPDATE coordinator SET restoring_since = NULL")
    assert (await run(book, MARCH)).run.lines_count == 1


async def test_two_runs_at_once_are_one(book: Book) -> None:
    """Of several that run a period at the same time one writes it; the others get it, or are told to ask again."""
    await any_month(book, 20)
    outcomes = await asyncio.gather(*(run(book, MARCH) for _ in range(4)), return_exceptions=True)
    ran = [outcome for outcome in outcomes if isinstance(outcome, Ran)]
    refused = [outcome for outcome in outcomes if not isinstance(outcome, Ran)]
    assert [one.existed for one in ran].count(False) == 1
    assert {failure.reason for failure in refused if isinstance(failure, Failure)} <= {"CLEARING_UNDER_WAY"}
    assert len(ran) + sum(isinstance(failure, Failure) for failure in refused) == len(outcomes)
    assert len(await book.lines("2025-03")) == ran[0].run.lines_count


async def test_a_run_that_is_cut_off_leaves_nothing(book: Book) -> None:
    """When its connection dies after its lines were written nothing of it stands, and the next run is whole."""
    await any_month(book, 20)
    async with book.database.driver_transaction() as holding, book.database.driver_connection() as watching:
        await holding.execute("LOCK TABLE clearing_pairs IN ACCESS EXCLUSIVE MODE")
        running = asyncio.create_task(run(book, MARCH))

        async def cut() -> bool:
            return await watching.fetchval(CUT) is not None

        await until(cut)
        with pytest.raises(asyncpg.PostgresError):
            await running
    assert await book.lines("2025-03") == []
    assert (await run(book, MARCH)).run.lines_count == len(await book.lines("2025-03")) > 0


@pytest.mark.parametrize("table", ["clearing_runs", "clearing_pairs", "clearing_lines", "clearing_carried"])
async def test_what_was_run_cannot_be_changed(book: Book, table: str) -> None:
    """The database refuses to change or delete a row of a run."""
    await book.settled(at("2025-03-10"), leg(Role.FUNDER, HAMI, 700))
    await book.settled(at("2025-03-31"), leg(Role.FUNDER, HAMI, 700), state="COMMITTED")
    await run(book, MARCH, "one is open")
    async with book.database.driver_connection() as connection:
        assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 1  # noqa: S608  Ours.
        for change in (f"UPDATE {table} SET period = '2020-01'", f"DELETE FROM {table}"):  # noqa: S608  Ours.
            with pytest.raises(asyncpg.RestrictViolationError):
                await connection.execute(change)


async def test_a_write_that_began_within_the_period_is_waited_for(book: Book) -> None:
    """A transaction that writes is seen by whoever asks for those that began before now; one that reads is not."""
    async with book.database.driver_transaction() as writing:
        await writing.execute("SELECT pg_current_xact_id()")
        async with book.database.driver_transaction() as asking:
            now = await asking.fetchval("SELECT clock_timestamp()")
            began = await writing.fetchval("SELECT now()")
            assert await store.writes_since_before(asking, now)
            assert not await store.writes_since_before(asking, began)


async def test_a_payment_is_cleared_once_its_period_is_run(book: Book) -> None:
    """What was decided before the end of the last run is cleared, carried or not; what came after is not."""
    await book.settled(at("2025-03-10"), leg(Role.FUNDER, HAMI, 700))
    async with book.database.driver_connection() as connection:
        assert not is_cleared(at("2025-03-10"), await store.cleared_until(connection))
        await run(book, MARCH)
        until = await store.cleared_until(connection)
        assert is_cleared(at("2025-03-31", "23:59:59.999999"), until)
        assert not is_cleared(at("2025-04-01", "00:00:00"), until)


def test_net_positions_of_a_ring_are_nothing() -> None:
    """Three areas that owe each other the same in a ring pay nothing."""
    ring = {
        (AdmDvs(URUMQI), AdmDvs(HAMI)): 5,
        (AdmDvs(HAMI), AdmDvs(HANGZHOU)): 5,
        (AdmDvs(HANGZHOU), AdmDvs(URUMQI)): 5,
    }
    assert [position.net_fen for position in net_positions(ring)] == [0, 0, 0]
