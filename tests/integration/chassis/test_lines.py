"""Lines that swallow everything without a word, and wrong clocks: nothing hangs, the database's time counts."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Final

import asyncpg
import pytest
import sqlalchemy as sa
from sqlalchemy.exc import InternalError

from chassis.clock import DatabaseClock
from chassis.db import Database, is_transient
from chassis.sockets import UNACKNOWLEDGED_MAX_S
from kernel.clock import ShiftedClock
from tests.fault.tcp_proxy import Line, TcpProxy, proxy_before, url_through

STATEMENT_S: Final = 0.5
SILENCE_S: Final = STATEMENT_S + 2.0
"""When the driver gives up waiting: the server would have cancelled the statement long before."""
GOODBYE_S: Final = 2.0
"""How long SQLAlchemy waits for a connection that it leaves."""
MARGIN_S: Final = 1.5
POOL: Final = 4
LAST_WORDS_S: Final = 0.1
"""In which a server's message comes through the line."""
PID: Final = "SELECT pg_backend_pid()"


@pytest.fixture
async def line(database: str) -> AsyncIterator[TcpProxy]:
    """The line between a process and its database."""
    async with proxy_before(database) as proxy:
        yield proxy


@pytest.fixture
async def db(database: str, line: TcpProxy) -> AsyncIterator[Database]:
    """A database at the other end of that line."""
    async with Database(url_through(line, database), statement_timeout_s=STATEMENT_S, pool_size=POOL) as db:
        yield db


async def asked(db: Database) -> None:
    """One answer by the raw connection."""
    async with db.driver_transaction() as driver:
        assert await driver.fetchval("SELECT 1") == 1


async def asked_by_core(db: Database) -> None:
    """One answer by SQLAlchemy."""
    async with db.transaction() as connection:
        assert (await connection.execute(sa.text("SELECT 1"))).scalar_one() == 1


@pytest.mark.parametrize(("ask", "parting_s"), [(asked, 0.0), (asked_by_core, GOODBYE_S)])
async def test_a_silent_line_costs_one_wait_and_then_all_its_connections_are_left(
    db: Database, line: TcpProxy, ask: Callable[[Database], Awaitable[None]], parting_s: float
) -> None:
    """The statement fails in time, its rollback does not wait again, and no connection of that time is tried again."""
    async with AsyncExitStack() as stack:
        for _ in range(POOL):
            await stack.enter_async_context(db.driver_connection())
    line.becomes(Line.SWALLOWS)
    began = time.monotonic()
    with pytest.raises(TimeoutError) as silence:
        await ask(db)
    assert is_transient(silence.value)
    assert time.monotonic() - began < SILENCE_S + parting_s + MARGIN_S
    line.becomes(Line.SOUND)
    began = time.monotonic()
    await asyncio.gather(*(ask(db) for _ in range(POOL)))
    assert time.monotonic() - began < SILENCE_S / 2


async def ended_in_a_transaction(db: Database, admin: asyncpg.Connection) -> None:
    """The server ends the raw connection between two statements."""
    async with db.driver_transaction() as driver:
        await _ended(admin, await driver.fetchval(PID))
        await driver.execute("SELECT 1")


async def ended_in_a_transaction_by_core(db: Database, admin: asyncpg.Connection) -> None:
    """The same with SQLAlchemy."""
    async with db.transaction() as connection:
        await _ended(admin, (await connection.execute(sa.text(PID))).scalar_one())
        await connection.execute(sa.text("SELECT 1"))


async def ended_while_nobody_used_it(db: Database, admin: asyncpg.Connection) -> None:
    """The server ends a connection that is kept for the next who asks."""
    async with db.driver_connection() as driver:
        pid = await driver.fetchval(PID)
    await _ended(admin, pid)
    await asked(db)


async def _ended(admin: asyncpg.Connection, pid: int) -> None:
    await admin.execute("SELECT pg_terminate_backend($1)", pid)
    await asyncio.sleep(LAST_WORDS_S)


@pytest.mark.parametrize("ended", [ended_in_a_transaction, ended_in_a_transaction_by_core, ended_while_nobody_used_it])
async def test_the_last_words_of_a_server_count_before_its_hanging_up_arrives(
    database: str,
    db: Database,
    line: TcpProxy,
    ended: Callable[[Database, asyncpg.Connection], Awaitable[None]],
) -> None:
    """Between the two the driver takes no statement and no rollback: that passes, and the next one asks anew."""
    line.becomes(Line.HOLDS_ENDS)
    admin = await asyncpg.connect(database)
    try:
        with pytest.raises((asyncpg.InternalClientError, InternalError)) as cut:
            await ended(db, admin)
    finally:
        await admin.close()
    assert is_transient(cut.value)
    await asked(db)
    await asked_by_core(db)
    line.cut()


async def test_the_system_itself_ends_connections_whose_other_end_is_gone(db: Database) -> None:
    """A TCP connection to the database is asked whether it lives, and what nobody acknowledges ends it."""
    async with db.driver_connection() as driver:
        end = driver._transport.get_extra_info("socket")
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNACKNOWLEDGED_MAX_S * 1000


@pytest.mark.parametrize("off_s", [-600, 600])
async def test_a_machine_whose_clock_is_wrong_goes_by_the_database(db: Database, off_s: int) -> None:
    """Ten minutes off, and the instant is right from the first look at the database."""
    clock = DatabaseClock(db, ShiftedClock(timedelta(seconds=off_s)))
    await clock.sync()
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 1.0


async def test_the_first_answer_of_a_slow_database_counts_more_than_a_wrong_machine(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that starts while its database is busy goes by it all the same; later a slow answer changes nothing."""
    monkeypatch.setattr("chassis.clock.ROUND_TRIP_MAX_S", 0.0)  # Every answer is a slow one.
    async with Database(database, pool_size=1) as busy:
        clock = DatabaseClock(busy, ShiftedClock(timedelta(minutes=10)))
        await clock.sync()
        first = clock.now()
        monkeypatch.setattr(clock, "_instant", clock._instant - timedelta(hours=1))
        await clock.sync()
    assert abs(first - datetime.now(UTC)) < timedelta(seconds=MARGIN_S)
    assert abs(clock.now() - (first - timedelta(hours=1))) < timedelta(seconds=MARGIN_S)
