"""A settlement database of each test's own, and what is written into it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from chassis.db import Database
from chassis.migrate import migrate
from services.settlement.app import MIGRATIONS
from tests.integration.settlement.clearing.book import Book


@asynccontextmanager
async def _written_into(url: str) -> AsyncIterator[Book]:
    await migrate(url, MIGRATIONS)
    async with Database(url, pool_size=4, by_key=True) as opened:
        yield Book(opened)


@pytest.fixture
async def book(database: str) -> AsyncIterator[Book]:
    """Payments of months long past, in a database whose connections are those of the settlement process."""
    async with _written_into(database) as written:
        yield written


@pytest.fixture
async def another_book(new_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Book]:
    """The same once more, in a database of its own."""
    async with _written_into(await new_database()) as written:
        yield written
