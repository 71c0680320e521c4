"""Who is told what: each fact becomes messages to everyone whose account, group or binding it changed (domain §9)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final, assert_never
from uuid import UUID

from kernel.ids import PsnNo
from kernel.money import Fen
from services.notify.domain import texts
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
from services.notify.domain.texts import Sentence, Words, said


class Topic(Enum):
    """What a message is about."""

    ACCOUNT_PAID = "ACCOUNT_PAID"
    BILL_PAID = "BILL_PAID"
    ACCOUNT_REFUNDED = "ACCOUNT_REFUNDED"
    ACCOUNT_CREDITED = "ACCOUNT_CREDITED"
    ACCOUNT_FROZEN = "ACCOUNT_FROZEN"
    ACCOUNT_UNFROZEN = "ACCOUNT_UNFROZEN"
    INVITED = "INVITED"
    MEMBER_JOINED = "MEMBER_JOINED"
    BOUND = "BOUND"
    UNBOUND = "UNBOUND"
    BINDING_SUSPENDED = "BINDING_SUSPENDED"
    SANCTIONED = "SANCTIONED"
    BILL_REVOKED = "BILL_REVOKED"
    BINDING_CHANGED = "BINDING_CHANGED"
    UNUSUAL_USE = "UNUSUAL_USE"
    MEMBER_LEFT = "MEMBER_LEFT"
    WALLET_CHANGED = "WALLET_CHANGED"
    TRANSFER_AWAITS = "TRANSFER_AWAITS"
    TRANSFER_ACCEPTED = "TRANSFER_ACCEPTED"
    TRANSFER_RETURNED = "TRANSFER_RETURNED"
    FOUNDER_CHANGED = "FOUNDER_CHANGED"
    ACCOUNT_ENDED = "ACCOUNT_ENDED"
    PREMIUM_PAID = "PREMIUM_PAID"
    PREMIUM_REVOKED = "PREMIUM_REVOKED"
    CLAIM_DECIDED = "CLAIM_DECIDED"


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one person. ``cause_id`` × person × topic is unique: nobody is told the same twice.

    ``cause_id`` is the event's id; for a sanction, which identity repeats with every event of the person, its own.
    """

    cause_id: UUID
    psn_no: PsnNo
    topic: Topic
    text: Words
    occurred_at: datetime
    amount_fen: Fen = 0
    setl_id: str = ""


Names = Mapping[PsnNo, str]
"""Masked names by person, as far as they are known."""

