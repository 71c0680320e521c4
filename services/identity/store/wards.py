"""Whose code somebody may show."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.ward import Ward
from services.identity.tables.people import PERSONS
from services.identity.tables.wards import WARD_CHANGES, WARDS


class WardChange(Enum):
    """What became of a ward; the value is what the database keeps."""

    ADDED = "ADDED"
    REMOVED = "REMOVED"


async def wards_of(connection: AsyncConnection, guardian: PsnNo) -> list[Ward]:
    """A guardian's wards, in the order of their numbers."""
    return [_ward(row) for row in await connection.execute(_wards(guardian).order_by(WARDS.c.ward_psn_no))]


async def load_ward(connection: AsyncConnection, guardian: PsnNo, ward: PsnNo) -> Ward | None:
    """One ward of a guardian."""
    row = (await connection.execute(_wards(guardian).where(WARDS.c.ward_psn_no == ward))).one_or_none()
    return None if row is None else _ward(row)


async def save_ward(
    connection: AsyncConnection,
    guardian: PsnNo,
    ward: PsnNo,
    *,
    guardian_attestation_id: UUID,
    ward_attestation_id: UUID | None,
    now: datetime,
) -> None:
    """The ward is added, or added anew with the faces that were shown now; the caller holds the guardian's lock."""
    faces = {
        "guardian_attestation_id": guardian_attestation_id,
        "ward_attestation_id": ward_attestation_id,
        "added_at": now,
    }
    statement = insert(WARDS).values(guardian_psn_no=guardian, ward_psn_no=ward, **faces)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[WARDS.c.guardian_psn_no, WARDS.c.ward_psn_no], set_=faces)
    )


async def stands_by(
    connection: AsyncConnection,
    guardian: PsnNo,
    ward: PsnNo,
    guardian_attestation_id: UUID,
    ward_attestation_id: UUID | None,
) -> bool:
    """Whether there is such a ward, added with exactly these faces."""
    statement = sa.select(sa.literal(1)).where(
        WARDS.c.guardian_psn_no == guardian,
        WARDS.c.ward_psn_no == ward,
        WARDS.c.guardian_attestation_id == guardian_attestation_id,
        WARDS.c.ward_attestation_id.is_not_distinct_from(ward_attestation_id),
    )
    return await connection.scalar(statement) is not None


async def delete_ward(connection: AsyncConnection, guardian: PsnNo, ward: PsnNo) -> bool:
    """Whether there was such a ward."""
    statement = (
        sa.delete(WARDS)
        .where(WARDS.c.guardian_psn_no == guardian, WARDS.c.ward_psn_no == ward)
        .returning(WARDS.c.ward_psn_no)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def note(
    connection: AsyncConnection, guardian: PsnNo, ward: PsnNo, change: WardChange, *, asked_by: str, now: datetime
) -> None:
    """Records that somebody may show somebody's code, or may no longer, and who asked for it."""
    await connection.execute(
        sa.insert(WARD_CHANGES).values(
            guardian_psn_no=guardian, ward_psn_no=ward, change=change.value, changed_at=now, changed_by=asked_by
        )
    )


def _wards(guardian: PsnNo) -> sa.Select[tuple[object, ...]]:
    return (
        sa.select(
            WARDS.c.ward_psn_no, WARDS.c.added_at, WARDS.c.ward_attestation_id, PERSONS.c.name_masked, PERSONS.c.brdy
        )
        .join_from(WARDS, PERSONS, WARDS.c.ward_psn_no == PERSONS.c.psn_no)
        .where(WARDS.c.guardian_psn_no == guardian)
    )


def _ward(row: sa.Row[tuple[object, ...]]) -> Ward:
    return Ward(
        ward_psn_no=PsnNo(row.ward_psn_no),
        name_masked=row.name_masked,
        brdy=row.brdy,
        added_at=row.added_at,
        consented=row.ward_attestation_id is not None,
    )
