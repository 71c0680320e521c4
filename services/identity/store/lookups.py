"""Who looked people up: written with every look-up, read by the people themselves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.lookup import Lookup
from services.identity.store.arrays import any_of
from services.identity.tables.people import LOOKUPS, PERSONS

_ADD: Final = sa.text("""
    INSERT INTO lookups (psn_no, purpose, asked_by, trace_id, looked_up_at)
    SELECT psn_no, CAST(:purpose AS text), CAST(:asked_by AS text), CAST(:trace_id AS text), CAST(:now AS timestamptz)
    FROM unnest(CAST(:psn_nos AS text[])) AS seen (psn_no) JOIN persons USING (psn_no)""")

_ADD_BY_DRIVER: Final = """
    INSERT INTO lookups (psn_no, purpose, asked_by, trace_id, looked_up_at)
    SELECT psn_no, $2, $3, $4, $5 FROM unnest($1::text[]) AS seen (psn_no)"""


async def insert_lookups(
    connection: AsyncConnection,
    psn_nos: Iterable[PsnNo],
    *,
    purpose: str,
    asked_by: str,
    trace_id: str,
    now: datetime,
) -> None:
    """Records that somebody looked these people up, each once; nothing for a number that nobody has."""
    wanted = sorted(set(psn_nos))
    if wanted:
        await connection.execute(
            _ADD, {"psn_nos": wanted, "purpose": purpose, "asked_by": asked_by, "trace_id": trace_id, "now": now}
        )


async def add_lookups(
    driver: Any,  # noqa: ANN401  The driver publishes no types.
    psn_nos: Iterable[PsnNo],
    *,
    purpose: str,
    asked_by: str,
    trace_id: str,
    now: datetime,
) -> None:
    """The same by one statement of a raw connection, for a path that has no other transaction."""
    await driver.execute(_ADD_BY_DRIVER, sorted(set(psn_nos)), purpose, asked_by, trace_id, now)


async def lookups_before(
    connection: AsyncConnection, psn_nos: Sequence[PsnNo], number: int | None, *, limit: int
) -> list[Lookup]:
    """So many look-ups of one person, whatever number he had, newest first, from before this one on."""
    statement = sa.select(LOOKUPS).where(LOOKUPS.c.psn_no == any_of(psn_nos)).order_by(LOOKUPS.c.id.desc()).limit(limit)
    if number is not None:
        statement = statement.where(LOOKUPS.c.id < number)
    return [
        Lookup(row.id, row.purpose, row.asked_by, row.declared, row.looked_up_at)
        for row in await connection.execute(statement)
    ]


async def numbers_of(connection: AsyncConnection, psn_no: PsnNo) -> list[PsnNo]:
    """His number, and those of the doubles that were merged into him: what stands under them is his as well."""
    doubles = await connection.scalars(
        sa.select(PERSONS.c.psn_no).where(PERSONS.c.merged_into == psn_no).order_by(PERSONS.c.psn_no)
    )
    return [psn_no, *map(PsnNo, doubles)]
