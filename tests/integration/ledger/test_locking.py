"""The area's lock, kept from batch to batch: one writer at a time, whatever fails, and nobody waits for an idle one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator

import asyncpg
import pytest

from chassis.db import DRIVER_ERRORS, Database, is_transient
from services.settlement.ledger.store import locking
from services.settlement.ledger.store.locking import AreaWriter, begin_locked
from tests.integration.ledger.books import AREA

WHO_HOLDS = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND classid = $1 AND granted
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
KEPT_S = 30.0
"""For ever, as far as a test goes."""
SOON_S = 1.0


@pytest.fixture
async def other(ledger_url: str) -> AsyncIterator[Database]:
    """Another process's way to the same database."""
    async with Database(ledger_url, pool_size=3, lock_timeout_s=8.0) as opened:
        yield opened


async def backend(writer: AreaWriter) -> int:
    """One batch; the server's process that carried it out."""
    async with writer.writing() as connection:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def holders(database: Database) -> list[int]:
    """The server's processes that hold the lock."""
    async with database.driver_connection() as connection:
        return [record["pid"] for record in await connection.fetch(WHO_HOLDS, locking.LOCK_CLASS)]


async def write_alone(database: Database) -> float:
    """A transaction under the lock; how long it took, in seconds."""
    begun = time.monotonic()
    async with database.driver_transaction(begin=begin_locked(AREA)):
        pass
    return time.monotonic() - begun


async def test_batches_that_follow_one_another_keep_the_lock(area_ledger: Database, other: Database) -> None:
    """The same session has it in between; closing the writer frees it."""
    writer = AreaWriter(area_ledger, AREA, kept_s=KEPT_S)
    first = await backend(writer)
    assert await holders(other) == [first]
    assert await backend(writer) == first
    await writer.close()
    assert await holders(other) == []


async def test_a_writer_without_work_lets_go(area_ledger: Database, other: Database) -> None:
    """Of its own accord, and takes the lock again with the next batch."""
    writer = AreaWriter(area_ledger, AREA, kept_s=0.01)
    await backend(writer)
    assert await write_alone(other) < SOON_S
    assert await holders(other) == []
    await backend(writer)
    await asyncio.sleep(0.2)
    assert await holders(other) == []


async def test_a_busy_writer_lets_others_go_first_now_and_then(area_ledger: Database, other: Database) -> None:
    """It always has another batch; a transaction that waits gets the lock all the same, and two writers share it."""
    busy, second = AreaWriter(area_ledger, AREA, kept_s=KEPT_S), AreaWriter(other, AREA, kept_s=KEPT_S)
    done = Counter[AreaWriter]()

    async def work(writer: AreaWriter) -> None:
        while True:
            async with writer.writing() as connection:
                await connection.execute("SELECT pg_sleep(0.004)")
            done[writer] += 1

    tasks = [asyncio.create_task(work(busy))]
    await asyncio.sleep(0.05)
    assert await write_alone(other) < SOON_S
    tasks.append(asyncio.create_task(work(second)))
    await asyncio.sleep(0.05)
    done.clear()
    while min(done[busy], done[second]) < 60:
        await asyncio.sleep(0.01)
        assert max(done[busy], done[second]) < 60 * 3, "one of them gets little of it"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await write_alone(other) < SOON_S


async def test_two_never_write_at_once(area_ledger: Database, other: Database) -> None:
    """Read, wait, write: no update is lost between writers, their own calls side by side, and transactions."""
    async with area_ledger.driver_connection() as connection:
        await connection.execute("CREATE TABLE counter AS SELECT 0 AS n")

    async def add(connection: asyncpg.Connection) -> None:
        n = await connection.fetchval("SELECT n FROM counter")
        await asyncio.sleep(0.001)
        await connection.execute("UPDATE counter SET n = $1", n + 1)

    async def batches(database: Database) -> None:
        writer = AreaWriter(database, AREA, kept_s=0.002)

        async def calls() -> None:
            for _ in range(30):
                async with writer.writing() as connection:
                    await add(connection)

        await asyncio.gather(calls(), calls())
        await writer.close()

    async def transactions() -> None:
        for _ in range(60):
            async with other.driver_transaction(begin=begin_locked(AREA)) as connection:
                await add(connection)

    await asyncio.gather(batches(area_ledger), batches(other), transactions())
    async with other.driver_connection() as connection:
        assert await connection.fetchval("SELECT n FROM counter") == 180