_PLACES: Final = {Place.HOSPITAL: texts.HOSPITAL, Place.PHARMACY: texts.PHARMACY}
_BINDING: Final = {
    BindingChange.BOUND: (Topic.BOUND, Sentence.I_FUND, Sentence.I_AM_FUNDED),
    BindingChange.AMOUNT: (Topic.BINDING_CHANGED, Sentence.MY_AMOUNT_CHANGED, Sentence.AMOUNT_FOR_ME_CHANGED),
    BindingChange.LIMITS: (Topic.BINDING_CHANGED, Sentence.MY_LIMITS_CHANGED, Sentence.LIMITS_FOR_ME_CHANGED),
    BindingChange.ORDER: (Topic.BINDING_CHANGED, Sentence.MY_PLACE_CHANGED, Sentence.ORDER_FOR_ME_CHANGED),
    BindingChange.ENDED: (Topic.UNBOUND, Sentence.I_FUND_NO_MORE, Sentence.I_AM_FUNDED_NO_MORE),
    BindingChange.SUSPENDED: (
        Topic.BINDING_SUSPENDED,
        Sentence.MY_FUNDING_STOPPED,
        Sentence.FUNDING_FOR_ME_STOPPED,
    ),
    BindingChange.MOVING: (Topic.BINDING_SUSPENDED, Sentence.MY_FUNDING_PAUSES, Sentence.FUNDING_FOR_ME_PAUSES),
    BindingChange.MOVED: (Topic.BINDING_CHANGED, Sentence.MY_FUNDING_GOES_ON, Sentence.FUNDING_FOR_ME_GOES_ON),
}
"""For each change of a binding: the topic, what the funder reads, what the beneficiary reads."""
_STOP_CAUSES: Final = {
    StopCause.NOT_INSURED: (texts.NOT_INSURED, texts.FUNDER_NOT_ELIGIBLE),
    StopCause.OTHER_PROVINCE: (texts.OTHER_PROVINCE, texts.OTHER_PROVINCE),
    StopCause.DIED: (texts.REGISTRATION_ENDED, texts.REGISTRATION_ENDED),
    StopCause.MERGED: (texts.MERGED, texts.MERGED),
    StopCause.SANCTIONED: (texts.I_AM_SANCTIONED, texts.FUNDER_NOT_ELIGIBLE),
    StopCause.NO_KINSHIP: (texts.NO_KINSHIP, texts.NO_KINSHIP),
    StopCause.NOT_ALLOWED: (texts.RELATION_NOT_ALLOWED, texts.RELATION_NOT_ALLOWED),
}
"""For each cause: what the funder reads, what the beneficiary reads. Of the other's affairs nobody reads more than he
needs (domain §9): that the funder is sanctioned or has lost his insurance is his own."""
_GOING: Final = {
    Going.LEFT: Sentence.I_LEFT,
    Going.REMOVED: Sentence.I_WAS_REMOVED,
    Going.DISSOLVED: Sentence.MY_GROUP_IS_DISSOLVED,
}
_USES: Final = {
    Use.OTHERS_CREDENTIAL: Sentence.SHOWN_FOR_ANOTHER,
    Use.FAR_TERMINALS: Sentence.SHOWN_FAR_APART,
    Use.SMALL_PHARMACY_BUYS: Sentence.MANY_SMALL_BUYS,
    Use.REFUSED_CODES: Sentence.OFTEN_REFUSED,
}

_TRANSFERS: Final = {
    TransferChange.AWAITS: (Topic.TRANSFER_AWAITS, Sentence.I_TRANSFERRED, Sentence.A_TRANSFER_AWAITS_ME),
    TransferChange.ACCEPTED: (Topic.TRANSFER_ACCEPTED, Sentence.MY_TRANSFER_ACCEPTED, Sentence.I_ACCEPTED_A_TRANSFER),
    TransferChange.RETURNED: (Topic.TRANSFER_RETURNED, Sentence.MY_TRANSFER_RETURNED, Sentence.A_TRANSFER_IS_OVER),
}
"""For each change of a transfer: the topic, what the giver reads, what the receiver reads."""
_RETURN_CAUSES: Final = {
    ReturnCause.DECLINED: texts.DECLINED,
    ReturnCause.NOT_IN_TIME: texts.NOT_ACCEPTED_IN_TIME,
    ReturnCause.WITHDRAWN: texts.WITHDRAWN,
}


def people_in(fact: Fact) -> set[PsnNo]:  # noqa: PLR0911  One line for each sort of fact.
    """The people whose names a fact's messages may need."""
    match fact:
        case BillSettled() | BillRefunded():
            return {change.psn_no for change in fact.changes}
        case Invited() | InvitationAnswered():
            return {fact.inviter, fact.invitee}
        case Joined() | Left() | FounderChanged():
            return {fact.psn_no}
        case BindingChanged():
            return {fact.funder, fact.beneficiary}
        case TransferChanged():
            return {fact.giver, fact.receiver}
        case PremiumChanged():
            return {fact.payer, fact.insured}
        case ClaimDecided():
            return {fact.claimant}
        case WalletChanged() if fact.opener is not None:
            return {fact.psn_no, fact.opener}
        case (
            AccountCredited() | AccountFreezeChanged() | AccountEnded() | Sanctioned() | UnusualUse() | WalletChanged()
        ):
            return set()
        case _:
            assert_never(fact)


