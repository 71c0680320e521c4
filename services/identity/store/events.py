"""What was told: the outbox row and, for a consumer that starts anew, the latest event of each aggregate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from chassis.db import Database
from chassis.outbox import OutgoingEvent
from services.identity.tables.events import LATEST_EVENTS

SNAPSHOT_PAGE_SIZE_MAX: Final = 500


async def tell(connection: AsyncConnection, events: Sequence[OutgoingEvent]) -> None:
    """Puts events into the outbox and in the place of their aggregate's latest; the caller holds the row's lock."""
    await outbox.put(connection, events)
    for event in events:
        row = {"aggregate": event.aggregate, "version": event.version, "payload": event.payload}
        statement = insert(LATEST_EVENTS).values(row)
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=[LATEST_EVENTS.c.aggregate],
                set_={"version": event.version, "payload": event.payload},
                where=LATEST_EVENTS.c.version < event.version,
            )
        )


async def snapshot(database: Database) -> AsyncIterator[Sequence[bytes]]:
    """The latest event of every aggregate, in pages that all show the same moment."""
    async with database.transaction() as connection:
        await connection.execute(sa.text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        after = ""
        while True:
            page = (
                await connection.execute(
                    sa.select(LATEST_EVENTS.c.aggregate, LATEST_EVENTS.c.payload)
                    .where(LATEST_EVENTS.c.aggregate > after)
                    .order_by(LATEST_EVENTS.c.aggregate)
                    .limit(SNAPSHOT_PAGE_SIZE_MAX)
                )
            ).all()
            if not page:
                return
            yield [row.payload for row in page]
            after = page[-1].aggregate
