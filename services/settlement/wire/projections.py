"""Incoming events of identity and family, and the rows they stand for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.family.v1.binding_pb2 import Binding
from gongji.family.v1.binding_pb2 import BindingState as WireBindingState
from gongji.family.v1.events_pb2 import FamilyEvent
from gongji.identity.v1.events_pb2 import IdentityEvent, SigningKeyActivated
from gongji.identity.v1.person_pb2 import Institution as WireInstitution
from gongji.identity.v1.person_pb2 import InstitutionState as WireInstitutionState
from gongji.identity.v1.person_pb2 import Person, Relation
from kernel.ids import AdmDvs, AuthorisationId, FixmedinsCode, PsnNo
from services.settlement.domain.credential import SigningKey
from services.settlement.domain.facts import Fact, ProjectedBinding, ProjectedPerson, ProjectedSanction
from services.settlement.domain.visit import BindingState, Enrolment, Institution, InstitutionState

_RELATION_PREFIX: Final = "RELATION_"


def fact_of_identity(event: IdentityEvent) -> Fact | None:
    """What identity's event means here; None for one that means nothing, and for one this release does not know."""
    match event.WhichOneof("fact"):
        case "person_changed":
            return _person(event.person_changed.person)
        case "institution_changed":
            return _institution(event.institution_changed.institution)
        case "signing_key_activated":
            return _signing_key(event.signing_key_activated)
        case _:
            return None


def fact_of_family(event: FamilyEvent) -> Fact | None:
    """As ``fact_of_identity``, of family's."""
    if event.WhichOneof("fact") != "binding_changed":
        return None
    return _binding(event.binding_changed.binding, occurred_at=_instant(event.occurred_time))


def _person(message: Person) -> ProjectedPerson:
    return ProjectedPerson(
        psn_no=PsnNo(message.psn_no),
        name_masked=message.name_masked,
        brdy=message.brdy,
        enrolments=tuple(
            Enrolment(enrolment.insutype, AdmDvs(enrolment.insuplc_admdvs), enrolment.psn_insu_stas)
            for enrolment in message.enrolments
        ),
        sanctions=tuple(
            ProjectedSanction(UUID(sanction.sanction_id), _instant(sanction.from_time), _instant(sanction.to_time))
            for sanction in message.sanctions
            # One that was lifted before it began has no time left in which it is in force.
            if _instant(sanction.from_time) < _instant(sanction.to_time)
        ),
    )


def _institution(message: WireInstitution) -> Institution:
    state = WireInstitutionState.Name(message.state).removeprefix("INSTITUTION_STATE_")
    return Institution(FixmedinsCode(message.fixmedins_code), InstitutionState(state), message.wallet_capable)


def _signing_key(message: SigningKeyActivated) -> SigningKey:
    return SigningKey(
        message.kid, message.public_key, _instant(message.not_before_time), _instant(message.not_after_time)
    )


def _binding(message: Binding, *, occurred_at: datetime) -> ProjectedBinding:
    return ProjectedBinding(
        binding_id=UUID(message.binding_id),
        funder_psn_no=PsnNo(message.funder_psn_no),
        beneficiary_psn_no=PsnNo(message.beneficiary_psn_no),
        state=BindingState(WireBindingState.Name(message.state).removeprefix("BINDING_STATE_")),
        cause=message.cause,
        relation=Relation.Name(message.relation).removeprefix(_RELATION_PREFIX),
        authorised_fen=message.authorised_fen if message.HasField("authorised_fen") else None,
        deduct_order=message.deduct_order if message.HasField("deduct_order") else None,
        bound_at=_instant(message.bound_time) if message.HasField("bound_time") else occurred_at,
        authorisation_id=AuthorisationId(UUID(message.authorisation_id)) if message.authorisation_id else None,
        funder_area=AdmDvs(message.funder_area),
    )


def _instant(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
