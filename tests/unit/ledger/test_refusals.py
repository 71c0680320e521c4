"""Why TRY refuses a leg: each reason, and which one is told when several apply."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from services.settlement.ledger.domain.commands import CloseAuthorisation, Command
from services.settlement.ledger.domain.holding import REFUSALS
from services.settlement.ledger.domain.model import Account, AccountState, BranchState, Leg, Part
from tests.unit.ledger.given import (
    FUNDER,
    OTHER_FUNDER,
    OWN,
    PURSE,
    Story,
    account,
    authorisation,
    cancel,
    confirm,
    funder_leg,
    open_authorisation,
    own_leg,
    try_,
    wallet_leg,
)

ORDER = [reason for reason, _ in REFUSALS]


RICH_FUNDER = account(FUNDER, past=100, current=100)
GOOD_LEG = funder_leg(50, floor=50)


@dataclass(frozen=True)
class World:
    """A funder who may give everything, to be spoilt in one way or several."""

    funder: Account = RICH_FUNDER
    limit: int | None = 100
    per_payment: int | None = None
    per_month: int | None = None
    closed: bool = False
    leg: Leg = GOOD_LEG

    def reason(self) -> str | None:
        """Why TRY is refused; None if it is not."""
        story = Story(self.funder)
        opened = open_authorisation(1, self.limit, per_payment=self.per_payment, per_month=self.per_month)
        before: list[Command] = [opened]
        if self.closed:
            before.append(CloseAuthorisation(authorisation(1)))
        story.do(*before)
        reply = story.branch(try_(1, self.leg))
        return reply.refusal.reason if reply.refusal else None


SPOILT = {
    "ACCOUNT_NOT_FOUND": lambda world: replace(world, funder=account(FUNDER, state=AccountState.CLOSED)),
    "ACCOUNT_CLOSING": lambda world: replace(world, funder=replace(world.funder, state=AccountState.CLOSING)),
    "ACCOUNT_FROZEN": lambda world: replace(world, funder=replace(world.funder, frozen=True)),
    "AUTHORISATION_NOT_OPEN": lambda world: replace(world, closed=True),
    "AUTHORISED_AMOUNT_EXCEEDED": lambda world: replace(world, limit=49),
    "PAYMENT_LIMIT_EXCEEDED": lambda world: replace(world, per_payment=49),
    "MONTH_LIMIT_EXCEEDED": lambda world: replace(world, per_month=49),
    "FLOOR_NOT_KEPT": lambda world: replace(world, leg=replace(world.leg, floor_fen=151)),
    "INSUFFICIENT_FUNDS": lambda world: replace(world, leg=funder_leg(101, floor=0)),
}


def test_a_leg_that_nothing_speaks_against_is_held() -> None:
    """The unspoilt world pays."""
    assert World().reason() is None


@pytest.mark.parametrize("reason", ORDER)
def test_each_reason_is_told_when_it_alone_applies(reason: str) -> None:
    """A world spoilt in one way is refused for just that."""
    spoilt = SPOILT[reason](replace(World(), limit=None if reason == "INSUFFICIENT_FUNDS" else 100))
    assert spoilt.reason() == reason


@pytest.mark.parametrize("first", range(len(ORDER) - 1))
def test_the_earlier_reason_is_told_when_two_apply(first: int) -> None:
    """A world spoilt in this way and in the next one is refused for this one."""
    earlier, later = ORDER[first], ORDER[first + 1]
    world = SPOILT[earlier](SPOILT[later](World()))
    if {earlier, later} == {"AUTHORISED_AMOUNT_EXCEEDED", "FLOOR_NOT_KEPT"}:
        world = replace(World(), limit=49, leg=replace(World().leg, floor_fen=151))
    if {earlier, later} == {"FLOOR_NOT_KEPT", "INSUFFICIENT_FUNDS"}:
        world = replace(World(), limit=None, leg=funder_leg(101, floor=151))
    assert world.reason() == earlier


def test_an_account_that_is_not_here_is_not_found() -> None:
    """A person without an account in this area is refused by that name, with the leg."""
    reply = Story().branch(try_(1, own_leg(1, leg_no=3)))
    assert reply.refusal is not None
    assert (reply.refusal.reason, reply.refusal.leg_no) == ("ACCOUNT_NOT_FOUND", 3)


def test_an_authorisation_of_another_funder_opens_nothing() -> None:
    """One funder's authorisation cannot take another funder's money."""
    story = Story(account(FUNDER, past=100), account(OTHER_FUNDER, past=100))
    story.do(open_authorisation(1, key=FUNDER))
    reply = story.branch(try_(1, funder_leg(1, key=OTHER_FUNDER, under=1)))
    assert reply.refusal is not None
    assert reply.refusal.reason == "AUTHORISATION_NOT_OPEN"


def test_an_authorisation_without_a_limit_has_none() -> None:
    """授权金额 absent: any amount passes."""
    assert replace(World(), limit=None, leg=funder_leg(100, 100)).reason() is None


def test_an_own_accounts_leg_keeps_the_floor_that_it_names() -> None:
    """A transfer out of an own account leaves the floor, as a funder's share does; a bill's own leg names none."""
    story = Story(account(OWN, past=100))
    kept = replace(own_leg(50), floor_fen=51, floor_parts=frozenset(Part))
    reply = story.branch(try_(1, kept))
    assert reply.refusal is not None
    assert reply.refusal.reason == "FLOOR_NOT_KEPT"
    assert story.branch(try_(2, replace(kept, floor_fen=50))).state is BranchState.HELD


@pytest.mark.parametrize(
    ("parts", "expected"),
    [(frozenset({Part.PAST}), "FLOOR_NOT_KEPT"), (frozenset({Part.CURRENT}), None), (frozenset(Part), None)],
)
def test_only_the_floor_parts_count_towards_the_floor(parts: frozenset[Part], expected: str | None) -> None:
    """Parts that may not be shared do not count towards the floor (domain §6)."""
    assert replace(World(), leg=funder_leg(50, floor=60, floor_parts=parts)).reason() == expected


def test_a_frozen_account_leaves_the_wallet_free() -> None:
    """Freezing the account stops it as OWN and does not touch the wallet (domain §6)."""
    story = Story(account(OWN, past=10, frozen=True), account(PURSE, past=10))
    assert story.branch(try_(1, wallet_leg(10))).state is BranchState.HELD
    assert story.branch(try_(2, own_leg(1))).state is BranchState.REFUSED


def test_one_part_cannot_pay_for_the_other() -> None:
    """Enough money in the past part does not help a leg that takes it from the current part."""
    story = Story(account(OWN, past=100, current=5))
    assert story.branch(try_(1, own_leg(0, 6))).state is BranchState.REFUSED


def test_legs_on_one_account_see_what_earlier_legs_hold() -> None:
    """Two legs that each would pass alone are refused together, at the second, and hold nothing."""
    story = Story(account(FUNDER, past=100))
    story.do(open_authorisation(1, 100), open_authorisation(2, 100))
    reply = story.branch(try_(1, funder_leg(60, leg_no=1, under=1), funder_leg(60, leg_no=2, under=2)))
    assert reply.refusal is not None
    assert (reply.refusal.reason, reply.refusal.leg_no) == ("INSUFFICIENT_FUNDS", 2)
    assert story.held(FUNDER) == (0, 0)
    assert story.state.authorisations[authorisation(1)].held_fen == 0


def test_legs_under_one_authorisation_see_what_earlier_legs_hold() -> None:
    """Two legs under one authorisation share its limit."""
    story = Story(account(FUNDER, past=100))
    story.do(open_authorisation(1, 100))
    reply = story.branch(try_(1, funder_leg(50, leg_no=1), funder_leg(51, leg_no=2)))
    assert reply.refusal is not None
    assert (reply.refusal.reason, reply.refusal.leg_no, reply.refusal.metadata) == (
        "AUTHORISED_AMOUNT_EXCEEDED",
        2,
        {"left_fen": "50"},
    )


def test_held_money_cannot_be_held_again() -> None:
    """What one payment holds is not there for another, until it is cancelled."""
    story = Story(account(OWN, past=100))
    story.do(try_(1, own_leg(60)))
    assert story.branch(try_(2, own_leg(60))).state is BranchState.REFUSED
    story.do(cancel(1))
    assert story.branch(try_(3, own_leg(60))).state is BranchState.HELD


def test_confirm_passes_whatever_became_of_account_and_authorisation() -> None:
    """Freezing, closing and an ended authorisation stop new holds, never a held one."""
    story = Story(account(FUNDER, past=100))
    story.do(open_authorisation(1, 60), try_(1, funder_leg(60)), CloseAuthorisation(authorisation(1)))
    story.state.accounts[FUNDER] = replace(story.state.accounts[FUNDER], frozen=True, state=AccountState.CLOSING)
    assert story.branch(confirm(1)).state is BranchState.CONFIRMED
    assert story.balance(FUNDER) == (40, 0)
    assert story.state.authorisations[authorisation(1)].used_fen == 60
    assert OWN not in story.state.accounts
