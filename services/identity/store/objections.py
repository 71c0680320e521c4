"""Whose account paid for which bill, as settlement told, and which bills somebody has objected to."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.risk import FundedBill, RiskKind, Subject
from services.identity.store.arrays import any_of
from services.identity.tables.risk import FUNDED_BILLS, RISK_EVIDENCE


async def keep_funded(connection: AsyncConnection, bill: FundedBill) -> None:
    """Keeps whose account paid; told again, it is kept once."""
    row = {
        "setl_id": bill.setl_id,
        "psn_no": bill.psn_no,
        "patient_psn_no": bill.patient,
        "fixmedins_code": bill.fixmedins_code,
        "settled_at": bill.settled_at,
    }
    await connection.execute(insert(FUNDED_BILLS).values(row).on_conflict_do_nothing())


async def funded_bill(connection: AsyncConnection, psn_nos: Sequence[PsnNo], setl_id: UUID) -> FundedBill | None:
    """The bill, if an account under one of a person's numbers paid for it."""
    statement = sa.select(FUNDED_BILLS).where(
        FUNDED_BILLS.c.setl_id == setl_id, FUNDED_BILLS.c.psn_no == any_of(psn_nos)
    )
    row = (await connection.execute(statement.order_by(FUNDED_BILLS.c.psn_no).limit(1))).one_or_none()
    if row is None:
        return None
    patient = PsnNo(row.patient_psn_no)
    return FundedBill(row.setl_id, PsnNo(row.psn_no), patient, row.fixmedins_code, row.settled_at)


async def objected(connection: AsyncConnection, psn_nos: Sequence[PsnNo], setl_id: UUID) -> UUID | None:
    """The risk event in which somebody, under one of his numbers, objected to this bill already."""
    subjects = [Subject(psn_no=psn_no).key for psn_no in psn_nos]
    found: UUID | None = await connection.scalar(
        sa.select(RISK_EVIDENCE.c.risk_event_id)
        .where(RISK_EVIDENCE.c.kind == RiskKind.OBJECTION.value)
        .where(RISK_EVIDENCE.c.subject == any_of(subjects))
        .where(RISK_EVIDENCE.c.evidence_key == str(setl_id))
        .limit(1)
    )
    return found


async def forget_funded(connection: AsyncConnection, *, before: datetime) -> None:
    """Deletes bills that were paid so long ago that nobody objects to them any more."""
    await connection.execute(sa.delete(FUNDED_BILLS).where(FUNDED_BILLS.c.settled_at < before))
