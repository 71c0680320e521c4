"""Where messages of family, identity, settlement and the ledgers meet the family domain; nothing is decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import NAMESPACE_URL, UUID, uuid5

from google.protobuf.timestamp_pb2 import Timestamp

from chassis.outbox import OutgoingEvent
from chassis.rpc import pages
from chassis.rpc.catalogue import texts_of
from gongji.family.v1 import binding_pb2, counter_pb2, events_pb2, family_pb2, groups_pb2, uses_pb2
from gongji.identity.v1 import events_pb2 as identity_events_pb2
from gongji.identity.v1 import kinship_pb2, person_pb2
from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import events_pb2 as settlement_events_pb2
from gongji.settlement.v1 import settlement_pb2
from kernel.clock import parsed_day
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, AuthorisationId, GroupId, PaymentId, PsnNo, parsed_fixmedins_code
from kernel.policy import Relation
from services.family.domain.bindings import Amend, Binding, Change, Close, LedgerAnswer, LedgerCommand, Open
from services.family.domain.counter import Counter, Document, DocumentKind
from services.family.domain.groups import Group, GroupState, Invitation, Kinship, Member
from services.family.domain.leaving import Departure
from services.family.domain.limits import Limits, MonthUse
from services.family.domain.people import Enrolment, Person, Sanction
from services.family.domain.pledges import Pledge, PledgeText
from services.family.domain.uses import InstitutionKind, Period, Place, Side, Sums, Use, Wanted

PERSON_CHANGED: Final = "person_changed"
KINSHIP_CHANGED: Final = "kinship_changed"
BILL_SETTLED: Final = "bill_settled"
BILL_REFUNDED: Final = "bill_refunded"
ACCOUNT_MOVED: Final = "account_moved"
_EVENT_IDS: Final = uuid5(NAMESPACE_URL, "urn:gongji:family:event")
_RELATIONS: Final = {relation: person_pb2.Relation.Value(f"RELATION_{relation.value}") for relation in Relation}
_RELATION_OF: Final = {number: relation for relation, number in _RELATIONS.items()}
_DOCUMENT_OF: Final = {counter_pb2.DocumentKind.Value(f"DOCUMENT_KIND_{kind.value}"): kind for kind in DocumentKind}
_CHANGES: Final = {change: events_pb2.BindingChange.Value(f"BINDING_CHANGE_{change.value}") for change in Change}
_KIND_OF_LETTER: Final = {"H": InstitutionKind.HOSPITAL, "P": InstitutionKind.PHARMACY}
_SIDE_OF: Final = {uses_pb2.UseSide.Value(f"USE_SIDE_{side.value}"): side for side in Side}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_USE_NO_END: Final = 2**63


# --- From identity.


def person_of(message: person_pb2.Person) -> Person:
    """A person as identity tells him."""
    return Person(
        psn_no=PsnNo(message.psn_no),
        name_masked=message.name_masked,
        birth_date=date.fromisoformat(message.brdy) if message.brdy else None,
        died_on=date.fromisoformat(message.death_date) if message.death_date else None,
        merged_into=PsnNo(message.merged_into) if message.merged_into else None,
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


def counter_of(message: counter_pb2.Counter) -> Counter:
    """The officer of a request and what he saw."""
    return Counter(
        opter=message.opter,
        second_opter=message.second_opter or None,
        documents=tuple(
            Document(
                psn_no=PsnNo(seen.psn_no),
                kind=_DOCUMENT_OF[seen.kind],
                seen_at=_instant(seen.seen_time),
            )
            for seen in message.documents
        ),
    )


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
            opening.used_fen = command.used_fen
            if command.month is not None:
                opening.month, opening.month_used_fen = command.month.month, command.month.used_fen
            _fill_limits(opening, command)
        case Amend():
            amending = message.amend_authorisation_command
            amending.authorisation_id = command.authorisation_id.bytes
            amending.version = command.version
            _fill_limits(amending, command)
        case Close():
            message.close_authorisation_command.authorisation_id = command.authorisation_id.bytes
    return message


def _fill_limits(
    message: ledger_pb2.OpenAuthorisationCommand | ledger_pb2.AmendAuthorisationCommand, command: Open | Amend
) -> None:
    if command.authorised_fen is not None:
        message.authorised_fen = command.authorised_fen
    if command.limits.per_payment_fen is not None:
        message.per_payment_fen = command.limits.per_payment_fen
    if command.limits.per_month_fen is not None:
        message.per_month_fen = command.limits.per_month_fen


def limits_of(
    message: family_pb2.BindRequest | family_pb2.AmendLimitsRequest | ledger_pb2.Authorisation,
) -> Limits:
    """What a request asks for, or a ledger keeps; a field that is absent is no limit."""
    return Limits(
        per_payment_fen=message.per_payment_fen if message.HasField("per_payment_fen") else None,
        per_month_fen=message.per_month_fen if message.HasField("per_month_fen") else None,
    )


def ledger_answer(reply: ledger_pb2.Reply) -> LedgerAnswer | None:
    """The ledger's answer to a command on an authorisation; None if the command was not looked at."""
    if reply.WhichOneof("kind") != "authorisation":
        return None
    told = reply.authorisation
    return LedgerAnswer(
        is_open=told.authorisation.state == ledger_pb2.AUTHORISATION_STATE_OPEN,
        authorised_fen=told.authorisation.authorised_fen if told.authorisation.HasField("authorised_fen") else None,
        refusal=_failure(told.refusal) if told.HasField("refusal") else None,
        limits=limits_of(told.authorisation),
        used_fen=told.authorisation.used_fen,
        held_fen=told.authorisation.held_fen,
        was_opened=told.authorisation.version > 0,
        month=_month_use(told.authorisation),
    )


