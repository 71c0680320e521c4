"""Where messages of family, of identity and of the ledgers meet the family domain; nothing is decided here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.outbox import OutgoingEvent
from chassis.rpc.catalogue import texts_of
from gongji.family.v1 import binding_pb2, events_pb2, family_pb2
from gongji.identity.v1 import events_pb2 as identity_events_pb2
from gongji.identity.v1 import kinship_pb2, person_pb2
from gongji.ledger.v1 import ledger_pb2
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, GroupId, PsnNo
from kernel.policy import Relation
from services.family.domain.bindings import Amend, Binding, Change, Close, LedgerAnswer, LedgerCommand, Open
from services.family.domain.groups import Group, Invitation, Kinship, Member
from services.family.domain.people import Enrolment, Person, Sanction

PERSON_CHANGED: Final = "person_changed"
KINSHIP_CHANGED: Final = "kinship_changed"
_EVENT_IDS: Final = uuid5(NAMESPACE_URL, "urn:gongji:family:event")
_RELATIONS: Final = {relation: person_pb2.Relation.Value(f"RELATION_{relation.value}") for relation in Relation}
_RELATION_OF: Final = {number: relation for relation, number in _RELATIONS.items()}
_CHANGES: Final = {change: events_pb2.BindingChange.Value(f"BINDING_CHANGE_{change.value}") for change in Change}


# --- From identity.


def person_of(message: person_pb2.Person) -> Person:
    """A person as identity tells him."""
    return Person(
        psn_no=PsnNo(message.psn_no),
        name_masked=message.name_masked,
        birth_date=date.fromisoformat(message.brdy) if message.brdy else None,
        enrolments=tuple(
            Enrolment(enrolment.insutype, AdmDvs(enrolment.insuplc_admdvs), enrolment.psn_insu_stas)
            for enrolment in message.enrolments
        ),
        sanctions=tuple(
            Sanction(_instant(sanction.from_time), _instant(sanction.to_time)) for sanction in message.sanctions
        ),
    )


def told_person(payload: bytes | identity_events_pb2.IdentityEvent) -> tuple[Person, int] | None:
    """The person whom one of identity's events tells, and the event's version; None if it tells of something else."""
    if isinstance(payload, bytes):
        payload = identity_events_pb2.IdentityEvent.FromString(payload)
    if payload.WhichOneof("fact") != PERSON_CHANGED:
        return None
    return person_of(payload.person_changed.person), payload.version


def told_losses(payload: bytes) -> set[tuple[PsnNo, PsnNo]]:
    """Who is no longer what he was to whom, by one of identity's events: the relation is gone or another one."""
    event = identity_events_pb2.IdentityEvent.FromString(payload)
    return {
        (PsnNo(told.psn_no), PsnNo(told.other_psn_no))
        for told in event.kinship_changed.relations
        if told.before not in {person_pb2.RELATION_UNSPECIFIED, told.after}
    }


def kinship_of(message: kinship_pb2.VerifyKinshipResponse) -> Kinship:
    """Identity's word on two people."""
    return Kinship(_RELATION_OF.get(message.relation), message.reason)


def relation_of(number: person_pb2.Relation.ValueType) -> Relation:
    """The relation of a request; the contract's rules let no other number through."""
    return _RELATION_OF[number]


# --- To and from the ledgers.


def ledger_command(command: LedgerCommand, *, traceparent: str) -> ledger_pb2.Command:
    """What the funder's ledger is told."""
    message = ledger_pb2.Command(traceparent=traceparent)
    match command:
        case Open():
            opening = message.open_authorisation_command
            opening.authorisation_id = command.authorisation_id.bytes
            opening.funder_psn_no = command.funder
            opening.beneficiary_psn_no = command.beneficiary
            if command.authorised_fen is not None:
                opening.authorised_fen = command.authorised_fen
        case Amend():
            amending = message.amend_authorisation_command
            amending.authorisation_id = command.authorisation_id.bytes
            amending.version = command.version
            if command.authorised_fen is not None:
                amending.authorised_fen = command.authorised_fen
        case Close():
            message.close_authorisation_command.authorisation_id = command.authorisation_id.bytes
    return message


def ledger_answer(reply: ledger_pb2.Reply) -> LedgerAnswer | None:
    """The ledger's answer to a command on an authorisation; None if the command was not looked at."""
    if reply.WhichOneof("kind") != "authorisation":
        return None
    told = reply.authorisation
    return LedgerAnswer(
        is_open=told.authorisation.state == ledger_pb2.AUTHORISATION_STATE_OPEN,
        authorised_fen=told.authorisation.authorised_fen if told.authorisation.HasField("authorised_fen") else None,
        refusal=_failure(told.refusal) if told.HasField("refusal") else None,
    )


