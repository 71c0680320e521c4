"""What an operator books: a charge that a restored ledger has lost, and money out of suspense."""

from __future__ import annotations

from dataclasses import fields

from services.settlement.ledger.domain.commands import BranchReply, Charge, CreditReply, ReleaseSuspense, Try
from services.settlement.ledger.domain.model import AccountState, Book, BranchState, EntryKind, Parts
from tests.unit.ledger.given import (
    FUNDER,
    OTHER_FUNDER,
    OWN,
    Story,
    account,
    authorisation,
    cancel,
    confirm,
    funder_leg,
    open_authorisation,
    own_leg,
    payment,
    refund,
    try_,
)


def charge(held: Try) -> Charge:
    """The same legs, decided long ago."""
    return Charge(**{one.name: getattr(held, one.name) for one in fields(held)})


def booked(story: Story, held: Try) -> BranchReply:
    """What a charge came to."""
    reply = story.do(charge(held)).reply
    assert isinstance(reply, BranchReply)
    return reply


def test_a_charge_is_booked_once_whatever_business_would_say_today() -> None:
    """Frozen, under an amended limit: it was promised. Twice is once, and the entries are those of a payment."""
    story = Story(account(OWN, past=100, frozen=True))
    for _ in range(2):
        assert booked(story, try_(1, own_leg(40))).state is BranchState.CONFIRMED
    assert (story.balance(OWN), story.held(OWN)) == ((60, 0), (0, 0))
    assert [(entry.book, entry.kind, entry.amount_fen) for entry in story.entries] == [
        (Book.PERSONAL, EntryKind.PAYMENT, -40),
        (Book.CLEARING, EntryKind.PAYMENT, 40),
    ]


def test_a_charge_confirms_what_is_still_held_and_counts_under_its_authorisation() -> None:
    """The hold of the backup becomes the charge; used is what was charged."""
    story = Story(account(FUNDER, past=100))
    story.do(open_authorisation(limit=50), try_(1, funder_leg(30)))
    assert booked(story, try_(1, funder_leg(30))).state is BranchState.CONFIRMED
    assert story.state.authorisations[authorisation(1)].used_fen == 30
    assert (story.balance(FUNDER), story.held(FUNDER)) == ((70, 0), (0, 0))


def test_a_charge_whose_money_is_not_there_books_nothing_and_may_come_again() -> None:
    """All legs or none, nothing below zero, and no branch is left behind that would refuse it later."""
    story = Story(account(OWN, past=100), account(OTHER_FUNDER, past=10))
    short = try_(1, own_leg(40), own_leg(20, leg_no=2, key=OTHER_FUNDER))
    refused = booked(story, short)
    assert (refused.state, refused.refusal and refused.refusal.reason) == (None, "INSUFFICIENT_FUNDS")
    assert (story.balance(OWN), story.held(OWN), story.entries, story.state.branches) == ((100, 0), (0, 0), [], {})
    story.state.accounts[OTHER_FUNDER] = account(OTHER_FUNDER, past=20)
    assert booked(story, short).state is BranchState.CONFIRMED


def test_a_charge_of_what_was_let_go_is_a_contradiction() -> None:
    """The ledger keeps what it has and calls someone."""
    story = Story(account(OWN, past=100))
    story.do(try_(1, own_leg(40)), cancel(1))
    reply = booked(story, try_(1, own_leg(40)))
    assert (reply.state, reply.alarm, story.balance(OWN)) == (BranchState.CANCELLED, True, (100, 0))


def _suspended() -> tuple[Story, ReleaseSuspense]:
    """A refund of 40 whose account is closed; the task is loaded as a command of the officer's would load it."""
    story = Story(account(OWN, past=40), account(OTHER_FUNDER, past=7))
    story.do(try_(1, own_leg(40)), confirm(1))
    story.state.accounts[OWN] = account(OWN, state=AccountState.CLOSED)
    (task,) = story.do(refund(1, 1, (1, OWN, 40, 0))).suspense_tasks
    story.state.suspense_tasks[task.credit_id, task.leg_no] = task
    return story, ReleaseSuspense(task.credit_id, task.leg_no, OTHER_FUNDER)


def test_money_leaves_suspense_once_onto_the_account_that_the_officer_names() -> None:
    """The suspense book is empty afterwards, the entries sum to zero, and the second time nothing moves."""
    story, release = _suspended()
    first = story.do(release).reply
    second = story.do(release).reply
    assert isinstance(first, CreditReply)
    assert isinstance(second, CreditReply)
    assert first.refusal is None
    assert second.refusal is not None
    assert second.refusal.reason == "SUSPENSE_TASK_DONE"
    assert story.state.accounts[OTHER_FUNDER].balance == Parts(47, 0)
    assert sum(entry.amount_fen for entry in story.entries if entry.book is Book.SUSPENSE) == 0
    assert sum(entry.amount_fen for entry in story.entries if entry.kind is EntryKind.SUSPENSE) == 0


def test_money_that_is_paid_out_elsewhere_goes_back_to_the_fund() -> None:
    """Contra to the book that credits come from."""
    story, release = _suspended()
    story.do(ReleaseSuspense(release.credit_id, release.leg_no, None))
    fund = [entry.amount_fen for entry in story.entries if entry.book is Book.FUND_INFLOW]
    assert (fund, story.state.accounts[OTHER_FUNDER].balance) == ([40], Parts(7, 0))


def test_a_closed_account_takes_nothing_out_of_suspense() -> None:
    """The money stays where it is, and the task open."""
    story, release = _suspended()
    reply = story.do(ReleaseSuspense(release.credit_id, release.leg_no, OWN)).reply
    assert isinstance(reply, CreditReply)
    assert reply.refusal is not None
    assert reply.refusal.reason == "ACCOUNT_NOT_FOUND"
    assert story.state.suspense_tasks[release.credit_id, release.leg_no].done_at is None
    assert payment(1) in story.state.branches
