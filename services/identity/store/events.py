"""What was told: the outbox row and, for a consumer that starts anew or asks again, each aggregate's latest event.

Who asks again names a cursor: every transaction below it had ended when the last answer was read. A row carries the
number of the transaction that wrote it, so what a slow transaction commits later lies at or above the cursor, however
small its number is, and is not skipped (ADR 20).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from chassis.db import Database
from chassis.outbox import OutgoingEvent
from kernel.failures import Failure, Kind
from services.identity.tables.events import LATEST_EVENTS

SNAPSHOT_PAGE_SIZE_MAX: Final = 500
CHANGES_PAGE_SIZE_MAX: Final = 500
_MOMENT: Final = (
    "SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS cursor, pg_is_in_recovery() AS is_copy,"
    " statement_timestamp() AS as_of"
)
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


_CHANGES: Final = """
WITH moment AS MATERIALIZED (
    SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS cursor,
           pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS ahead,
           pg_is_in_recovery() AS is_copy, statement_timestamp() AS as_of
), changed AS (
    SELECT changed_xid, aggregate, payload FROM latest_events
    WHERE (changed_xid, aggregate) > ($1::bigint, $2::text) ORDER BY changed_xid, aggregate LIMIT $3
)
SELECT m.cursor, m.ahead, m.is_copy, m.as_of, c.changed_xid, c.aggregate, c.payload
FROM moment m LEFT JOIN changed c ON true ORDER BY c.changed_xid, c.aggregate"""
"""No aggregate has an empty name, so (cursor, '') lies before all that the cursor's own transaction wrote."""


@dataclass(frozen=True, slots=True)
class Caught:
    """Up to where somebody has heard everything: the next cursor, and the instant before which nothing is missing."""

    cursor: int
    as_of: datetime


async def changes(database: Database, *, after: int) -> AsyncIterator[Sequence[bytes] | Caught]:
    """The latest events of the aggregates changed since a cursor, in pages; at the end, how far that reaches.

    One statement where nothing has changed. An event may come that was told before, none is left out. 0 is the
    beginning. CHANGES_OF_A_COPY (UNAVAILABLE) while the server only follows another: it may lag, and nobody would know.
    CHANGES_CURSOR_AHEAD (PRECONDITION) if no transaction of this database is so far: it was restored.
    """
    caught: Caught | None = None
    place = (after, "")
    while True:
        async with database.driver_connection() as connection:
            rows = await connection.fetch(_CHANGES, *place, CHANGES_PAGE_SIZE_MAX)
        if rows[0]["is_copy"]:
            raise _of_a_copy()
        if after > rows[0]["ahead"]:
            raise Failure(Kind.PRECONDITION, "CHANGES_CURSOR_AHEAD", field="after")
        # What changes while the pages are read counts from the first of them: at worst it is told twice.
        caught = caught or Caught(rows[0]["cursor"], rows[0]["as_of"])
        page = [row["payload"] for row in rows if row["payload"] is not None]
        if page:
            yield page
        if len(page) < CHANGES_PAGE_SIZE_MAX:
            yield caught
            return
        place = (rows[-1]["changed_xid"], rows[-1]["aggregate"])


async def snapshot(database: Database) -> AsyncIterator[tuple[Sequence[bytes], Caught]]:
    """The latest event of every aggregate, in pages that all show the same moment, and how far that reaches.

    CHANGES_OF_A_COPY, as above.
    """
    async with database.snapshot() as connection:
        moment = (await connection.execute(sa.text(_MOMENT))).one()
        if moment.is_copy:
            raise _of_a_copy()
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
            yield [row.payload for row in page], Caught(moment.cursor, moment.as_of)
            after = page[-1].aggregate


def _of_a_copy() -> Failure:
    return Failure(Kind.UNAVAILABLE, "CHANGES_OF_A_COPY")
