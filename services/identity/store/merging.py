"""What belongs to a double: sanctions go to the record that is kept, cards and wards end."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.tables.people import PERSONS
from services.identity.tables.sanctions import SANCTIONS

MERGED: Final = "MERGED"
"""The cause of a card's end."""
_END_CARDS: Final = sa.text("""
    WITH ended AS (
        UPDATE cards SET state = 'ENDED', ended_at = :now, ended_by = :opter, end_cause = :cause
        WHERE psn_no = :psn_no AND state IN ('ISSUED', 'ACTIVE') RETURNING card_id
    )
    INSERT INTO card_changes (card_id, change, opter, cause, changed_at)
    SELECT card_id, 'ENDED', CAST(:opter AS text), CAST(:cause AS text), CAST(:now AS timestamptz) FROM ended""")
_END_WARDS: Final = sa.text("""
    WITH ended AS (
        DELETE FROM wards WHERE guardian_psn_no = :psn_no OR ward_psn_no = :psn_no
        RETURNING guardian_psn_no, ward_psn_no
    )
    INSERT INTO ward_changes (guardian_psn_no, ward_psn_no, change, changed_at)
    SELECT guardian_psn_no, ward_psn_no, 'REMOVED', CAST(:now AS timestamptz) FROM ended""")


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


async def end_credentials(connection: AsyncConnection, double: PsnNo, *, opter: str, now: datetime) -> None:
    """The double's cards end, and nobody shows its code, nor it another's; what was is on record."""
    await connection.execute(_END_CARDS, {"psn_no": double, "opter": opter, "cause": MERGED, "now": now})
    await connection.execute(_END_WARDS, {"psn_no": double, "now": now})
