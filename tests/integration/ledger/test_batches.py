"""The ledger on a real database does what the pure domain says, batch by batch, whatever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from datetime import UTC, datetime
from random import Random
from typing import Any

import asyncpg
import pytest

from chassis.db import Database, violated_constraint
from chassis.migrate import drift
from services.settlement.ledger.domain.commands import BranchReply, CreditReply, Reply, Request
from services.settlement.ledger.domain.deciding import apply_all
from services.settlement.ledger.domain.model import BranchState, CreditPurpose
from services.settlement.ledger.domain.state import State
from services.settlement.ledger.operations import Quarantined, execute
from services.settlement.ledger.store.locking import AreaWriter, lock_area
from services.settlement.ledger.tables import METADATA
from tests.integration.ledger.books import AREA, everything, give, timeless, timeless_entries, wipe
from tests.unit.ledger.given import (
    FUNDER,
    OWN,
    cancel,
    confirm,
    credit,
    funder_leg,
    open_authorisation,
    own_leg,
    payment,
    refund,
    try_,
)
from tests.unit.ledger.sequences import a_life, violations

LIVES = 30
ENTRY = "source_id, leg_no, kind, book, psn_no, part, amount_fen, balance_after_fen, booked_at"
BOOK_AGAIN = f"INSERT INTO entries ({ENTRY}) SELECT {ENTRY} FROM entries"  # noqa: S608  A constant.
HUGE = 9_000_000_000_000_000_000


def state_of(reply: Reply | None) -> str | None:
    """The branch's state in a reply."""
    assert isinstance(reply, BranchReply)
    return reply.state.value if reply.state else None


async def test_the_migration_makes_the_tables_that_the_code_knows(ledger_url: str) -> None:
    """Tables, columns and types in the database and in tables.py agree."""
    assert [line for line in await drift(ledger_url, METADATA) if "alembic_version" not in line] == []


async def test_the_database_agrees_with_the_pure_domain(area_ledger: Database) -> None:
    """Random lives, cut into random batches, leave the rows, the entries and the replies that the domain computes."""
    for seed in range(LIVES):
        await wipe(area_ledger)
        random = Random(seed)
        requests = [Request(command, epoch=random.choice([0, 0, 0, 0, 1, 2])) for command in a_life(random)]
        model, entries, start = State(), [], 0
        while start < len(requests):
            batch = requests[start : start + random.choice([1, 2, 5, 20])]
            start += len(batch)
            replies = await execute(writer=AreaWriter(area_ledger, AREA), requests=batch)
            model, outcomes = apply_all(model, batch, now=datetime.now(UTC))
            entries += [entry for outcome in outcomes for entry in outcome.entries]
            assert replies == [outcome.reply for outcome in outcomes], f"seed {seed}"
        stored, booked = await everything(area_ledger)
        assert stored == timeless(model), f"seed {seed}"
        assert booked == timeless_entries(entries), f"seed {seed}"
        assert violations(stored, booked) == [], f"seed {seed}"


async def test_a_command_doubled_in_one_batch_is_done_once(area_ledger: Database) -> None:
    """Both get the same reply, the money is held once."""
    first, second = (await give(area_ledger, credit(1, (1, OWN, 100, 0)), try_(1, own_leg(60)), try_(1, own_leg(60))))[
        1:
    ]
    assert state_of(first) == "HELD"
    assert first == second
    assert (await everything(area_ledger))[0].accounts[OWN].held.past == 60


async def test_try_and_cancel_in_one_batch_leave_it_cancelled(area_ledger: Database) -> None:
    """In either order nothing stays held; CANCEL before TRY blocks it."""
    replies = await give(
        area_ledger,
        credit(1, (1, OWN, 100, 0)),
        try_(1, own_leg(60)),
        cancel(1),
        cancel(2),
        try_(2, own_leg(60)),
        try_(1, own_leg(60)),
    )
    assert [state_of(reply) for reply in replies[1:]] == ["HELD", "CANCELLED", "BLOCKED", "REFUSED", "REFUSED"]
    stored = (await everything(area_ledger))[0]
    assert stored.accounts[OWN].held.past == 0
    assert (stored.branches[payment(1)].state, stored.branches[payment(2)].state) == (
        BranchState.CANCELLED,
        BranchState.BLOCKED,
    )


