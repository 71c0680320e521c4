"""Risk events and their evidence: raised once, added to while open, listed, judged."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import FixmedinsCode, PsnNo
from services.identity.domain.risk import (
    Earlier,
    Evidence,
    Finding,
    Judgement,
    RiskEvent,
    RiskKind,
    RiskState,
    Subject,
)
from services.identity.store.arrays import any_of
from services.identity.tables.people import PERSONS
from services.identity.tables.risk import RISK_EVENTS, RISK_EVIDENCE


async def raise_event(
    connection: AsyncConnection, finding: Finding, *, risk_event_id: UUID, now: datetime
) -> tuple[UUID, bool]:
    """The open event of this kind, subject and day with the evidence added, and whether it is new.

    One statement finds it or makes it, so that of two replicas, or of one and an officer who closes it, each sees what
    the other did.
    """
    subject = finding.subject
    statement = insert(RISK_EVENTS).values(
        risk_event_id=risk_event_id,
        kind=finding.kind.value,
        subject=subject.key,
        psn_no=subject.psn_no,
        fixmedins_code=subject.fixmedins_code,
        terminal_no=subject.terminal_no,
        day=finding.day,
        state=RiskState.OPEN.value,
        raised_at=now,
        evidence_at=max(each.at for each in finding.evidence),
        evidence_count=len(finding.evidence),
    )
    made = (
        await connection.execute(
            statement.on_conflict_do_update(
                index_elements=[RISK_EVENTS.c.kind, RISK_EVENTS.c.subject, RISK_EVENTS.c.day],
                index_where=sa.text("state = 'OPEN'"),
                set_={
                    "evidence_at": sa.func.greatest(RISK_EVENTS.c.evidence_at, statement.excluded.evidence_at),
                    "evidence_count": RISK_EVENTS.c.evidence_count + statement.excluded.evidence_count,
                },
            ).returning(RISK_EVENTS.c.risk_event_id)
        )
    ).scalar_one()
    await connection.execute(
        sa.insert(RISK_EVIDENCE), [_evidence_row(each, finding, made) for each in finding.evidence]
    )
    return made, made == risk_event_id


async def told_evidence(
    connection: AsyncConnection, kind: RiskKind, subjects: Collection[str], *, since: datetime
) -> dict[tuple[str, str], int]:
    """What was told of these subjects since then: the occurrences by (subject, evidence key)."""
    rows = await connection.execute(
        sa.select(RISK_EVIDENCE.c.subject, RISK_EVIDENCE.c.evidence_key, RISK_EVIDENCE.c.occurrences)
        .where(RISK_EVIDENCE.c.kind == kind.value)
        .where(RISK_EVIDENCE.c.subject == any_of(subjects))
        .where(RISK_EVIDENCE.c.occurred_at >= since)
    )
    return {(row.subject, row.evidence_key): row.occurrences for row in rows}


async def grow_evidence(connection: AsyncConnection, kind: RiskKind, subject: str, evidence: Evidence) -> None:
    """Counts further occurrences of what was told, as long as nobody has judged it."""
    open_events = sa.select(RISK_EVENTS.c.risk_event_id).where(RISK_EVENTS.c.state == RiskState.OPEN.value)
    await connection.execute(
        sa.update(RISK_EVIDENCE)
        .where(RISK_EVIDENCE.c.kind == kind.value)
        .where(RISK_EVIDENCE.c.subject == subject)
        .where(RISK_EVIDENCE.c.evidence_key == evidence.key)
        .where(RISK_EVIDENCE.c.occurrences < evidence.occurrences)
        .where(RISK_EVIDENCE.c.risk_event_id.in_(open_events))
        .values(occurrences=evidence.occurrences)
    )


async def open_days(connection: AsyncConnection, kind: RiskKind, subjects: Collection[str]) -> dict[str, set[date]]:
    """The civil days of each subject's open events."""
    rows = await connection.execute(
        sa.select(RISK_EVENTS.c.subject, RISK_EVENTS.c.day)
        .where(RISK_EVENTS.c.kind == kind.value)
        .where(RISK_EVENTS.c.state == RiskState.OPEN.value)
        .where(RISK_EVENTS.c.subject == any_of(subjects))
    )
    found: dict[str, set[date]] = {}
    for row in rows:
        found.setdefault(row.subject, set()).add(row.day)
    return found


async def known_people(connection: AsyncConnection, psn_nos: Collection[PsnNo]) -> set[PsnNo]:
    """Those of the numbers that somebody has."""
    return {
        PsnNo(found)
        for found in await connection.scalars(sa.select(PERSONS.c.psn_no).where(PERSONS.c.psn_no == any_of(psn_nos)))
    }