@pytest.mark.parametrize(
    ("statement", "is_ended"),
    [
        ("SELECT 1 / 0", False),
        ("BEGIN; UPDATE accounts SET past_fen = 1; SELECT 1 / 0", True),
        ("SELECT pg_terminate_backend(pg_backend_pid())", True),
    ],
)
async def test_whatever_fails_the_lock_is_free_again(
    area_ledger: Database, other: Database, statement: str, *, is_ended: bool
) -> None:
    """A statement that is refused leaves the session as it was; one with a transaction open, or cut, is ended."""
    writer = AreaWriter(area_ledger, AREA, kept_s=KEPT_S)
    first = await backend(writer)
    with pytest.raises(DRIVER_ERRORS):
        async with writer.writing() as connection:
            await connection.execute(statement)
    assert await write_alone(other) < SOON_S
    assert (await backend(writer) != first) == is_ended
    await writer.close()


async def test_a_connection_given_back_is_as_it_was(ledger_url: str) -> None:
    """Whoever gets it next may leave it idle for as long as he likes."""
    async with Database(ledger_url, pool_size=1) as single:
        await backend(AreaWriter(single, AREA))
        async with single.driver_connection() as connection:
            assert await connection.fetchval("SHOW idle_session_timeout") == "0"


async def test_a_writer_may_be_used_after_it_was_closed(area_ledger: Database, other: Database) -> None:
    """It takes the lock anew, and lets go of it in its time."""
    writer = AreaWriter(area_ledger, AREA, kept_s=0.01)
    await backend(writer)
    await writer.close()
    await backend(writer)
    await asyncio.sleep(0.2)
    assert await holders(other) == []


@pytest.mark.parametrize("statement", ["hold", "let_go"])
async def test_a_lock_statement_that_fails_leaves_no_lock_behind(
    area_ledger: Database, other: Database, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """Also where the lock had been granted before it failed."""
    sound = getattr(locking, statement)
    monkeypatch.setattr(
        locking, statement, lambda area: f"{locking.hold(area) if statement != 'hold' else sound(area)}; SELECT 1 / 0"
    )
    writer = AreaWriter(area_ledger, AREA)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await backend(writer)
    monkeypatch.undo()
    assert await write_alone(other) < SOON_S
    await backend(writer)
    assert await holders(other) == []


async def test_a_session_ended_while_it_was_kept_is_noticed(area_ledger: Database, other: Database) -> None:
    """The next batch finds it closed and begins anew."""
    writer = AreaWriter(area_ledger, AREA, kept_s=KEPT_S)
    first = await backend(writer)
    async with other.driver_connection() as connection:
        assert await connection.fetchval("SELECT pg_terminate_backend($1)", first)
    await asyncio.sleep(0.2)
    assert await backend(writer) != first
    await writer.close()


async def test_a_batch_that_is_cancelled_frees_the_lock(area_ledger: Database, other: Database) -> None:
    """Also while its statement is under way at the server."""
    writer = AreaWriter(area_ledger, AREA, kept_s=KEPT_S)

    async def slow() -> None:
        async with writer.writing() as connection:
            await connection.execute("SELECT pg_sleep(30)")

    task = asyncio.create_task(slow())
    await asyncio.sleep(0.2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await write_alone(other) < SOON_S
    await backend(writer)
    await writer.close()


async def test_one_that_waits_for_the_lock_and_is_cancelled_does_not_get_it(
    area_ledger: Database, other: Database
) -> None:
    """Otherwise a session in the pool would hold it for ever."""
    writer = AreaWriter(area_ledger, AREA, kept_s=KEPT_S)
    async with other.driver_transaction(begin=begin_locked(AREA)):
        waiting = asyncio.create_task(backend(writer))
        await asyncio.sleep(0.2)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert await write_alone(other) < SOON_S
    assert await holders(other) == []


async def test_one_that_hangs_with_the_lock_is_ended_by_the_server(area_ledger: Database, other: Database) -> None:
    """Between its reading and its writing; what it then writes is refused, and others did not wait for it for long."""
    writer = AreaWriter(area_ledger, AREA, kept_s=KEPT_S)
    waited_s = []

    async def hang() -> None:
        async with writer.writing() as connection:
            await connection.fetchval("SELECT 1")
            waited_s.append(await write_alone(other))
            await connection.execute("SELECT 2")

    with pytest.raises(DRIVER_ERRORS) as caught:
        await hang()
    assert is_transient(caught.value)
    assert 1 < waited_s[0] < locking.WRITER_SILENT_MAX_S + SOON_S
    assert await backend(writer)
    await writer.close()
