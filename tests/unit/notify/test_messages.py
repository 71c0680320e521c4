"""Who is told what, in which words, and what nobody is told."""

from __future__ import annotations

import string
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

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
from services.notify.domain.messages import Message, Topic, messages
from services.notify.domain.texts import TEXTS, Sentence

AT = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)
EVENT = UUID(int=1)
PATIENT, WIFE, FATHER = PsnNo("6500000001"), PsnNo("6500000002"), PsnNo("6500000003")
NAMES = {PATIENT: "王*", WIFE: "李*梅", FATHER: "王*国"}
PAID = (
    AccountChange(PATIENT, Source.OWN, 30_00, 1_234_56),
    AccountChange(PATIENT, Source.WALLET, 5_00, 0),
    AccountChange(WIFE, Source.FUNDER, 100_00, 88_800),
    AccountChange(FATHER, Source.FUNDER, 20_00, 77_700),
)


def settled(changes: Sequence[AccountChange] = PAID, *, place: Place = Place.HOSPITAL) -> BillSettled:
    """A bill of which the patient bears 200 yuan."""
    return BillSettled("s1", PATIENT, "王*", place, 200_00, 45_00, changes)


def said(fact: Fact) -> dict[tuple[PsnNo, Topic], Message]:
    """The messages by person and topic; that pair names only one."""
    told = messages(Told(fact, EVENT, AT), NAMES)
    found = {(message.psn_no, message.topic): message for message in told}
    assert len(found) == len(told)
    return found


def texts(fact: Fact) -> dict[tuple[PsnNo, Topic], str]:
    """The Chinese texts by person and topic."""
    return {key: message.text.zh for key, message in said(fact).items()}


def test_everyone_whose_account_paid_and_the_patient_are_told() -> None:
    """Each funder hears of the own account, the patient of the own accounts and of the whole bill."""
    assert set(said(settled())) == {
        (PATIENT, Topic.ACCOUNT_PAID),
        (PATIENT, Topic.BILL_PAID),
        (WIFE, Topic.ACCOUNT_PAID),
        (FATHER, Topic.ACCOUNT_PAID),
    }


def test_a_funder_reads_amount_time_place_user_and_the_own_balance() -> None:
    """The text names the kind of institution and the masked name, in Shanghai's time, and the funder's balance."""
    assert (
        texts(settled(place=Place.PHARMACY))[WIFE, Topic.ACCOUNT_PAID]
        == "2026年11月21日00:05，您的个人账户为王*在药店支付100.00元，账户余额888.00元。"
    )
    message = said(settled())[WIFE, Topic.ACCOUNT_PAID]
    assert message.text.en == (
        "2026-11-21 00:05: your account paid 100.00 yuan for 王* at a hospital. It holds 888.00 yuan now."
    )
    assert (message.amount_fen, message.setl_id) == (100_00, "s1")


def test_the_patient_reads_what_was_paid_by_whom() -> None:
    """The beneficiary's text lists every source in order of payment, cash last."""
    assert texts(settled())[PATIENT, Topic.BILL_PAID] == (
        "2026年11月21日00:05，您在医院的费用已结算，个人负担200.00元：本人个人账户支付30.00元，本人医保钱包支付5.00元，"
        "李*梅支付100.00元，王*国支付20.00元，现金支付45.00元。"
    )


def test_own_account_and_wallet_share_one_message() -> None:
    """Two own sources make one message with both balances."""
    message = said(settled())[PATIENT, Topic.ACCOUNT_PAID]
    assert message.text.zh == (
        "2026年11月21日00:05，您在医院使用个人账户30.00元（余额1,234.56元），医保钱包5.00元（余额0.00元）。"
    )
    assert message.amount_fen == 35_00


@pytest.mark.parametrize("reader", [PATIENT, WIFE, FATHER])
def test_a_balance_is_read_by_its_owner_alone(reader: PsnNo) -> None:
    """No message to one person holds the balance of another's account."""
    balances = {WIFE: "888.00", FATHER: "777.00", PATIENT: "1,234.56"}
    everything = " ".join(
        message.text.zh + message.text.en for (psn_no, _), message in said(settled()).items() if psn_no == reader
    )
    assert [whose for whose, balance in balances.items() if balance in everything] == [reader]


def test_a_bill_paid_in_cash_is_told_to_the_patient_alone() -> None:
    """Without any account, the patient still reads what the own share was."""
    assert set(said(settled([]))) == {(PATIENT, Topic.BILL_PAID)}


def test_a_refund_is_told_to_every_account_and_to_the_patient() -> None:
    """Each origin reads what came back, without a balance; the patient reads that the bill was revoked."""
    back = [AccountChange(change.psn_no, change.source, change.amount_fen, None) for change in PAID]
    found = texts(BillRefunded("r1", PATIENT, "王*", Place.HOSPITAL, back))
    assert set(found) == {
        (PATIENT, Topic.ACCOUNT_REFUNDED),
        (PATIENT, Topic.BILL_REVOKED),
        (WIFE, Topic.ACCOUNT_REFUNDED),
        (FATHER, Topic.ACCOUNT_REFUNDED),
    }
    assert found[PATIENT, Topic.ACCOUNT_REFUNDED].endswith("35.00元退回您的个人账户和医保钱包。")
    assert not [text for text in found.values() if "余额" in text]


