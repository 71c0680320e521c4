"""Who is a double of whom, and what of a double goes to the record that is kept."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.tables.people import PERSONS
from services.identity.tables.sanctions import SANCTIONS


async def doubles_of(connection: AsyncConnection, psn_no: PsnNo) -> frozenset[PsnNo]:
    """The records that were merged into this one."""
    rows = await connection.scalars(sa.select(PERSONS.c.psn_no).where(PERSONS.c.merged_into == psn_no))
    return frozenset(map(PsnNo, rows))


async def save_merged(connection: AsyncConnection, double: PsnNo, keep: PsnNo) -> None:
    """Marks a record as a double; its certificate is no longer its own."""
    await connection.execute(
        sa.update(PERSONS).where(PERSONS.c.psn_no == double).values(merged_into=keep, certno_index=None)
    )


async def move_sanctions(connection: AsyncConnection, double: PsnNo, keep: PsnNo) -> None:
    """Every sanction of the double is one of the record that is kept; the caller holds both locks."""
    await connection.execute(sa.update(SANCTIONS).where(SANCTIONS.c.psn_no == double).values(psn_no=keep))
