"""The ledger's table of protocol.md, one row for each cell."""

from __future__ import annotations

import pytest

from services.settlement.ledger.domain.commands import Command
from services.settlement.ledger.domain.model import AlarmKind, BranchState
from tests.unit.ledger.given import (
    FUNDER,
    OWN,
    Story,
    account,
    amounts,
    cancel,
    confirm,
    funder_leg,
    open_authorisation,
    own_leg,
    payment,
    try_,
)

THE_TRY = try_(1, own_leg(40, 10), funder_leg(30, leg_no=2))
TOO_MUCH = try_(1, own_leg(999))

HOW_TO_REACH: dict[str, tuple[Command, ...]] = {
    "none": (),
    "HELD": (THE_TRY,),
    "REFUSED": (TOO_MUCH,),
    "BLOCKED": (cancel(1),),
    "CANCELLED": (THE_TRY, cancel(1)),
    "CONFIRMED": (THE_TRY, confirm(1)),
}

TABLE = [
    # state before, command, state answered, refused because, alarm, state after
    ("none", THE_TRY, "HELD", None, None, "HELD"),
    ("none", TOO_MUCH, "REFUSED", "INSUFFICIENT_FUNDS", None, "REFUSED"),
    ("none", confirm(1), None, None, AlarmKind.CONFIRM_WITHOUT_HOLD, None),
    ("none", cancel(1), "BLOCKED", None, None, "BLOCKED"),
    ("HELD", THE_TRY, "HELD", None, None, "HELD"),
    ("HELD", TOO_MUCH, "REFUSED", "PAYMENT_CONTENT_DIFFERS", AlarmKind.TRY_WITH_OTHER_CONTENT, "HELD"),
    ("HELD", confirm(1), "CONFIRMED", None, None, "CONFIRMED"),
    ("HELD", cancel(1), "CANCELLED", None, None, "CANCELLED"),
    ("REFUSED", TOO_MUCH, "REFUSED", "INSUFFICIENT_FUNDS", None, "REFUSED"),
    ("REFUSED", THE_TRY, "REFUSED", "PAYMENT_CONTENT_DIFFERS", AlarmKind.TRY_WITH_OTHER_CONTENT, "REFUSED"),
    ("REFUSED", confirm(1), "REFUSED", "INSUFFICIENT_FUNDS", AlarmKind.CONFIRM_WITHOUT_HOLD, "REFUSED"),
    ("REFUSED", cancel(1), "REFUSED", "INSUFFICIENT_FUNDS", None, "REFUSED"),
    ("BLOCKED", THE_TRY, "REFUSED", "PAYMENT_CANCELLED", None, "BLOCKED"),
    ("BLOCKED", confirm(1), "BLOCKED", None, AlarmKind.CONFIRM_WITHOUT_HOLD, "BLOCKED"),
    ("BLOCKED", cancel(1), "BLOCKED", None, None, "BLOCKED"),
    ("CANCELLED", THE_TRY, "REFUSED", "PAYMENT_CANCELLED", None, "CANCELLED"),
    ("CANCELLED", TOO_MUCH, "REFUSED", "PAYMENT_CANCELLED", None, "CANCELLED"),
    ("CANCELLED", confirm(1), "CANCELLED", None, AlarmKind.CONFIRM_WITHOUT_HOLD, "CANCELLED"),
    ("CANCELLED", cancel(1), "CANCELLED", None, None, "CANCELLED"),
    ("CONFIRMED", THE_TRY, "HELD", None, None, "CONFIRMED"),
    ("CONFIRMED", TOO_MUCH, "REFUSED", "PAYMENT_CONTENT_DIFFERS", AlarmKind.TRY_WITH_OTHER_CONTENT, "CONFIRMED"),
    ("CONFIRMED", confirm(1), "CONFIRMED", None, None, "CONFIRMED"),
    ("CONFIRMED", cancel(1), "CONFIRMED", None, AlarmKind.CANCEL_AFTER_CONFIRM, "CONFIRMED"),
]


def a_family() -> Story:
    """A patient, and a funder whose authorisation is for 60 fen."""
    story = Story(account(OWN, past=100, current=50), account(FUNDER, past=100))
    story.do(open_authorisation(1, 60))
    return story


