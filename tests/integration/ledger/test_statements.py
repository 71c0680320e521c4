"""A batch's own statements: each finds its rows by an index whatever the tables held when it was planned."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chassis.db import Database
from services.settlement.ledger.domain.commands import BranchReply
from services.settlement.ledger.domain.model import (
    AccountKind,
    AccountState,
    Authorisation,
    AuthorisationState,
    Book,
    Branch,
    BranchState,
    Entry,
    EntryKind,
    Leg,
    Memo,
    Part,
    Parts,
    Role,
)
from services.settlement.ledger.domain.state import Outcome, State
from services.settlement.ledger.store import loading, months, sets, writing
from tests.integration.plans import check_plan
from tests.integration.rows import check_rows, columns_of
from tests.unit.ledger.given import NOW, OWN, YEAR, account, authorisation, payment

UPDATES = (
    writing._DECIDE_BRANCHES,
    writing._UPDATE_REFUNDED,
    writing._UPDATE_ACCOUNTS,
    writing._UPDATE_AUTHORISATIONS,
    writing._UPDATE_LIMITS,
)
STATEMENTS = {
    "load": loading._USUAL,
    "accounts": loading._ACCOUNTS,
    "authorisations": loading._AUTHORISATIONS,
    "credits": loading._CREDITS,
    "freezes": loading._FREEZES,
    "standing freezes": loading._STANDING,
    "closings": loading._CLOSINGS,
    "steps of authorisations": loading._AUTHORISATION_EVENTS,
    "months": months._MONTHS,
    "write": sets._statement(UPDATES),
}
ACCOUNT = (OWN.psn_no, AccountKind.PERSONAL, YEAR, 1, 0, 0, 0, False, AccountState.OPEN)


CHANGED = replace(
    account(OWN, past=11, current=12, held=Parts(13, 14), frozen=True, state=AccountState.CLOSING), year=15
)
LIMIT = Authorisation(authorisation(1), AuthorisationState.OPEN, OWN.psn_no, None, 21, 22, 23, 24, 25)
LEGS = tuple(
    Leg(leg_no, OWN, Role.FUNDER, Parts(31, 32), 33, LIMIT.authorisation_id, 34, frozenset({part}))
    for leg_no, part in enumerate(Part, start=1)
)
HOLD = Branch(
    payment(1),
    BranchState.HELD,
    NOW,
    digest=b"digest",
    legs=LEGS,
    balances=(CHANGED, CHANGED),
    inquire_at=NOW,
    memo=Memo("institution", "settlement", "650200"),
    origin=b"origin",
    refunded_fen={1: 35, 2: 36},
    month=2026_02,
)
ENTRY = Entry(payment(1), 41, EntryKind.PAYMENT, Book.WALLET, 42, NOW, OWN, Part.CURRENT, 43)
OUTCOME = Outcome(
    BranchReply(HOLD.payment_id, HOLD.state),
    accounts={OWN: CHANGED},
    authorisations={LIMIT.authorisation_id: LIMIT},
    branches={HOLD.payment_id: HOLD},
    entries=(ENTRY,),
)
BEFORE = State(accounts={OWN: account(OWN)}, authorisations={LIMIT.authorisation_id: LIMIT})
AFTER = BEFORE.copy()
AFTER.absorb(OUTCOME)
MEANT = {
    "account_row": [
        {
            "psn_no": OWN.psn_no,
            "kind": "PERSONAL",
            "year": 15,
            "past_fen": 11,
            "current_fen": 12,
            "held_past_fen": 13,
            "held_current_fen": 14,
            "frozen": True,
            "state": "CLOSING",
        }
    ],
    "authorisation_row": [
        {
            "authorisation_id": LIMIT.authorisation_id,
            "state": "OPEN",
            "authorised_fen": 21,
            "used_fen": 22,
            "held_fen": 23,
            "version": 24,
        }
    ],
    "held_branch_in_month_row": [
        {
            "payment_id": HOLD.payment_id,
            "digest": b"digest",
            "inquire_at": NOW,
            "month": 202602,
            "fixmedins_code": "institution",
            "setl_id": "settlement",
            "care_area": "650200",
            "origin": b"origin",
        }
    ],
    "branch_leg_row": [
        {
            "payment_id": HOLD.payment_id,
            "leg_no": leg_no,
            "psn_no": OWN.psn_no,
            "account_kind": "PERSONAL",
            "role": "FUNDER",
            "past_fen": 31,
            "current_fen": 32,
            "year": 33,
            "authorisation_id": LIMIT.authorisation_id,
            "floor_fen": 34,
            "floor_past": part is Part.PAST,
            "floor_current": part is Part.CURRENT,
            "refunded_fen": HOLD.refunded_fen[leg_no],
            "after_past_fen": 11,
            "after_current_fen": 12,
            "after_held_past_fen": 13,
            "after_held_current_fen": 14,
            "after_year": 15,
        }
        for leg_no, part in enumerate(Part, start=1)
    ],
    "entry_row": [
        {
            "source_id": ENTRY.source_id,
            "leg_no": 41,
            "kind": "PAYMENT",
            "book": "WALLET",
            "psn_no": OWN.psn_no,
            "part": "CURRENT",
            "amount_fen": 42,
            "balance_after_fen": 43,
        }
    ],
}
"""Each value of those rows, under the column it is meant for."""


@pytest.fixture
async def by_key(ledger_url: str) -> AsyncIterator[Database]:
    """The ledger's database, with connections as its process has them."""
    async with Database(ledger_url, pool_size=1, by_key=True) as opened:
        yield opened


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_index_is_walked_though_the_tables_were_known_to_be_empty(by_key: Database, name: str) -> None:
    """Planned on vacuumed empty tables, for good, every index that is scanned is scanned by a condition on its key."""
    async with by_key.driver_connection() as connection:
        await connection.execute("VACUUM ANALYZE")
        await check_plan(connection, STATEMENTS[name])


