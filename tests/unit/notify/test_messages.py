"""Who is told what, in which words, and what nobody is told."""

from __future__ import annotations

import string
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from kernel.ids import PsnNo
from kernel.policy import RegionPolicy
from services.family.domain.bindings import Change
from services.family.domain.judging import Standing, judged
from services.family.domain.limits import Limits
from services.family.wire import binding_event
from services.notify.domain import texts as words
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
from services.notify.domain.messages import Message, Topic, messages
from services.notify.domain.texts import TEXTS, Sentence
from services.notify.wire import told_by_family
from tests.unit.family.given import binding
from tests.unit.family.test_bindings import STANDINGS

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
        (InvitationAnswered(PATIENT, WIFE, declined=True), {(PATIENT, Topic.INVITED)}),
        (InvitationAnswered(PATIENT, WIFE, declined=False), {(WIFE, Topic.INVITED)}),
        (Left(WIFE, Going.LEFT, [PATIENT]), {(WIFE, Topic.MEMBER_LEFT), (PATIENT, Topic.MEMBER_LEFT)}),
        (Left(WIFE, Going.REMOVED, []), {(WIFE, Topic.MEMBER_LEFT)}),
        (Left(WIFE, Going.DISSOLVED, []), {(WIFE, Topic.MEMBER_LEFT)}),
        (Joined(PATIENT, []), {(PATIENT, Topic.MEMBER_JOINED)}),
        (
            Joined(PATIENT, [WIFE, FATHER]),
            {(PATIENT, Topic.MEMBER_JOINED), (WIFE, Topic.MEMBER_JOINED), (FATHER, Topic.MEMBER_JOINED)},
        ),
        (
            FounderChanged(WIFE, [PATIENT]),
            {(WIFE, Topic.FOUNDER_CHANGED), (PATIENT, Topic.FOUNDER_CHANGED)},
        ),
        (Joined(WIFE, [], took_over=True), {(WIFE, Topic.MEMBER_JOINED)}),
        (Sanctioned(WIFE, UUID(int=9), AT, AT + timedelta(days=90)), {(WIFE, Topic.SANCTIONED)}),
        (AccountEnded(WIFE, wallet=False, closed=False), {(WIFE, Topic.ACCOUNT_ENDED)}),
        (AccountEnded(WIFE, wallet=True, closed=True), {(WIFE, Topic.ACCOUNT_ENDED)}),
        (AccountEnded(WIFE, wallet=False, closed=False, moved_fen=70), {(WIFE, Topic.ACCOUNT_ENDED)}),
        (WalletChanged(WIFE, None, opened=True), {(WIFE, Topic.WALLET_CHANGED)}),
        (WalletChanged(WIFE, None, opened=False), {(WIFE, Topic.WALLET_CHANGED)}),
        (
            WalletChanged(WIFE, PATIENT, opened=True),
            {(WIFE, Topic.WALLET_CHANGED), (PATIENT, Topic.WALLET_CHANGED)},
        ),
        (WalletChanged(WIFE, PATIENT, opened=False), {(WIFE, Topic.WALLET_CHANGED)}),
        (WalletChanged(WIFE, PATIENT, opened=True, took_over=True), {(WIFE, Topic.WALLET_CHANGED)}),
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
        (BindingChange.LIMITS, Topic.BINDING_CHANGED),
        (BindingChange.ORDER, Topic.BINDING_CHANGED),
        (BindingChange.ENDED, Topic.UNBOUND),
        (BindingChange.SUSPENDED, Topic.BINDING_SUSPENDED),
        (BindingChange.MOVING, Topic.BINDING_SUSPENDED),
        (BindingChange.MOVED, Topic.BINDING_CHANGED),
    ],
)
def test_both_sides_of_a_binding_are_told_of_each_other(change: BindingChange, topic: Topic) -> None:
    """The funder reads the beneficiary's masked name and the other way round."""
    found = texts(BindingChanged(change, WIFE, PATIENT, 300_000_00, 1))
    assert set(found) == {(WIFE, topic), (PATIENT, topic)}
    assert "王*" in found[WIFE, topic]
    assert "李*梅" in found[PATIENT, topic]


