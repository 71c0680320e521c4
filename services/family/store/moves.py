"""Where personal accounts were last moved to."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, PsnNo
from services.family.tables import ACCOUNT_PLACES

_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended('account:' || :psn_no, 0))")
_LOCK_SHARED: Final = text("SELECT pg_advisory_xact_lock_shared(hashtextextended('account:' || :psn_no, 0))")


async def keep(connection: AsyncConnection, psn_no: PsnNo, area: AdmDvs, *, moved_at: datetime) -> bool:
    """Notes where an account is; whether that is news. An event that comes late, after a later move's, is not."""
    await connection.execute(_LOCK, {"psn_no": psn_no})
    fresh = insert(ACCOUNT_PLACES).values(psn_no=psn_no, area=area, moved_at=moved_at)
    stored = await connection.execute(
        fresh.on_conflict_do_update(
            index_elements=[ACCOUNT_PLACES.c.psn_no],
            set_={"area": fresh.excluded.area, "moved_at": fresh.excluded.moved_at},
            where=ACCOUNT_PLACES.c.moved_at < fresh.excluded.moved_at,
        ).returning(ACCOUNT_PLACES.c.psn_no)
    )
    return stored.one_or_none() is not None


async def account_of(connection: AsyncConnection, psn_no: PsnNo) -> AdmDvs | None:
    """Where somebody's account was last moved to; None if it never was.

    Waits for a move that is being noted: its transaction may have looked for bindings before one to be judged stood.
    """
    await connection.execute(_LOCK_SHARED, {"psn_no": psn_no})
    found = await connection.execute(select(ACCOUNT_PLACES.c.area).where(ACCOUNT_PLACES.c.psn_no == psn_no))
    area = found.scalar_one_or_none()
    return None if area is None else AdmDvs(area)
