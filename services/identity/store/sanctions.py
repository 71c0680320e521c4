"""Sanctions, each with the decision it rests on, and the appeals against them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import FixmedinsCode, PsnNo
from services.identity.domain.sanction import (
    Appeal,
    AppealState,
    Decision,
    Sanction,
    Sanctioned,
    SanctionRecord,
)
from services.identity.tables.sanctions import APPEALS, SANCTIONS


async def sanctions_of(connection: AsyncConnection, psn_no: PsnNo) -> tuple[Sanction, ...]:
    """Every sanction ever imposed on a person, in the order of their ids."""
    return await _sanctions(connection, SANCTIONS.c.psn_no == psn_no)


async def of_institution(connection: AsyncConnection, fixmedins_code: FixmedinsCode) -> tuple[Sanction, ...]:
    """Every sanction ever imposed on an institution, in the order of their ids."""
    return await _sanctions(connection, SANCTIONS.c.fixmedins_code == fixmedins_code)


async def insert_sanction(connection: AsyncConnection, record: SanctionRecord) -> bool:
    """Whether the decision is new."""
    sanction = record.sanction
    statement = (
        insert(SANCTIONS)
        .values(
            sanction_id=sanction.sanction_id,
            psn_no=record.sanctioned.psn_no,
            fixmedins_code=record.sanctioned.fixmedins_code,
            from_at=sanction.from_at,
            to_at=sanction.to_at,
            basis_clause=sanction.basis_clause,
            decision_no=sanction.decision_no,
            organ=sanction.organ,
            imposed_at=record.imposed_at,
            imposed_by=record.imposed_by,
        )
        .on_conflict_do_nothing(constraint="sanctions_decision_no")
        .returning(SANCTIONS.c.sanction_id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def of_decision(connection: AsyncConnection, decision_no: str) -> SanctionRecord | None:
    """The sanction of a decision, without its appeals."""
    found = await _records(connection, SANCTIONS.c.decision_no == decision_no, appeals=False)
    return found[0] if found else None


async def record_of(connection: AsyncConnection, sanction_id: UUID) -> SanctionRecord | None:
    """One sanction with its appeals."""
    found = await _records(connection, SANCTIONS.c.sanction_id == sanction_id)
    return found[0] if found else None


async def records(
    connection: AsyncConnection,
    *,
    psn_no: PsnNo | None = None,
    fixmedins_code: FixmedinsCode | None = None,
    standing_at: datetime | None = None,
    after: UUID | None = None,
    limit: int | None = None,
) -> list[SanctionRecord]:
    """The sanctions of a person or an institution with their appeals, in the order of their ids.

    With ``standing_at``, those that are in force or to come at that instant.
    """
    condition = SANCTIONS.c.fixmedins_code == fixmedins_code if psn_no is None else SANCTIONS.c.psn_no == psn_no
    if standing_at is not None:
        condition &= SANCTIONS.c.lifted_at.is_(None) & (SANCTIONS.c.to_at > standing_at)
    if after is not None:
        condition &= SANCTIONS.c.sanction_id > after
    return await _records(connection, condition, limit=limit)


async def lift_sanction(
    connection: AsyncConnection, sanction_id: UUID, *, cause: str, opter: str, now: datetime
) -> None:
    """Ends a sanction now; the caller holds the lock of whom it is imposed on."""
    await connection.execute(
        sa.update(SANCTIONS)
        .where(SANCTIONS.c.sanction_id == sanction_id)
        .values(lifted_at=now, lift_cause=cause, lifted_by=opter)
    )


async def insert_appeal(connection: AsyncConnection, appeal: Appeal) -> bool:
    """Whether the appeal's number is new; of one sanction's appeals, the caller's lock lets one be filed at a time."""
    statement = (
        insert(APPEALS)
        .values(
            appeal_id=appeal.appeal_id,
            sanction_id=appeal.sanction_id,
            appeal_no=appeal.appeal_no,
            filed_on=appeal.filed_on,
            state=appeal.state.value,
            filed_by=appeal.filed_by,
            recorded_at=appeal.recorded_at,
        )
        .on_conflict_do_nothing(constraint="appeals_appeal_no")
        .returning(APPEALS.c.appeal_id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def appeal_of_number(connection: AsyncConnection, appeal_no: str) -> Appeal | None:
    """The appeal with this file number."""
    return await _appeal_where(connection, APPEALS.c.appeal_no == appeal_no)


async def load_appeal(connection: AsyncConnection, appeal_id: UUID) -> Appeal | None:
    """One appeal."""
    return await _appeal_where(connection, APPEALS.c.appeal_id == appeal_id)


async def decide_appeal(connection: AsyncConnection, appeal_id: UUID, decision: Decision) -> None:
    """Writes an appeal's decision; the caller holds the lock of whom the sanction is imposed on."""
    await connection.execute(
        sa.update(APPEALS)
        .where(APPEALS.c.appeal_id == appeal_id)
        .values(
            state=decision.state.value,
            decision_no=decision.decision_no,
            cause=decision.cause,
            decided_by=decision.opter,
            decided_at=decision.decided_at,
        )
    )


async def waiting_appeals(connection: AsyncConnection, *, after: UUID | None, limit: int) -> list[Appeal]:
    """Appeals without a decision, in the order in which they were recorded."""
    condition = APPEALS.c.state == AppealState.FILED.value
    if after is not None:
        condition &= APPEALS.c.appeal_id > after
    rows = await connection.execute(sa.select(APPEALS).where(condition).order_by(APPEALS.c.appeal_id).limit(limit))
    return [_appeal(row) for row in rows]


async def _sanctions(connection: AsyncConnection, condition: sa.ColumnElement[bool]) -> tuple[Sanction, ...]:
    rows = await connection.execute(sa.select(SANCTIONS).where(condition).order_by(SANCTIONS.c.sanction_id))
    return tuple(map(_sanction, rows))


async def _records(
    connection: AsyncConnection, condition: sa.ColumnElement[bool], *, limit: int | None = None, appeals: bool = True
) -> list[SanctionRecord]:
    statement = sa.select(SANCTIONS).where(condition).order_by(SANCTIONS.c.sanction_id).limit(limit)
    rows = (await connection.execute(statement)).all()
    filed = await _appeals_of(connection, [row.sanction_id for row in rows]) if appeals else {}
    return [_record(row, filed.get(row.sanction_id, [])) for row in rows]


async def _appeals_of(connection: AsyncConnection, sanction_ids: Collection[UUID]) -> dict[UUID, list[Appeal]]:
    ids = sa.cast(sa.literal(list(sanction_ids), ARRAY(sa.Uuid)), ARRAY(sa.Uuid))
    rows = await connection.execute(
        sa.select(APPEALS).where(APPEALS.c.sanction_id == sa.any_(ids)).order_by(APPEALS.c.appeal_id)
    )
    found: dict[UUID, list[Appeal]] = {}
    for row in rows:
        found.setdefault(row.sanction_id, []).append(_appeal(row))
    return found


async def _appeal_where(connection: AsyncConnection, condition: sa.ColumnElement[bool]) -> Appeal | None:
    row = (await connection.execute(sa.select(APPEALS).where(condition))).one_or_none()
    return None if row is None else _appeal(row)


def _record(row: sa.Row[Any], appeals: Sequence[Appeal]) -> SanctionRecord:
    return SanctionRecord(
        sanction=_sanction(row),
        sanctioned=Sanctioned(
            psn_no=None if row.psn_no is None else PsnNo(row.psn_no),
            fixmedins_code=None if row.fixmedins_code is None else FixmedinsCode(row.fixmedins_code),
        ),
        imposed_at=row.imposed_at,
        imposed_by=row.imposed_by,
        lift_cause=row.lift_cause or "",
        lifted_by=row.lifted_by or "",
        appeals=tuple(appeals),
    )


def _sanction(row: sa.Row[Any]) -> Sanction:
    return Sanction(
        sanction_id=row.sanction_id,
        from_at=row.from_at,
        to_at=row.to_at,
        basis_clause=row.basis_clause,
        decision_no=row.decision_no,
        organ=row.organ,
        lifted_at=row.lifted_at,
    )


def _appeal(row: sa.Row[Any]) -> Appeal:
    state = AppealState(row.state)
    decision = None
    if state is not AppealState.FILED:
        decision = Decision(state, row.decision_no, row.cause, row.decided_by, row.decided_at)
    return Appeal(
        appeal_id=row.appeal_id,
        sanction_id=row.sanction_id,
        appeal_no=row.appeal_no,
        filed_on=row.filed_on,
        filed_by=row.filed_by,
        recorded_at=row.recorded_at,
        decision=decision,
    )
