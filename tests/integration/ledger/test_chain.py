"""The chain over the entries, on a real database: sealed once whoever seals, and whatever is done to it is named."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import asyncpg
import pytest

from chassis.db import Database
from chassis.migrate import migrate
from kernel.clock import SystemClock, business_year
from ops.embedded.databases import Databases
from ops.verify.anchor import read_anchors, write_anchors
from ops.verify.chain import check_chain
from ops.verify.report import Head, Report
from services.settlement.ledger.app import MIGRATIONS
from services.settlement.ledger.recovery import Sealer, Sealing
from services.settlement.ledger.store.sealing import seal_block, unsealed_for_s
from services.settlement.ledger.store.sweeping import ensure_area
from services.settlement.ledger.tables import entries as entries_table
from tests.integration.ledger.books import AREA, give
from tests.servers import new_folder
from tests.unit.ledger.given import FUNDER, OWN, confirm, credit, own_leg, try_

AT_ONCE: Final = Sealing(after_s=0.001, entries_max=7, pause_s=0.01)
CREDITS: Final = 12
"""Each books two entries: numbers 1 to 24, with 25 and 26 left out, in blocks of 7, 7, 7 and 3."""


def sealer(ledger: Database, sealing: Sealing = AT_ONCE) -> Sealer:
    """As a ledger process runs it."""
    return Sealer(database=ledger, area=AREA, sealing=sealing)


async def check(
    url_or_connection: str | Any,  # noqa: ANN401  asyncpg publishes no types.
    *,
    since: Head | None = None,
    anchor: Head | None = None,
) -> Report:
    """What `gongji verify` finds of the chain."""
    report = Report()
    if isinstance(url_or_connection, str):
        connection = await asyncpg.connect(url_or_connection)
        await check_chain(connection, AREA, report, since=since, anchor=anchor)
        await connection.close()
    else:
        await check_chain(url_or_connection, AREA, report, since=since, anchor=anchor)
    return report


async def blocks(ledger: Database) -> list[tuple[int, list[int]]]:
    """Each block with the numbers of its entries."""
    async with ledger.driver_connection() as connection:
        found = await connection.fetch("SELECT block_no, entry_nos FROM entry_blocks ORDER BY block_no")
    return [(row["block_no"], list(row["entry_nos"])) for row in found]


async def entry_nos(ledger: Database) -> list[int]:
    """Every entry."""
    async with ledger.driver_connection() as connection:
        return [row[0] for row in await connection.fetch("SELECT entry_no FROM entries ORDER BY entry_no")]


async def test_entries_are_sealed_when_enough_wait_or_one_waits_long_enough(area_ledger: Database) -> None:
    """Neither many nor old: nothing is sealed; as many as a block holds: one block; old: the rest."""
    await give(area_ledger, *(credit(number, (1, OWN, 10, 0)) for number in range(4)))
    patient = Sealing(after_s=3600, entries_max=9)
    assert (await sealer(area_ledger, patient).seal(), await blocks(area_ledger)) == (0, [])
    async with area_ledger.driver_connection() as connection:
        assert 0 < await unsealed_for_s(connection) < 60
    assert await sealer(area_ledger, replace(patient, entries_max=5)).seal() == 5
    assert await sealer(area_ledger).seal() == 3
    numbers = await entry_nos(area_ledger)
    assert await blocks(area_ledger) == [(1, numbers[:5]), (2, numbers[5:])]
    async with area_ledger.driver_connection() as connection:
        assert await unsealed_for_s(connection) == 0


async def test_two_sealers_a_restart_and_entries_that_come_meanwhile_make_one_chain(
    area_ledger: Database, ledger_url: str
) -> None:
    """While batches are written, two replicas seal and one is stopped half-way: every entry is in one block, once."""
    async with Database(ledger_url, pool_size=2) as other:
        tasks = [asyncio.create_task(sealer(ledger).run()) for ledger in (area_ledger, other)]
        for number in range(40):
            await give(area_ledger, *(credit(100 * number + one, (1, OWN, 10, 0)) for one in range(5)))
            if number == 20:
                tasks.pop().cancel()
                tasks.append(asyncio.create_task(sealer(other).run()))
        async with asyncio.timeout(60):
            while len([no for _, numbers in await blocks(area_ledger) for no in numbers]) < 400:  # noqa: ASYNC110  The database tells.
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    chain = await blocks(area_ledger)
    assert [number for number, _ in chain] == list(range(1, len(chain) + 1))
    assert [no for _, numbers in chain for no in numbers] == await entry_nos(area_ledger)
    assert ((await check(ledger_url)).findings, (await check(ledger_url)).checks["CHAIN"].checked) == ([], 400)


async def test_a_writer_that_is_slow_to_commit_is_not_left_behind(area_ledger: Database, ledger_url: str) -> None:
    """Entries of a transaction that is still open are in no block, and those that come after it wait for it."""
    await give(area_ledger, credit(1, (1, OWN, 10, 0)))
    await sealer(area_ledger).seal()
    connection = await asyncpg.connect(ledger_url)
    slow = connection.transaction()
    await slow.start()
    await connection.execute("SELECT pg_advisory_xact_lock($1, $2)", 0x676A6C67, int(AREA))
    await connection.execute(
        """INSERT INTO entries (source_id, leg_no, kind, book, psn_no, part, amount_fen, balance_after_fen, booked_at)
           SELECT gen_random_uuid(), leg_no, kind, book, psn_no, part, amount_fen, balance_after_fen, booked_at
             FROM entries"""
    )
    late = asyncio.create_task(give(area_ledger, credit(2, (1, OWN, 10, 0))))
    await asyncio.sleep(0.05)
    assert await sealer(area_ledger).seal() == 0
    await slow.commit()
    await connection.close()
    await late
    assert await sealer(area_ledger).seal() == 4
    assert [no for _, numbers in await blocks(area_ledger) for no in numbers] == await entry_nos(area_ledger)
    assert (await check(ledger_url)).findings == []


async def test_the_turn_of_the_year_is_sealed_like_everything(area_ledger: Database, ledger_url: str) -> None:
    """What a hold of December books in January, and the turn itself, agree with the chain."""
    year = business_year(SystemClock().now())
    await give(area_ledger, credit(1, (1, OWN, 30, 70), year=year), try_(1, own_leg(10, 50, year=year)))
    await sealer(area_ledger).seal()
    async with area_ledger.driver_connection() as connection:
        await connection.execute("UPDATE accounts SET year = year - 1")
        await connection.execute("UPDATE branch_legs SET year = year - 1")
    await give(area_ledger, confirm(1))
    assert await sealer(area_ledger).seal() > 0
    async with area_ledger.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM entries WHERE kind = 'YEAR_TURN'") == 2
    assert (await check(ledger_url)).findings == []


def test_a_digest_is_taken_of_every_column_of_an_entry() -> None:
    """Whoever adds a column has to add it to the digest, in the ledger and in `gongji verify`."""
    assert [column.name for column in entries_table.columns] == [
        "entry_no", "source_id", "leg_no", "kind", "book", "psn_no", "part", "amount_fen", "balance_after_fen",
        "booked_at",
    ]  # fmt: skip


@pytest.fixture(scope="module")
async def sealed_url(postgres: Databases) -> AsyncIterator[str]:
    """A ledger of two accounts with four sealed blocks; whoever spoils it rolls that back."""
    name = f"test_{uuid.uuid4().hex}"
    url = await postgres.create_database(name)
    await migrate(url, MIGRATIONS)
    async with Database(url, pool_size=2) as ledger:
        async with ledger.driver_connection() as connection:
            await ensure_area(connection, AREA)
        for number in range(CREDITS):
            await give(ledger, credit(number, (1, (OWN, FUNDER)[number % 2], 100 + number, 0)))
        assert await sealer(ledger).seal() == 2 * CREDITS
    yield url
    await postgres.drop_database(name)


CHANGED: Final = "entry 3 was changed after block 1 was sealed"
TAMPERED: Final[dict[str, tuple[str, Sequence[str]]]] = {
    "an amount, with balance, credit and contra": (
        """UPDATE entries SET amount_fen = 901, balance_after_fen = 901 WHERE entry_no = 3;
           UPDATE entries SET amount_fen = -901 WHERE entry_no = 4;
           UPDATE entries SET balance_after_fen = balance_after_fen + 800 WHERE entry_no > 4 AND psn_no = '{FUNDER}';
           UPDATE accounts SET past_fen = past_fen + 800 WHERE psn_no = '{FUNDER}'""",
        (f"{CHANGED} at ", ": amount_fen was 101; balance_after_fen was 101", "entry 4 was changed", "entry 23 was"),
    ),
    "an amount alone": ("UPDATE entries SET amount_fen = 102 WHERE entry_no = 3", ("amount_fen was 101 (",)),
    "a balance": ("UPDATE entries SET balance_after_fen = 0 WHERE entry_no = 7", ("balance_after_fen was 204 (",)),
    "whose entry it is": (
        "UPDATE entries SET psn_no = '{OWN}' WHERE entry_no = 3",
        (CHANGED, "what it said before cannot be told"),
    ),
    "one removed": ("DELETE FROM entries WHERE entry_no = 10", ("entry 10 was removed after block 2 was sealed",)),
    "the last one removed": ("DELETE FROM entries WHERE entry_no = 24", ("entry 24 was removed after block 4",)),
    "one slipped in": (
        """DELETE FROM entries WHERE entry_no = 10;
           INSERT INTO entries OVERRIDING SYSTEM VALUE
           SELECT -5, gen_random_uuid(), leg_no, kind, book, psn_no, part, amount_fen, balance_after_fen, booked_at
             FROM entries WHERE entry_no = 1""",
        ("entry -5 was slipped in after block 1 was sealed", "entry 10 was removed"),
    ),
    "two that changed places": (
        """UPDATE entries SET entry_no = -1 WHERE entry_no = 1; UPDATE entries SET entry_no = 1 WHERE entry_no = 3;
           UPDATE entries SET entry_no = 3 WHERE entry_no = -1""",
        ("entry 1 was changed", "what it said stands under entry 3 now", "stands under entry 1 now"),
    ),
    "a block's digest": (
        "UPDATE entry_blocks SET digest = sha256(digest) WHERE block_no = 2",
        ("block 2 was written anew", "block 3 does not continue block 2"),
    ),
    "what a block lists": (
        "UPDATE entry_blocks SET entry_digests = entry_digests || '\\x00' WHERE block_no = 2",
        ("block 2 was written anew",),
    ),
    "when a block was sealed": (
        "UPDATE entry_blocks SET sealed_at = sealed_at - interval '1 day' WHERE block_no = 4",
        ("block 4 was written anew",),
    ),
    "a block removed with its entries": (
        "DELETE FROM entry_blocks WHERE block_no = 2; DELETE FROM entries WHERE entry_no BETWEEN 8 AND 14",
        ("block 3: 1 blocks before it are missing",),
    ),
}


async def reseal(connection: asyncpg.Connection, *, from_block: int, blocks_max: int = 100) -> None:
    """Writes blocks anew, as somebody who knows how it is done."""
    later = await connection.fetch("SELECT * FROM entry_blocks WHERE block_no >= $1 ORDER BY block_no", from_block)
    await connection.execute("DELETE FROM entry_blocks WHERE block_no >= $1", from_block)
    for _ in later[:blocks_max]:
        await seal_block(connection, AREA, entries_max=7, after=timedelta(0))
    for row in later[blocks_max:]:
        places = ", ".join(f"${place}" for place in range(1, len(row) + 1))
        await connection.execute(f"INSERT INTO entry_blocks VALUES ({places})", *row.values())  # noqa: S608  Constants.


@pytest.fixture
async def tampering(sealed_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of somebody who may do anything; it is undone afterwards."""
    async with AsyncExitStack() as stack:
        connection = await asyncpg.connect(sealed_url)
        stack.push_async_callback(connection.close)
        transaction = connection.transaction()
        await transaction.start()
        stack.push_async_callback(transaction.rollback)
        for table in ("entries", "entry_blocks"):
            await connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        await connection.execute("ALTER TABLE entries ALTER entry_no DROP IDENTITY")
        yield connection