@pytest.mark.parametrize("fallen", STANDINGS.values(), ids=STANDINGS)
def test_both_sides_of_a_binding_that_stops_read_why(fallen: tuple[Standing, str]) -> None:
    """Each cause that family gives has words of its own, from its event to the text."""
    standing, cause = fallen
    step = judged(binding(), standing, RegionPolicy(), now=AT)
    assert step is not None
    event = binding_event(step.binding, step.change, at=AT)
    (told,) = told_by_family(event.SerializeToString())
    assert isinstance(told.fact, BindingChanged)
    assert told.fact.cause is StopCause(cause)
    for message in messages(told, {}):
        assert words.BIND_AGAIN.zh not in message.text.zh
        assert words.BIND_AGAIN.en not in message.text.en


def test_new_limits_are_read_as_the_ledger_keeps_them() -> None:
    """From family's event to the text: in yuan, and "no limit" where there is none; both read the same figures."""
    event = binding_event(replace(binding(), limits=Limits(150_00, None)), Change.LIMITS, at=AT)
    (told,) = told_by_family(event.SerializeToString())
    mine, theirs = messages(told, {})
    assert "单笔150.00元，每月不限额" in mine.text.zh
    assert "150.00 yuan a payment, no limit a month" in theirs.text.en


def test_a_binding_that_stops_for_no_cause_of_ours_can_be_made_again() -> None:
    """A ledger's refusal has no words here: both read what to do."""
    found = texts(BindingChanged(BindingChange.SUSPENDED, WIFE, PATIENT, None, None))
    assert found == {
        (WIFE, Topic.BINDING_SUSPENDED): "2026年11月21日00:05，您与王*的共济绑定已停止：如需继续请重新办理。",
        (PATIENT, Topic.BINDING_SUSPENDED): "2026年11月21日00:05，李*梅与您的共济绑定已停止：如需继续请重新办理。",
    }
    died = texts(BindingChanged(BindingChange.SUSPENDED, WIFE, PATIENT, None, None, StopCause.DIED))
    assert died[PATIENT, Topic.BINDING_SUSPENDED].endswith("，李*梅与您的共济绑定已停止：其中一方的医保登记已终止。")


def stopped(cause: StopCause) -> tuple[Message, Message]:
    """What the funder and what the beneficiary are sent."""
    found = said(BindingChanged(BindingChange.SUSPENDED, WIFE, PATIENT, None, None, cause))
    return found[WIFE, Topic.BINDING_SUSPENDED], found[PATIENT, Topic.BINDING_SUSPENDED]


def test_a_funder_reads_of_his_sanction_and_of_his_insurance() -> None:
    """Each in words of its own, since it is his."""
    assert "您已被暂停联网结算" in stopped(StopCause.SANCTIONED)[0].text.zh
    assert "您已不再正常参加职工医保" in stopped(StopCause.NOT_INSURED)[0].text.zh


def test_a_beneficiary_cannot_tell_a_sanction_from_a_lost_insurance() -> None:
    """The words are the same for whatever is the funder's own affair, so they give nothing away."""
    assert stopped(StopCause.SANCTIONED)[1].text == stopped(StopCause.NOT_INSURED)[1].text
    assert "结算" not in stopped(StopCause.SANCTIONED)[1].text.zh


def test_no_notice_announces_a_death() -> None:
    """Neither side reads of one."""
    for message in stopped(StopCause.DIED):
        assert not {"死", "亡", "逝"} & set(message.text.zh)
        assert not {"die", "died", "dead", "death"} & set(message.text.en.replace(".", "").split())