async def test_the_types_of_rows_are_what_the_statements_take(by_key: Database) -> None:
    """Column by column: a type that lacks one, or has them in another order, would put values in the wrong place."""
    manners = [it for it in vars(writing).values() if isinstance(it, sets.Manner) and it.row_type]
    assert len(manners) >= 5
    async with by_key.driver_connection() as connection:
        for manner in manners:
            found = await columns_of(connection, manner.row_type)
            assert list(found.items()) == list(manner.columns.items()), manner.row_type


async def test_what_is_written_says_each_value_under_its_name(by_key: Database) -> None:
    """Of every type: a hold of two legs, its account and authorisation, and an entry, no two values of them alike."""
    written = {
        it.manner.row_type: it.rows
        for it in (
            *writing._branch_sets(BEFORE, AFTER, [OUTCOME], NOW),
            *writing._balance_sets(BEFORE, AFTER, [OUTCOME]),
            *writing._authorisation_sets(BEFORE, AFTER, [OUTCOME]),
            sets.RowSet(writing._INSERT_ENTRIES, [writing._entry_row(entry) for entry in OUTCOME.entries]),
        )
        if it.rows
    }
    assert written.keys() == MEANT.keys()
    async with by_key.driver_connection() as connection:
        for row_type, meant in MEANT.items():
            await check_rows(connection, row_type, written[row_type], meant)


async def test_a_row_that_is_not_there_to_be_updated_fails_the_batch(by_key: Database) -> None:
    """The account that is there is not changed either."""
    missing = ("nobody", *ACCOUNT[1:])
    changed = (*ACCOUNT[:3], 7, *ACCOUNT[4:])
    async with by_key.driver_connection() as connection:
        await sets.write_sets(connection, [sets.RowSet(writing._INSERT_ACCOUNTS, [ACCOUNT])])
    with pytest.raises(LookupError):
        async with by_key.driver_connection() as connection:
            await sets.write_sets(connection, [sets.RowSet(writing._UPDATE_ACCOUNTS, [changed, missing])])
    async with by_key.driver_connection() as connection:
        assert await connection.fetchval("SELECT past_fen FROM accounts") == 1
