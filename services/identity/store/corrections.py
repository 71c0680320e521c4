"""Corrections: what people ask to have put right, sealed, and what was decided."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.certificate import CertificateKind
from services.identity.domain.correction import (
    Correction,
    CorrectionEvidence,
    CorrectionField,
    CorrectionState,
    Wanted,
)
from services.identity.domain.sealing import Sealed
from services.identity.store.arrays import any_of
from services.identity.tables.people import PERSONS
from services.identity.tables.rights import CORRECTIONS


@dataclass(frozen=True, slots=True)
class SealedCorrection:
    """A correction whose value only a key holder can read; ``name_masked`` is the person's as recorded now."""

    correction_id: UUID
    psn_no: PsnNo
    name_masked: str
    field: CorrectionField
    kind: CertificateKind | None
    value: Sealed
    evidence: CorrectionEvidence
    state: CorrectionState
    requested_by: str
    requested_at: datetime
    opter: str | None
    cause: str
    decided_at: datetime | None

    def opened(self, value: str) -> Correction:
        """The correction with its value read."""
        return Correction(
            correction_id=self.correction_id,
            psn_no=self.psn_no,
            wanted=Wanted(self.field, value, self.kind),
            evidence=self.evidence,
            state=self.state,
            requested_by=self.requested_by,
            requested_at=self.requested_at,
            opter=self.opter,
            cause=self.cause,
            decided_at=self.decided_at,
        )


async def insert_correction(connection: AsyncConnection, correction: Correction, value: Sealed) -> None:
    """Keeps a requested correction; the caller holds the person's lock and has seen that no other waits."""
    wanted = correction.wanted
    await connection.execute(
        sa.insert(CORRECTIONS).values(
            correction_id=correction.correction_id,
            psn_no=correction.psn_no,
            field=wanted.field.value,
            certificate_kind=None if wanted.kind is None else wanted.kind.value,
            value_sealed=value.content,
            key_id=value.key_id,
            evidence=correction.evidence.value,
            state=correction.state.value,
            requested_by=correction.requested_by,
            requested_at=correction.requested_at,
        )
    )


async def waiting_correction(
    connection: AsyncConnection, psn_no: PsnNo, field: CorrectionField
) -> SealedCorrection | None:
    """The correction of this field that waits for its decision, if one does."""
    statement = _selected().where(
        CORRECTIONS.c.psn_no == psn_no,
        CORRECTIONS.c.field == field.value,
        CORRECTIONS.c.state == CorrectionState.REQUESTED.value,
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _correction(row)


async def load_correction(
    connection: AsyncConnection, correction_id: UUID, *, lock: bool = False
) -> SealedCorrection | None:
    """A correction; with ``lock``, nobody else decides it until this transaction ends."""
    statement = _selected().where(CORRECTIONS.c.correction_id == correction_id)
    if lock:
        statement = statement.with_for_update(of=CORRECTIONS)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _correction(row)


async def corrections_after(
    connection: AsyncConnection,
    correction_id: UUID | None,
    *,
    psn_nos: Sequence[PsnNo] | None,
    state: CorrectionState | None,
    limit: int,
) -> Sequence[SealedCorrection]:
    """So many corrections, oldest first, from behind this one; of one person, in one state, or both."""
    statement = _selected().order_by(CORRECTIONS.c.correction_id).limit(limit)
    if correction_id is not None:
        statement = statement.where(CORRECTIONS.c.correction_id > correction_id)
    if psn_nos is not None:
        statement = statement.where(CORRECTIONS.c.psn_no == any_of(psn_nos))
    if state is not None:
        statement = statement.where(CORRECTIONS.c.state == state.value)
    return list(map(_correction, await connection.execute(statement)))


async def decide_correction(
    connection: AsyncConnection, correction_id: UUID, state: CorrectionState, *, opter: str, cause: str, now: datetime
) -> None:
    """Writes the decision; the caller holds the correction's lock."""
    await connection.execute(
        sa.update(CORRECTIONS)
        .where(CORRECTIONS.c.correction_id == correction_id)
        .values(state=state.value, opter=opter, cause=cause, decided_at=now)
    )


async def refuse_waiting(
    connection: AsyncConnection, psn_nos: Iterable[PsnNo], *, opter: str, cause: str, now: datetime
) -> None:
    """Refuses whatever these people wait for; the caller holds their locks, so nothing is asked for meanwhile."""
    await connection.execute(
        sa.update(CORRECTIONS)
        .where(CORRECTIONS.c.psn_no == any_of(sorted(psn_nos)), CORRECTIONS.c.state == CorrectionState.REQUESTED.value)
        .values(state=CorrectionState.REFUSED.value, opter=opter, cause=cause, decided_at=now)
    )


def _selected() -> sa.Select[tuple[object, ...]]:
    return sa.select(CORRECTIONS, PERSONS.c.name_masked).join_from(CORRECTIONS, PERSONS)


def _correction(row: sa.Row[tuple[object, ...]]) -> SealedCorrection:
    return SealedCorrection(
        correction_id=row.correction_id,
        psn_no=PsnNo(row.psn_no),
        name_masked=row.name_masked,
        field=CorrectionField(row.field),
        kind=None if row.certificate_kind is None else CertificateKind(row.certificate_kind),
        value=Sealed(row.key_id, row.value_sealed),
        evidence=CorrectionEvidence(row.evidence),
        state=CorrectionState(row.state),
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        opter=row.opter,
        cause=row.cause,
        decided_at=row.decided_at,
    )
