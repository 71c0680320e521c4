"""Where other rooms' events and notify's own messages meet the notify domain; nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.family.v1 import binding_pb2
from gongji.family.v1 import events_pb2 as family_events
from gongji.identity.v1 import events_pb2 as identity_events
from gongji.identity.v1 import risk_pb2
from gongji.notify.v1 import notify_pb2
from gongji.settlement.v1 import account_pb2, premiums_pb2, settlement_pb2, wallets_pb2
from gongji.settlement.v1 import events_pb2 as settlement_events
from kernel.ids import PsnNo
from services.notify.domain.facts import (
    AccountChange,
    AccountCredited,
    AccountEnded,
    AccountFreezeChanged,
    BillRefunded,
    BillSettled,
    BindingChange,
    BindingChanged,
    ClaimDecided,
    Fact,
    FounderChanged,
    Going,
    InvitationAnswered,
    Invited,
    Joined,
    Left,
    PersonTold,
    Place,
    PremiumChanged,
    ReturnCause,
    Sanctioned,
    Source,
    StopCause,
    Told,
    TransferChange,
    TransferChanged,
    UnusualUse,
    Use,
    WalletChanged,
)
from services.notify.store import StoredMessage

PERSON_CHANGED: Final = "person_changed"
RISK_EVENT_RAISED: Final = "risk_event_raised"
_PHARMACY: Final = "P"
_SOURCES: Final = {
    settlement_pb2.SOURCE_ROLE_OWN: Source.OWN,
    settlement_pb2.SOURCE_ROLE_WALLET: Source.WALLET,
    settlement_pb2.SOURCE_ROLE_FUNDER: Source.FUNDER,
}
_BINDING_CHANGES: Final = {
    family_events.BINDING_CHANGE_BOUND: BindingChange.BOUND,
    family_events.BINDING_CHANGE_AMOUNT: BindingChange.AMOUNT,
    family_events.BINDING_CHANGE_LIMITS: BindingChange.LIMITS,
    family_events.BINDING_CHANGE_ORDER: BindingChange.ORDER,
    family_events.BINDING_CHANGE_CLOSING: BindingChange.ENDED,
    family_events.BINDING_CHANGE_SUSPENDED: BindingChange.SUSPENDED,
    family_events.BINDING_CHANGE_MOVING: BindingChange.MOVING,
    family_events.BINDING_CHANGE_MOVED: BindingChange.MOVED,
}
"""An end is told when it takes effect (CLOSING), not again when the ledger has followed (UNBOUND)."""
_STOP_CAUSES: Final = {cause.value: cause for cause in StopCause}
_ANSWERED: Final = frozenset({binding_pb2.INVITATION_STATE_DECLINED, binding_pb2.INVITATION_STATE_WITHDRAWN})
_GOING: Final = {binding_pb2.DepartureCause.Value(f"DEPARTURE_CAUSE_{going.name}"): going for going in Going}
_TRANSFER_CHANGES: Final = {
    wallets_pb2.TRANSFER_STATE_PENDING_ACCEPT: TransferChange.AWAITS,
    wallets_pb2.TRANSFER_STATE_ACCEPTED: TransferChange.ACCEPTED,
    wallets_pb2.TRANSFER_STATE_RETURNED: TransferChange.RETURNED,
}
_RETURN_CAUSES: Final = {cause.value: cause for cause in ReturnCause}
_USES: Final = {risk_pb2.RiskKind.Value(f"RISK_KIND_{use.name}"): use for use in Use}


def told_by_settlement(payload: bytes) -> list[Told]:
    """What one of settlement's events tells; nothing if it concerns nobody or is not known yet."""
    event = settlement_events.SettlementEvent.FromString(payload)
    fact = _settlement_fact(event)
    return [] if fact is None else [Told(fact, UUID(event.event_id), instant(event.occurred_time))]