def _month_use(told: ledger_pb2.Authorisation) -> MonthUse | None:
    """What the present month took; None where the ledger does not count months, or is of an older release."""
    return MonthUse(told.month, told.month_used_fen) if told.month else None


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
        per_payment_fen=binding.limits.per_payment_fen,
        per_month_fen=binding.limits.per_month_fen,
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
                leaving=member.leaving,
            )
            for member in group.members
        ],
        bindings=[binding_message(binding) for binding in bindings],
        invitations=[invitation_message(invitation) for invitation in group.invitations],
        state=group_state(group.state),
    )


def group_state(state: GroupState) -> binding_pb2.GroupState.ValueType:
    """Where a group stands."""
    return binding_pb2.GroupState.Value(f"GROUP_STATE_{state.value}")


def text_message(text: PledgeText) -> groups_pb2.PledgeText:
    """A registered text by its names and its hash."""
    return groups_pb2.PledgeText(
        text_version=text.text_version,
        language=text.language,
        text_sha256=text.sha256,
        registered_time=timestamp(text.registered_at),
    )


def pledge_message(pledge: Pledge) -> groups_pb2.Pledge:
    """What somebody has signed."""
    return groups_pb2.Pledge(
        pledge_id=str(pledge.pledge_id),
        text_version=pledge.text_version,
        language=pledge.language,
        text_sha256=pledge.text_sha256,
        signed_time=timestamp(pledge.signed_at),
        channel=counter_pb2.Channel.Value(f"CHANNEL_{pledge.channel.value}"),
    )