def messages(told: Told, names: Names) -> list[Message]:
    """The messages of a fact, at most one for each person and topic, in the order of the persons."""
    fact = told.fact
    match fact:
        case BillSettled():
            found = _settled(told, fact, names)
        case BillRefunded():
            found = _refunded(told, fact)
        case AccountCredited() | AccountFreezeChanged() | AccountEnded():
            found = iter([_of_account(told, fact)])
        case Invited() | InvitationAnswered() | Joined() | Left() | FounderChanged():
            found = _of_group(told, fact, names)
        case BindingChanged():
            found = _binding(told, fact, names)
        case Sanctioned():
            text = said(Sentence.SANCTIONED, since=texts.day(fact.from_at), until=texts.day(fact.to_at))
            found = iter([Message(fact.sanction_id, fact.psn_no, Topic.SANCTIONED, text, told.occurred_at)])
        case UnusualUse():
            text = said(_USES[fact.use], time=texts.moment(told.occurred_at))
            found = iter([_message(told, fact.psn_no, Topic.UNUSUAL_USE, text)])
        case WalletChanged() | TransferChanged():
            found = _of_wallet(told, fact, names)
        case PremiumChanged() | ClaimDecided():
            found = _of_charge(told, fact, names)
        case _:
            assert_never(fact)
    return sorted(found, key=lambda message: (message.psn_no, message.topic.value))


def _of_group(
    told: Told, fact: Invited | InvitationAnswered | Joined | Left | FounderChanged, names: Names
) -> Iterator[Message]:
    match fact:
        case Invited():
            return _invited(told, fact, names)
        case InvitationAnswered():
            return iter([_invitation_answered(told, fact, names)])
        case Joined():
            return _joined(told, fact, names)
        case Left():
            return _left(told, fact, names)
        case FounderChanged():
            return _founder(told, fact, names)
        case _:
            assert_never(fact)


def _of_account(told: Told, fact: AccountCredited | AccountFreezeChanged | AccountEnded) -> Message:
    if isinstance(fact, AccountEnded):
        return _ended(told, fact)
    if isinstance(fact, AccountCredited):
        sentence = Sentence.WALLET_CREDITED if fact.wallet else Sentence.ACCOUNT_CREDITED
        text = said(sentence, time=texts.moment(told.occurred_at), amount=texts.yuan(fact.amount_fen))
        return _message(told, fact.psn_no, Topic.ACCOUNT_CREDITED, text, amount_fen=fact.amount_fen)
    topic = Topic.ACCOUNT_FROZEN if fact.frozen else Topic.ACCOUNT_UNFROZEN
    text = said(Sentence.FROZEN if fact.frozen else Sentence.UNFROZEN, time=texts.moment(told.occurred_at))
    return _message(told, fact.psn_no, topic, text)


def _ended(told: Told, fact: AccountEnded) -> Message:
    account, time = texts.WALLET if fact.wallet else texts.OWN_ACCOUNT, texts.moment(told.occurred_at)
    if fact.moved_fen is not None:
        text = said(Sentence.MY_ACCOUNT_MOVED, time=time, amount=texts.yuan(fact.moved_fen))
        return _message(told, fact.psn_no, Topic.ACCOUNT_ENDED, text, amount_fen=fact.moved_fen)
    text = said(
        Sentence.MY_ACCOUNT_IS_CLOSED if fact.closed else Sentence.MY_ACCOUNT_CLOSES, time=time, account=account
    )
    return _message(told, fact.psn_no, Topic.ACCOUNT_ENDED, text)


