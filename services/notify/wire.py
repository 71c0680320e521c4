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
from gongji.settlement.v1 import account_pb2, settlement_pb2
from gongji.settlement.v1 import events_pb2 as settlement_events
from kernel.ids import PsnNo
from services.notify.domain.facts import (
    AccountChange,
    AccountCredited,
    AccountFreezeChanged,
    BillRefunded,
    BillSettled,
    BindingChange,
    BindingChanged,
    Fact,
    Invited,
    Joined,
    Place,
    Sanctioned,
    Source,
    Told,
    UnusualUse,
    Use,
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
    family_events.BINDING_CHANGE_ORDER: BindingChange.ORDER,
    family_events.BINDING_CHANGE_CLOSING: BindingChange.ENDED,
    family_events.BINDING_CHANGE_SUSPENDED: BindingChange.SUSPENDED,
}
"""An end is told when it takes effect (CLOSING), not again when the ledger has followed (UNBOUND)."""
_USES: Final = {risk_pb2.RiskKind.Value(f"RISK_KIND_{use.name}"): use for use in Use}


def told_by_settlement(payload: bytes) -> list[Told]:
    """What one of settlement's events tells; nothing if it concerns nobody or is not known yet."""
    event = settlement_events.SettlementEvent.FromString(payload)
    fact = _settlement_fact(event)
    return [] if fact is None else [Told(fact, UUID(event.event_id), instant(event.occurred_time))]


def _settlement_fact(event: settlement_events.SettlementEvent) -> Fact | None:
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
        case _:
            return None


def told_by_family(payload: bytes) -> list[Told]:
    """What one of family's events tells."""
    event = family_events.FamilyEvent.FromString(payload)
    fact = _family_fact(event)
    return [] if fact is None else [Told(fact, UUID(event.event_id), instant(event.occurred_time))]


def _family_fact(event: family_events.FamilyEvent) -> Fact | None:
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
            )
        case "invitation_changed":
            invitation = event.invitation_changed.invitation
            if invitation.state != binding_pb2.INVITATION_STATE_PENDING:
                return None
            return Invited(
                inviter=PsnNo(invitation.inviter_psn_no),
                invitee=PsnNo(invitation.invitee_psn_no),
                expires_at=instant(invitation.expires_time),
            )
        case "member_joined":
            joined = event.member_joined
            return Joined(PsnNo(joined.psn_no), [PsnNo(other) for other in joined.other_psn_nos])
        case _:
            return None


def told_by_identity(payload: bytes | identity_events.IdentityEvent) -> tuple[PsnNo, str, int, list[Told]] | None:
    """A person's number, masked name and version, and the sanctions he is to hear of; None if of something else."""
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
    return psn_no, person.name_masked, event.version, [Told(fact, UUID(event.event_id), at) for fact in sanctions]


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
