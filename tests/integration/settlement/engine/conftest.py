"""A world of its own for each test, copied from migrated templates."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

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


@pytest.fixture(scope="session")
async def templates(postgres: Databases) -> AsyncIterator[dict[str, str]]:
    """The names of migrated databases to copy: settlement's, and each area's ledger's."""
    mark = uuid.uuid4().hex[:12]
    names = {"settlement": f"template_{mark}_settlement"} | {area: f"template_{mark}_{area}" for area in AREAS}
    for what, name in names.items():
        url = await postgres.create_database(name)
        await migrate(url, MIGRATIONS if what == "settlement" else LEDGER_MIGRATIONS)
        if what != "settlement":
            async with Database(url, pool_size=1) as ledger, ledger.driver_connection() as connection:
                await ensure_area(connection, what)
    yield names
    for name in names.values():
        await postgres.drop_database(name)


@pytest.fixture
async def town(
    postgres: Databases, nats: NatsServer, bus_prefix: str, templates: dict[str, str]
) -> AsyncIterator[World]:
    """Databases, ledgers and a bus of this test alone; no coordinator runs yet."""
    mark = uuid.uuid4().hex[:12]
    names = {what: f"test_{mark}_{what}" for what in templates}
    urls = {what: await postgres.create_database(names[what], template=name) for what, name in templates.items()}
    async with world(
        database_url=urls["settlement"],
        ledger_urls={area: urls[area] for area in AREAS},
        nats_url=nats.url,
        prefix=bus_prefix,
    ) as made:
        yield made
    for name in names.values():
        await postgres.drop_database(name)


@pytest.fixture
async def engine(town: World) -> Engine:
    """One coordinator with recovery."""
    return (await town.driver()).engine