def _failure(refusal: ledger_pb2.Refusal) -> Failure:
    code = texts_of(refusal.reason).code
    kind = Kind(code) if code in {kind.value for kind in Kind} else Kind.PRECONDITION
    return Failure(kind, refusal.reason, **refusal.metadata)


# --- Answers.


def binding_message(binding: Binding) -> binding_pb2.Binding:
    """A binding as its parties and other rooms see it."""
    return binding_pb2.Binding(
        binding_id=str(binding.binding_id),
        group_id=str(binding.group_id),
        funder_psn_no=binding.funder,
        beneficiary_psn_no=binding.beneficiary,
        state=binding_pb2.BindingState.Value(f"BINDING_STATE_{binding.state.value}"),
        authorised_fen=binding.authorised_fen,
        deduct_order=binding.deduct_order,
        bound_time=timestamp(binding.bound_at),
        authorisation_id=str(binding.authorisation_id),
        funder_area=binding.funder_area,
        cause=binding.cause,
        authorisation_version=binding.authorisation_version,
        relation=_RELATIONS[binding.relation],
    )


def invitation_message(invitation: Invitation) -> binding_pb2.Invitation:
    """An invitation as its parties and other rooms see it."""
    return binding_pb2.Invitation(
        invitation_id=str(invitation.invitation_id),
        group_id=str(invitation.group_id),
        inviter_psn_no=invitation.inviter,
        invitee_psn_no=invitation.invitee,
        relation=_RELATIONS[invitation.relation],
        state=binding_pb2.InvitationState.Value(f"INVITATION_STATE_{invitation.state.value}"),
        expires_time=timestamp(invitation.expires_at),
    )


def group_message(group: Group, names: dict[PsnNo, str], bindings: Sequence[Binding]) -> family_pb2.Group:
    """A group as its members see it; a name that is not known yet is left empty."""
    return family_pb2.Group(
        group_id=str(group.group_id),
        founder_psn_no=group.founder,
        members=[
            family_pb2.Member(
                psn_no=member.psn_no,
                name_masked=names.get(member.psn_no, ""),
                joined_time=timestamp(member.joined_at),
            )
            for member in group.members
        ],
        bindings=[binding_message(binding) for binding in bindings],
        invitations=[invitation_message(invitation) for invitation in group.invitations],
    )


# --- Events. An event's id follows from its aggregate and version, so a snapshot tells the very event of the stream.


def binding_event(binding: Binding, change: Change | None, *, at: datetime) -> events_pb2.FamilyEvent:
    """A binding as it stands; ``change`` None in a snapshot."""
    event = _event(f"binding:{binding.binding_id}", binding.version, at)
    event.binding_changed.binding.CopyFrom(binding_message(binding))
    if change is not None:
        event.binding_changed.change = _CHANGES[change]
    return event


def invitation_event(invitation: Invitation, *, at: datetime) -> events_pb2.FamilyEvent:
    """An invitation as it stands."""
    event = _event(f"invitation:{invitation.invitation_id}", invitation.version, at)
    event.invitation_changed.invitation.CopyFrom(invitation_message(invitation))
    return event


def member_event(group_id: GroupId, member: Member, others: Sequence[PsnNo] = ()) -> events_pb2.FamilyEvent:
    """Someone joined; ``others`` were members already (not told in a snapshot)."""
    event = _event(f"member:{group_id}:{member.psn_no}", 1, member.joined_at)
    joined = event.member_joined
    joined.group_id, joined.psn_no = str(group_id), member.psn_no
    joined.joined_time.CopyFrom(timestamp(member.joined_at))
    joined.other_psn_nos.extend(others)
    return event


def outgoing(event: events_pb2.FamilyEvent) -> OutgoingEvent:
    """The event's row in the outbox."""
    return OutgoingEvent(
        event_id=UUID(event.event_id),
        aggregate=event.aggregate_id,
        version=event.version,
        subject=str(event.WhichOneof("fact")),
        payload=event.SerializeToString(),
        occurred_at=_instant(event.occurred_time),
    )


def timestamp(instant: datetime) -> Timestamp:
    """The instant on the wire."""
    message = Timestamp()
    message.FromDatetime(instant)
    return message


def _event(aggregate: str, version: int, at: datetime) -> events_pb2.FamilyEvent:
    return events_pb2.FamilyEvent(
        event_id=str(uuid5(_EVENT_IDS, f"{aggregate}:{version}")),
        aggregate_id=aggregate,
        version=version,
        occurred_time=timestamp(at),
    )


def _instant(message: Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)