def departure_message(departure: Departure) -> groups_pb2.Departure:
    """How a member goes."""
    ending, done = groups_pb2.DEPARTURE_STATE_ENDING, groups_pb2.DEPARTURE_STATE_DONE
    return groups_pb2.Departure(
        group_id=str(departure.group_id),
        psn_no=departure.psn_no,
        cause=binding_pb2.DepartureCause.Value(f"DEPARTURE_CAUSE_{departure.cause.value}"),
        state=ending if departure.done_at is None else done,
        began_time=timestamp(departure.began_at),
        done_time=None if departure.done_at is None else timestamp(departure.done_at),
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


def member_event(
    group_id: GroupId, member: Member, others: Sequence[PsnNo] = (), *, instead_of: PsnNo | None = None
) -> events_pb2.FamilyEvent:
    """Someone joined; ``others`` were members already, ``instead_of`` was a double of his (not told in a snapshot)."""
    event = _event(f"member:{group_id}:{member.psn_no}", member.version, member.joined_at)
    joined = event.member_joined
    joined.group_id, joined.psn_no = str(group_id), member.psn_no
    joined.joined_time.CopyFrom(timestamp(member.joined_at))
    joined.other_psn_nos.extend(others)
    joined.instead_of_psn_no = instead_of or ""
    return event


def founder_event(group: Group, founder: PsnNo, *, version: int, at: datetime) -> events_pb2.FamilyEvent:
    """A member is the founder from now on; ``version`` is his membership's."""
    event = _event(f"member:{group.group_id}:{founder}", version, at)
    changed = event.founder_changed
    changed.group_id, changed.psn_no, changed.former_psn_no = str(group.group_id), founder, group.founder
    others = (member.psn_no for member in group.members if member.psn_no not in {founder, group.founder})
    changed.other_psn_nos.extend(others)
    return event


def departure_event(departure: Departure, others: Sequence[PsnNo] = ()) -> events_pb2.FamilyEvent:
    """Someone is a member no more; ``others`` still are (not told in a snapshot)."""
    at = departure.done_at or departure.began_at
    event = _event(f"member:{departure.group_id}:{departure.psn_no}", departure.member_version, at)
    left = event.member_left
    left.group_id, left.psn_no = str(departure.group_id), departure.psn_no
    left.left_time.CopyFrom(timestamp(at))
    left.cause = binding_pb2.DepartureCause.Value(f"DEPARTURE_CAUSE_{departure.cause.value}")
    left.other_psn_nos.extend(others)
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


# --- Uses: from settlement, and to those whom they concern.


def told_uses(payload: bytes) -> list[Use]:
    """What each funder gave for a bill, or got back, by one of settlement's events; none of any other event."""
    event = settlement_events_pb2.SettlementEvent.FromString(payload)
    fact: settlement_events_pb2.BillSettled | settlement_events_pb2.BillRefunded
    match event.WhichOneof("fact"):
        case "bill_settled":
            fact, original_id, sign = event.bill_settled, None, 1
        case "bill_refunded":
            fact, sign = event.bill_refunded, -1
            original_id = PaymentId(UUID(event.bill_refunded.original_setl_id))
        case _:
            return []
    given: dict[str, int] = {}
    authorisations: dict[str, str] = {}
    for change in fact.changes:
        if change.role == settlement_pb2.SOURCE_ROLE_FUNDER and change.past_fen + change.current_fen:
            given[change.psn_no] = given.get(change.psn_no, 0) + change.past_fen + change.current_fen
            authorisations[change.psn_no] = change.authorisation_id  # One pair has one binding that counts.
    if not given:
        return []
    institution = parsed_fixmedins_code(fact.fixmedins_code, field="fixmedins_code")
    return [
        Use(
            payment_id=PaymentId(UUID(fact.setl_id)),
            original_id=original_id,
            funder=PsnNo(funder),
            beneficiary=PsnNo(fact.patient_psn_no),
            authorisation_id=AuthorisationId(UUID(authorisations[funder])) if authorisations[funder] else None,
            used_at=_instant(event.occurred_time),
            institution_kind=_KIND_OF_LETTER[institution[0]],
            institution_area=AdmDvs(institution[1:7]),
            amount_fen=sign * amount_fen,
        )
        for funder, amount_fen in given.items()
    ]


def told_move(payload: bytes) -> tuple[PsnNo, AdmDvs, datetime] | None:
    """Whose personal account was moved, to which area and when, by one of settlement's events; None of any other."""
    event = settlement_events_pb2.SettlementEvent.FromString(payload)
    if event.WhichOneof("fact") != ACCOUNT_MOVED:
        return None
    moved = event.account_moved
    return PsnNo(moved.psn_no), AdmDvs(moved.to_area), _instant(event.occurred_time)


def wanted_uses(request: uses_pb2.ListUsesRequest) -> Wanted:
    """What is asked for. DATE_MALFORMED, USES_PERIOD_REVERSED."""
    return Wanted(
        by=PsnNo(request.by_psn_no),
        group_id=GroupId(UUID(request.group_id)) if request.group_id else None,
        side=_SIDE_OF.get(request.side),
        other=PsnNo(request.other_psn_no) if request.other_psn_no else None,
        period=period_of(request),
    )


def period_of(request: uses_pb2.ListUsesRequest | counter_pb2.ListCounterDeedsRequest) -> Period:
    """The civil days asked for. DATE_MALFORMED, USES_PERIOD_REVERSED."""
    return Period(
        parsed_day(request.from_date, field="from_date") if request.from_date else None,
        parsed_day(request.to_date, field="to_date") if request.to_date else None,
    )


def use_message(use: Use, group_id: GroupId | None, *, names: Mapping[PsnNo, str], by: PsnNo) -> uses_pb2.Use:
    """A use as ``by`` sees it: which bill it was is told to the two whom it concerns alone."""
    message = uses_pb2.Use(
        funder_psn_no=use.funder,
        funder_name_masked=names.get(use.funder, ""),
        beneficiary_psn_no=use.beneficiary,
        beneficiary_name_masked=names.get(use.beneficiary, ""),
        used_time=timestamp(use.used_at),
        institution_kind=uses_pb2.InstitutionKind.Value(f"INSTITUTION_KIND_{use.institution_kind.value}"),
        institution_area=use.institution_area,
        amount_fen=use.amount_fen,
        group_id="" if group_id is None else str(group_id),
    )
    if use.concerns(by):
        message.setl_id = str(use.payment_id)
        message.original_setl_id = "" if use.original_id is None else str(use.original_id)
    return message


def use_sums(sums: Sums) -> uses_pb2.UseSums:
    """The sums of what was asked for."""
    return uses_pb2.UseSums(
        used_fen=sums.used_fen,
        returned_fen=sums.returned_fen,
        given_fen=sums.given_fen,
        received_fen=sums.received_fen,
    )


def use_token(place: Place) -> str:
    """The page token of the list behind this place; it tells nothing of people or bills."""
    return pages.token_of(str((place.used_at - _EPOCH) // _MICROSECOND), str(place.use_no))


def use_place(token: str) -> Place | None:
    """The place of a token; None for the first page. PAGE_TOKEN_MALFORMED (INVALID)."""
    parts = pages.parts_of(token, 2)
    if parts is None:
        return None
    try:
        micros, use_no = (int(part) for part in parts)
        place = Place(_EPOCH + micros * _MICROSECOND, use_no)
    except (ValueError, OverflowError):
        raise pages.malformed() from None
    if use_token(place) != token or not 0 < use_no < _USE_NO_END:
        raise pages.malformed()
    return place
