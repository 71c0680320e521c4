"""Where a message of ``gongji.identity.v1`` and a value of the domain meet."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.outbox import OutgoingEvent
from gongji.identity.v1 import events_pb2, identity_pb2, person_pb2
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import parsed_fixmedins_code, parsed_psn_no
from kernel.policy import Relation
from services.identity.domain.certificate import CertificateKind, Sex
from services.identity.domain.credential import SigningKey
from services.identity.domain.institution import Institution, InstitutionState
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Kinship
from services.identity.domain.person import Person, Sanction
from services.identity.domain.registration import Registration, checked_registration

_YEAR_MIN: Final = 2021
"""The 条例 under which sanctions are imposed came into force in it; and Shanghai's clocks were not changed since."""
_YEAR_MAX: Final = 2200
_CERTIFICATE_KINDS: Final = {
    person_pb2.CertificateType.Value(f"CERTIFICATE_TYPE_{kind.name}"): kind for kind in CertificateKind
}
_FACT_KINDS: Final = {person_pb2.KinshipFactKind.Value(f"KINSHIP_FACT_KIND_{kind.name}"): kind for kind in FactKind}
_FACT_STATES: Final = {
    person_pb2.KinshipFactState.Value(f"KINSHIP_FACT_STATE_{state.name}"): state for state in FactState
}
_EVIDENCES: Final = {identity_pb2.Evidence.Value(f"EVIDENCE_{evidence.name}"): evidence for evidence in Evidence}
_INSTITUTION_STATES: Final = {
    person_pb2.InstitutionState.Value(f"INSTITUTION_STATE_{state.name}"): state for state in InstitutionState
}


def registration(request: identity_pb2.RegisterPersonRequest, *, now: datetime) -> Registration:
    """The checked registration; refusals as ``checked_registration`` lists them, DATE_MALFORMED before them."""
    return checked_registration(
        kind=_CERTIFICATE_KINDS[request.psn_cert_type],
        certno=request.certno,
        name=request.psn_name,
        brdy=parsed_date(request.brdy, field="brdy"),
        sex=Sex(request.gend) if request.gend else None,
        psn_no=parsed_psn_no(request.psn_no, field="psn_no") if request.psn_no else None,
        today=business_date(now),
    )


def submitted_fact(request: identity_pb2.SubmitKinshipFactRequest, *, fact_id: UUID) -> Fact:
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


def sanction(request: identity_pb2.ImposeSanctionRequest, *, sanction_id: UUID) -> Sanction:
    """The sanction as it is imposed; TIME_OUT_OF_RANGE or TEXT_MALFORMED if a part cannot be kept."""
    return Sanction(
        sanction_id=sanction_id,
        from_at=parsed_instant(request.from_time, field="from_time"),
        to_at=parsed_instant(request.to_time, field="to_time"),
        basis_clause=parsed_text(request.basis_clause, field="basis_clause"),
        decision_no=parsed_text(request.decision_no, field="decision_no"),
        organ=parsed_text(request.organ, field="organ"),
    )


def institution(message: person_pb2.Institution) -> Institution:
    """The institution as it shall be."""
    return Institution(
        fixmedins_code=parsed_fixmedins_code(message.fixmedins_code, field="institution.fixmedins_code"),
        fixmedins_name=parsed_text(message.fixmedins_name, field="institution.fixmedins_name"),
        state=_INSTITUTION_STATES[message.state],
        wallet_capable=message.wallet_capable,
    )


def parsed_date(text: str, *, field: str) -> date | None:
    """``2026-02-28``; None if empty, DATE_MALFORMED (INVALID) if there is no such day."""
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Failure(Kind.INVALID, "DATE_MALFORMED", field=field) from None


def parsed_instant(timestamp: Timestamp, *, field: str) -> datetime:
    """An instant to the microsecond; TIME_OUT_OF_RANGE (INVALID) if no decision under the 条例 can speak of it."""
    try:
        instant = timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        instant = datetime.min.replace(tzinfo=UTC)
    if not _YEAR_MIN <= instant.year <= _YEAR_MAX:
        raise Failure(Kind.INVALID, "TIME_OUT_OF_RANGE", field=field)
    return instant


def parsed_text(text: str, *, field: str) -> str:
    """One line without blanks around it; TEXT_MALFORMED (INVALID) if nothing is left or something cannot be shown."""
    stripped = text.strip()
    if not stripped or not stripped.isprintable():
        raise Failure(Kind.INVALID, "TEXT_MALFORMED", field=field)
    return stripped


