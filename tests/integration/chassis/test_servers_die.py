"""Outbox and inbox while their servers die under them: events wait, then arrive, once each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from chassis.bus import Bus, Stream
from chassis.db import Database
from chassis.inbox import Consumer
from chassis.migrate import migrate
from chassis.outbox import OutboxPublisher, put
from ops.embedded.nats import EmbeddedNats
from ops.embedded.postgres import EmbeddedPostgres
from tests.integration.chassis.conftest import MIGRATIONS
from tests.integration.chassis.test_events import Reader, event, running, unpublished
from tests.patience import until
from tests.servers import new_folder

NewDatabase = Callable[[], Awaitable[str]]


@pytest.fixture
async def mortal_nats() -> AsyncIterator[EmbeddedNats]:
    """A NATS server that may be killed."""
    server = EmbeddedNats(new_folder("nats-mortal"))
    await server.start()
    yield server
    await server.destroy()


@pytest.fixture
async def mortal_postgres() -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL server that may be killed."""
    server = EmbeddedPostgres(new_folder("pg-mortal"))
    await server.start()
    yield server
    await server.destroy()


async def _write(db: Database, first: int, last: int) -> None:
    for number in range(first, last):
        async with db.transaction() as connection:
            await put(connection, [event(f"p{number}", 1)])


async def test_nats_killed_and_its_data_wiped_loses_nothing(
    mortal_nats: EmbeddedNats, new_database: NewDatabase, db: Database
) -> None:
    """Events written before, during and after the wipe all take effect once, without a restart of ours."""
    stream, reader = Stream("wiped", "identity"), Reader()
    reading_url = await new_database()
    await migrate(reading_url, MIGRATIONS)
    async with (
        Database(reading_url) as reading_db,
        Bus(mortal_nats.url, name="writer", prefix="wiped") as out,
        Bus(mortal_nats.url, name="reader", prefix="wiped") as into,
        running(OutboxPublisher(db, out, stream).run()),
        running(Consumer(reading_db, into, stream, name="c", handle=reader.handle, latest_only=False).run()),
    ):
        await _write(db, 0, 20)
        await until(lambda: len(reader.handled) >= 10)
        await mortal_nats.wipe()
        await _write(db, 20, 40)
        await mortal_nats.start()
        await _write(db, 40, 60)
        await until(lambda: len(reader.handled) >= 60, within_s=60)
        await asyncio.sleep(1)

        async def all_out() -> bool:
            return await unpublished(db) == 0

        await until(all_out)
    assert sorted(set(reader.handled)) == sorted((f"p{number}", 1) for number in range(60))
    assert len(reader.handled) == 60


async def test_postgres_killed_under_publisher_and_consumer_is_waited_for(
    mortal_postgres: EmbeddedPostgres, bus: Bus
) -> None:
    """Both go on by themselves when the server is back; what was committed takes effect once."""
    url = await mortal_postgres.create_database("both")
    await migrate(url, MIGRATIONS)
    stream, reader = Stream(bus.prefix, "identity"), Reader()
    async with (
        Database(url) as db,
        running(OutboxPublisher(db, bus, stream).run()),
        running(
            Consumer(
                db, bus, stream, name="c", handle=reader.handle, latest_only=False, after_commit=reader.after_commit
            ).run()
        ),
    ):
        await _write(db, 0, 20)
        await mortal_postgres.kill()
        await asyncio.sleep(0.5)
        await mortal_postgres.start()
        await db.wait_until_reachable()
        await _write(db, 20, 40)
        await until(lambda: len(reader.committed) >= 39, within_s=60)

        async def all_noted() -> bool:
            async with db.driver_connection() as driver:
                return int(await driver.fetchval("SELECT count(*) FROM person")) == 40

        await until(all_noted, within_s=60)
    assert len(reader.committed) == len(set(reader.committed))
