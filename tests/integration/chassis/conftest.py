"""What the chassis' integration tests share: a migrated database and a bus."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import pytest

from chassis.bus import Bus
from chassis.db import Database
from chassis.migrate import migrate
from tests.servers import NatsServer

MIGRATIONS: Final = Path(__file__).parent / "migrations"


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    """A database of this test alone with outbox, inbox and the table ``person``."""
    await migrate(database, MIGRATIONS)
    async with Database(database, pool_size=4) as opened:
        yield opened


@pytest.fixture
async def bus(nats: NatsServer, bus_prefix: str) -> AsyncIterator[Bus]:
    """A connection to NATS under a prefix of this test alone."""
    async with Bus(nats.url, name="test", prefix=bus_prefix) as connected:
        yield connected


@pytest.fixture
def unused_port() -> int:
    """A port on which nobody listens just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
