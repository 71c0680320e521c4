"""An account ends: no new hold, and once the last one has gone what is left waits for an officer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.settlement.ledger.domain.commands import (
    AccountReply,
    CloseAccount,
    Command,
    PutCredit,
    ReleaseSuspense,
    SetFrozen,
)
from services.settlement.ledger.domain.model import (
    AccountKey,
    AccountState,
    Book,
    BranchState,
    ClosingId,
    CreditPurpose,
    EntryKind,
    FreezeId,
)
from tests.unit.ledger.given import (
    FUNDER,
    OWN,
    PURSE,
    Story,
    account,
    cancel,
    confirm,
    credit,
    funder_leg,
    in_shanghai,
    open_authorisation,
    own_leg,
    payment,
    refund,
    try_,
)
from tests.unit.ledger.sequences import LENGTH_MAX, lives, violations

HEIR = FUNDER


def close(number: int = 1, *, cause: str = "DIED") -> CloseAccount:
    """The end of the patient's personal account."""
    return CloseAccount(ClosingId(payment(0x700 + number)), OWN, cause)


def reason_of(story: Story, command: Command) -> str:
    """Why a closing was refused; empty if it was not."""
    reply = story.do(command).reply
    assert isinstance(reply, AccountReply)
    return reply.refusal.reason if reply.refusal else ""


def in_suspense(story: Story) -> int:
    """What waits in the area's suspense."""
    return sum(it.amount_fen for it in story.entries if it.book is Book.SUSPENSE)


def holding_on(story: Story, key: AccountKey) -> set[object]:
    """The payments that hold money of an account."""
    return {
        it.payment_id
        for it in story.state.branches.values()
        if it.state is BranchState.HELD and any(leg.account == key for leg in it.takings)
    }


def test_an_account_without_holds_is_closed_at_once_and_its_money_waits_for_an_officer() -> None:
    """Both parts leave it in entries of their own, one task names the closing, and the account is empty."""
    story = Story(account(OWN, past=30, current=70))
    outcome = story.do(close())
    assert story.state.accounts[OWN].state is AccountState.CLOSED
    assert story.balance(OWN) == (0, 0)
    assert [(it.amount_fen, it.balance_after_fen) for it in outcome.entries if it.account] == [(-30, 70), (-70, 0)]
    (task,) = outcome.suspense_tasks
    assert (task.credit_id, task.account, task.amount_fen, in_suspense(story)) == (close().closing_id, OWN, 100, 100)


def test_an_empty_account_is_closed_without_an_entry() -> None:
    """Nothing waits for anybody."""
    outcome = Story(account(OWN)).do(close())
    assert (outcome.entries, outcome.suspense_tasks) == ((), ())


@pytest.mark.parametrize(("end", "left"), [(confirm(1), 40), (cancel(1), 100)])
def test_an_account_with_a_hold_is_closed_with_the_end_of_its_last_hold(end: Command, left: int) -> None:
    """CLOSING takes no new hold; the one in flight is paid or released exactly, and what is left then waits."""
    story = Story(account(OWN, past=30, current=70))
    story.do(try_(1, own_leg(10, 50)), close())
    assert story.state.accounts[OWN].state is AccountState.CLOSING
    refused = story.branch(try_(2, own_leg(1)))
    assert (refused.state, refused.refusal and refused.refusal.reason) == (BranchState.REFUSED, "ACCOUNT_CLOSING")
    story.do(end)
    assert story.state.accounts[OWN].state is AccountState.CLOSED
    assert (story.balance(OWN), story.held(OWN), in_suspense(story)) == ((0, 0), (0, 0), left)


def test_of_two_holds_the_last_one_closes() -> None:
    """After the first end the account still waits; money that comes meanwhile is on it and goes with the rest."""
    story = Story(account(OWN, past=100))
    story.do(try_(1, own_leg(10)), try_(2, own_leg(20)), close(), confirm(1))
    assert story.state.accounts[OWN].state is AccountState.CLOSING
    story.do(credit(1, (1, OWN, 0, 5)), cancel(2))
    assert (story.state.accounts[OWN].state, in_suspense(story)) == (AccountState.CLOSED, 95)


def test_a_later_refund_reaches_suspense_and_the_authorisation() -> None:
    """The money waits beside the rest; what the beneficiary has used is given back all the same."""
    story = Story(account(FUNDER, past=100))
    story.do(open_authorisation(1, 80), try_(1, funder_leg(60)), confirm(1))
    story.do(CloseAccount(ClosingId(payment(0x700)), FUNDER, "MOVED"))
    outcome = story.do(refund(1, 1, (1, FUNDER, 60, 0)))
    (task,) = outcome.suspense_tasks
    assert (task.account, task.amount_fen, in_suspense(story)) == (FUNDER, 60, 100)
    assert [it.used_fen for it in story.state.authorisations.values()] == [0]


def test_a_refund_of_a_held_payment_is_confirmed_closes_the_account_and_waits() -> None:
    """The late CONFIRM is made up for, its end closes the account, and the refund finds it closed."""
    story = Story(account(OWN, past=100))
    story.do(try_(1, own_leg(60)), close(), refund(1, 1, (1, OWN, 60, 0)))
    assert (story.state.accounts[OWN].state, in_suspense(story)) == (AccountState.CLOSED, 100)


def test_an_officer_brings_a_dead_persons_balance_to_the_heir() -> None:
    """The task of the closing is settled like any other: the books are even and the heir has the money."""
    story = Story(account(HEIR, past=1), account(OWN, past=30, current=70))
    (task,) = story.do(close()).suspense_tasks
    story.state.suspense_tasks[task.credit_id, task.leg_no] = task
    story.do(ReleaseSuspense(task.credit_id, task.leg_no, HEIR))
    assert (story.balance(HEIR), in_suspense(story)) == ((101, 0), 0)


