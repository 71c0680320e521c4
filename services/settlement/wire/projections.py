"""Incoming events of identity and family, and the rows they stand for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.family.v1.binding_pb2 import Binding
from gongji.family.v1.binding_pb2 import BindingState as WireBindingState
from gongji.family.v1.events_pb2 import FamilyEvent
from gongji.identity.v1.events_pb2 import IdentityEvent, InstitutionChanged, SigningKeyActivated
from gongji.identity.v1.identity_pb2 import StreamChangesResponse, StreamSnapshotResponse
from gongji.identity.v1.person_pb2 import (
    INSTITUTION_CAPABILITY_INPATIENT,
    TERMINAL_STATE_ACTIVE,
    InstitutionLevel,
    Person,
    Relation,
    Sanction,
)
from gongji.identity.v1.person_pb2 import InstitutionState as WireInstitutionState
from gongji.identity.v1.person_pb2 import Terminal as WireTerminal
from kernel.ids import AdmDvs, AuthorisationId, FixmedinsCode, PsnNo
from kernel.policy import CareLevel
from services.settlement.domain.credential import SigningKey
from services.settlement.domain.facts import (
    Caught,
    Fact,
    ProjectedBinding,
    ProjectedInstitution,
    ProjectedPerson,
    ProjectedSanction,
)
from services.settlement.domain.visit import BindingState, Enrolment, Institution, InstitutionState, Terminal

_LEVELS: Final = {
    InstitutionLevel.Value(f"INSTITUTION_LEVEL_{level.value}"): level
    for level in CareLevel
    if level is not CareLevel.PHARMACY
}
"""An unspecified one, and one that a later release knows, is not told."""
_RELATION_PREFIX: Final = "RELATION_"


def fact_of_identity(event: IdentityEvent) -> Fact | None:
    """What identity's event means here; None for one that means nothing, and for one this release does not know."""
    match event.WhichOneof("fact"):
        case "person_changed":
            return _person(event.person_changed.person)
        case "institution_changed":
            return _institution(event.institution_changed)
        case "terminal_changed":
            return _terminal(event.terminal_changed.terminal)
        case "signing_key_activated":
            return _signing_key(event.signing_key_activated)
        case _:
            return None


def fact_of_family(event: FamilyEvent) -> Fact | None:
    """As ``fact_of_identity``, of family's."""
    if event.WhichOneof("fact") != "binding_changed":
        return None
    return _binding(event.binding_changed.binding, occurred_at=_instant(event.occurred_time))


def caught_up(answer: StreamChangesResponse | StreamSnapshotResponse) -> Caught:
    """How far identity's answer reaches, of the message that says so."""
    return Caught(int(answer.cursor), _instant(answer.as_of_time))


def _person(message: Person) -> ProjectedPerson:
    return ProjectedPerson(
        psn_no=PsnNo(message.psn_no),
        name_masked=message.name_masked,
        brdy=message.brdy,
        enrolments=tuple(
            Enrolment(enrolment.insutype, AdmDvs(enrolment.insuplc_admdvs), enrolment.psn_insu_stas, enrolment.psn_type)
            for enrolment in message.enrolments
        ),
        sanctions=_sanctions(message.sanctions),
        merged_into=PsnNo(message.merged_into) if message.merged_into else None,
        deceased=bool(message.death_date),
    )


def _sanctions(messages: Iterable[Sanction]) -> tuple[ProjectedSanction, ...]:
    return tuple(
        ProjectedSanction(UUID(sanction.sanction_id), _instant(sanction.from_time), _instant(sanction.to_time))
        for sanction in messages
        # One that was lifted before it began has no time left in which it is in force.
        if _instant(sanction.from_time) < _instant(sanction.to_time)
    )


def _institution(told: InstitutionChanged) -> ProjectedInstitution:
    message = told.institution
    state = WireInstitutionState.Name(message.state).removeprefix("INSTITUTION_STATE_")
    institution = Institution(
        FixmedinsCode(message.fixmedins_code),
        InstitutionState(state),
        message.wallet_capable,
        inpatient=INSTITUTION_CAPABILITY_INPATIENT in message.capabilities,
        agreement_from=_day(message.agreement_from_date),
        agreement_to=_day(message.agreement_to_date),
        level=_LEVELS.get(message.level),
    )
    return ProjectedInstitution(institution, _sanctions(told.sanctions))


def _terminal(message: WireTerminal) -> Terminal:
    return Terminal(
        FixmedinsCode(message.fixmedins_code),
        message.terminal_no,
        message.state == TERMINAL_STATE_ACTIVE,
        message.sign_no,
        _instant(message.sign_ends_time) if message.sign_no else None,
    )


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


def _day(text: str) -> date | None:
    return date.fromisoformat(text) if text else None


def _instant(timestamp: Timestamp) -> datetime:
    return timestamp.ToDatetime(tzinfo=UTC)