def _name(state: BranchState | None) -> str | None:
    return state.value if state else None


@pytest.mark.parametrize(
    ("before", "command", "answered", "reason", "alarm", "after"),
    TABLE,
    ids=[f"{row[0]}-{type(row[1]).__name__}-{row[2]}-{row[3] or 'ok'}" for row in TABLE],
)
def test_each_cell_answers_and_leaves_what_the_protocol_says(
    before: str, command: Command, answered: str | None, reason: str | None, alarm: AlarmKind | None, after: str | None
) -> None:
    """In each state, each command gets the answer of its cell, raises its alarm and leaves its state."""
    story = a_family()
    story.outcomes.clear()
    for step in HOW_TO_REACH[before]:
        story.do(step)
    reply = story.branch(command)
    left = story.state.branches.get(payment(1))
    assert (
        _name(reply.state),
        reply.refusal.reason if reply.refusal else None,
        [it.kind for it in story.outcomes[-1].alarms],
        _name(left.state) if left else None,
    ) == (answered, reason, [alarm] if alarm else [], after)
    assert reply.alarm == (alarm is not None)


@pytest.mark.parametrize(
    ("before", "command"),
    [(row[0], row[1]) for row in TABLE if row[5] == (row[0] if row[0] != "none" else None)],
    ids=[
        f"{row[0]}-{type(row[1]).__name__}-{row[3] or 'ok'}"
        for row in TABLE
        if row[5] == (row[0] if row[0] != "none" else None)
    ],
)
def test_a_command_that_changes_no_state_moves_no_money(before: str, command: Command) -> None:
    """Where the state stays, balances, holds, authorisations and books stay too."""
    story = a_family()
    for step in HOW_TO_REACH[before]:
        story.do(step)
    accounts, authorisations = dict(story.state.accounts), dict(story.state.authorisations)
    booked = len(story.entries)
    story.do(command)
    assert (story.state.accounts, story.state.authorisations, len(story.entries)) == (accounts, authorisations, booked)


def test_try_holds_and_books_nothing() -> None:
    """After TRY the money is held and counts against the authorisation, and the books show nothing."""
    story = a_family()
    story.do(THE_TRY)
    under = story.state.authorisations[funder_leg().authorisation_id]  # type: ignore[index]  # The leg has one.
    assert (story.held(OWN), story.held(FUNDER), under.held_fen, under.used_fen) == ((40, 10), (30, 0), 30, 0)
    assert (story.balance(OWN), story.entries) == ((100, 50), [])


def test_confirm_spends_what_was_held() -> None:
    """After CONFIRM the holds are gone, the balances are lower, used is higher, and the entries sum to zero."""
    story = a_family()
    story.do(THE_TRY, confirm(1))
    under = story.state.authorisations[funder_leg().authorisation_id]  # type: ignore[index]  # The leg has one.
    assert (story.held(OWN), story.held(FUNDER), under.held_fen, under.used_fen) == ((0, 0), (0, 0), 0, 30)
    assert (story.balance(OWN), story.balance(FUNDER)) == ((60, 40), (70, 0))
    assert amounts(story.entries) == [("PERSONAL", -40), ("PERSONAL", -10), ("PERSONAL", -30), ("CLEARING", 80)]
    assert [entry.balance_after_fen for entry in story.entries] == [110, 100, 70, None]


def test_cancel_leaves_no_trace_in_the_books() -> None:
    """After CANCEL everything stands as before TRY, and the books show nothing."""
    story = a_family()
    accounts, authorisations = dict(story.state.accounts), dict(story.state.authorisations)
    story.do(THE_TRY, cancel(1))
    assert (story.state.accounts, story.state.authorisations, story.entries) == (accounts, authorisations, [])


def test_a_repeated_try_tells_the_balances_of_the_first() -> None:
    """The stored reply is told again, whatever has happened to the accounts since."""
    story = a_family()
    first = story.branch(THE_TRY)
    story.do(try_(2, own_leg(5)), confirm(2), confirm(1))
    assert story.branch(THE_TRY) == first
