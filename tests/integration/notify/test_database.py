"""The notify database: its schema, and how messages are numbered when many write at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from chassis.db import Database
from chassis.migrate import drift, migrate
from kernel.ids import PsnNo
from services.notify import store
from services.notify.app import MIGRATIONS
from services.notify.domain.messages import Message, Topic
from services.notify.domain.texts import Words
from services.notify.tables import METADATA

NOW = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
ONE, OTHER = PsnNo("6500000001"), PsnNo("6500000002")


@pytest.fixture
async def db(database: str) -> AsyncIterator[Database]:
    """A migrated notify database."""
    await migrate(database, MIGRATIONS)
    async with Database(database, pool_size=8) as opened:
        yield opened


def message(psn_no: PsnNo, cause_id: UUID, topic: Topic = Topic.BOUND) -> Message:
    """Some message."""
    return Message(cause_id, psn_no, topic, Words("你好", "hello"), NOW)


async def write(database: Database, *messages: Message) -> set[PsnNo]:
    """In a transaction of its own."""
    async with database.transaction() as connection:
        return await store.write(connection, messages)


async def numbers(database: Database, psn_no: PsnNo) -> list[int]:
    """The person's numbers, in order."""
    return [stored.message_no for stored in await store.after(database, psn_no, message_no=0, rows_max=1_000)]


async def test_the_migrations_make_the_tables_that_the_code_names(database: str) -> None:
    """A migrated database differs in nothing from tables.py."""
    await migrate(database, MIGRATIONS)
    assert await drift(database, METADATA) == []


async def test_the_same_cause_person_and_topic_are_one_message(db: Database) -> None:
    """Written again, a message gets no second number; another topic or person of the same cause does."""
    cause = uuid4()
    assert await write(db, message(ONE, cause), message(OTHER, cause)) == {ONE, OTHER}
    assert await write(db, message(ONE, cause), message(ONE, cause, Topic.UNBOUND)) == {ONE}
    assert await write(db, message(ONE, cause)) == set()
    assert (await numbers(db, ONE), await numbers(db, OTHER)) == ([1, 2], [1])


async def test_numbers_have_no_gaps_however_many_write_at_once(db: Database) -> None:
    """Twenty writers for the same two people, in opposite orders, neither block each other for good nor skip one."""
    pairs = [(ONE, OTHER) if place % 2 else (OTHER, ONE) for place in range(20)]
    causes = [uuid4() for _ in pairs]
    await asyncio.gather(
        *(
            write(db, message(first, cause), message(second, cause))
            for (first, second), cause in zip(pairs, causes, strict=True)
        )
    )
    assert await numbers(db, ONE) == await numbers(db, OTHER) == list(range(1, 21))
    assert await store.last_numbers(db, [ONE, OTHER]) == {ONE: 20, OTHER: 20}
