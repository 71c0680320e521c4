"""Institutions, and the codes that were decoded at their terminals."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import FixmedinsCode
from services.identity.domain.credential import Code
from services.identity.domain.institution import Institution, InstitutionState
from services.identity.tables.credentials import USED_CODES
from services.identity.tables.institutions import INSTITUTIONS


async def insert_institution(connection: AsyncConnection, institution: Institution, *, now: datetime) -> bool:
    """Whether the institution is new."""
    statement = (
        insert(INSTITUTIONS)
        .values(fixmedins_code=institution.fixmedins_code, **_columns(institution), changed_at=now)
        .on_conflict_do_nothing()
        .returning(INSTITUTIONS.c.fixmedins_code)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def load_institution(
    connection: AsyncConnection, fixmedins_code: FixmedinsCode, *, lock: bool = False
) -> Institution | None:
    """An institution; with ``lock``, nobody else changes it until this transaction ends."""
    statement = sa.select(INSTITUTIONS).where(INSTITUTIONS.c.fixmedins_code == fixmedins_code)
    if lock:
        statement = statement.with_for_update(key_share=True)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    return Institution(
        fixmedins_code=fixmedins_code,
        fixmedins_name=row.fixmedins_name,
        state=InstitutionState(row.state),
        wallet_capable=row.wallet_capable,
        version=row.version,
    )


async def save_institution(connection: AsyncConnection, institution: Institution, *, now: datetime) -> None:
    """Writes an institution whose lock the caller holds."""
    await connection.execute(
        sa.update(INSTITUTIONS)
        .where(INSTITUTIONS.c.fixmedins_code == institution.fixmedins_code)
        .values(**_columns(institution), changed_at=now)
    )


async def use_code(
    connection: AsyncConnection, code: Code, *, fixmedins_code: FixmedinsCode, terminal_no: str, now: datetime
) -> bool:
    """Whether this is the code's first use. Of two at once, the second waits for the first and then loses."""
    statement = (
        insert(USED_CODES)
        .values(jti=code.jti, psn_no=code.psn_no, fixmedins_code=fixmedins_code, terminal_no=terminal_no, used_at=now)
        .on_conflict_do_nothing()
        .returning(USED_CODES.c.jti)
    )
    return (await connection.execute(statement)).one_or_none() is not None


def _columns(institution: Institution) -> dict[str, str | bool | int]:
    return {
        "fixmedins_name": institution.fixmedins_name,
        "state": institution.state.value,
        "wallet_capable": institution.wallet_capable,
        "version": institution.version,
    }
