"""Money comes in once, goes back where it came from, and never more than was charged."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.settlement.ledger.domain.commands import CloseAuthorisation, Command, CreditReply, PutCredit
from services.settlement.ledger.domain.model import AccountState, AlarmKind, BranchState, CreditPurpose
from tests.unit.ledger.given import (
    FUNDER,
    OTHER_FUNDER,
    OWN,
    PURSE,
    Story,
    account,
    amounts,
    authorisation,
    cancel,
    confirm,
    credit,
    funder_leg,
    open_authorisation,
    own_leg,
    payment,
    refund,
    try_,
)


def a_payment() -> Story:
    """The patient's 50 and a funder's 30, confirmed."""
    story = Story(account(OWN, past=100), account(FUNDER, past=100))
    story.do(open_authorisation(1, 60), try_(1, own_leg(50), funder_leg(30, leg_no=2)), confirm(1))
    return story


@pytest.mark.parametrize(
    ("purpose", "key", "amount"),
    [
        (CreditPurpose.MONTHLY, OWN, (0, 5)),
        (CreditPurpose.CARRIED_OVER, OWN, (5, 0)),
        (CreditPurpose.WALLET, PURSE, (5, 0)),
    ],
)
def test_the_first_credit_opens_the_account(purpose: CreditPurpose, key: object, amount: tuple[int, int]) -> None:
    """An account that does not exist is opened by what comes in, and the books sum to zero."""
    assert key in {OWN, PURSE}
    target = OWN if key == OWN else PURSE
    story = Story()
    story.do(credit(1, (1, target, *amount), purpose=purpose))
    assert story.balance(target) == amount
    assert sum(entry.amount_fen for entry in story.entries) == 0


def test_a_repeated_credit_is_booked_once_and_answered_as_the_first_time() -> None:
    """The second answer is the first one, whatever happened since."""
    story = Story()
    first = story.credited(credit(1, (1, OWN, 0, 5)))
    story.do(credit(2, (1, OWN, 0, 9)))
    assert story.credited(credit(1, (1, OWN, 0, 5))) == first
    assert story.balance(OWN) == (0, 14)


def test_an_id_that_comes_with_other_content_credits_nothing() -> None:
    """The same credit id with another amount raises an alarm."""
    story = Story()
    story.do(credit(1, (1, OWN, 0, 5)))
    reply = story.credited(credit(1, (1, OWN, 0, 6)))
    assert reply.refusal is not None
    assert (reply.refusal.reason, reply.alarm, story.balance(OWN)) == ("CREDIT_CONTENT_DIFFERS", True, (0, 5))


def test_a_refund_goes_back_to_each_origin_and_its_authorisation() -> None:
    """Balances, authorised amount and books stand as before the payment; the statement shows both."""
    story = a_payment()
    story.do(refund(1, 1, (1, OWN, 50, 0), (2, FUNDER, 30, 0)))
    assert (story.balance(OWN), story.balance(FUNDER)) == ((100, 0), (100, 0))
    assert story.state.authorisations[authorisation(1)].used_fen == 0
    assert amounts(story.entries)[-3:] == [("PERSONAL", 50), ("PERSONAL", 30), ("CLEARING", -80)]


def test_a_refund_returns_the_amount_to_a_closed_authorisation_too() -> None:
    """Unbinding does not change what was used and came back."""
    story = a_payment()
    story.do(CloseAuthorisation(authorisation(1)), refund(1, 1, (2, FUNDER, 30, 0)))
    assert story.state.authorisations[authorisation(1)].used_fen == 0


def test_a_refund_of_a_held_payment_confirms_it_first() -> None:
    """The hold is confirmed and then credited in one step, so that a late CONFIRM finds it done."""
    story = Story(account(OWN, past=100))
    story.do(try_(1, own_leg(50)), refund(1, 1, (1, OWN, 50, 0)))
    assert (story.balance(OWN), story.held(OWN)) == ((100, 0), (0, 0))
    assert amounts(story.entries) == [("PERSONAL", -50), ("CLEARING", 50), ("PERSONAL", 50), ("CLEARING", -50)]
    assert story.branch(confirm(1)).state is BranchState.CONFIRMED


@pytest.mark.parametrize("how", ["none", "refused", "blocked", "cancelled"])
def test_a_refund_without_a_charge_credits_nothing(how: str) -> None:
    """An original that is not here, or charged nothing, raises an alarm; the same refund passes once it has."""
    story = Story(account(OWN, past=100))
    before: dict[str, list[Command]] = {
        "none": [],
        "refused": [try_(1, own_leg(999))],
        "blocked": [cancel(1)],
        "cancelled": [try_(1, own_leg(50)), cancel(1)],
    }
    for command in before[how]:
        story.do(command)
    reply = story.credited(refund(1, 1, (1, OWN, 50, 0)))
    assert reply.refusal is not None
    assert (reply.refusal.reason, reply.alarm, story.balance(OWN)) == ("ORIGINAL_NOT_CHARGED", True, (100, 0))
    assert [alarm.kind for alarm in story.outcomes[-1].alarms] == [AlarmKind.REFUND_WITHOUT_CHARGE]


def test_a_refund_that_found_no_charge_passes_once_the_charge_is_there() -> None:
    """The refusal was no decision: nothing of it was kept (a restored ledger is replayed, then the refund passes)."""
    story = Story(account(OWN, past=100))
    early = refund(1, 1, (1, OWN, 50, 0))
    story.do(early, try_(1, own_leg(50)), confirm(1))
    assert story.credited(early).refusal is None
    assert story.balance(OWN) == (100, 0)


BEYOND = [
    ("more than the leg", refund(9, 1, (1, OWN, 51, 0)), "REFUND_EXCEEDS_CHARGE"),
    ("a leg that is not there", refund(9, 1, (3, OWN, 1, 0)), "REFUND_LEG_UNKNOWN"),
    ("another account than the leg's", refund(9, 1, (1, OTHER_FUNDER, 1, 0)), "REFUND_LEG_UNKNOWN"),
    ("one good leg and one beyond", refund(9, 1, (1, OWN, 50, 0), (2, FUNDER, 31, 0)), "REFUND_EXCEEDS_CHARGE"),
]


@pytest.mark.parametrize(("name", "command", "reason"), BEYOND, ids=[row[0] for row in BEYOND])
def test_never_more_than_was_charged_comes_back(name: str, command: PutCredit, reason: str) -> None:
    """Each leg is capped by what it was charged (I8); one leg beyond it stops the whole refund."""
    story = a_payment()
    before = dict(story.state.accounts)
    reply = story.credited(command)
    assert reply.refusal is not None, name
    assert (reply.refusal.reason, reply.alarm, story.state.accounts) == (reason, True, before)


def test_several_refunds_of_one_leg_count_together() -> None:
    """Two partial refunds pass, the third one beyond the charge does not."""
    story = a_payment()
    story.do(refund(1, 1, (1, OWN, 20, 0)), refund(2, 1, (1, OWN, 30, 0)))
    reply = story.credited(refund(3, 1, (1, OWN, 1, 0)))
    assert reply.refusal is not None
    assert (reply.refusal.reason, reply.refusal.metadata) == ("REFUND_EXCEEDS_CHARGE", {"left_fen": "0"})
    assert story.balance(OWN) == (100, 0)


def test_a_frozen_account_is_credited() -> None:
    """Freezing stops what goes out, not what comes back."""
    story = a_payment()
    story.state.accounts[FUNDER] = replace(story.state.accounts[FUNDER], frozen=True)
    story.do(refund(1, 1, (2, FUNDER, 30, 0)))
    assert story.balance(FUNDER) == (100, 0)


def test_a_closed_accounts_share_waits_in_suspense() -> None:
    """The share of a closed account becomes a task; the other legs are credited, the books sum to zero."""
    story = a_payment()
    story.state.accounts[FUNDER] = account(FUNDER, state=AccountState.CLOSED)
    reply = story.do(refund(1, 1, (1, OWN, 50, 0), (2, FUNDER, 30, 0))).reply
    assert isinstance(reply, CreditReply)
    assert (reply.suspense_leg_nos, story.balance(OWN), story.balance(FUNDER)) == ((2,), (100, 0), (0, 0))
    assert amounts(story.entries)[-3:] == [("PERSONAL", 50), ("SUSPENSE", 30), ("CLEARING", -80)]
    assert [(it.account, it.amount_fen) for it in story.outcomes[-1].suspense_tasks] == [(FUNDER, 30)]
    assert story.state.authorisations[authorisation(1)].used_fen == 0


def test_a_monthly_credit_to_a_closed_account_waits_in_suspense() -> None:
    """CREDIT cannot be refused: money for a closed account waits for an officer."""
    story = Story(account(OWN, state=AccountState.CLOSED))
    assert story.credited(credit(1, (1, OWN, 0, 5))).suspense_leg_nos == (1,)
    assert amounts(story.entries) == [("SUSPENSE", 5), ("FUND_INFLOW", -5)]


def test_a_refunded_payment_stays_confirmed() -> None:
    """A refund does not undo the payment; it stands beside it (protocol rule 7)."""
    story = a_payment()
    story.do(refund(1, 1, (1, OWN, 50, 0)))
    assert story.state.branches[payment(1)].state is BranchState.CONFIRMED
