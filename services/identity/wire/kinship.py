"""Kinship facts and relations, between messages and the domain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

from chassis.rpc.pages import malformed, parts_of, token_of
from gongji.identity.v1 import events_pb2, kinship_pb2, person_pb2
from kernel.failures import Failure, Kind
from kernel.ids import parsed_psn_no
from kernel.policy import Relation
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Kinship
from services.identity.domain.kinship_rules import Decider, Decision
from services.identity.domain.registry import Finding, StatedRow, checked_row
from services.identity.domain.relations import RelationChange
from services.identity.domain.review import Party, ShownFact
from services.identity.wire.events import Draft
from services.identity.wire.values import parsed_date, parsed_text, timestamp_of

_FACT_KINDS: Final = {person_pb2.KinshipFactKind.Value(f"KINSHIP_FACT_KIND_{kind.name}"): kind for kind in FactKind}
_FACT_STATES: Final = {
    person_pb2.KinshipFactState.Value(f"KINSHIP_FACT_STATE_{state.name}"): state for state in FactState
}
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
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
        issued_on=parsed_date(request.issued_on, field="issued_on"),
        expires_on=parsed_date(request.expires_on, field="expires_on"),
    )


def officers_decision(request: kinship_pb2.ReviewKinshipFactRequest) -> Decision:
    """What an officer decides; TEXT_MALFORMED if the cause is not one line of text."""
    return Decision(
        _FACT_STATES[request.state],
        Decider.OFFICER,
        opter=request.opter,
        cause=parsed_text(request.cause, field="cause") if request.cause else "",
    )


def fact_state_value(state: FactState) -> person_pb2.KinshipFactState.ValueType:
    """The state on the wire."""
    return person_pb2.KinshipFactState.Value(f"KINSHIP_FACT_STATE_{state.name}")


def finding_value(finding: Finding | None) -> kinship_pb2.RegistryFinding.ValueType:
    """What the registry said, on the wire."""
    if finding is None:
        return kinship_pb2.REGISTRY_FINDING_UNSPECIFIED
    return kinship_pb2.RegistryFinding.Value(f"REGISTRY_FINDING_{finding.name}")


def kinship_message(kinship: Kinship) -> kinship_pb2.VerifyKinshipResponse:
    """The answer to VerifyKinship."""
    return kinship_pb2.VerifyKinshipResponse(
        relation=_relation_value(kinship.relation),
        fact_ids=[str(fact.fact_id) for fact in kinship.chain],
        reason="" if kinship.reason is None else kinship.reason.value,
        chain=[
            kinship_pb2.KinshipLink(
                fact_id=str(fact.fact_id),
                kind=_fact_kind_value(fact.kind),
                psn_no=fact.psn_no,
                other_psn_no=fact.other_psn_no,
            )
            for fact in kinship.chain
        ],
    )


def fact_message(shown: ShownFact) -> kinship_pb2.KinshipFact:
    """A fact as an officer sees it."""
    fact = shown.fact
    return kinship_pb2.KinshipFact(
        fact_id=str(fact.fact_id),
        kind=_fact_kind_value(fact.kind),
        person=_party_message(shown.person),
        other=_party_message(shown.other),
        evidence=kinship_pb2.Evidence.Value(f"EVIDENCE_{fact.evidence.name}"),
        from_date=_date_text(fact.from_date),
        to_date=_date_text(fact.to_date),
        issued_on=_date_text(fact.issued_on),
        expires_on=_date_text(fact.expires_on),
        state=fact_state_value(fact.state),
        submitted_time=timestamp_of(shown.submitted_at),
        submitted_by=shown.submitted_by,
        finding=finding_value(shown.finding),
        decisions=[_decision_message(decision, decided_at) for decision, decided_at in shown.decisions],
    )


def review_token(last: ShownFact) -> str:
    """From where the next page of the queue goes on."""
    return token_of(last.submitted_at.isoformat(), last.fact.fact_id.hex)


def parsed_review_token(token: str) -> tuple[datetime, UUID] | None:
    """Where the page before ended; PAGE_TOKEN_MALFORMED."""
    parts = parts_of(token, 2)
    if parts is None:
        return None
    try:
        submitted_at = datetime.fromisoformat(parts[0])
        fact_id = UUID(hex=parts[1])
    except ValueError:
        raise malformed() from None
    if submitted_at.tzinfo is None:
        raise malformed()
    return submitted_at, fact_id


def registry_rows(
    request: kinship_pb2.LoadRegistryRowsRequest, *, today: date
) -> tuple[list[StatedRow], list[kinship_pb2.RefusedRegistryRow]]:
    """The rows that hold, and what is wrong with each of the others."""
    sound: list[StatedRow] = []
    refused: list[kinship_pb2.RefusedRegistryRow] = []
    for place, row in enumerate(request.rows):
        try:
            sound.append(
                checked_row(
                    kind=row.kind,
                    certno_a=row.certno_a,
                    certno_b=row.certno_b,
                    from_date=_row_date(row.from_date, field="from_date"),
                    to_date=_row_date(row.to_date, field="to_date"),
                    today=today,
                )
            )
        except Failure as failure:
            reason, field = failure.reason, failure.metadata.get("field", "")
            refused.append(kinship_pb2.RefusedRegistryRow(row=place, reason=reason, field=field))
    return sound, refused


def kinship_changed(fact: Fact, *, version: int, relations: Sequence[RelationChange]) -> Draft:
    """A fact was verified or fell, or what rests on it changed."""
    message = events_pb2.IdentityEvent(
        kinship_changed=events_pb2.KinshipChanged(
            fact_id=str(fact.fact_id),
            kind=_fact_kind_value(fact.kind),
            state=fact_state_value(fact.state),
            psn_no=fact.psn_no,
            other_psn_no=fact.other_psn_no,
            relations=[
                events_pb2.RelationChanged(
                    psn_no=each.psn_no,
                    other_psn_no=each.other_psn_no,
                    before=_relation_value(each.before),
                    after=_relation_value(each.after),
                )
                for each in relations
            ],
        )
    )
    return Draft(message, f"fact:{fact.fact_id}", version)


def _decision_message(decision: Decision, decided_at: datetime) -> kinship_pb2.KinshipDecision:
    return kinship_pb2.KinshipDecision(
        state=fact_state_value(decision.state),
        decider=kinship_pb2.KinshipDecider.Value(f"KINSHIP_DECIDER_{decision.decider.name}"),
        opter=decision.opter,
        cause=decision.cause,
        decided_time=timestamp_of(decided_at),
    )


def _party_message(party: Party) -> kinship_pb2.KinshipParty:
    return kinship_pb2.KinshipParty(psn_no=party.psn_no, name_masked=party.name_masked, brdy=party.brdy.isoformat())


def _row_date(text: str, *, field: str) -> date | None:
    # No rule of the contract has looked at it: a row is refused by itself, not with its whole batch.
    if text and not _DATE.fullmatch(text):
        raise Failure(Kind.INVALID, "DATE_MALFORMED", field=field)
    return parsed_date(text, field=field)


def _date_text(day: date | None) -> str:
    return "" if day is None else day.isoformat()


def _fact_kind_value(kind: FactKind) -> person_pb2.KinshipFactKind.ValueType:
    return person_pb2.KinshipFactKind.Value(f"KINSHIP_FACT_KIND_{kind.name}")


def _relation_value(relation: Relation | None) -> person_pb2.Relation.ValueType:
    if relation is None:
        return person_pb2.RELATION_UNSPECIFIED
    return person_pb2.Relation.Value(f"RELATION_{relation.name}")