async def test_a_whole_payment_with_its_refund_fits_into_one_batch(area_ledger: Database) -> None:
    """TRY, CONFIRM and CREDIT of rows that did not exist before the batch are written as they end."""
    replies = await give(
        area_ledger,
        credit(1, (1, OWN, 100, 0)),
        credit(2, (1, FUNDER, 100, 0)),
        open_authorisation(1, 50),
        try_(1, own_leg(10), funder_leg(20, leg_no=2)),
        confirm(1),
        refund(3, 1, (2, FUNDER, 20, 0)),
    )
    assert None not in replies
    stored, booked = await everything(area_ledger)
    assert violations(stored, booked) == []
    assert (stored.accounts[OWN].balance.past, stored.accounts[FUNDER].balance.past) == (90, 100)


async def test_a_command_that_fails_goes_to_quarantine_alone(
    area_ledger: Database, log: list[MutableMapping[str, Any]]
) -> None:
    """Of two credits that no column can hold together the second gets no reply and is kept for a person.

    Its neighbours in the batch live; once it can pass, it leaves the quarantine.
    """
    known: Quarantined = set()
    commands = [
        credit(1, (1, OWN, HUGE, 0), purpose=CreditPurpose.CARRIED_OVER),
        credit(2, (1, OWN, HUGE, 0), purpose=CreditPurpose.CARRIED_OVER),
        credit(3, (1, FUNDER, 5, 0), purpose=CreditPurpose.CARRIED_OVER),
    ]
    requests = [Request(command) for command in commands]
    first, failed, third = await execute(writer=AreaWriter(area_ledger, AREA), requests=requests, quarantined=known)
    assert isinstance(first, CreditReply)
    assert failed is None
    assert isinstance(third, CreditReply)
    rows = await _fetch(area_ledger, "SELECT command_kind, failures, done_at FROM quarantine")
    assert [tuple(row) for row in rows] == [("CREDIT", 1, None)]
    assert [line["command_id"] for line in log if line["log_level"] == "error"] == [str(commands[1].credit_id)]
    assert OWN.psn_no not in str(log)
    stored, booked = await everything(area_ledger)
    assert violations(stored, booked) == []
    await give(area_ledger, try_(1, own_leg(HUGE)), confirm(1))
    (passed,) = await execute(writer=AreaWriter(area_ledger, AREA), requests=[requests[1]], quarantined=known)
    assert isinstance(passed, CreditReply)
    assert known == set()
    assert await _fetch(area_ledger, "SELECT 1 FROM quarantine WHERE done_at IS NULL") == []


async def test_a_batch_that_needs_more_than_one_statement_is_all_or_nothing(area_ledger: Database) -> None:
    """An epoch that rises together with what cannot be written does not rise; alone it does."""
    hardly = credit(1, (1, OWN, HUGE, 0), purpose=CreditPurpose.CARRIED_OVER)
    too_much = credit(2, (1, OWN, HUGE, 0), purpose=CreditPurpose.CARRIED_OVER)
    await give(area_ledger, hardly)
    writer = AreaWriter(area_ledger, AREA)
    assert await execute(writer=writer, requests=[Request(too_much, epoch=7)]) == [None]
    assert [row["epoch"] for row in await _fetch(area_ledger, "SELECT epoch FROM ledger_state")] == [0]
    assert await execute(writer=writer, requests=[Request(hardly, epoch=7)]) != [None]
    assert [row["epoch"] for row in await _fetch(area_ledger, "SELECT epoch FROM ledger_state")] == [7]


async def test_two_processes_on_one_area_write_one_after_the_other(area_ledger: Database, ledger_url: str) -> None:
    """Two pools pay from one account at once: each payment is done once, no update is lost."""
    await give(area_ledger, credit(1, (1, OWN, 1000, 0)))

    async def pay(side: Database, numbers: range) -> None:
        for number in numbers:
            replies = await give(side, try_(number, own_leg(10)), confirm(number))
            assert [state_of(reply) for reply in replies] == ["HELD", "CONFIRMED"]

    async with Database(ledger_url, pool_size=2) as other:
        # Every payment is sent by both, as two coordinators may do.
        await asyncio.gather(*(pay(side, range(n, 60, 2)) for side in (area_ledger, other) for n in (0, 1)))
    stored, booked = await everything(area_ledger)
    assert (stored.accounts[OWN].balance.past, stored.accounts[OWN].held.past) == (400, 0)
    assert violations(stored, booked) == []


