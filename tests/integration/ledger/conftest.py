"""One area's ledger on a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from chassis.db import Database
from chassis.migrate import migrate
from services.settlement.ledger.app import MIGRATIONS
from services.settlement.ledger.store.sweeping import ensure_area
from tests.integration.ledger.books import AREA


@pytest.fixture
async def ledger_url(database: str) -> str:
    """The URL of a fresh, migrated database that is the ledger of AREA."""
    await migrate(database, MIGRATIONS)
    async with Database(database, pool_size=1) as fresh, fresh.driver_connection() as connection:
        await ensure_area(connection, AREA)
    return database


@pytest.fixture
def log() -> Iterator[list[MutableMapping[str, Any]]]:
    """The lines logged during the test, caught before they are written."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture
async def area_ledger(ledger_url: str, log: list[MutableMapping[str, Any]]) -> AsyncIterator[Database]:
    """That database, open."""
    del log
    async with Database(ledger_url, pool_size=6) as opened:
        yield opened
