"""`gongji verify` works the shares out anew, payment by payment, and finds every difference from what was run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import asyncpg
import pytest

from ops.verify.clearing import NAME, check_clearing
from ops.verify.report import Report
from services.settlement.domain.split import Role
from tests.integration.settlement.clearing.book import HAMI, HANGZHOU, URUMQI, Book, at, leg
from tests.integration.settlement.clearing.test_runs import APRIL, MARCH, any_month, run

SPOILT: Final = {
    "a line of another amount": "UPDATE clearing_lines SET amount_fen = amount_fen + 1 WHERE line_no = 1",
    "a line that is gone": "DELETE FROM clearing_lines WHERE line_no = 2",
    "a statement of another amount": "UPDATE clearing_pairs SET charged_fen = charged_fen + 1 WHERE charged_fen > 0",
    "a statement that is gone": "DELETE FROM clearing_pairs WHERE charged_fen > 0",
    "a payment that came to light too late": (
        "UPDATE payments SET decided_at = '2025-03-31 12:00+08', created_at = '2025-03-31 12:00+08'"
        " WHERE decided_at > '2025-04-20'"
    ),
    "a share of a payment that changed since": (
        "UPDATE payments SET legs = jsonb_set(legs, '{0,past_fen}', '1') WHERE decided_at < '2025-03-20'"
        " AND kind = 'SETTLE' AND jsonb_array_length(legs) > 0"
    ),
    "a month that was left out": "DELETE FROM clearing_runs WHERE period = '2025-03'",
    "a carried payment that nobody looks for": "DELETE FROM clearing_carried",
    "a day that is not the payment's": "UPDATE clearing_lines SET business_date = business_date - 1 WHERE line_no = 1",
}


@asynccontextmanager
async def spoiling(book: Book) -> AsyncIterator[asyncpg.Connection]:
    """A connection for which no trigger minds; what it did is rolled back."""
    async with book.database.driver_transaction() as connection:
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("SET LOCAL enable_seqscan = on")
        yield connection
        await connection.execute("ROLLBACK; BEGIN")


async def checked(connection: asyncpg.Connection) -> Report:
    """What is found."""
    report = Report()
    await check_clearing(connection, report)
    return report


async def test_what_was_run_is_sound_until_it_is_spoilt(book: Book) -> None:
    """Two months with what was carried hold; each way to spoil them is found, and nothing of it stays."""
    await any_month(book, 60)
    await book.settled(at("2025-03-31"), leg(Role.FUNDER, HAMI, 700), state="COMMITTED")
    late = await book.settled(at("2025-03-31"), leg(Role.FUNDER, HAMI, 800), state="COMMITTED")
    await run(book, MARCH, "Hami's ledger is away")
    await book.becomes(late, "DONE")
    await book.settled(at("2025-04-10"), leg(Role.FUNDER, HAMI, 50), leg(Role.OWN, HANGZHOU, 5))
    await book.settled(at("2025-05-02"), leg(Role.FUNDER, URUMQI, 50), institution="H65050000001")
    await run(book, APRIL, "it is still away")
    async with spoiling(book) as connection:
        sound = await checked(connection)
    assert (sound.findings, sound.waiting) == ([], {"payments that the next clearing counts": 1})
    assert sound.checks[NAME].checked > 2 + len(book.written)
    for how, statement in SPOILT.items():
        async with spoiling(book) as connection:
            changed = await connection.execute(statement)
            assert changed.rpartition(" ")[2] != "0", how
            assert (await checked(connection)).checks[NAME].violations, how
    async with spoiling(book) as connection:
        assert (await checked(connection)).findings == []


async def test_nothing_is_judged_before_the_first_run(book: Book) -> None:
    """Without a run the report says so, instead of saying that all holds."""
    await book.settled(at("2025-03-10"), leg(Role.FUNDER, HAMI, 700))
    async with spoiling(book) as connection:
        report = await checked(connection)
    assert (report.skipped, report.checks[NAME].checked) == ({NAME: "no period was run yet"}, 0)


@pytest.mark.parametrize("state", ["TRYING", "COMMITTED"])
async def test_a_payment_that_is_booked_while_it_is_looked_for_is_no_finding(book: Book, state: str) -> None:
    """Carried and booked since, it is waiting for the next run, and that run makes it sound."""
    late = await book.settled(at("2025-03-31", "23:59:59"), leg(Role.FUNDER, HAMI, 700), state=state)
    await run(book, MARCH, "it is voting" if state == "COMMITTED" else "")
    await book.becomes(late, "DONE", decided=at("2025-03-31", "23:59:59"))
    async with spoiling(book) as connection:
        report = await checked(connection)
    assert (report.findings, report.waiting) == ([], {"payments that the next clearing counts": 1})
    await run(book, APRIL)
    async with spoiling(book) as connection:
        report = await checked(connection)
    assert (report.findings, report.waiting) == ([], {})