@pytest.mark.parametrize(
    ("change", "cause", "giver_reads", "receiver_reads"),
    [
        (
            TransferChange.AWAITS,
            None,
            "2026年11月21日00:05，您向王*的医保钱包转账2,000.00元，等待对方在2026年11月22日06:00前接收。",
            "2026年11月21日00:05，李*梅向您的医保钱包转账2,000.00元，请在2026年11月22日06:00前接收，逾期退回。",
        ),
        (
            TransferChange.ACCEPTED,
            None,
            "2026年11月21日00:05，王*已接收您转账的2,000.00元。",
            "2026年11月21日00:05，李*梅转账的2,000.00元已进入您的医保钱包。",
        ),
        (
            TransferChange.RETURNED,
            ReturnCause.NOT_IN_TIME,
            "2026年11月21日00:05，您向王*转账的2,000.00元逾期未接收，款项已退回。",
            "2026年11月21日00:05，李*梅向您转账的2,000.00元逾期未接收，款项已退回对方。",
        ),
        (
            TransferChange.RETURNED,
            None,
            "2026年11月21日00:05，您向王*转账的2,000.00元未完成，款项已退回。",
            "2026年11月21日00:05，李*梅向您转账的2,000.00元未完成，款项已退回对方。",
        ),
    ],
)
def test_both_people_of_a_transfer_read_of_each_other(
    change: TransferChange, cause: ReturnCause | None, giver_reads: str, receiver_reads: str
) -> None:
    """The amount, the other's masked name, until when it can be accepted, and why it was returned."""
    until = datetime(2026, 11, 21, 22, 0, tzinfo=UTC)
    found = texts(TransferChanged(change, WIFE, PATIENT, 2_000_00, until, cause))
    topic = Topic(f"TRANSFER_{change.value}")
    assert found == {(WIFE, topic): giver_reads, (PATIENT, topic): receiver_reads}


@pytest.mark.parametrize(
    ("revoked", "payer_reads", "insured_reads"),
    [
        (
            False,
            "2026年11月21日00:05，您用个人账户为王*缴纳2027年度居民医保保费400.00元，余额12.00元。",
            "2026年11月21日00:05，李*梅已为您缴纳2027年度居民医保保费400.00元。",
        ),
        (
            True,
            "2026年11月21日00:05，您为王*缴纳的2027年度居民医保保费已撤销，400.00元退回您的个人账户。",
            "2026年11月21日00:05，李*梅为您缴纳的2027年度居民医保保费已撤销。该年度保费目前尚未缴纳。",
        ),
    ],
)
def test_both_people_of_a_premium_read_of_it(revoked: bool, payer_reads: str, insured_reads: str) -> None:  # noqa: FBT001  A case.
    """The payer reads his balance, the insured who has paid."""
    found = texts(PremiumChanged(WIFE, PATIENT, 2027, 400_00, 12_00, wallet=False, revoked=revoked))
    topic = Topic.PREMIUM_REVOKED if revoked else Topic.PREMIUM_PAID
    assert found == {(WIFE, topic): payer_reads, (PATIENT, topic): insured_reads}


def test_a_claim_is_told_to_its_claimant_and_to_whoever_gives_for_it() -> None:
    """The claimant reads the decision, the wife what was taken of hers; a refusal concerns nobody else."""
    taken = AccountChange(WIFE, Source.FUNDER, 300_00, 12_00)
    approved = texts(ClaimDecided(PATIENT, approved=True, changes=[taken]))
    assert approved == {
        (PATIENT, Topic.CLAIM_DECIDED): "2026年11月21日00:05，您的手工报销申请已审核通过，款项将按规定支付。",
        (WIFE, Topic.ACCOUNT_PAID): "2026年11月21日00:05，王*的手工报销使用个人账户300.00元（余额12.00元）。",
    }
    refused = texts(ClaimDecided(PATIENT, approved=False, changes=[]))
    assert list(refused) == [(PATIENT, Topic.CLAIM_DECIDED)]


def test_a_premium_of_ones_own_is_told_once() -> None:
    """Out of his wallet, with what is left there."""
    found = texts(PremiumChanged(WIFE, WIFE, 2027, 400_00, 0, wallet=True, revoked=False))
    assert found == {
        (WIFE, Topic.PREMIUM_PAID): "2026年11月21日00:05，您用医保钱包缴纳2027年度居民医保保费400.00元，余额0.00元。"
    }


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
        *("until", "since", "limit", "order", "account", "outcome", "cause", "per_payment", "per_month", "year"),
    }