def _settlement_fact(event: settlement_events.SettlementEvent) -> Fact | None:  # noqa: PLR0911  One for each sort of event.
    match event.WhichOneof("fact"):
        case "bill_settled":
            settled = event.bill_settled
            return BillSettled(
                setl_id=settled.setl_id,
                patient=PsnNo(settled.patient_psn_no),
                patient_name=settled.patient_name_masked,
                place=_place(settled.fixmedins_code),
                burden_fen=settled.psn_part_amt,
                cash_fen=settled.psn_cash_pay,
                changes=[_change(change, balance=True) for change in _real(settled.changes)],
            )
        case "bill_refunded":
            refunded = event.bill_refunded
            return BillRefunded(
                setl_id=refunded.setl_id,
                patient=PsnNo(refunded.patient_psn_no),
                patient_name=refunded.patient_name_masked,
                place=_place(refunded.fixmedins_code),
                changes=[_change(change, balance=False) for change in _real(refunded.changes)],
            )
        case "account_credited":
            credited = event.account_credited
            wallet = credited.account_kind == account_pb2.ACCOUNT_KIND_WALLET
            return AccountCredited(PsnNo(credited.psn_no), wallet, credited.amount_fen)
        case "account_freeze_changed":
            changed = event.account_freeze_changed
            return AccountFreezeChanged(PsnNo(changed.psn_no), changed.frozen)
        case "account_closed":
            ended = event.account_closed
            wallet = ended.account_kind == account_pb2.ACCOUNT_KIND_WALLET
            return AccountEnded(PsnNo(ended.psn_no), wallet, closed=ended.closed)
        case "account_moved":
            moved = event.account_moved
            moved_fen = moved.past_fen + moved.current_fen
            return AccountEnded(PsnNo(moved.psn_no), wallet=False, closed=False, moved_fen=moved_fen)
        case "wallet_changed":
            told = event.wallet_changed.wallet
            opener = PsnNo(told.opener_psn_no) if told.opener_psn_no else None
            return WalletChanged(
                PsnNo(told.psn_no),
                opener,
                opened=event.version == 1,
                took_over=bool(event.wallet_changed.merged_psn_no),
            )
        case "transfer_changed":
            return _transfer(event.transfer_changed)
        case "premium_changed" | "claim_decided" as charged:
            return _premium(event.premium_changed) if charged == "premium_changed" else _claim(event.claim_decided)
        case _:
            return None


def _transfer(told: settlement_events.TransferChanged) -> TransferChanged | None:
    change = _TRANSFER_CHANGES.get(told.state)
    if change is None:
        return None
    return TransferChanged(
        change=change,
        giver=PsnNo(told.giver_psn_no),
        receiver=PsnNo(told.receiver_psn_no),
        amount_fen=told.amount_fen,
        accept_by=instant(told.accept_by_time),
        cause=_RETURN_CAUSES.get(told.cause),
    )


def _claim(told: settlement_events.ClaimDecided) -> ClaimDecided:
    changes = [_change(change, balance=True) for change in _real(told.changes)]
    return ClaimDecided(PsnNo(told.psn_no), told.approved, changes)


def _premium(told: settlement_events.PremiumChanged) -> PremiumChanged | None:
    if told.state not in {premiums_pb2.PREMIUM_STATE_PAID, premiums_pb2.PREMIUM_STATE_REVOKED}:
        return None
    return PremiumChanged(
        payer=PsnNo(told.payer_psn_no),
        insured=PsnNo(told.insured_psn_no),
        year=told.year,
        amount_fen=told.amount_fen,
        balance_fen=told.balance_after_fen,
        wallet=told.paid_from == account_pb2.ACCOUNT_KIND_WALLET,
        revoked=told.state == premiums_pb2.PREMIUM_STATE_REVOKED,
    )


def told_by_family(payload: bytes) -> list[Told]:
    """What one of family's events tells."""
    event = family_events.FamilyEvent.FromString(payload)
    fact = _family_fact(event)
    return [] if fact is None else [Told(fact, UUID(event.event_id), instant(event.occurred_time))]


def _family_fact(event: family_events.FamilyEvent) -> Fact | None:  # noqa: PLR0911  One for each sort of event.
    match event.WhichOneof("fact"):
        case "binding_changed":
            binding = event.binding_changed.binding
            change = _BINDING_CHANGES.get(event.binding_changed.change)
            if change is None:
                return None
            return BindingChanged(
                change=change,
                funder=PsnNo(binding.funder_psn_no),
                beneficiary=PsnNo(binding.beneficiary_psn_no),
                authorised_fen=binding.authorised_fen if binding.HasField("authorised_fen") else None,
                deduct_order=binding.deduct_order if binding.HasField("deduct_order") else None,
                cause=_STOP_CAUSES.get(binding.cause),
                per_payment_fen=binding.per_payment_fen if binding.HasField("per_payment_fen") else None,
                per_month_fen=binding.per_month_fen if binding.HasField("per_month_fen") else None,
            )
        case "invitation_changed":
            return _invitation_fact(event.invitation_changed.invitation)
        case "member_joined":
            joined = event.member_joined
            others = [PsnNo(other) for other in joined.other_psn_nos]
            return Joined(PsnNo(joined.psn_no), others, took_over=bool(joined.instead_of_psn_no))
        case "founder_changed":
            changed = event.founder_changed
            return FounderChanged(PsnNo(changed.psn_no), [PsnNo(other) for other in changed.other_psn_nos])
        case "member_left":
            return _left_fact(event.member_left)
        case _:
            return None


