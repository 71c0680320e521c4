"""Accounts are closed in the database as in the domain, whatever is in flight on them."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from chassis.db import Database
from kernel.clock import SystemClock, business_year
from services.settlement.ledger.domain.commands import AccountReply, CloseAccount, Command, ReleaseSuspense
from services.settlement.ledger.domain.model import AccountKey, AccountState, ClosingId
from tests.integration.ledger.books import everything, give
from tests.unit.ledger.given import FUNDER, OWN, cancel, confirm, credit, own_leg, payment, personal, refund, try_
from tests.unit.ledger.sequences import violations

YEAR = business_year(SystemClock().now())


def close(number: int = 1, key: AccountKey = OWN) -> CloseAccount:
    """The end of an account."""
    return CloseAccount(ClosingId(payment(0x700 + number)), key, "DIED")


async def waiting(ledger: Database) -> list[tuple[str, int, bool]]:
    """The suspense tasks: whose, how much, done or not; and the book says the same."""
    async with ledger.driver_connection() as connection:
        rows = await connection.fetch(
            "SELECT psn_no, amount_fen, done_at FROM suspense_tasks ORDER BY created_at, leg_no"
        )
        book = await connection.fetchval(
            "SELECT coalesce(sum(amount_fen), 0)::bigint FROM entries WHERE book = 'SUSPENSE'"
        )
    assert book == sum(row["amount_fen"] for row in rows if row["done_at"] is None)
    return [(row["psn_no"], row["amount_fen"], row["done_at"] is not None) for row in rows]


async def test_the_last_hold_closes_the_account_in_a_later_batch_and_the_heir_gets_the_rest(
    area_ledger: Database,
) -> None:
    """Two holds, closed in between; each command in a batch of its own; a late refund waits beside the rest."""
    await give(area_ledger, credit(1, (1, OWN, 100, 50), year=YEAR), credit(2, (1, FUNDER, 1, 0), year=YEAR))
    await give(area_ledger, try_(1, own_leg(30, 20, year=YEAR)), try_(2, own_leg(5, year=YEAR)))
    (first,) = await give(area_ledger, close())
    assert isinstance(first, AccountReply)
    assert first.account is not None
    assert first.account.state is AccountState.CLOSING
    await give(area_ledger, confirm(1))
    assert await waiting(area_ledger) == []
    await give(area_ledger, cancel(2))
    assert await waiting(area_ledger) == [(OWN.psn_no, 100, False)]
    await give(area_ledger, refund(3, 1, (1, OWN, 30, 20), year=YEAR))
    (again, other) = await give(area_ledger, close(), close(2))
    assert isinstance(again, AccountReply)
    assert isinstance(other, AccountReply)
    assert (again.refusal, other.refusal and other.refusal.reason) == (None, "ACCOUNT_NOT_FOUND")
    await give(area_ledger, ReleaseSuspense(close().closing_id, 1, FUNDER))
    assert await waiting(area_ledger) == [(OWN.psn_no, 100, True), (OWN.psn_no, 50, False)]
    state, entries = await everything(area_ledger)
    assert (state.accounts[OWN].state, state.accounts[FUNDER].balance.total) == (AccountState.CLOSED, 101)
    assert violations(state, entries) == []


@pytest.mark.parametrize("seed", range(4))
async def test_accounts_are_closed_beside_payments_and_no_fen_is_lost(area_ledger: Database, seed: int) -> None:
    """Many at once, in any order: all close, all money is on accounts, in suspense or paid, and the books are right."""
    random, people = Random(seed), range(1, 21)
    await give(area_ledger, *(credit(number, (1, personal(number), 60, 40), year=YEAR) for number in people))

    async def pays(number: int) -> None:
        key = personal(number)
        ends: list[Command] = [confirm(number), cancel(number)]
        await give(area_ledger, try_(number, own_leg(10, 10, key=key, year=YEAR)))
        await asyncio.sleep(random.random() * 0.05)
        reply = random.choice(ends)
        if (await everything(area_ledger))[0].branches[payment(number)].legs:
            await give(area_ledger, reply)

    async def closes(number: int) -> None:
        await asyncio.sleep(random.random() * 0.05)
        await give(area_ledger, close(number, personal(number)))

    await asyncio.gather(*(act(number) for number in people for act in random.sample([pays, closes], 2)))
    state, entries = await everything(area_ledger)
    assert {account.state for account in state.accounts.values()} == {AccountState.CLOSED}
    assert violations(state, entries) == []
    paid = sum(-entry.amount_fen for entry in entries if entry.kind.value == "PAYMENT" and entry.account)
    assert sum(amount_fen for _, amount_fen, _ in await waiting(area_ledger)) == 100 * len(people) - paid
    async with area_ledger.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM closings WHERE finished_at IS NULL") == 0
