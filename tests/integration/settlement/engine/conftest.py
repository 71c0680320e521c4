"""One world for all tests of the engine; each brings people, keys and coordinators of its own."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chassis.db import Database
from chassis.migrate import migrate
from ops.embedded.databases import Databases
from services.settlement.app import MIGRATIONS
from services.settlement.ledger.app import MIGRATIONS as LEDGER_MIGRATIONS
from services.settlement.ledger.store.sweeping import ensure_area
from services.settlement.operations.engine import Engine
from tests.integration.settlement.engine.world import AREAS, World, world
from tests.servers import NatsServer


@asynccontextmanager
async def new_databases(postgres: Databases) -> AsyncIterator[dict[str, str]]:
    """The URLs of migrated databases: settlement's, and each area's ledger's; dropped at the end."""
    mark = uuid.uuid4().hex[:12]
    names = {what: f"test_{mark}_{what}" for what in ("settlement", *AREAS)}
    urls = {what: await postgres.create_database(name) for what, name in names.items()}
    await migrate(urls["settlement"], MIGRATIONS)
    for area in AREAS:
        await migrate(urls[area], LEDGER_MIGRATIONS)
        async with Database(urls[area], pool_size=1) as ledger, ledger.driver_connection() as connection:
            await ensure_area(connection, area)
    yield urls
    for name in names.values():
        await postgres.drop_database(name)


@pytest.fixture(scope="session")
async def shared_town(postgres: Databases, nats: NatsServer) -> AsyncIterator[World]:
    """Migrated databases, ledgers and a bus; no coordinator runs yet."""
    async with new_databases(postgres) as urls:
        ledger_urls = {area: urls[area] for area in AREAS}
        prefix = f"t{uuid.uuid4().hex[:12]}"
        async with world(
            database_url=urls["settlement"], ledger_urls=ledger_urls, nats_url=nats.url, prefix=prefix
        ) as made:
            yield made


@pytest.fixture
async def town(shared_town: World) -> AsyncIterator[World]:
    """The world as a test finds it: the ledgers listen, nobody drives. What a test leaves open is finished after it."""
    yield shared_town
    await shared_town.tidy()


@pytest.fixture
async def engine(town: World) -> Engine:
    """One coordinator with recovery."""
    return (await town.driver()).engine
