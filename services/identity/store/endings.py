"""What ends with a record, be it a double's or a dead person's: his cards, and the wards that he has or is."""

from __future__ import annotations

from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo

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
    INSERT INTO ward_changes (guardian_psn_no, ward_psn_no, change, changed_at, changed_by)
    SELECT guardian_psn_no, ward_psn_no, 'REMOVED', CAST(:now AS timestamptz), CAST(:asked_by AS text) FROM ended""")


async def end_credentials(
    connection: AsyncConnection, psn_no: PsnNo, *, opter: str, cause: str, asked_by: str, now: datetime
) -> None:
    """The person's cards end with this cause, nobody shows his code, nor he another's; what was is on record.

    The caller holds the person's lock, so no card is issued and no ward added meanwhile.
    """
    await connection.execute(_END_CARDS, {"psn_no": psn_no, "opter": opter, "cause": cause, "now": now})
    await connection.execute(_END_WARDS, {"psn_no": psn_no, "asked_by": asked_by, "now": now})