async def load_event(connection: AsyncConnection, risk_event_id: UUID, *, lock: bool = False) -> RiskEvent | None:
    """A risk event; with ``lock``, nobody judges it or adds to it until this transaction ends."""
    statement = sa.select(RISK_EVENTS).where(RISK_EVENTS.c.risk_event_id == risk_event_id)
    if lock:
        statement = statement.with_for_update()
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _event(row)


async def latest_evidence(connection: AsyncConnection, risk_event_id: UUID, *, limit: int) -> list[Evidence]:
    """So much of an event's latest evidence, the oldest of it first."""
    rows = await connection.execute(
        sa.select(RISK_EVIDENCE)
        .where(RISK_EVIDENCE.c.risk_event_id == risk_event_id)
        .order_by(RISK_EVIDENCE.c.occurred_at.desc(), RISK_EVIDENCE.c.evidence_key.desc())
        .limit(limit)
    )
    return [_evidence(row) for row in rows][::-1]


async def list_events(
    connection: AsyncConnection,
    *,
    state: RiskState | None,
    kind: RiskKind | None,
    psn_nos: Sequence[PsnNo] | None,
    after: UUID | None,
    limit: int,
) -> list[RiskEvent]:
    """So many risk events, in the order in which they were raised; None does not narrow the list."""
    statement = sa.select(RISK_EVENTS).order_by(RISK_EVENTS.c.risk_event_id).limit(limit)
    if state is not None:
        statement = statement.where(RISK_EVENTS.c.state == state.value)
    if kind is not None:
        statement = statement.where(RISK_EVENTS.c.kind == kind.value)
    if psn_nos is not None:
        statement = statement.where(RISK_EVENTS.c.psn_no == any_of(psn_nos))
    if after is not None:
        statement = statement.where(RISK_EVENTS.c.risk_event_id > after)
    return [_event(row) for row in await connection.execute(statement)]


async def save_judgement(connection: AsyncConnection, risk_event_id: UUID, judgement: Judgement) -> None:
    """Closes an open event whose lock the caller holds."""
    await connection.execute(
        sa.update(RISK_EVENTS)
        .where(RISK_EVENTS.c.risk_event_id == risk_event_id)
        .values(
            state=judgement.state.value,
            cause=judgement.cause,
            opter=judgement.opter,
            decided_at=judgement.decided_at,
        )
    )


def _evidence_row(evidence: Evidence, finding: Finding, risk_event_id: UUID) -> dict[str, Any]:
    earlier = evidence.earlier
    return {
        "kind": finding.kind.value,
        "subject": finding.subject.key,
        "evidence_key": evidence.key,
        "risk_event_id": risk_event_id,
        "occurred_at": evidence.at,
        "fixmedins_code": evidence.fixmedins_code,
        "terminal_no": evidence.terminal_no,
        "reason": evidence.reason,
        "setl_id": evidence.setl_id,
        "patient_psn_no": evidence.patient,
        "occurrences": evidence.occurrences,
        "earlier_at": None if earlier is None else earlier.at,
        "earlier_fixmedins_code": None if earlier is None else earlier.fixmedins_code,
        "earlier_terminal_no": None if earlier is None else earlier.terminal_no,
        "distance_m": None if earlier is None else earlier.distance_m,
    }


def _evidence(row: sa.Row[Any]) -> Evidence:
    earlier = None
    if row.earlier_at is not None:
        earlier = Earlier(row.earlier_at, row.earlier_fixmedins_code, row.earlier_terminal_no, row.distance_m)
    return Evidence(
        key=row.evidence_key,
        at=row.occurred_at,
        fixmedins_code=row.fixmedins_code,
        terminal_no=row.terminal_no,
        reason=row.reason,
        setl_id=row.setl_id,
        patient=None if row.patient_psn_no is None else PsnNo(row.patient_psn_no),
        occurrences=row.occurrences,
        earlier=earlier,
    )


def _event(row: sa.Row[Any]) -> RiskEvent:
    state = RiskState(row.state)
    return RiskEvent(
        risk_event_id=row.risk_event_id,
        kind=RiskKind(row.kind),
        subject=Subject(
            psn_no=None if row.psn_no is None else PsnNo(row.psn_no),
            fixmedins_code=None if row.fixmedins_code is None else FixmedinsCode(row.fixmedins_code),
            terminal_no=row.terminal_no,
        ),
        day=row.day,
        raised_at=row.raised_at,
        evidence_at=row.evidence_at,
        evidence_count=row.evidence_count,
        judgement=None if state is RiskState.OPEN else Judgement(state, row.cause, row.opter, row.decided_at),
    )