def accepted(number: int, fen: int, at: datetime) -> PutCredit:
    """This year's money, taken on by a coordinator at that instant."""
    return replace(credit(number, (1, OWN, 0, fen)), accepted_at=at)


def test_who_comes_back_has_his_account_again_with_the_first_credit() -> None:
    """What was taken on after its end opens it again, as often as he goes and comes; a refund or a late credit not."""
    story = Story(account(OWN, past=100))
    story.do(try_(1, own_leg(30)), confirm(1), close(cause="MOVED"))
    left_at = story.now
    story.later(seconds=2)
    story.do(refund(1, 1, (1, OWN, 10, 0)), accepted(2, 1, left_at), accepted(3, 7, story.now))
    assert (story.state.accounts[OWN].state, story.balance(OWN)) == (AccountState.OPEN, (0, 7))
    assert in_suspense(story) == 70 + 10 + 1
    came_at = story.now
    story.later(seconds=2)
    story.do(close(2, cause="MOVED"), accepted(4, 5, came_at))
    assert (story.state.accounts[OWN].state, in_suspense(story)) == (AccountState.CLOSED, 81 + 7 + 5)


@pytest.mark.parametrize("cause", ["DIED", "MERGED"])
def test_an_account_that_ended_for_good_stays_closed(cause: str) -> None:
    """Whatever is credited; and one that ended otherwise, for a credit that does not say when it was taken on."""
    story, moved = Story(account(OWN, past=100)), Story(account(OWN, past=100))
    story.do(close(cause=cause))
    story.later(seconds=2)
    story.do(accepted(2, 7, story.now))
    moved.do(close(cause="MOVED"), credit(2, (1, OWN, 0, 7)))
    for each in (story, moved):
        assert (each.state.accounts[OWN].state, in_suspense(each)) == (AccountState.CLOSED, 107)


def test_the_same_closing_again_changes_nothing_and_another_is_refused() -> None:
    """By id; other content under it, an account that is closing or closed, or none, are refused by name."""
    story = Story(account(OWN, past=100))
    story.do(try_(1, own_leg(10)))
    assert [reason_of(story, command) for command in (close(), close(), close(cause="MOVED"), close(2))] == [
        *("", "", "CLOSING_CONTENT_DIFFERS", "ACCOUNT_CLOSING")
    ]
    story.do(cancel(1))
    before = (story.state, len(story.entries))
    assert [reason_of(story, command) for command in (close(), close(2))] == ["", "ACCOUNT_NOT_FOUND"]
    assert (story.state, len(story.entries)) == before
    assert reason_of(Story(), close()) == "ACCOUNT_NOT_FOUND"


def test_closing_takes_no_notice_of_a_freeze() -> None:
    """A frozen account ends like any other; its money waits."""
    story = Story(account(OWN, past=7))
    story.do(SetFrozen(FreezeId(payment(0x500)), OWN.psn_no, frozen=True, cause="TEST"), close())
    assert in_suspense(story) == 7


def test_a_hold_that_crosses_the_year_closes_an_account_to_the_fen() -> None:
    """Held in December as current, confirmed in January from past; the rest waits."""
    story = Story(account(OWN, past=30, current=70), now=in_shanghai(2026, 12, 31, 23))
    story.do(try_(1, own_leg(0, 50)), close())
    story.now = in_shanghai(2027, 1, 1)
    story.do(confirm(1))
    assert (story.state.accounts[OWN].state, in_suspense(story)) == (AccountState.CLOSED, 50)
    assert {it.kind for it in story.entries} == {EntryKind.YEAR_TURN, EntryKind.PAYMENT, EntryKind.CLOSING}


@given(commands=lives(), at=st.integers(0, LENGTH_MAX), key=st.sampled_from([OWN, FUNDER, PURSE]))
@settings(max_examples=300, deadline=None)
def test_wherever_an_account_is_closed_no_fen_is_lost_and_nothing_is_held_afterwards(
    commands: list[Command], at: int, key: AccountKey
) -> None:
    """In any life: no new hold after the closing, the invariants hold, and suspense has what its tasks say."""
    story = Story()
    lived = [*commands[:at], CloseAccount(ClosingId(payment(0x7FF)), key, "TEST"), *commands[at:]]
    for command in lived:
        before, holding = story.state.accounts.get(key), holding_on(story, key)
        story.do(command)
        after = story.state.accounts.get(key)
        if before is not None and before.state is not AccountState.OPEN:
            assert holding_on(story, key) <= holding
        if after is not None and after.state is not AccountState.OPEN:
            assert (after.state is AccountState.CLOSED) == (after.held.total == 0)
            assert after.state is AccountState.CLOSING or after.balance.total == 0
    assert violations(story.state, story.entries) == []
    tasks = sum(task.amount_fen for outcome in story.outcomes for task in outcome.suspense_tasks)
    assert in_suspense(story) == tasks


def test_a_wallet_is_closed_like_an_account() -> None:
    """Its one part waits for an officer."""
    story = Story(account(PURSE, past=9))
    story.do(CloseAccount(ClosingId(payment(0x700)), PURSE, "DIED"))
    assert (story.state.accounts[PURSE].state, in_suspense(story)) == (AccountState.CLOSED, 9)
    story.do(credit(1, (1, PURSE, 4, 0), purpose=CreditPurpose.WALLET))
    assert in_suspense(story) == 13