def _settled(told: Told, fact: BillSettled, names: Names) -> Iterator[Message]:
    place, time = _PLACES[fact.place], texts.moment(told.occurred_at)
    own = [change for change in fact.changes if change.source is not Source.FUNDER]
    for change in fact.changes:
        if change.source is Source.FUNDER:
            text = said(
                Sentence.I_PAID_FOR_RELATIVE,
                time=time,
                who=texts.named(fact.patient_name),
                place=place,
                amount=texts.yuan(change.amount_fen),
                balance=texts.yuan(change.balance_fen or 0),
            )
            yield _message(told, change.psn_no, Topic.ACCOUNT_PAID, text, change.amount_fen, fact.setl_id)
    if own:
        used = texts.listed(
            said(
                Sentence.PART_USED,
                account=_account(change),
                amount=texts.yuan(change.amount_fen),
                balance=texts.yuan(change.balance_fen or 0),
            )
            for change in own
        )
        text = said(Sentence.I_PAID_FOR_MYSELF, time=time, place=place, sources=used)
        yield _message(told, fact.patient, Topic.ACCOUNT_PAID, text, _sum(own), fact.setl_id)
    text = said(
        Sentence.MY_BILL_WAS_PAID,
        time=time,
        place=place,
        amount=texts.yuan(fact.burden_fen),
        parts=texts.listed(_parts(fact, names)),
    )
    yield _message(told, fact.patient, Topic.BILL_PAID, text, fact.burden_fen, fact.setl_id)


def _parts(fact: BillSettled, names: Names) -> Iterator[Words]:
    for change in fact.changes:
        amount = texts.yuan(change.amount_fen)
        if change.source is Source.FUNDER:
            yield said(Sentence.PART_RELATIVE, who=texts.named(names.get(change.psn_no)), amount=amount)
        else:
            yield said(Sentence.PART_OWN, account=_account(change), amount=amount)
    if fact.cash_fen or not fact.changes:
        yield said(Sentence.PART_CASH, amount=texts.yuan(fact.cash_fen))


def _refunded(told: Told, fact: BillRefunded) -> Iterator[Message]:
    place, time = _PLACES[fact.place], texts.moment(told.occurred_at)
    for psn_no in {change.psn_no: None for change in fact.changes}:
        got = [change for change in fact.changes if change.psn_no == psn_no]
        text = said(
            Sentence.I_GOT_BACK,
            time=time,
            who=texts.named(fact.patient_name),
            place=place,
            amount=texts.yuan(_sum(got)),
            accounts=_joined_accounts(got),
        )
        yield _message(told, psn_no, Topic.ACCOUNT_REFUNDED, text, _sum(got), fact.setl_id)
    text = said(Sentence.MY_BILL_WAS_REVOKED, time=time, place=place, amount=texts.yuan(_sum(fact.changes)))
    yield _message(told, fact.patient, Topic.BILL_REVOKED, text, _sum(fact.changes), fact.setl_id)


def _invited(told: Told, fact: Invited, names: Names) -> Iterator[Message]:
    until = texts.moment(fact.expires_at)
    text = said(Sentence.I_AM_INVITED, who=texts.named(names.get(fact.inviter)), until=until)
    yield _message(told, fact.invitee, Topic.INVITED, text)
    text = said(Sentence.I_INVITED, who=texts.named(names.get(fact.invitee)), until=until)
    yield _message(told, fact.inviter, Topic.INVITED, text)


def _invitation_answered(told: Told, fact: InvitationAnswered, names: Names) -> Message:
    """To the one who did not do it."""
    if fact.declined:
        sentence, to, by = Sentence.MY_INVITATION_WAS_DECLINED, fact.inviter, fact.invitee
    else:
        sentence, to, by = Sentence.INVITATION_WAS_WITHDRAWN, fact.invitee, fact.inviter
    text = said(sentence, time=texts.moment(told.occurred_at), who=texts.named(names.get(by)))
    return _message(told, to, Topic.INVITED, text)


def _left(told: Told, fact: Left, names: Names) -> Iterator[Message]:
    time = texts.moment(told.occurred_at)
    yield _message(told, fact.psn_no, Topic.MEMBER_LEFT, said(_GOING[fact.going], time=time))
    for other in fact.others:
        text = said(Sentence.SOMEONE_LEFT, time=time, who=texts.named(names.get(fact.psn_no)))
        yield _message(told, other, Topic.MEMBER_LEFT, text)


