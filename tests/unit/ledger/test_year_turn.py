"""Current becomes past at midnight in Shanghai, lazily, and nobody's money goes astray."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.ids import PsnNo
from services.settlement.ledger.domain.commands import AccountReply, Command, SetFrozen, TurnAccount
from services.settlement.ledger.domain.model import AccountKey, BranchState, EntryKind, FreezeId
from tests.unit.ledger.given import (
    FUNDER,
    OTHER_FUNDER,
    OWN,
    PURSE,
    Story,
    account,
    cancel,
    confirm,
    credit,
    in_shanghai,
    own_leg,
    payment,
    refund,
    try_,
    wallet_leg,
)
from tests.unit.ledger.sequences import LENGTH_MAX, OTHER_PURSE, lives, violations

KEYS = (OWN, FUNDER, OTHER_FUNDER, PURSE, OTHER_PURSE)

BEFORE = in_shanghai(2026, 12, 31, 23, 59, 59)
AFTER = in_shanghai(2027, 1, 1)


def over_midnight(*, past: int = 100, current: int = 50) -> Story:
    """A ledger one second before the year turns in Shanghai (it is still 16:00 in UTC)."""
    return Story(account(OWN, past=past, current=current), now=BEFORE)


def test_the_year_turns_at_midnight_in_shanghai() -> None:
    """At 23:59:59 current is current; one second later a command finds it in past."""
    story = over_midnight()
    story.do(try_(1, own_leg(0, 1)), cancel(1))
    assert story.balance(OWN) == (100, 50)
    story.now = AFTER
    story.do(try_(2, own_leg(1, year=2027)), cancel(2))
    assert (story.balance(OWN), story.state.accounts[OWN].year) == ((150, 0), 2027)


def test_the_turn_is_booked_once_and_sums_to_zero() -> None:
    """The statement shows current out and past in, with a running balance, once."""
    story = over_midnight()
    story.now = AFTER
    story.do(try_(1, own_leg(1)), cancel(1), try_(2, own_leg(1)), cancel(2))
    turned = [it for it in story.entries if it.kind is EntryKind.YEAR_TURN]
    assert sum(it.amount_fen for it in turned) == 0
    assert [(it.part.value if it.part else None, it.amount_fen, it.balance_after_fen) for it in turned] == [
        ("PAST", 50, 200),
        ("CURRENT", -50, 150),
    ]


def test_money_held_before_midnight_is_confirmed_from_past_after_it() -> None:
    """A hold on current crosses midnight as a hold on past; CONFIRM takes it from there."""
    story = over_midnight()
    story.do(try_(1, own_leg(10, 50)))
    assert story.held(OWN) == (10, 50)
    story.now = AFTER
    story.do(confirm(1))
    assert (story.balance(OWN), story.held(OWN)) == ((90, 0), (0, 0))


def test_money_held_before_midnight_is_released_to_past_after_it() -> None:
    """CANCEL after midnight gives back what was current as past."""
    story = over_midnight()
    story.do(try_(1, own_leg(10, 50)))
    story.now = AFTER
    story.do(cancel(1))
    assert (story.balance(OWN), story.held(OWN)) == ((150, 0), (0, 0))


def test_another_command_may_turn_the_account_while_money_is_held() -> None:
    """Whoever comes first after midnight turns balance and hold alike; the held payment ends right all the same."""
    story = over_midnight()
    story.do(try_(1, own_leg(10, 50)))
    story.now = AFTER
    story.do(SetFrozen(FreezeId(payment(77)), PsnNo(OWN.psn_no), frozen=True, cause="TEST"))
    assert story.held(OWN) == (60, 0)
    story.do(confirm(1))
    assert (story.balance(OWN), story.held(OWN)) == ((90, 0), (0, 0))


def test_a_plan_of_last_year_is_paid_from_past() -> None:
    """A leg "current of 2026" that arrives in 2027 is read as past."""
    story = over_midnight()
    story.now = AFTER
    assert story.branch(try_(1, own_leg(100, 50, year=2026))).state is BranchState.HELD
    assert story.held(OWN) == (150, 0)


def test_new_money_of_the_new_year_is_not_taken_for_last_years() -> None:
    """A leg "current of 2026" never touches what 2027 brought."""
    story = over_midnight(past=0, current=10)
    story.now = AFTER
    story.do(credit(1, (1, OWN, 0, 500), year=2027))
    assert story.branch(try_(1, own_leg(0, 11, year=2026))).state is BranchState.REFUSED
    assert story.branch(try_(2, own_leg(0, 10, year=2026))).state is BranchState.HELD


def test_a_plan_of_the_next_year_finds_no_current_money_yet() -> None:
    """A leg "current of 2027" that arrives while it is 2026 here is refused, its past alone is not."""
    story = over_midnight()
    assert story.branch(try_(1, own_leg(0, 1, year=2027))).state is BranchState.REFUSED
    assert story.branch(try_(2, own_leg(1, year=2027))).state is BranchState.HELD


def test_a_refund_after_the_turn_goes_to_past() -> None:
    """What was charged to current of 2026 comes back as past in 2027."""
    story = over_midnight()
    story.do(try_(1, own_leg(10, 50)), confirm(1))
    story.now = AFTER
    story.do(refund(1, 1, (1, OWN, 10, 50), year=2026))
    assert story.balance(OWN) == (150, 0)


def test_a_refund_is_read_in_the_year_of_its_charge() -> None:
    """A refund that names its own year does not turn last year's money into this year's."""
    story = over_midnight()
    story.do(try_(1, own_leg(10, 50)), confirm(1))
    story.now = AFTER
    story.do(refund(1, 1, (1, OWN, 10, 50), year=2027))
    assert story.balance(OWN) == (150, 0)


def test_a_refund_confirms_what_is_still_held_even_over_midnight() -> None:
    """Held in 2026, refunded in 2027: confirmed first, then credited, both as past."""
    story = over_midnight()
    story.do(try_(1, own_leg(10, 50)))
    story.now = AFTER
    story.do(refund(1, 1, (1, OWN, 10, 50), year=2026))
    assert (story.balance(OWN), story.held(OWN)) == ((150, 0), (0, 0))
    assert story.state.branches[payment(1)].state is BranchState.CONFIRMED


def test_a_late_monthly_credit_of_last_year_goes_to_past() -> None:
    """December's 划入 booked in January is past."""
    story = over_midnight()
    story.now = AFTER
    story.do(credit(1, (1, OWN, 0, 7), year=2026))
    assert story.balance(OWN) == (157, 0)


