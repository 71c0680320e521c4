"""What the desk's tests share: settlement's own database, migrated, and a bus of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chassis.bus import Bus
from chassis.db import Database
from chassis.migrate import migrate
from services.settlement.app import MIGRATIONS
from tests.servers import NatsServer


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    """A settlement database of this test alone."""
    await migrate(database, MIGRATIONS)
    async with Database(database, pool_size=8) as opened:
        yield opened


@pytest.fixture
async def bus(nats: NatsServer, bus_prefix: str) -> AsyncIterator[Bus]:
    """A connection to NATS under a prefix of this test alone."""
    async with Bus(nats.url, name="settlement", prefix=bus_prefix) as connected:
        yield connected
