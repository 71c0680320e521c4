"""Persons, between messages and the domain."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from gongji.identity.v1 import events_pb2, identity_pb2, person_pb2
from kernel.clock import business_date
from kernel.ids import parsed_psn_no
from services.identity.domain.certificate import Certificate, CertificateKind, Sex, parsed_certificate
from services.identity.domain.name import parsed_name
from services.identity.domain.particulars import Wanted
from services.identity.domain.person import DeathEvidence, Person
from services.identity.domain.registration import Registration, checked_registration
from services.identity.wire.events import Draft
from services.identity.wire.sanctions import standing_sanctions
from services.identity.wire.values import parsed_date, timestamp_of

CERTIFICATE_KINDS: Final = {
    person_pb2.CertificateType.Value(f"CERTIFICATE_TYPE_{kind.name}"): kind for kind in CertificateKind
}

_DEATH_EVIDENCES: Final = {
    identity_pb2.DeathEvidence.Value(f"DEATH_EVIDENCE_{evidence.name}"): evidence for evidence in DeathEvidence
}


def registration(request: identity_pb2.RegisterPersonRequest, *, now: datetime) -> Registration:
    """The checked registration; refusals as ``checked_registration`` lists them, DATE_MALFORMED before them."""
    return checked_registration(
        kind=CERTIFICATE_KINDS[request.psn_cert_type],
        certno=request.certno,
        name=request.psn_name,
        brdy=parsed_date(request.brdy, field="brdy"),
        sex=Sex(request.gend) if request.gend else None,
        psn_no=parsed_psn_no(request.psn_no, field="psn_no") if request.psn_no else None,
        today=business_date(now),
    )


def wanted(request: identity_pb2.UpdatePersonRequest | identity_pb2.ChangeCertificateRequest) -> Wanted:
    """What shall be on record; DATE_MALFORMED, NAME_MALFORMED (INVALID)."""
    return Wanted(
        name=parsed_name(request.psn_name) if request.psn_name else None,
        brdy=parsed_date(request.brdy, field="brdy"),
        sex=Sex(request.gend) if request.gend else None,
    )


def certificate(request: identity_pb2.ChangeCertificateRequest, *, now: datetime) -> Certificate:
    """The new certificate; refusals as ``parsed_certificate``."""
    return parsed_certificate(CERTIFICATE_KINDS[request.psn_cert_type], request.certno, today=business_date(now))


def death_evidence(evidence: identity_pb2.DeathEvidence.ValueType) -> DeathEvidence:
    """On which document a death rests."""
    return _DEATH_EVIDENCES[evidence]


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
                psn_type=each.psn_type,
            )
            for each in person.enrolments
        ],
        sanctions=standing_sanctions(person.sanctions, now=now),
        death_date="" if person.death_date is None else person.death_date.isoformat(),
        merged_into=person.merged_into or "",
        real_name_time=None if person.real_name_at is None else timestamp_of(person.real_name_at),
    )


def person_changed(person: Person, *, now: datetime) -> Draft:
    """A person was registered or changed."""
    fact = events_pb2.IdentityEvent(person_changed=events_pb2.PersonChanged(person=person_message(person, now=now)))
    return Draft(fact, f"person:{person.psn_no}", person.version)
