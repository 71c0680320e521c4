"""What the desk's tests share: settlement's own database, migrated, and a bus of the test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from chassis.bus import Bus
from chassis.db import Database
from chassis.migrate import migrate
from ops.embedded.databases import Databases
from services.settlement.app import MIGRATIONS
from tests.integration.settlement.desk import town as building
from tests.integration.settlement.desk.town import Town
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


@pytest.fixture(scope="session")
async def town(postgres: Databases, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """One town for all tests of the desk; each brings people of its own."""
    async with building.town(postgres, nats, tmp_path_factory.mktemp("desk")) as built:
        yield built
