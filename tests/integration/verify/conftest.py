"""A sound system for the tests of one module."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import asyncpg
import pytest

from chassis.migrate import migrate
from ops.embedded.databases import Databases
from ops.places import Places
from services.settlement.app import MIGRATIONS
from services.settlement.ledger.app import MIGRATIONS as LEDGER_MIGRATIONS
from tests.integration.verify.sound import AREA, make_coordinator, make_ledger


@pytest.fixture(scope="module")
async def places(postgres: Databases) -> AsyncIterator[Places]:
    """Two databases with a sound system in them; whoever spoils it rolls that back."""
    mark = uuid.uuid4().hex[:12]
    names, urls = {"settlement": f"test_{mark}_settlement", AREA: f"test_{mark}_ledger_{AREA}"}, {}
    for what, folder, make in (("settlement", MIGRATIONS, make_coordinator), (AREA, LEDGER_MIGRATIONS, make_ledger)):
        urls[what] = await postgres.create_database(names[what])
        await migrate(urls[what], folder)
        connection = await asyncpg.connect(urls[what])
        await make(connection)
        await connection.close()
    yield Places(urls["settlement"], {AREA: urls[AREA]})
    for name in names.values():
        await postgres.drop_database(name)