async def test_a_writer_waits_for_the_areas_lock(area_ledger: Database) -> None:
    """While another transaction holds the area's lock nothing is decided; then it is, on what that one wrote."""
    await give(area_ledger, credit(1, (1, OWN, 100, 0)))
    async with area_ledger.driver_transaction() as connection:
        await lock_area(connection, AREA)
        waiting = asyncio.create_task(give(area_ledger, try_(1, own_leg(60))))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        await connection.execute("UPDATE accounts SET past_fen = 50")
    (reply,) = await waiting
    assert state_of(reply) == "REFUSED"


async def test_a_writer_killed_in_the_middle_leaves_nothing_behind(area_ledger: Database, ledger_url: str) -> None:
    """The server ends the connection of a batch that waits: no reply, nothing written; the same batch then passes."""
    await give(area_ledger, credit(1, (1, OWN, 100, 0)))
    async with Database(ledger_url, application="victim", pool_size=1) as victim:
        async with area_ledger.driver_transaction() as connection:
            await lock_area(connection, AREA)
            doomed = asyncio.create_task(give(victim, try_(1, own_leg(60)), confirm(1)))
            await asyncio.sleep(0.2)
            ended = await connection.fetchval(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'victim'"
            )
            assert ended == 1
            assert await doomed == [None, None]
        assert await _fetch(area_ledger, "SELECT 1 FROM branches") == []
        assert await _fetch(area_ledger, "SELECT 1 FROM quarantine") == []
        replies = await give(victim, try_(1, own_leg(60)), confirm(1))
    assert [state_of(reply) for reply in replies] == ["HELD", "CONFIRMED"]


async def test_a_writer_cancelled_in_the_middle_leaves_nothing_behind(area_ledger: Database) -> None:
    """A batch whose task is cancelled while it waits is rolled back, and its connection serves the next one."""
    await give(area_ledger, credit(1, (1, OWN, 100, 0)))
    async with area_ledger.driver_transaction() as connection:
        await lock_area(connection, AREA)
        doomed = asyncio.create_task(give(area_ledger, try_(1, own_leg(60))))
        await asyncio.sleep(0.2)
        doomed.cancel()
        with pytest.raises(asyncio.CancelledError):
            await doomed
    assert await _fetch(area_ledger, "SELECT 1 FROM branches") == []
    (reply,) = await give(area_ledger, try_(1, own_leg(60)))
    assert state_of(reply) == "HELD"


@pytest.mark.parametrize(
    ("sql", "constraint"),
    [
        ("UPDATE accounts SET held_past_fen = past_fen + 1", "accounts_held_within_balance"),
        ("UPDATE accounts SET past_fen = 9, held_past_fen = 10", "accounts_held_within_balance"),
        ("UPDATE authorisations SET used_fen = 41", "authorisations_within_amount"),
        ("UPDATE branch_legs SET refunded_fen = 11", "branch_legs_refunds_within_charge"),
        (BOOK_AGAIN, "entries_booked_once"),
    ],
)
async def test_the_database_itself_refuses_what_breaks_an_invariant(
    area_ledger: Database, sql: str, constraint: str
) -> None:
    """I1, I5, I8 and I9 hold in the rows even against whoever writes past the domain."""
    await give(
        area_ledger,
        credit(1, (1, FUNDER, 100, 0)),
        open_authorisation(1, 40),
        try_(1, funder_leg(10)),
        confirm(1),
    )
    with pytest.raises(asyncpg.IntegrityConstraintViolationError) as refused:
        await _fetch(area_ledger, sql)
    assert violated_constraint(refused.value) == constraint


@pytest.mark.parametrize("sql", ["UPDATE entries SET amount_fen = 1", "DELETE FROM entries", "DELETE FROM credits"])
async def test_history_cannot_be_changed(area_ledger: Database, sql: str) -> None:
    """Entries and credits are only ever added."""
    await give(area_ledger, credit(1, (1, FUNDER, 100, 0)))
    with pytest.raises(asyncpg.RestrictViolationError):
        await _fetch(area_ledger, sql)


async def _fetch(ledger: Database, sql: str) -> list[asyncpg.Record]:
    async with ledger.driver_connection() as connection:
        rows: list[asyncpg.Record] = await connection.fetch(sql)
        return rows
