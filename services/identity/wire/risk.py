"""Risk events, and what settlement tells that they are made of, between messages and the domain."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from gongji.identity.v1 import events_pb2, risk_pb2
from gongji.settlement.v1 import events_pb2 as settlement_events
from gongji.settlement.v1 import settlement_pb2
from kernel.ids import PsnNo, parsed_psn_no
from services.identity.domain.objection import Ground
from services.identity.domain.risk import (
    BuyRefunded,
    Evidence,
    Finding,
    FundedBill,
    Heard,
    Judgement,
    PharmacyBuy,
    RiskEvent,
    RiskKind,
    RiskState,
    ShownForAnother,
)
from services.identity.wire.events import Draft
from services.identity.wire.values import parsed_text, timestamp_of

BILL_SETTLED: Final = "bill_settled"
BILL_REFUNDED: Final = "bill_refunded"
CREDENTIAL_REFUSED: Final = "credential_refused"
_PHARMACY: Final = "P"
_KINDS: Final = {risk_pb2.RiskKind.Value(f"RISK_KIND_{kind.name}"): kind for kind in RiskKind}
_KIND_VALUES: Final = {kind: value for value, kind in _KINDS.items()}
_GROUNDS: Final = {risk_pb2.ObjectionGround.Value(f"OBJECTION_GROUND_{each.name}"): each for each in Ground}
_STATES: Final = {risk_pb2.RiskState.Value(f"RISK_STATE_{state.name}"): state for state in RiskState}
_STATE_VALUES: Final = {state: value for value, state in _STATES.items()}


def heard(payload: bytes, *, small_buy_max_fen: int) -> list[Heard]:
    """What one of settlement's events tells that may count; nothing of what is none of this room's business."""
    told = settlement_events.SettlementEvent.FromString(payload)
    at = told.occurred_time.ToDatetime(tzinfo=UTC)
    match told.WhichOneof("fact"):
        case "bill_settled":
            return [*_funded(told.bill_settled, at), *_buys(told.bill_settled, at, small_buy_max_fen)]
        case "bill_refunded" if told.bill_refunded.fixmedins_code.startswith(_PHARMACY):
            return [BuyRefunded(UUID(told.bill_refunded.original_setl_id), at)]
        case "credential_refused":
            refused = told.credential_refused
            return [
                ShownForAnother(
                    event_id=UUID(told.event_id),
                    patient=PsnNo(refused.patient_psn_no),
                    presented=PsnNo(refused.presented_psn_no),
                    fixmedins_code=refused.fixmedins_code,
                    terminal_no=refused.terminal_no,
                    reason=refused.reason,
                    refused_at=at,
                )
            ]
        case _:
            return []


def kind_asked(kind: risk_pb2.RiskKind.ValueType) -> RiskKind | None:
    """The kind that a list is narrowed to; None for any."""
    return _KINDS.get(kind)


def state_asked(state: risk_pb2.RiskState.ValueType) -> RiskState | None:
    """The state that a list is narrowed to; None for any."""
    return _STATES.get(state)


def person_asked(psn_no: str) -> PsnNo | None:
    """The person that a list is narrowed to; None for everything."""
    return parsed_psn_no(psn_no, field="psn_no") if psn_no else None


def ground(value: risk_pb2.ObjectionGround.ValueType) -> Ground:
    """Why somebody objects; the contract's rules let no other number through."""
    return _GROUNDS[value]


def judgement(request: risk_pb2.DecideRiskEventRequest, *, now: datetime) -> Judgement:
    """What an officer made of it; TEXT_MALFORMED if the cause cannot be kept."""
    return Judgement(
        state=_STATES[request.state],
        cause=parsed_text(request.cause, field="cause"),
        opter=request.opter,
        decided_at=now,
    )


def event_message(found: RiskEvent) -> risk_pb2.RiskEvent:
    """A risk event without its evidence."""
    message = risk_pb2.RiskEvent(
        risk_event_id=str(found.risk_event_id),
        kind=_KIND_VALUES[found.kind],
        state=_STATE_VALUES[found.state],
        psn_no=found.subject.psn_no or "",
        fixmedins_code=found.subject.fixmedins_code or "",
        terminal_no=found.subject.terminal_no,
        day=found.day.isoformat(),
        raised_time=timestamp_of(found.raised_at),
        evidence_time=timestamp_of(found.evidence_at),
        evidence_count=found.evidence_count,
    )
    if found.judgement is not None:
        message.cause = found.judgement.cause
        message.opter = found.judgement.opter
        message.decided_time.CopyFrom(timestamp_of(found.judgement.decided_at))
    return message


def evidence_message(evidence: Evidence) -> risk_pb2.RiskEvidence:
    """One thing that happened."""
    message = risk_pb2.RiskEvidence(
        occurred_time=timestamp_of(evidence.at),
        fixmedins_code=evidence.fixmedins_code,
        terminal_no=evidence.terminal_no,
        reason=evidence.reason,
        setl_id="" if evidence.setl_id is None else str(evidence.setl_id),
        patient_psn_no=evidence.patient or "",
        count=evidence.occurrences,
    )
    if evidence.earlier is not None:
        message.earlier_time.CopyFrom(timestamp_of(evidence.earlier.at))
        message.earlier_fixmedins_code = evidence.earlier.fixmedins_code
        message.earlier_terminal_no = evidence.earlier.terminal_no
        message.distance_m = evidence.earlier.distance_m
    return message


def risk_event_raised(finding: Finding, psn_no: PsnNo, risk_event_id: UUID, *, now: datetime) -> Draft:
    """Something looks like misuse of this person's credential or money; said once, when it is first seen."""
    fact = events_pb2.IdentityEvent(
        risk_event_raised=events_pb2.RiskEventRaised(
            risk_event_id=str(risk_event_id),
            kind=_KIND_VALUES[finding.kind],
            psn_no=psn_no,
            raised_time=timestamp_of(now),
        )
    )
    return Draft(fact, f"risk:{risk_event_id}", 1)


def _funded(settled: settlement_events.BillSettled, at: datetime) -> Iterator[FundedBill]:
    """One for everybody whose account gave something, the patient's own among them."""
    given = {change.psn_no for change in settled.changes if change.past_fen or change.current_fen}
    for psn_no in sorted(given):
        yield FundedBill(
            setl_id=UUID(settled.setl_id),
            psn_no=PsnNo(psn_no),
            patient=PsnNo(settled.patient_psn_no),
            fixmedins_code=settled.fixmedins_code,
            settled_at=at,
        )


def _buys(settled: settlement_events.BillSettled, at: datetime, small_buy_max_fen: int) -> Iterator[PharmacyBuy]:
    """One for each funder's account that gave no more than a little of it."""
    if not settled.fixmedins_code.startswith(_PHARMACY):
        return
    given: dict[str, int] = {}
    for change in settled.changes:
        if change.role == settlement_pb2.SOURCE_ROLE_FUNDER:
            given[change.psn_no] = given.get(change.psn_no, 0) + abs(change.past_fen + change.current_fen)
    for psn_no, amount_fen in given.items():
        if 0 < amount_fen <= small_buy_max_fen:
            yield PharmacyBuy(
                setl_id=UUID(settled.setl_id),
                funder=PsnNo(psn_no),
                patient=PsnNo(settled.patient_psn_no),
                fixmedins_code=settled.fixmedins_code,
                settled_at=at,
            )
