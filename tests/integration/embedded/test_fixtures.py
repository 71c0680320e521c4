"""The fixture ladder gives real, empty, separate servers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import asyncpg
import nats as nats_client

from ops.embedded.postgres import EmbeddedPostgres
from tests.servers import NatsServer, new_folder


async def test_a_fresh_database_is_empty_and_of_postgresql_18(database: str) -> None:
    """Tests run on the version of production; an acknowledged commit outlives the process, though not the machine."""
    connection = await asyncpg.connect(database)
    try:
        shown = await connection.fetchval("SHOW synchronous_commit")
        version = connection.get_server_version().major
        tables = await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
    finally:
        await connection.close()
    assert (version, shown, tables) == (18, "on", 0)


async def test_the_embedded_server_as_users_start_it_is_durable() -> None:
    """What `gongji up` starts has fsync, full-page writes and synchronous commit on; the tests' own has not."""
    server = EmbeddedPostgres(new_folder("durable"))
    try:
        await server.start()
        connection = await asyncpg.connect(server.url("postgres"))
        try:
            names = ("fsync", "full_page_writes", "synchronous_commit")
            shown = [await connection.fetchval(f"SHOW {name}") for name in names]
        finally:
            await connection.close()
    finally:
        await server.destroy()
    assert shown == ["on", "on", "on"]


async def test_two_databases_of_one_test_are_two(new_database: Callable[[], Awaitable[str]]) -> None:
    """Each call makes another database."""
    first, second = await new_database(), await new_database()
    assert first != second


async def test_streams_under_the_prefix_are_kept_apart(nats: NatsServer, bus_prefix: str) -> None:
    """JetStream is on, and a stream of this test's prefix can be made and is removed by name."""
    client = await nats_client.connect(nats.url)
    try:
        jetstream = client.jetstream()
        await jetstream.add_stream(name=f"{bus_prefix}-identity", subjects=[f"{bus_prefix}.event.identity.>"])
        ack = await jetstream.publish(f"{bus_prefix}.event.identity.person_registered", b"x")
        await nats.remove_streams(bus_prefix)
        names = [stream.config.name for stream in await jetstream.streams_info()]
    finally:
        await client.close()
    assert (ack.seq, [name for name in names if (name or "").startswith(bus_prefix)]) == (1, [])
