"""The year turns in the database as in the domain: here the rows are put back a year, as if December had passed."""

from __future__ import annotations

from chassis.db import Database
from kernel.clock import SystemClock, business_year
from services.settlement.ledger.domain.model import EntryKind
from services.settlement.ledger.store.reading import read_balances
from tests.integration.ledger.books import everything, give
from tests.unit.ledger.given import OWN, confirm, credit, own_leg, refund, try_
from tests.unit.ledger.sequences import violations

_LAST_YEAR = ("UPDATE accounts SET year = year - 1", "UPDATE branch_legs SET year = year - 1")


async def _put_back_a_year(ledger: Database) -> None:
    async with ledger.driver_transaction() as connection:
        for statement in _LAST_YEAR:
            await connection.execute(statement)


async def test_a_hold_of_december_is_confirmed_and_refunded_in_january(area_ledger: Database) -> None:
    """Held as current, confirmed and refunded as past; the turn is booked once and every invariant holds."""
    year = business_year(SystemClock().now())
    await give(area_ledger, credit(1, (1, OWN, 30, 70), year=year), try_(1, own_leg(10, 50, year=year)))
    await _put_back_a_year(area_ledger)
    await give(area_ledger, confirm(1))
    await give(area_ledger, refund(2, 1, (1, OWN, 10, 50), year=year - 1))
    state, entries = await everything(area_ledger)
    account = state.accounts[OWN]
    assert (account.year, account.balance.past, account.balance.current, account.held.total) == (year, 100, 0, 0)
    assert [entry.amount_fen for entry in entries if entry.kind is EntryKind.YEAR_TURN] == [70, -70]
    assert violations(state, entries) == []


async def test_a_read_shows_the_present_year_and_writes_nothing(area_ledger: Database) -> None:
    """An account that no command has turned yet is shown turned, hold and all."""
    year = business_year(SystemClock().now())
    await give(area_ledger, credit(1, (1, OWN, 30, 70), year=year), try_(1, own_leg(10, 50, year=year)))
    await _put_back_a_year(area_ledger)
    async with area_ledger.driver_connection() as connection:
        shown = (await read_balances(connection, [OWN], [])).accounts[OWN]
        assert await connection.fetchval("SELECT year FROM accounts") == year - 1
    assert (shown.year, shown.balance.past, shown.held.past, shown.balance.current) == (year, 100, 60, 0)
