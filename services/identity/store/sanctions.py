"""Sanctions, each with the decision it rests on."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.sanction import Sanction
from services.identity.tables.sanctions import SANCTIONS


async def sanctions_of(connection: AsyncConnection, psn_no: PsnNo) -> tuple[Sanction, ...]:
    """Every sanction ever imposed on a person, in the order of their ids."""
    rows = await connection.execute(
        sa.select(SANCTIONS).where(SANCTIONS.c.psn_no == psn_no).order_by(SANCTIONS.c.sanction_id)
    )
    return tuple(map(_sanction, rows))


async def insert_sanction(connection: AsyncConnection, psn_no: PsnNo, sanction: Sanction, *, now: datetime) -> bool:
    """Whether the decision is new."""
    statement = (
        insert(SANCTIONS)
        .values(
            sanction_id=sanction.sanction_id,
            psn_no=psn_no,
            from_at=sanction.from_at,
            to_at=sanction.to_at,
            basis_clause=sanction.basis_clause,
            decision_no=sanction.decision_no,
            organ=sanction.organ,
            imposed_at=now,
        )
        .on_conflict_do_nothing(constraint="sanctions_decision_no")
        .returning(SANCTIONS.c.sanction_id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def sanction_of_decision(connection: AsyncConnection, decision_no: str) -> tuple[PsnNo, Sanction]:
    """Who is sanctioned by a decision that exists, and how."""
    row = (await connection.execute(sa.select(SANCTIONS).where(SANCTIONS.c.decision_no == decision_no))).one()
    return PsnNo(row.psn_no), _sanction(row)


async def sanctioned_person(connection: AsyncConnection, sanction_id: UUID) -> PsnNo | None:
    """Whom a sanction was imposed on."""
    found = await connection.scalar(sa.select(SANCTIONS.c.psn_no).where(SANCTIONS.c.sanction_id == sanction_id))
    return None if found is None else PsnNo(found)


async def lift_sanction(connection: AsyncConnection, sanction_id: UUID, *, cause: str, now: datetime) -> None:
    """Ends a sanction now; the caller holds the person's lock."""
    await connection.execute(
        sa.update(SANCTIONS).where(SANCTIONS.c.sanction_id == sanction_id).values(lifted_at=now, lift_cause=cause)
    )


def _sanction(row: sa.Row[tuple[object, ...]]) -> Sanction:
    return Sanction(
        sanction_id=row.sanction_id,
        from_at=row.from_at,
        to_at=row.to_at,
        basis_clause=row.basis_clause,
        decision_no=row.decision_no,
        organ=row.organ,
        lifted_at=row.lifted_at,
    )