def _founder(told: Told, fact: FounderChanged, names: Names) -> Iterator[Message]:
    time = texts.moment(told.occurred_at)
    yield _message(told, fact.psn_no, Topic.FOUNDER_CHANGED, said(Sentence.I_TOOK_OVER, time=time))
    for other in fact.others:
        text = said(Sentence.SOMEONE_TOOK_OVER, time=time, who=texts.named(names.get(fact.psn_no)))
        yield _message(told, other, Topic.FOUNDER_CHANGED, text)


def _joined(told: Told, fact: Joined, names: Names) -> Iterator[Message]:
    time = texts.moment(told.occurred_at)
    if fact.took_over:
        yield _message(told, fact.psn_no, Topic.MEMBER_JOINED, said(Sentence.MY_GROUP_CAME_ALONG, time=time))
        return
    text = said(Sentence.I_JOINED if fact.others else Sentence.I_FOUNDED, time=time)
    yield _message(told, fact.psn_no, Topic.MEMBER_JOINED, text)
    for other in fact.others:
        text = said(Sentence.SOMEONE_JOINED, time=time, who=texts.named(names.get(fact.psn_no)))
        yield _message(told, other, Topic.MEMBER_JOINED, text)


def _binding(told: Told, fact: BindingChanged, names: Names) -> Iterator[Message]:
    topic, to_funder, to_beneficiary = _BINDING[fact.change]
    words = {
        "time": texts.moment(told.occurred_at),
        "limit": texts.limit(fact.authorised_fen),
        "per_payment": texts.limit(fact.per_payment_fen),
        "per_month": texts.limit(fact.per_month_fen),
        "order": texts.place_in_order(fact.deduct_order),
    }
    mine, theirs = (texts.BIND_AGAIN, texts.BIND_AGAIN) if fact.cause is None else _STOP_CAUSES[fact.cause]
    text = said(to_funder, who=texts.named(names.get(fact.beneficiary)), cause=mine, **words)
    yield _message(told, fact.funder, topic, text)
    text = said(to_beneficiary, who=texts.named(names.get(fact.funder)), cause=theirs, **words)
    yield _message(told, fact.beneficiary, topic, text)


def _of_wallet(told: Told, fact: WalletChanged | TransferChanged, names: Names) -> Iterator[Message]:
    return _transfer(told, fact, names) if isinstance(fact, TransferChanged) else _wallet(told, fact, names)


def _wallet(told: Told, fact: WalletChanged, names: Names) -> Iterator[Message]:
    time = texts.moment(told.occurred_at)
    if fact.took_over:
        yield _message(told, fact.psn_no, Topic.WALLET_CHANGED, said(Sentence.MY_WALLET_TOOK_OVER, time=time))
    elif not fact.opened:
        yield _message(told, fact.psn_no, Topic.WALLET_CHANGED, said(Sentence.MY_WALLET_MOVED, time=time))
    elif fact.opener is None:
        yield _message(told, fact.psn_no, Topic.WALLET_CHANGED, said(Sentence.I_OPENED_MY_WALLET, time=time))
    else:
        text = said(Sentence.MY_WALLET_WAS_OPENED, time=time, who=texts.named(names.get(fact.opener)))
        yield _message(told, fact.psn_no, Topic.WALLET_CHANGED, text)
        text = said(Sentence.I_OPENED_A_WALLET, time=time, who=texts.named(names.get(fact.psn_no)))
        yield _message(told, fact.opener, Topic.WALLET_CHANGED, text)


