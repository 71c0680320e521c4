"""What was told: the outbox row and, for a consumer that starts anew, the latest event of each aggregate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from chassis.db import Database
from chassis.outbox import OutgoingEvent
from services.identity.tables.events import LATEST_EVENTS

SNAPSHOT_PAGE_SIZE_MAX: Final = 500
_PLACE: Final = sa.text("""
    INSERT INTO latest_events AS latest (aggregate, version, payload)
    SELECT aggregate, version, payload
    FROM unnest(CAST(:aggregates AS text[]), CAST(:versions AS bigint[]), CAST(:payloads AS bytea[]))
        AS told (aggregate, version, payload)
    ORDER BY aggregate
    ON CONFLICT (aggregate) DO UPDATE SET version = excluded.version, payload = excluded.payload
    WHERE latest.version < excluded.version""")


async def tell(connection: AsyncConnection, events: Sequence[OutgoingEvent]) -> None:
    """Puts events into the outbox and in the place of their aggregate's latest; the caller holds the rows' locks.

    Few statements however many events there are.
    """
    if not events:
        return
    await outbox.put(connection, events)
    latest = {event.aggregate: event for event in sorted(events, key=lambda each: (each.aggregate, each.version))}
    rows = list(latest.values())
    await connection.execute(
        _PLACE,
        {
            "aggregates": [event.aggregate for event in rows],
            "versions": [event.version for event in rows],
            "payloads": [event.payload for event in rows],
        },
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