@pytest.mark.parametrize("how", TAMPERED)
async def test_what_is_done_to_sealed_entries_is_found_and_named(tampering: asyncpg.Connection, how: str) -> None:
    """Each thing done is told with its entry or block, and with what it was where that can be proved."""
    statements, told = TAMPERED[how]
    assert (await check(tampering)).findings == []
    statements = statements.replace("{OWN}", OWN.psn_no).replace("{FUNDER}", FUNDER.psn_no)
    await tampering.execute(statements.replace(" OVERRIDING SYSTEM VALUE", ""))
    found = "\n".join((await check(tampering)).findings)
    assert [part for part in told if part not in found] == [], found


async def test_a_changed_entry_whose_block_is_written_anew_breaks_the_chain_at_the_next(
    tampering: asyncpg.Connection,
) -> None:
    """Block 2 agrees with itself, but block 3 continues another one."""
    await tampering.execute("UPDATE entries SET amount_fen = amount_fen + 1 WHERE entry_no = 9")
    await reseal(tampering, from_block=2, blocks_max=1)
    assert (await check(tampering)).findings == [
        f"CHAIN ledger {AREA} block 3 does not continue block 2: one of them was written anew"
    ]


async def test_a_chain_that_is_written_anew_from_end_to_end_is_betrayed_by_a_head_that_was_kept(
    tampering: asyncpg.Connection,
) -> None:
    """By itself it is sound; the anchor's head is not in it, nor the one that a watch saw a round before."""
    head = (await check(tampering)).heads[AREA]
    file = new_folder("anchor")
    write_anchors(file, {AREA: head})
    assert read_anchors(file) == {AREA: head}
    await tampering.execute("UPDATE entries SET amount_fen = amount_fen + 1 WHERE entry_no = 1")
    await reseal(tampering, from_block=1)
    assert (await check(tampering)).findings == []
    assert (await check(tampering, anchor=head)).findings == [
        f"CHAIN ledger {AREA}: block 4 is not the one of the anchor: the chain was written anew"
    ]
    assert (await check(tampering, since=head)).checks["CHAIN"].violations == 1


async def test_a_chain_that_was_cut_off_is_betrayed_by_a_head_that_was_kept(tampering: asyncpg.Connection) -> None:
    """The newest block is gone with its entries, as after a restore from an older backup."""
    head = (await check(tampering)).heads[AREA]
    await tampering.execute("DELETE FROM entry_blocks WHERE block_no = 4; DELETE FROM entries WHERE entry_no > 21")
    assert (await check(tampering)).findings == []
    assert (await check(tampering, anchor=head)).findings == [
        f"CHAIN ledger {AREA}: block 4 of the anchor is gone: the chain was cut, or the ledger was restored"
    ]


async def test_entries_and_blocks_cannot_be_changed_without_switching_a_trigger_off(sealed_url: str) -> None:
    """Neither an update nor a delete passes."""
    connection = await asyncpg.connect(sealed_url)
    for statement in ("UPDATE entry_blocks SET entries = entries", "DELETE FROM entry_blocks"):
        with pytest.raises(asyncpg.RestrictViolationError):
            await connection.execute(statement)
    await connection.close()
