"""Legs that receive: nothing at TRY, money at CONFIRM, and no way for CONFIRM to fail."""

from __future__ import annotations

import pytest

from services.settlement.ledger.domain.commands import Command
from services.settlement.ledger.domain.model import AccountKey, AccountState, AlarmKind, EntryKind
from tests.unit.ledger.given import (
    OWN,
    PURSE,
    Story,
    account,
    amounts,
    cancel,
    confirm,
    credit_id,
    own_leg,
    parts,
    payment,
    personal,
    receiver_leg,
    refund,
    try_,
    wallet,
)
from tests.unit.ledger.test_protocol_table import TABLE, THE_TRY, TOO_MUCH

RECEIVER = wallet(7)
THE_GIFT = try_(1, own_leg(40, 10), receiver_leg(50, key=RECEIVER))
TOO_LARGE = try_(1, own_leg(999), receiver_leg(999, key=RECEIVER))
IN_WORDS: dict[Command, Command] = {THE_TRY: THE_GIFT, TOO_MUCH: TOO_LARGE}
REACHED: dict[str, tuple[Command, ...]] = {
    "none": (),
    "HELD": (THE_GIFT,),
    "REFUSED": (TOO_LARGE,),
    "BLOCKED": (cancel(1),),
    "CANCELLED": (THE_GIFT, cancel(1)),
    "CONFIRMED": (THE_GIFT, confirm(1)),
}


def a_giver() -> Story:
    """Somebody who can give, and nobody who has a wallet."""
    return Story(account(OWN, past=100, current=50))


@pytest.mark.parametrize(
    ("before", "command", "answered", "reason", "alarm", "after"),
    TABLE,
    ids=[f"{row[0]}-{type(row[1]).__name__}-{row[2]}-{row[3] or 'ok'}" for row in TABLE],
)
def test_the_table_is_the_same_for_a_payment_that_brings_money(
    before: str, command: Command, answered: str | None, reason: str | None, alarm: AlarmKind | None, after: str | None
) -> None:
    """A leg that receives changes no cell: states, answers and alarms are those of any payment."""
    story = a_giver()
    for step in REACHED[before]:
        story.do(step)
    reply = story.branch(IN_WORDS.get(command, command))
    left = story.state.branches.get(payment(1))
    assert (
        reply.state.value if reply.state else None,
        reply.refusal.reason if reply.refusal else None,
        [it.kind for it in story.outcomes[-1].alarms],
        left.state.value if left else None,
    ) == (answered, reason, [alarm] if alarm else [], after)


def test_a_vote_holds_the_givers_money_and_brings_none() -> None:
    """Before CONFIRM the receiver has no wallet yet, and nobody is told anything of it."""
    story = a_giver()
    reply = story.branch(THE_GIFT)
    assert RECEIVER not in story.state.accounts
    assert [it.key for it in reply.balances] == [OWN]
    assert (story.held(OWN), story.entries) == ((40, 10), [])


def test_confirm_opens_the_wallet_with_what_it_receives() -> None:
    """What is taken on one side is brought on the other, by an entry of its own kind; the sum needs no contra."""
    story = a_giver()
    story.do(THE_GIFT, confirm(1))
    assert (story.balance(OWN), story.balance(RECEIVER)) == ((60, 40), (50, 0))
    assert amounts(story.entries) == [("PERSONAL", -40), ("PERSONAL", -10), ("WALLET", 50)]
    assert story.entries[-1].kind is EntryKind.TRANSFER_IN


def test_each_of_two_ledgers_is_double_by_itself() -> None:
    """The giver's ledger has the other side in clearing, and so has the receiver's."""
    theirs, ours = a_giver(), Story()
    theirs.do(try_(1, own_leg(40)), confirm(1))
    ours.do(try_(1, receiver_leg(40, key=RECEIVER)), confirm(1))
    assert amounts(theirs.entries) == [("PERSONAL", -40), ("CLEARING", 40)]
    assert amounts(ours.entries) == [("WALLET", 40), ("CLEARING", -40)]


def test_cancel_leaves_no_wallet_behind() -> None:
    """After CANCEL everything stands as before TRY."""
    story = a_giver()
    before = dict(story.state.accounts)
    story.do(THE_GIFT, cancel(1))
    assert (story.state.accounts, story.entries) == (before, [])


@pytest.mark.parametrize(
    ("key", "state", "frozen", "reason"),
    [
        (PURSE, AccountState.OPEN, False, None),
        (PURSE, AccountState.CLOSING, False, "ACCOUNT_CLOSING"),
        (PURSE, AccountState.CLOSED, False, "ACCOUNT_NOT_FOUND"),
        (personal(5), AccountState.OPEN, True, None),
    ],
    ids=["open", "closing", "closed", "frozen"],
)
def test_who_can_be_promised_money(key: AccountKey, state: AccountState, frozen: bool, reason: str | None) -> None:  # noqa: FBT001  A case, not a switch.
    """An account that is closing or closed is refused; a frozen one receives."""
    story = Story(account(OWN, past=100), account(key, state=state, frozen=frozen))
    reply = story.branch(try_(1, own_leg(40), receiver_leg(40, key=key)))
    assert (reply.refusal.reason if reply.refusal else None) == reason
    assert story.held(OWN) == ((0, 0) if reason else (40, 0))


def test_a_personal_account_is_not_opened_by_a_transfer() -> None:
    """Only a wallet opens by what it receives."""
    reply = a_giver().branch(try_(1, own_leg(40), receiver_leg(40, key=personal(5))))
    assert reply.refusal is not None
    assert (reply.refusal.reason, reply.refusal.leg_no) == ("ACCOUNT_NOT_FOUND", 9)


def test_what_comes_to_a_wallet_closed_meanwhile_waits_for_an_officer() -> None:
    """CONFIRM cannot fail: the money is in suspense, with a task, and the books are balanced."""
    story = Story(account(OWN, past=100), account(RECEIVER))
    story.do(try_(1, own_leg(40), receiver_leg(40, key=RECEIVER)))
    story.state.accounts[RECEIVER] = account(RECEIVER, state=AccountState.CLOSED)
    outcome = story.do(confirm(1))
    [task] = outcome.suspense_tasks
    assert (task.credit_id, task.leg_no, task.account, task.amount_fen) == (payment(1), 9, RECEIVER, 40)
    assert amounts(story.entries) == [("PERSONAL", -40), ("SUSPENSE", 40)]
    assert parts(story.state.accounts[RECEIVER].balance) == (0, 0)


def test_what_was_received_is_never_given_back_by_a_refund() -> None:
    """A refund returns what a leg took; a receiver's took nothing."""
    story = a_giver()
    story.do(THE_GIFT, confirm(1))
    reply = story.credited(refund(1, 1, (9, RECEIVER, 50, 0)))
    assert reply.refusal is not None
    assert (reply.credit_id, reply.refusal.reason, reply.alarm) == (credit_id(1), "REFUND_LEG_UNKNOWN", True)
