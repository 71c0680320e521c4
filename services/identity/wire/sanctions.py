"""Sanctions and appeals, between messages and the domain."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from uuid import UUID

from gongji.identity.v1 import person_pb2, sanctions_pb2
from kernel.failures import Failure, Kind
from kernel.ids import parsed_fixmedins_code, parsed_psn_no
from services.identity.domain.sanction import (
    Appeal,
    AppealState,
    Decision,
    Sanction,
    Sanctioned,
    SanctionRecord,
)
from services.identity.wire.values import parsed_date, parsed_instant, parsed_text, timestamp_of

_APPEAL_STATES: Final = {sanctions_pb2.AppealState.Value(f"APPEAL_STATE_{state.name}"): state for state in AppealState}


def sanctioned(request: sanctions_pb2.ImposeSanctionRequest | sanctions_pb2.ListSanctionsRequest) -> Sanctioned:
    """Whom the request is about; the contract lets exactly one of the two be named."""
    if request.psn_no:
        return Sanctioned(psn_no=parsed_psn_no(request.psn_no, field="psn_no"))
    return Sanctioned(fixmedins_code=parsed_fixmedins_code(request.fixmedins_code, field="fixmedins_code"))


def sanction(request: sanctions_pb2.ImposeSanctionRequest, *, sanction_id: UUID) -> Sanction:
    """The sanction as it is imposed; TIME_OUT_OF_RANGE or TEXT_MALFORMED if a part cannot be kept."""
    return Sanction(
        sanction_id=sanction_id,
        from_at=parsed_instant(request.from_time, field="from_time"),
        to_at=parsed_instant(request.to_time, field="to_time"),
        basis_clause=parsed_text(request.basis_clause, field="basis_clause"),
        decision_no=parsed_text(request.decision_no, field="decision_no"),
        organ=parsed_text(request.organ, field="organ"),
    )


def appeal(request: sanctions_pb2.FileAppealRequest, *, appeal_id: UUID, now: datetime) -> Appeal:
    """The appeal as it is filed; DATE_MALFORMED or TEXT_MALFORMED if a part cannot be kept."""
    filed_on = parsed_date(request.filed_date, field="filed_date")
    if filed_on is None:
        raise Failure(Kind.INVALID, "DATE_MALFORMED", field="filed_date")
    return Appeal(
        appeal_id=appeal_id,
        sanction_id=UUID(request.sanction_id),
        appeal_no=parsed_text(request.appeal_no, field="appeal_no"),
        filed_on=filed_on,
        filed_by=request.opter,
        recorded_at=now,
    )


def decision(request: sanctions_pb2.DecideAppealRequest, *, now: datetime) -> Decision:
    """What is decided on an appeal; TEXT_MALFORMED if a part cannot be kept."""
    return Decision(
        state=_APPEAL_STATES[request.state],
        decision_no=parsed_text(request.decision_no, field="decision_no"),
        cause=parsed_text(request.cause, field="cause"),
        opter=request.opter,
        decided_at=now,
    )


def standing_sanctions(sanctions: Iterable[Sanction], *, now: datetime) -> list[person_pb2.Sanction]:
    """What other rooms may know: those in force or to come."""
    return [
        person_pb2.Sanction(
            sanction_id=str(each.sanction_id), from_time=timestamp_of(each.from_at), to_time=timestamp_of(each.to_at)
        )
        for each in sanctions
        if each.stands(now)
    ]


def record_message(record: SanctionRecord, *, now: datetime) -> sanctions_pb2.SanctionRecord:
    """Everything that is on record of a sanction."""
    sanction = record.sanction
    return sanctions_pb2.SanctionRecord(
        sanction_id=str(sanction.sanction_id),
        kind=sanctions_pb2.SANCTION_KIND_SUSPEND_ONLINE_SETTLEMENT,
        psn_no=record.sanctioned.psn_no or "",
        fixmedins_code=record.sanctioned.fixmedins_code or "",
        from_time=timestamp_of(sanction.from_at),
        to_time=timestamp_of(sanction.to_at),
        basis_clause=sanction.basis_clause,
        decision_no=sanction.decision_no,
        organ=sanction.organ,
        state=sanctions_pb2.SanctionState.Value(f"SANCTION_STATE_{sanction.state(now).name}"),
        imposed_time=timestamp_of(record.imposed_at),
        imposed_by=record.imposed_by,
        lifted_time=None if sanction.lifted_at is None else timestamp_of(sanction.lifted_at),
        lift_cause=record.lift_cause,
        lifted_by=record.lifted_by,
        appeals=map(appeal_message, record.appeals),
    )


def appeal_message(appeal: Appeal) -> sanctions_pb2.Appeal:
    """An appeal and what became of it."""
    message = sanctions_pb2.Appeal(
        appeal_id=str(appeal.appeal_id),
        sanction_id=str(appeal.sanction_id),
        appeal_no=appeal.appeal_no,
        filed_date=appeal.filed_on.isoformat(),
        state=sanctions_pb2.AppealState.Value(f"APPEAL_STATE_{appeal.state.name}"),
        filed_by=appeal.filed_by,
        recorded_time=timestamp_of(appeal.recorded_at),
    )
    if appeal.decision is not None:
        message.decision_no = appeal.decision.decision_no
        message.cause = appeal.decision.cause
        message.decided_by = appeal.decision.opter
        message.decided_time.CopyFrom(timestamp_of(appeal.decision.decided_at))
    return message