def test_a_credit_for_next_year_waits_for_it() -> None:
    """Before midnight it is refused without an alarm and leaves nothing; after it the same credit passes."""
    story = over_midnight()
    early = credit(1, (1, OWN, 0, 7), year=2027)
    reply = story.credited(early)
    assert reply.refusal is not None
    assert (reply.refusal.reason, reply.alarm, story.balance(OWN)) == ("CREDIT_YEAR_AHEAD", False, (100, 50))
    story.now = AFTER
    assert story.credited(early).refusal is None
    assert story.balance(OWN) == (150, 7)


def test_a_wallet_has_one_part_in_every_year() -> None:
    """A wallet's money stays past over midnight, held or not."""
    story = Story(account(PURSE, past=10), now=BEFORE)
    story.do(try_(1, wallet_leg(4)))
    story.now = AFTER
    story.do(confirm(1))
    assert (story.balance(PURSE), [it for it in story.entries if it.kind is EntryKind.YEAR_TURN]) == ((6, 0), [])


def test_an_account_untouched_for_years_turns_once() -> None:
    """Several years late, current goes to past in one step."""
    story = over_midnight()
    story.now = in_shanghai(2030, 5, 1)
    story.do(try_(1, own_leg(150, year=2030)))
    assert (story.state.accounts[OWN].year, story.held(OWN)) == (2030, (150, 0))


def test_a_clock_that_goes_back_turns_nothing_back() -> None:
    """An account that has turned stays turned."""
    story = over_midnight()
    story.now = AFTER
    story.do(try_(1, own_leg(1)), cancel(1))
    story.now = BEFORE
    story.do(try_(2, own_leg(1)), cancel(2))
    assert (story.balance(OWN), story.state.accounts[OWN].year) == ((150, 0), 2027)


@given(
    commands=lives(),
    midnight=st.integers(0, LENGTH_MAX),
    job=st.lists(st.tuples(st.integers(0, LENGTH_MAX), st.sampled_from(KEYS)), max_size=12),
)
@settings(max_examples=200, deadline=None)
def test_the_year_end_job_changes_nothing_but_when_an_account_turns(
    commands: list[Command], midnight: int, job: list[tuple[int, AccountKey]]
) -> None:
    """Wherever midnight falls in a life, and wherever the job turns which account how often: the same in the end.

    Every reply, every balance and hold, every entry but its place: payments in flight are exact.
    """
    at = min(midnight, len(commands))
    plain, crossed = Story(now=BEFORE), Story(now=BEFORE)
    answers: dict[Story, list[object]] = {plain: [], crossed: []}
    for place, command in enumerate(commands):
        if place == at:
            plain.now = crossed.now = AFTER
        if place >= at:
            for key in (key for when, key in job if when == place):
                crossed.do(TurnAccount(key, 2027))
        for story in (plain, crossed):
            answers[story].append(story.do(command).reply)
    for story in (plain, crossed):
        story.now = AFTER
        story.do(*(TurnAccount(key, 2027) for key in KEYS))
    assert answers[crossed] == answers[plain]
    assert crossed.state == plain.state
    assert Counter(crossed.entries) == Counter(plain.entries)
    assert violations(crossed.state, crossed.entries) == []


def test_the_job_turns_a_hold_of_both_parts_and_once() -> None:
    """What was held of both parts is held of past; the second time nothing is booked; nothing turns before its time."""
    story = over_midnight()
    story.do(try_(1, own_leg(10, 50)), TurnAccount(OWN, 2027))
    assert (story.balance(OWN), story.held(OWN)) == ((100, 50), (10, 50))
    story.now = AFTER
    story.do(TurnAccount(OWN, 2027), TurnAccount(OWN, 2027))
    assert (story.balance(OWN), story.held(OWN)) == ((150, 0), (60, 0))
    assert [it.amount_fen for it in story.entries if it.kind is EntryKind.YEAR_TURN] == [50, -50]
    story.do(confirm(1), refund(1, 1, (1, OWN, 10, 50), year=2026))
    assert (story.balance(OWN), story.held(OWN)) == ((150, 0), (0, 0))


def test_the_job_turns_no_account_that_there_is_not() -> None:
    """It opens none: the reply knows no account, and nothing is written."""
    story = Story(now=AFTER)
    outcome = story.do(TurnAccount(OWN, 2027))
    assert isinstance(outcome.reply, AccountReply)
    assert (outcome.reply.account, dict(outcome.accounts), outcome.entries) == (None, {}, ())