@pytest.mark.parametrize(
    ("fact", "expected"),
    [
        (AccountCredited(WIFE, wallet=False, amount_fen=1), {(WIFE, Topic.ACCOUNT_CREDITED)}),
        (AccountCredited(WIFE, wallet=True, amount_fen=1), {(WIFE, Topic.ACCOUNT_CREDITED)}),
        (AccountFreezeChanged(WIFE, frozen=True), {(WIFE, Topic.ACCOUNT_FROZEN)}),
        (AccountFreezeChanged(WIFE, frozen=False), {(WIFE, Topic.ACCOUNT_UNFROZEN)}),
        (Invited(PATIENT, WIFE, AT), {(PATIENT, Topic.INVITED), (WIFE, Topic.INVITED)}),
        (Joined(PATIENT, []), {(PATIENT, Topic.MEMBER_JOINED)}),
        (
            Joined(PATIENT, [WIFE, FATHER]),
            {(PATIENT, Topic.MEMBER_JOINED), (WIFE, Topic.MEMBER_JOINED), (FATHER, Topic.MEMBER_JOINED)},
        ),
        (Sanctioned(WIFE, UUID(int=9), AT, AT + timedelta(days=90)), {(WIFE, Topic.SANCTIONED)}),
        *((UnusualUse(WIFE, use), {(WIFE, Topic.UNUSUAL_USE)}) for use in Use),
    ],
)
def test_each_fact_reaches_those_it_concerns(fact: Fact, expected: set[tuple[PsnNo, Topic]]) -> None:
    """The people and topics of each kind of fact."""
    assert set(said(fact)) == expected


@pytest.mark.parametrize(
    ("change", "topic"),
    [
        (BindingChange.BOUND, Topic.BOUND),
        (BindingChange.AMOUNT, Topic.BINDING_CHANGED),
        (BindingChange.ORDER, Topic.BINDING_CHANGED),
        (BindingChange.ENDED, Topic.UNBOUND),
        (BindingChange.SUSPENDED, Topic.BINDING_SUSPENDED),
    ],
)
def test_both_sides_of_a_binding_are_told_of_each_other(change: BindingChange, topic: Topic) -> None:
    """The funder reads the beneficiary's masked name and the other way round."""
    found = texts(BindingChanged(change, WIFE, PATIENT, 300_000_00, 1))
    assert set(found) == {(WIFE, topic), (PATIENT, topic)}
    assert "王*" in found[WIFE, topic]
    assert "李*梅" in found[PATIENT, topic]


def test_no_limit_and_last_are_words() -> None:
    """An authorised amount without limit and a place that is not given are told in words."""
    bound = texts(BindingChanged(BindingChange.BOUND, WIFE, PATIENT, None, None))[WIFE, Topic.BOUND]
    ordered = texts(BindingChanged(BindingChange.ORDER, WIFE, PATIENT, None, None))[PATIENT, Topic.BINDING_CHANGED]
    assert bound.endswith("授权金额不限额。")
    assert ordered.endswith("变更为最后。")


def test_a_sanction_is_known_by_its_own_id() -> None:
    """Identity repeats a sanction with every event of the person: the message's cause is the sanction."""
    sanction = Sanctioned(WIFE, UUID(int=9), AT, AT + timedelta(days=90))
    first = messages(Told(sanction, UUID(int=1), AT), NAMES)
    again = messages(Told(sanction, UUID(int=2), AT), NAMES)
    assert {message.cause_id for message in [*first, *again]} == {UUID(int=9)}


def test_a_name_that_has_not_arrived_becomes_a_relative() -> None:
    """Without a name the text still reads well."""
    told = messages(Told(Invited(PATIENT, WIFE, AT), EVENT, AT), {})
    assert [message.text.zh[:4] for message in told] == ["您已邀请", "您的家人"]


def test_every_sentence_has_the_same_places_in_both_languages() -> None:
    """The table has a line for every sentence, and both languages fill the same places."""
    assert set(TEXTS) == set(Sentence)
    different = [
        sentence
        for sentence, words in TEXTS.items()
        if {place for _, place, *_ in string.Formatter().parse(words.zh) if place}
        != {place for _, place, *_ in string.Formatter().parse(words.en) if place}
    ]
    assert different == []


def test_no_sentence_has_a_place_for_a_diagnosis_or_a_drug() -> None:
    """The places are known by name, and none of them is a disease, a drug or an institution's name."""
    places = {
        place for words in TEXTS.values() for _, place, *_ in string.Formatter().parse(words.zh) if place is not None
    }
    assert places == {
        *("time", "who", "place", "amount", "balance", "sources", "parts", "accounts"),
        *("until", "since", "limit", "order", "account"),
    }
