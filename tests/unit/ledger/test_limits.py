"""Limits per payment and per month: exact to the fen, each share in the month of its payment (domain §2, ADR 27)."""

from __future__ import annotations

import pytest

from services.settlement.ledger.domain.commands import (
    AmendAuthorisation,
    AuthorisationReply,
    Charge,
    CloseAuthorisation,
    OpenAuthorisation,
)
from services.settlement.ledger.domain.limits import CarriedMonth, MonthUse
from services.settlement.ledger.domain.model import BranchState, Refusal
from tests.unit.ledger.given import (
    FUNDER,
    MONTH,
    OTHER_FUNDER,
    OWN,
    Story,
    account,
    authorisation,
    cancel,
    confirm,
    funder_leg,
    in_shanghai,
    open_authorisation,
    own_leg,
    payment,
    refund,
    try_,
)

NEXT = MONTH + 1


def story(*, limit: int | None = None, per_payment: int | None = None, per_month: int | None = None) -> Story:
    """A funder with enough money, and an authorisation with these limits."""
    told = Story(account(FUNDER, past=1000, current=1000), account(OWN, past=1000))
    told.do(open_authorisation(1, limit, per_payment=per_payment, per_month=per_month))
    return told


def refusal(told: Story, number: int, *fen: int, month: int = MONTH) -> Refusal | None:
    """Why a payment of these legs of the funder is refused; None if it is held."""
    legs = [funder_leg(amount, leg_no=leg_no) for leg_no, amount in enumerate(fen, start=1)]
    return told.branch(try_(number, *legs, month=month)).refusal


def amended(told: Story, version: int, *limits: int | None) -> AuthorisationReply:
    """The answer to other limits: amount, per payment, per month."""
    reply = told.do(AmendAuthorisation(authorisation(1), version, *limits)).reply
    assert isinstance(reply, AuthorisationReply)
    return reply


def month_use(told: Story, month: int = MONTH) -> tuple[int, int]:
    """Used and held of a month."""
    use = told.state.months.get((authorisation(1), month), MonthUse(authorisation(1), month))
    return use.used_fen, use.held_fen


def test_a_payment_may_take_its_limit_and_not_one_fen_more() -> None:
    """Exactly the limit is held, and a fen above it refused with the limit; so is every other payment for itself."""
    told = story(per_payment=100)
    assert refusal(told, 1, 101) == Refusal("PAYMENT_LIMIT_EXCEEDED", 1, {"limit_fen": "100"})
    assert refusal(told, 2, 100) is None
    assert refusal(told, 3, 100) is None


def test_a_payment_is_all_its_legs_under_the_authorisation() -> None:
    """Two legs that each keep the limit are refused together; legs under another authorisation do not count."""
    told = story(per_payment=100)
    told.do(open_authorisation(2))
    assert refusal(told, 1, 60, 41) == Refusal("PAYMENT_LIMIT_EXCEEDED", 1, {"limit_fen": "100"})
    other = funder_leg(500, leg_no=2, under=2)
    assert told.branch(try_(2, own_leg(900), funder_leg(100, leg_no=3), other)).refusal is None


def test_a_month_may_take_its_limit_and_not_one_fen_more() -> None:
    """What is used and held of the month count together; the refusal tells what is left."""
    told = story(per_month=100)
    assert refusal(told, 1, 60) is None
    told.do(confirm(1))
    assert refusal(told, 2, 30) is None
    assert month_use(told) == (60, 30)
    assert refusal(told, 3, 11) == Refusal("MONTH_LIMIT_EXCEEDED", 1, {"left_fen": "10"})
    assert refusal(told, 4, 10) is None


def test_the_next_month_begins_anew() -> None:
    """A month that is full leaves the one after it, and the one before it, untouched."""
    told = story(per_month=100)
    for number, month in enumerate((MONTH, NEXT, MONTH - 1), start=1):
        assert refusal(told, number, 100, month=month) is None
    assert refusal(told, 9, 1, month=NEXT) is not None


def test_the_month_is_the_payments_and_not_the_ledgers_clocks() -> None:
    """A payment of the 31st that is held and confirmed after midnight counts in the month of its day."""
    told = story(per_month=100)
    told.now = in_shanghai(2026, 7, 1)
    assert refusal(told, 1, 100, month=MONTH) is None
    told.do(confirm(1))
    assert (month_use(told, MONTH), month_use(told, NEXT)) == ((100, 0), (0, 0))


