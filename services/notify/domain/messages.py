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
    BindingChange.ORDER: (Topic.BINDING_CHANGED, Sentence.MY_PLACE_CHANGED, Sentence.ORDER_FOR_ME_CHANGED),
    BindingChange.ENDED: (Topic.UNBOUND, Sentence.I_FUND_NO_MORE, Sentence.I_AM_FUNDED_NO_MORE),
    BindingChange.SUSPENDED: (
        Topic.BINDING_SUSPENDED,
        Sentence.MY_FUNDING_STOPPED,
        Sentence.FUNDING_FOR_ME_STOPPED,
    ),
}
"""For each change of a binding: the topic, what the funder reads, what the beneficiary reads."""
_USES: Final = {
    Use.OTHERS_CREDENTIAL: Sentence.SHOWN_FOR_ANOTHER,
    Use.FAR_TERMINALS: Sentence.SHOWN_FAR_APART,
    Use.SMALL_PHARMACY_BUYS: Sentence.MANY_SMALL_BUYS,
    Use.REFUSED_CODES: Sentence.OFTEN_REFUSED,
}


def people_in(fact: Fact) -> set[PsnNo]:
    """The people whose names a fact's messages may need."""
    match fact:
        case BillSettled() | BillRefunded():
            return {change.psn_no for change in fact.changes}
        case Invited():
            return {fact.inviter, fact.invitee}
        case Joined():
            return {fact.psn_no}
        case BindingChanged():
            return {fact.funder, fact.beneficiary}
        case AccountCredited() | AccountFreezeChanged() | Sanctioned() | UnusualUse():
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
        case AccountCredited():
            sentence = Sentence.WALLET_CREDITED if fact.wallet else Sentence.ACCOUNT_CREDITED
            text = said(sentence, time=texts.moment(told.occurred_at), amount=texts.yuan(fact.amount_fen))
            found = iter([_message(told, fact.psn_no, Topic.ACCOUNT_CREDITED, text, amount_fen=fact.amount_fen)])
        case AccountFreezeChanged():
            topic = Topic.ACCOUNT_FROZEN if fact.frozen else Topic.ACCOUNT_UNFROZEN
            sentence = Sentence.FROZEN if fact.frozen else Sentence.UNFROZEN
            text = said(sentence, time=texts.moment(told.occurred_at))
            found = iter([_message(told, fact.psn_no, topic, text)])
        case Invited():
            found = _invited(told, fact, names)
        case Joined():
            found = _joined(told, fact, names)
        case BindingChanged():
            found = _binding(told, fact, names)
        case Sanctioned():
            text = said(Sentence.SANCTIONED, since=texts.day(fact.from_at), until=texts.day(fact.to_at))
            found = iter([Message(fact.sanction_id, fact.psn_no, Topic.SANCTIONED, text, told.occurred_at)])
        case UnusualUse():
            text = said(_USES[fact.use], time=texts.moment(told.occurred_at))
            found = iter([_message(told, fact.psn_no, Topic.UNUSUAL_USE, text)])
        case _:
            assert_never(fact)
    return sorted(found, key=lambda message: (message.psn_no, message.topic.value))


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


def _joined(told: Told, fact: Joined, names: Names) -> Iterator[Message]:
    time = texts.moment(told.occurred_at)
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
        "order": texts.place_in_order(fact.deduct_order),
    }
    text = said(to_funder, who=texts.named(names.get(fact.beneficiary)), **words)
    yield _message(told, fact.funder, topic, text)
    text = said(to_beneficiary, who=texts.named(names.get(fact.funder)), **words)
    yield _message(told, fact.beneficiary, topic, text)


def _account(change: AccountChange) -> Words:
    return texts.WALLET if change.source is Source.WALLET else texts.OWN_ACCOUNT


def _joined_accounts(changes: Iterable[AccountChange]) -> Words:
    kinds = {_account(change): None for change in changes}
    return Words("和".join(kind.zh for kind in kinds), " and ".join(kind.en for kind in kinds))


def _sum(changes: Iterable[AccountChange]) -> Fen:
    return sum(change.amount_fen for change in changes)


def _message(told: Told, psn_no: PsnNo, topic: Topic, text: Words, amount_fen: Fen = 0, setl_id: str = "") -> Message:
    return Message(told.event_id, psn_no, topic, text, told.occurred_at, amount_fen, setl_id)