def _transfer(told: Told, fact: TransferChanged, names: Names) -> Iterator[Message]:
    topic, to_giver, to_receiver = _TRANSFERS[fact.change]
    words = {
        "time": texts.moment(told.occurred_at),
        "amount": texts.yuan(fact.amount_fen),
        "until": texts.moment(fact.accept_by),
        "outcome": texts.RETURNED if fact.cause is None else _RETURN_CAUSES[fact.cause],
    }
    text = said(to_giver, who=texts.named(names.get(fact.receiver)), **words)
    yield _message(told, fact.giver, topic, text, fact.amount_fen)
    text = said(to_receiver, who=texts.named(names.get(fact.giver)), **words)
    yield _message(told, fact.receiver, topic, text, fact.amount_fen)


def _of_charge(told: Told, fact: PremiumChanged | ClaimDecided, names: Names) -> Iterator[Message]:
    return _claim(told, fact, names) if isinstance(fact, ClaimDecided) else _premium(told, fact, names)


def _premium(told: Told, fact: PremiumChanged, names: Names) -> Iterator[Message]:
    topic = Topic.PREMIUM_REVOKED if fact.revoked else Topic.PREMIUM_PAID
    words = {
        "time": texts.moment(told.occurred_at),
        "year": texts.plain(fact.year),
        "amount": texts.yuan(fact.amount_fen),
        "account": texts.WALLET if fact.wallet else texts.OWN_ACCOUNT,
        "balance": texts.yuan(fact.balance_fen),
    }
    if fact.payer == fact.insured:
        text = said(Sentence.MY_PREMIUM_CAME_BACK if fact.revoked else Sentence.I_PAID_MY_PREMIUM, **words)
        yield _message(told, fact.payer, topic, text, fact.amount_fen)
        return
    text = said(
        Sentence.A_PREMIUM_CAME_BACK if fact.revoked else Sentence.I_PAID_A_PREMIUM,
        who=texts.named(names.get(fact.insured)),
        **words,
    )
    yield _message(told, fact.payer, topic, text, fact.amount_fen)
    text = said(
        Sentence.MY_PREMIUM_WAS_REVOKED if fact.revoked else Sentence.MY_PREMIUM_WAS_PAID,
        who=texts.named(names.get(fact.payer)),
        **words,
    )
    yield _message(told, fact.insured, topic, text, fact.amount_fen)


def _claim(told: Told, fact: ClaimDecided, names: Names) -> Iterator[Message]:
    """The claimant reads the decision; each whose money it takes, and he alone, how much and what is left."""
    time = texts.moment(told.occurred_at)
    sentence = Sentence.MY_CLAIM_WAS_APPROVED if fact.approved else Sentence.MY_CLAIM_WAS_REFUSED
    yield _message(told, fact.claimant, Topic.CLAIM_DECIDED, said(sentence, time=time), _sum(fact.changes))
    for psn_no in {change.psn_no: None for change in fact.changes}:
        taken = [change for change in fact.changes if change.psn_no == psn_no]
        parts = texts.listed(
            said(
                Sentence.PART_USED,
                account=_account(change),
                amount=texts.yuan(change.amount_fen),
                balance=texts.yuan(change.balance_fen or 0),
            )
            for change in taken
        )
        who = texts.named(names.get(fact.claimant))
        text = said(Sentence.A_CLAIM_TOOK, time=time, who=who, sources=parts)
        yield _message(told, psn_no, Topic.ACCOUNT_PAID, text, _sum(taken))


def _account(change: AccountChange) -> Words:
    return texts.WALLET if change.source is Source.WALLET else texts.OWN_ACCOUNT


def _joined_accounts(changes: Iterable[AccountChange]) -> Words:
    kinds = {_account(change): None for change in changes}
    return Words("和".join(kind.zh for kind in kinds), " and ".join(kind.en for kind in kinds))


def _sum(changes: Iterable[AccountChange]) -> Fen:
    return sum(change.amount_fen for change in changes)


def _message(told: Told, psn_no: PsnNo, topic: Topic, text: Words, amount_fen: Fen = 0, setl_id: str = "") -> Message:
    return Message(told.event_id, psn_no, topic, text, told.occurred_at, amount_fen, setl_id)