def timestamp_of(instant: datetime) -> Timestamp:
    """The instant as protobuf has it."""
    timestamp = Timestamp()
    timestamp.FromDatetime(instant)
    return timestamp


def person_message(person: Person, *, now: datetime) -> person_pb2.Person:
    """What other rooms may know; sanctions that were lifted or are over are left out."""
    return person_pb2.Person(
        psn_no=person.psn_no,
        name_masked=person.name_masked,
        brdy=person.brdy.isoformat(),
        enrolments=[
            person_pb2.Enrolment(
                insutype=each.insutype.value,
                insuplc_admdvs=each.insuplc_admdvs,
                psn_insu_stas=each.psn_insu_stas.value,
            )
            for each in person.enrolments
        ],
        sanctions=[
            person_pb2.Sanction(
                sanction_id=str(each.sanction_id),
                from_time=timestamp_of(each.from_at),
                to_time=timestamp_of(each.to_at),
            )
            for each in person.sanctions
            if each.stands(now)
        ],
    )


def institution_message(institution: Institution) -> person_pb2.Institution:
    """The institution as others see it."""
    return person_pb2.Institution(
        fixmedins_code=institution.fixmedins_code,
        fixmedins_name=institution.fixmedins_name,
        state=person_pb2.InstitutionState.Value(f"INSTITUTION_STATE_{institution.state.name}"),
        wallet_capable=institution.wallet_capable,
    )


def fact_state_value(state: FactState) -> person_pb2.KinshipFactState.ValueType:
    """The state on the wire."""
    return person_pb2.KinshipFactState.Value(f"KINSHIP_FACT_STATE_{state.name}")


def kinship_message(kinship: Kinship) -> identity_pb2.VerifyKinshipResponse:
    """The answer to VerifyKinship."""
    return identity_pb2.VerifyKinshipResponse(
        relation=_relation_value(kinship.relation),
        fact_ids=map(str, kinship.chain),
        reason="" if kinship.reason is None else kinship.reason.value,
    )


def person_changed(person: Person, *, event_id: UUID, now: datetime) -> OutgoingEvent:
    """A person was registered or changed."""
    fact = events_pb2.IdentityEvent(person_changed=events_pb2.PersonChanged(person=person_message(person, now=now)))
    return _event(fact, f"person:{person.psn_no}", person.version, event_id, now)


def institution_changed(institution: Institution, *, event_id: UUID, now: datetime) -> OutgoingEvent:
    """An institution was registered or changed."""
    fact = events_pb2.IdentityEvent(
        institution_changed=events_pb2.InstitutionChanged(institution=institution_message(institution))
    )
    return _event(fact, f"institution:{institution.fixmedins_code}", institution.version, event_id, now)


def signing_key_activated(key: SigningKey, *, event_id: UUID, now: datetime) -> OutgoingEvent:
    """A key will sign from its time on."""
    fact = events_pb2.IdentityEvent(
        signing_key_activated=events_pb2.SigningKeyActivated(
            kid=key.kid,
            public_key=key.public_key,
            not_before_time=timestamp_of(key.not_before),
            not_after_time=timestamp_of(key.not_after),
        )
    )
    return _event(fact, f"key:{key.kid}", 1, event_id, now)


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
    return _event(message, f"fact:{fact.fact_id}", version, event_id, now)


def snapshot_message(payload: bytes) -> identity_pb2.StreamSnapshotResponse:
    """An event as it was told."""
    return identity_pb2.StreamSnapshotResponse(event=events_pb2.IdentityEvent.FromString(payload))


def _relation_value(relation: Relation | None) -> person_pb2.Relation.ValueType:
    if relation is None:
        return person_pb2.RELATION_UNSPECIFIED
    return person_pb2.Relation.Value(f"RELATION_{relation.name}")


def _event(
    message: events_pb2.IdentityEvent, aggregate: str, version: int, event_id: UUID, now: datetime
) -> OutgoingEvent:
    message.event_id = str(event_id)
    message.aggregate_id = aggregate
    message.version = version
    message.occurred_time.CopyFrom(timestamp_of(now))
    return OutgoingEvent(
        event_id=event_id,
        aggregate=aggregate,
        version=version,
        subject=message.WhichOneof("fact") or "",
        payload=message.SerializeToString(deterministic=True),
        occurred_at=now,
    )
