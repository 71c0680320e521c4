"""Statements by period: lines, running balance and the balances at both ends are of one piece."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from chassis.db import Database
from kernel.clock import SystemClock, business_date, business_midnight, business_year
from services.settlement.ledger.store.reading import StatementPage, StatementQuery, read_statement
from tests.integration.ledger.books import everything, give
from tests.unit.ledger.given import FUNDER, OWN, confirm, credit, own_leg, refund, try_

NOW = SystemClock().now()
YEAR = business_year(NOW)
TODAY = business_date(NOW)


async def three_days(ledger: Database) -> None:
    """Credited two days ago, paid yesterday at the last second, refunded today at the first; another's beside it."""
    await give(ledger, credit(1, (1, OWN, 100, 50), year=YEAR), credit(2, (1, FUNDER, 7, 0), year=YEAR))
    await give(ledger, try_(1, own_leg(30, 20, year=YEAR)), confirm(1))
    await give(ledger, refund(3, 1, (1, OWN, 5, 20), year=YEAR))
    midnight = business_midnight(TODAY)
    days = {
        "MONTHLY": midnight - timedelta(days=1, hours=12),
        "PAYMENT": midnight - timedelta(microseconds=1),
        "REFUND": midnight,
    }
    async with ledger.driver_transaction() as connection:
        await connection.execute("ALTER TABLE entries DISABLE TRIGGER USER")  # Nobody else may change a day.
        for kind, booked_at in days.items():
            await connection.execute("UPDATE entries SET booked_at = $2 WHERE kind = $1", kind, booked_at)


async def read(
    ledger: Database, begin: datetime | None, end: datetime | None, *, entries_max: int
) -> list[StatementPage]:
    """All pages of a period."""
    pages: list[StatementPage] = []
    async with ledger.driver_connection() as connection:
        while not pages or pages[-1].more:
            after = pages[-1].lines[-1].entry_no if pages else 0
            pages.append(await read_statement(connection, StatementQuery(OWN, after, entries_max, begin, end)))
    return pages


async def test_opening_and_lines_come_to_the_closing_of_every_period(area_ledger: Database) -> None:
    """For every pair of days, and none, and every page length; one period opens as the one before it closed."""
    await three_days(area_ledger)
    ends = [None, *(business_midnight(TODAY + timedelta(days=days)) for days in range(-3, 3)), None]
    for first, begin in enumerate(ends[:-1]):
        for end in ends[max(first, 1) :]:
            for entries_max in (1, 2, 10):
                pages = await read(area_ledger, begin, end, entries_max=entries_max)
                lines = [line for page in pages for line in page.lines]
                assert len({(page.opening_fen, page.closing_fen) for page in pages}) == 1
                opening_fen, closing_fen = pages[0].opening_fen, pages[0].closing_fen
                running = [opening_fen, *(line.balance_after_fen for line in lines)]
                assert [after - before for before, after in pairwise(running)] == [line.amount_fen for line in lines]
                assert running[-1] == closing_fen


async def test_a_line_belongs_to_the_civil_day_it_was_booked_on(area_ledger: Database) -> None:
    """The last microsecond before midnight in Shanghai is of the day before, midnight itself of the new day."""
    await three_days(area_ledger)
    begins = [business_midnight(TODAY + timedelta(days=days)) for days in (-2, -1, 0, 1)]
    days = [(await read(area_ledger, begin, end, entries_max=10))[0] for begin, end in pairwise(begins)]
    told = [(day.opening_fen, [line.kind for line in day.lines], day.closing_fen) for day in days]
    assert told == [
        (0, ["MONTHLY", "MONTHLY"], 150),
        (150, ["PAYMENT", "PAYMENT"], 100),
        (100, ["REFUND", "REFUND"], 125),
    ]
    state, _ = await everything(area_ledger)
    assert state.accounts[OWN].balance.total == 125


async def test_a_statement_runs_on_over_the_turn_of_the_year(area_ledger: Database) -> None:
    """Paid in flight over midnight, turned, refunded: each line's balance follows from the one before it."""
    await give(area_ledger, credit(1, (1, OWN, 100, 50), year=YEAR), try_(1, own_leg(30, 20, year=YEAR)))
    async with area_ledger.driver_transaction() as connection:
        for table in ("accounts", "branch_legs"):
            await connection.execute(f"UPDATE {table} SET year = year - 1")  # noqa: S608  As if December had passed.
    await give(area_ledger, confirm(1), refund(2, 1, (1, OWN, 30, 20), year=YEAR - 1))
    (page,) = await read(area_ledger, None, None, entries_max=20)
    turned = [(line.part.value, line.amount_fen) for line in page.lines if line.kind == "YEAR_TURN"]
    assert turned == [("PAST", 50), ("CURRENT", -50)]
    running = [page.opening_fen, *(line.balance_after_fen for line in page.lines)]
    assert [after - before for before, after in pairwise(running)] == [line.amount_fen for line in page.lines]
    assert (page.opening_fen, page.closing_fen) == (0, 150)
