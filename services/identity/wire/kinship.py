"""Kinship facts and relations, between messages and the domain."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from chassis.outbox import OutgoingEvent
from gongji.identity.v1 import events_pb2, kinship_pb2, person_pb2
from kernel.ids import parsed_psn_no
from kernel.policy import Relation
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Kinship
from services.identity.wire.events import event
from services.identity.wire.values import parsed_date

_FACT_KINDS: Final = {person_pb2.KinshipFactKind.Value(f"KINSHIP_FACT_KIND_{kind.name}"): kind for kind in FactKind}
_FACT_STATES: Final = {
    person_pb2.KinshipFactState.Value(f"KINSHIP_FACT_STATE_{state.name}"): state for state in FactState
}
_EVIDENCES: Final = {kinship_pb2.Evidence.Value(f"EVIDENCE_{evidence.name}"): evidence for evidence in Evidence}


def submitted_fact(request: kinship_pb2.SubmitKinshipFactRequest, *, fact_id: UUID) -> Fact:
    """The fact as it is submitted; DATE_MALFORMED if a date is no day."""
    return Fact(
        fact_id=fact_id,
        kind=_FACT_KINDS[request.kind],
        psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
        other_psn_no=parsed_psn_no(request.other_psn_no, field="other_psn_no"),
        evidence=_EVIDENCES[request.evidence],
        from_date=parsed_date(request.from_date, field="from_date"),
        to_date=parsed_date(request.to_date, field="to_date"),
    )


def fact_state(state: person_pb2.KinshipFactState.ValueType) -> FactState:
    """An officer's decision."""
    return _FACT_STATES[state]


def fact_state_value(state: FactState) -> person_pb2.KinshipFactState.ValueType:
    """The state on the wire."""
    return person_pb2.KinshipFactState.Value(f"KINSHIP_FACT_STATE_{state.name}")


def kinship_message(kinship: Kinship) -> kinship_pb2.VerifyKinshipResponse:
    """The answer to VerifyKinship."""
    return kinship_pb2.VerifyKinshipResponse(
        relation=_relation_value(kinship.relation),
        fact_ids=map(str, kinship.chain),
        reason="" if kinship.reason is None else kinship.reason.value,
    )


def kinship_changed(fact: Fact, *, version: int, event_id: UUID, now: datetime) -> OutgoingEvent:
    """A fact was verified or fell."""
    message = events_pb2.IdentityEvent(
        kinship_changed=events_pb2.KinshipChanged(
            fact_id=str(fact.fact_id),
            kind=person_pb2.KinshipFactKind.Value(f"KINSHIP_FACT_KIND_{fact.kind.name}"),
            state=fact_state_value(fact.state),
            psn_no=fact.psn_no,
            other_psn_no=fact.other_psn_no,
        )
    )
    return event(message, f"fact:{fact.fact_id}", version, event_id, now)


def _relation_value(relation: Relation | None) -> person_pb2.Relation.ValueType:
    if relation is None:
        return person_pb2.RELATION_UNSPECIFIED
    return person_pb2.Relation.Value(f"RELATION_{relation.name}")