@pytest.mark.parametrize(
    ("now", "month"),
    [
        (in_shanghai(2026, 6, 30, 23, 59, 59), 2026_06),
        (in_shanghai(2026, 7, 1), 2026_07),
        (in_shanghai(2026, 12, 31, 23, 59, 59), 2026_12),
        (in_shanghai(2027, 1, 1), 2027_01),
    ],
)
def test_a_payment_of_a_coordinator_that_tells_no_month_counts_by_the_ledgers_clock(now: object, month: int) -> None:
    """Months turn at midnight in Shanghai."""
    told = Story(account(FUNDER, past=1000), now=now)  # type: ignore[arg-type]  # One of the instants above.
    told.do(open_authorisation(1, per_month=100))
    assert refusal(told, 1, 70, month=0) is None
    assert month_use(told, month) == (0, 70)


def test_what_is_cancelled_and_refunded_goes_back_to_its_month() -> None:
    """Whenever it comes back: a refund in July of what June paid leaves June more, and July as it was."""
    told = story(per_month=100)
    told.do(try_(1, funder_leg(60)), confirm(1), try_(2, funder_leg(40)), cancel(2))
    assert month_use(told) == (60, 0)
    told.now = in_shanghai(2026, 7, 2)
    told.do(try_(3, funder_leg(100), month=NEXT), refund(1, 1, (1, FUNDER, 25, 0)))
    assert (month_use(told), month_use(told, NEXT)) == ((35, 0), (0, 100))
    assert refusal(told, 4, 66) is not None
    assert refusal(told, 5, 65) is None


def test_a_refund_of_what_is_still_held_counts_once() -> None:
    """The hold is confirmed and given back in one step: the month has used what was kept."""
    told = story(per_month=100)
    told.do(try_(1, funder_leg(60)), refund(1, 1, (1, FUNDER, 50, 0)))
    assert month_use(told) == (10, 0)


def test_a_first_limit_finds_what_its_month_has_used_by_then() -> None:
    """Without a limit each payment knows its month too; what is used, held and refunded is counted at once."""
    told = story()
    told.do(open_authorisation(2, key=OTHER_FUNDER))
    told.do(try_(1, funder_leg(60)), confirm(1), refund(1, 1, (1, FUNDER, 10, 0)))
    told.do(try_(2, funder_leg(20)), try_(3, funder_leg(5), month=NEXT), try_(4, funder_leg(9)), cancel(4))
    assert told.state.months == {}
    assert amended(told, 2, None, None, 100).refusal is None
    assert (month_use(told), month_use(told, NEXT)) == ((50, 20), (0, 5))
    assert refusal(told, 5, 31) == Refusal("MONTH_LIMIT_EXCEEDED", 1, {"left_fen": "30"})


def test_a_limit_that_was_cleared_and_is_set_again_has_missed_nothing() -> None:
    """Months go on being counted once a limit was set."""
    told = story(per_month=100)
    amended(told, 2, None, None, None)
    assert refusal(told, 1, 150) is None
    amended(told, 3, None, None, 200)
    assert refusal(told, 2, 51) == Refusal("MONTH_LIMIT_EXCEEDED", 1, {"left_fen": "50"})


def test_limits_below_what_is_used_are_taken_and_let_nothing_more_through() -> None:
    """Lowered below what the month has used and a payment holds: both go on, no fen follows, next month is free."""
    told = story(per_payment=90, per_month=100)
    told.do(try_(1, funder_leg(80)))
    reply = amended(told, 2, None, 50, 30)
    assert reply.refusal is None
    assert reply.authorisation is not None
    assert (reply.authorisation.per_payment_fen, reply.authorisation.per_month_fen) == (50, 30)
    assert refusal(told, 2, 1) == Refusal("MONTH_LIMIT_EXCEEDED", 1, {"left_fen": "0"})
    told.do(confirm(1))
    assert month_use(told) == (80, 0)
    assert refusal(told, 3, 30, month=NEXT) is None
    told.do(refund(1, 1, (1, FUNDER, 60, 0)))
    assert refusal(told, 4, 10) is None
    assert refusal(told, 5, 1) is not None