def _invitation_fact(invitation: binding_pb2.Invitation) -> Fact | None:
    inviter, invitee = PsnNo(invitation.inviter_psn_no), PsnNo(invitation.invitee_psn_no)
    if invitation.state in _ANSWERED:
        return InvitationAnswered(inviter, invitee, invitation.state == binding_pb2.INVITATION_STATE_DECLINED)
    if invitation.state == binding_pb2.INVITATION_STATE_PENDING:
        return Invited(inviter, invitee, expires_at=instant(invitation.expires_time))
    return None


def _left_fact(left: family_events.MemberLeft) -> Fact | None:
    going = _GOING.get(left.cause)
    if going is None:
        return None
    return Left(PsnNo(left.psn_no), going, [PsnNo(other) for other in left.other_psn_nos])


def told_by_identity(payload: bytes | identity_events.IdentityEvent) -> PersonTold | None:
    """A person as identity tells him, with the sanctions he is to hear of; None if it tells of something else."""
    event = identity_events.IdentityEvent.FromString(payload) if isinstance(payload, bytes) else payload
    if event.WhichOneof("fact") != PERSON_CHANGED:
        return None
    person, at = event.person_changed.person, instant(event.occurred_time)
    psn_no = PsnNo(person.psn_no)
    sanctions = [
        Sanctioned(
            psn_no=psn_no,
            sanction_id=UUID(sanction.sanction_id),
            from_at=instant(sanction.from_time),
            to_at=instant(sanction.to_time),
        )
        for sanction in person.sanctions
    ]
    return PersonTold(
        psn_no=psn_no,
        name_masked=person.name_masked,
        version=event.version,
        sanctions=[Told(fact, UUID(event.event_id), at) for fact in sanctions],
        merged_into=PsnNo(person.merged_into) if person.merged_into else None,
    )


def told_of_risk(payload: bytes) -> list[Told]:
    """Unusual use of a person's credential or account, for himself; nothing of a kind that is not known yet."""
    event = identity_events.IdentityEvent.FromString(payload)
    raised = event.risk_event_raised
    use = _USES.get(raised.kind)
    if use is None or not raised.psn_no:
        return []
    return [Told(UnusualUse(PsnNo(raised.psn_no), use), UUID(event.event_id), instant(event.occurred_time))]


def message(stored: StoredMessage) -> notify_pb2.Message:
    """A message as its person gets it."""
    told = stored.message
    occurred = Timestamp()
    occurred.FromDatetime(told.occurred_at)
    return notify_pb2.Message(
        message_no=stored.message_no,
        psn_no=told.psn_no,
        topic=notify_pb2.Topic.Value(f"TOPIC_{told.topic.value}"),
        text_zh=told.text.zh,
        text_en=told.text.en,
        occurred_time=occurred,
        amount_fen=told.amount_fen,
        setl_id=told.setl_id,
    )


def instant(stamp: Timestamp) -> datetime:
    """The instant a message tells."""
    return stamp.ToDatetime(tzinfo=UTC)


def _real(changes: Iterable[settlement_events.AccountChange]) -> list[settlement_events.AccountChange]:
    """Those that moved money, from accounts of a kind we know."""
    return [change for change in changes if change.role in _SOURCES and (change.past_fen or change.current_fen)]


def _change(change: settlement_events.AccountChange, *, balance: bool) -> AccountChange:
    return AccountChange(
        psn_no=PsnNo(change.psn_no),
        source=_SOURCES[change.role],
        amount_fen=abs(change.past_fen + change.current_fen),
        balance_fen=change.balance_after_fen if balance else None,
    )


def _place(fixmedins_code: str) -> Place:
    return Place.PHARMACY if fixmedins_code.startswith(_PHARMACY) else Place.HOSPITAL