def test_an_amount_below_use_is_refused_with_its_limits_as_before() -> None:
    """The authorised amount keeps its own rule: nothing of a refused amendment is taken, its limits neither."""
    told = story(limit=100, per_month=100)
    told.do(try_(1, funder_leg(50)))
    reply = amended(told, 2, 49, 10, 10)
    assert reply.refusal is not None
    assert reply.refusal.reason == "AUTHORISED_AMOUNT_BELOW_USE"
    assert told.state.authorisations[authorisation(1)].limits == open_authorisation(1, 100, per_month=100).limits


def test_other_limits_under_the_same_version_or_id_are_refused() -> None:
    """A repetition is told what was decided; the same number with another limit contradicts it."""
    told = story(per_month=100)
    first = amended(told, 2, None, 5, None)
    assert amended(told, 2, None, 5, None) == first
    for limits in ((None, 6, None), (None, 5, 1), (5, 5, None)):
        reply = amended(told, 2, *limits)
        assert reply.refusal is not None
        assert reply.refusal.reason == "AUTHORISATION_CONTENT_DIFFERS"
    reopened = told.do(open_authorisation(1, per_month=101)).reply
    assert isinstance(reopened, AuthorisationReply)
    assert reopened.refusal is not None
    assert reopened.refusal.reason == "AUTHORISATION_CONTENT_DIFFERS"


def test_what_is_held_when_the_authorisation_closes_still_counts() -> None:
    """Closing ends no hold, and the month goes on with it."""
    told = story(per_month=100)
    told.do(try_(1, funder_leg(60)), CloseAuthorisation(authorisation(1)), confirm(1))
    assert month_use(told) == (60, 0)


def test_no_limit_stops_what_the_coordinator_has_committed() -> None:
    """A lost charge is booked again after a restore whatever the limits say; it counts, and nothing follows it."""
    told = story(per_payment=50, per_month=50)
    charge = Charge(payment(1), (funder_leg(80),), 5000, month=MONTH)
    assert told.branch(charge).state is BranchState.CONFIRMED
    assert month_use(told) == (80, 0)
    assert refusal(told, 2, 1) is not None


def opened(told: Story, number: int, used: int, carried: CarriedMonth | None, *, per_month: int | None) -> Story:
    """As it is opened where its funder's account is now."""
    whose = (FUNDER.psn_no, OWN.psn_no)
    told.do(OpenAuthorisation(authorisation(number), *whose, None, used, per_month_fen=per_month, carried=carried))
    return told


def test_what_a_month_took_counts_on_where_the_account_goes() -> None:
    """CLOSE tells it, OPEN takes it over; the next month is whole, and a limit set later finds it counted."""
    left = story(per_month=100)
    left.do(try_(1, funder_leg(70)), confirm(1))
    told = left.do(CloseAuthorisation(authorisation(1))).reply
    assert isinstance(told, AuthorisationReply)
    assert told.month is not None
    assert (told.month.month, told.month.used_fen) == (MONTH, 70)
    carried = CarriedMonth(MONTH, told.month.used_fen)
    came = opened(Story(account(FUNDER, past=1000)), 1, 70, carried, per_month=100)
    assert refusal(came, 2, 31) == Refusal("MONTH_LIMIT_EXCEEDED", 1, {"left_fen": "30"})
    assert refusal(came, 3, 30) is None
    assert refusal(came, 4, 100, month=NEXT) is None
    free = opened(Story(account(FUNDER, past=1000)), 1, 70, carried, per_month=None)
    amended(free, 2, None, None, 100)
    assert refusal(free, 2, 31) == Refusal("MONTH_LIMIT_EXCEEDED", 1, {"left_fen": "30"})


def test_a_close_where_no_month_is_counted_tells_none() -> None:
    """Nothing is carried over from there."""
    told = story().do(CloseAuthorisation(authorisation(1))).reply
    assert isinstance(told, AuthorisationReply)
    assert told.month is None


def test_another_month_carried_over_under_the_same_id_is_another_content() -> None:
    """An id is used once, also for what counts on."""
    told = opened(Story(account(FUNDER, past=1000)), 1, 70, CarriedMonth(MONTH, 70), per_month=100)
    again = OpenAuthorisation(
        authorisation(1), FUNDER.psn_no, OWN.psn_no, None, 70, per_month_fen=100, carried=CarriedMonth(MONTH, 60)
    )
    reply = told.do(again).reply
    assert isinstance(reply, AuthorisationReply)
    assert reply.refusal == Refusal("AUTHORISATION_CONTENT_DIFFERS")
