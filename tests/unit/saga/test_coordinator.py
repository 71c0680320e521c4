"""Each arrow of protocol.md's coordinator table, played as a dialogue; then every step failed, repeated, undone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kernel.ids import AdmDvs
from services.settlement.saga.coordinator import (
    SAGA,
    Branch,
    Observed,
    Order,
    Replied,
    Ticked,
    Write,
    advance,
    applied,
    begin,
    order_of,
)
from services.settlement.saga.payment import (
    REVERSED,
    VOTE_DEADLINE_PASSED,
    AccountAfter,
    Payment,
    PaymentKind,
    State,
)
from tests.unit.saga.dialogue import (
    HAMI,
    URUMQI,
    Dialogue,
    acknowledged,
    answers,
    credit,
    held,
    leg,
    refund,
    refused,
    sent,
    settlement,
    writes,
)


def test_a_payment_that_begins_asks_every_ledger_once() -> None:
    """Three legs in two ledgers are two TRYs, and nothing is written or answered."""
    _, commands = begin(settlement(State.TRYING))
    assert sent(commands) == [(Order.TRY, HAMI), (Order.TRY, URUMQI)]
    assert not writes(commands)
    assert not answers(commands)


def test_the_last_vote_commits_before_anything_is_answered_or_confirmed() -> None:
    """The vote yields the Write alone; answer and CONFIRM come only with the row that is durable (rule 1)."""
    drive, _ = begin(settlement(State.TRYING))
    drive, first = advance(drive, held(HAMI))
    drive, second = advance(drive, held(URUMQI))
    assert first == []
    assert [(write.expected, write.to) for write in writes(second)] == [(State.TRYING, State.COMMITTED)]
    assert len(second) == 1
    _, third = advance(drive, Observed(settlement(State.COMMITTED)))
    assert answers(third) == [State.COMMITTED]
    assert third[0] not in writes(third)
    assert sent(third) == [(Order.CONFIRM, HAMI), (Order.CONFIRM, URUMQI)]


def test_a_commit_carries_the_balances_that_the_votes_told() -> None:
    """What could still be spent after the hold goes into the row, for the slip and the funders' messages."""
    after = AccountAfter(1, 5_000, 0, 1_000, 0, 2026, frozen=False)
    drive, _ = begin(settlement(State.TRYING))
    drive, _ = advance(drive, replace(held(HAMI), balances=(after,)))
    _, commands = advance(drive, held(URUMQI))
    assert writes(commands)[0].balances_after == (after,)


def test_one_refusal_aborts_without_waiting_for_the_others() -> None:
    """The first vote against it ends it; CANCEL goes to all, also to the ledger that never answered."""
    play = Dialogue(settlement(State.TRYING))
    commands = play.hear(refused(URUMQI, "INSUFFICIENT_FUNDS", leg_no=2))
    assert (play.row.state, play.row.reason, play.row.refused_leg_no) == (State.ABORTED, "INSUFFICIENT_FUNDS", 2)
    assert answers(commands) == [State.ABORTED]
    assert sent(commands) == [(Order.CANCEL, HAMI), (Order.CANCEL, URUMQI)]


def test_a_vote_deadline_that_has_passed_aborts_with_the_silent_ledgers_leg() -> None:
    """The row says that it is overdue, by the database's clock; the reason names the first leg of who was silent."""
    play = Dialogue(settlement(State.TRYING))
    play.hear(held(HAMI))
    play.hear(Observed(settlement(State.TRYING, overdue=True)))
    assert (play.row.state, play.row.reason, play.row.refused_leg_no) == (State.ABORTED, VOTE_DEADLINE_PASSED, 2)


def test_all_acknowledgements_of_a_commit_end_it() -> None:
    """DONE is written when the last ledger has confirmed, not before."""
    play = Dialogue(settlement(State.COMMITTED))
    assert not writes(play.hear(acknowledged(HAMI, Order.CONFIRM)))
    play.hear(acknowledged(URUMQI, Order.CONFIRM))
    assert play.row.state is State.DONE
    assert play.drive.is_finished


@pytest.mark.parametrize("branch", [Branch.CANCELLED, Branch.BLOCKED, Branch.REFUSED])
def test_all_acknowledgements_of_an_abort_close_it(branch: Branch) -> None:
    """Released, blocked before any hold, or refused in the first place: each lets go."""
    play = Dialogue(settlement(State.ABORTED))
    play.hear(Replied(HAMI, Order.CANCEL, branch))
    play.hear(acknowledged(URUMQI, Order.CANCEL))
    assert play.row.state is State.CLOSED


def test_an_aborted_payment_that_was_confirmed_somewhere_is_never_closed() -> None:
    """CONFIRMED among the answers to CANCEL is quarantine; the other ledgers are still let go."""
    play = Dialogue(settlement(State.ABORTED))
    play.hear(Replied(HAMI, Order.CANCEL, Branch.CONFIRMED))
    assert (play.row.state, play.row.quarantine) == (State.ABORTED, "CONFIRMED_THOUGH_ABORTED")
    play.hear(acknowledged(URUMQI, Order.CANCEL))
    assert play.row.state is State.ABORTED
    assert sent(play.hear(Ticked())) == [(Order.CANCEL, HAMI)]


@pytest.mark.parametrize("branch", [Branch.UNKNOWN, Branch.REFUSED, Branch.BLOCKED, Branch.CANCELLED])
def test_a_commit_that_a_ledger_contradicts_is_never_done(branch: Branch) -> None:
    """A ledger that lost its hold (a restored backup) puts the payment into quarantine, and is asked again."""
    play = Dialogue(settlement(State.COMMITTED))
    play.hear(acknowledged(URUMQI, Order.CONFIRM))
    play.hear(Replied(HAMI, Order.CONFIRM, branch))
    assert (play.row.state, play.row.quarantine) == (State.COMMITTED, "CONFIRM_CONTRADICTED")
    play.hear(Replied(HAMI, Order.CONFIRM, branch))
    assert len(writes(play.log)) == 1
    play.hear(acknowledged(HAMI, Order.CONFIRM))
    assert (play.row.state, play.row.quarantine) == (State.DONE, "")


def test_a_bill_without_legs_is_committed_and_done_without_any_ledger() -> None:
    """Where the funds pay everything, or the patient all in cash, no ledger votes."""
    play = Dialogue(settlement(State.TRYING, legs=()))
    assert play.row.state is State.DONE
    assert answers(play.log) == [State.COMMITTED, State.DONE]


@pytest.mark.parametrize("made", [refund(), credit()], ids=["refund", "credit"])
def test_money_that_comes_in_needs_no_vote(made: Payment) -> None:
    """Refund and credit begin decided: CREDIT to each ledger until it acknowledges, then DONE."""
    play = Dialogue(made)
    assert sent(play.log) == [(Order.CREDIT, area) for area in made.areas]
    for area in made.areas:
        play.hear(acknowledged(area, Order.CREDIT))
    assert play.row.state is State.DONE


def test_a_refund_is_answered_at_once_and_a_credit_with_the_ledgers_balance() -> None:
    """A refund is certain when it is written; what a credit answers is only known from the ledger."""
    after = AccountAfter(1, 5_000, 0, 0, 0, 2026, frozen=False)
    assert answers(Dialogue(refund()).log) == [State.COMMITTED]
    play = Dialogue(credit())
    assert answers(play.log) == []
    commands = play.hear(replace(acknowledged(HAMI, Order.CREDIT), balances=(after,)))
    assert answers(commands) == [State.DONE]
    assert play.row.balances_after == (after,)


def test_a_credit_that_a_ledger_contradicts_is_never_done() -> None:
    """A refund of an original that is not there waits for a person."""
    play = Dialogue(refund())
    play.hear(Replied(HAMI, Order.CREDIT, Branch.UNKNOWN))
    play.hear(acknowledged(URUMQI, Order.CREDIT))
    assert (play.row.state, play.row.quarantine) == (State.COMMITTED, "CREDIT_CONTRADICTED")


class TestWhatMayComeTwiceOrLate:
    """Late, repeated and impossible messages change nothing."""

    @pytest.mark.parametrize("state", [State.COMMITTED, State.ABORTED, State.DONE, State.CLOSED])
    @pytest.mark.parametrize("vote", [held(HAMI), refused(HAMI)], ids=["held", "refused"])
    def test_a_late_vote_changes_nothing(self, state: State, vote: Replied) -> None:
        """A vote that arrives after the decision is not heard."""
        play = Dialogue(settlement(state))
        assert play.hear(vote) == []

    def test_a_repeated_vote_counts_once(self) -> None:
        """Two votes of one ledger do not stand for the other's."""
        play = Dialogue(settlement(State.TRYING))
        assert play.hear(held(HAMI)) == []
        assert play.hear(held(HAMI)) == []
        assert play.row.state is State.TRYING

    def test_a_vote_that_stands_is_not_taken_back(self) -> None:
        """A ledger gives its stored reply for ever; another one after HELD is not heard."""
        play = Dialogue(settlement(State.TRYING))
        play.hear(held(HAMI))
        assert play.hear(refused(HAMI)) == []

    def test_a_vote_of_a_stranger_is_not_heard(self) -> None:
        """Only the ledgers of the legs have a say."""
        play = Dialogue(settlement(State.TRYING))
        assert play.hear(refused(AdmDvs("310000"))) == []

    def test_nothing_is_decided_twice_while_a_write_is_under_way(self) -> None:
        """A refusal that arrives while the commit is being written waits for what the row says."""
        drive, _ = begin(settlement(State.TRYING))
        drive, _ = advance(drive, held(HAMI))
        drive, first = advance(drive, held(URUMQI))
        drive, second = advance(drive, refused(HAMI))
        _, third = advance(drive, Ticked())
        assert (len(writes(first)), second, third) == (1, [], [])

    def test_a_stale_read_does_not_take_a_payment_back(self) -> None:
        """A row read before the decision and delivered after it is ignored."""
        play = Dialogue(settlement(State.COMMITTED))
        assert play.hear(Observed(settlement(State.TRYING, overdue=True))) == []
        assert play.drive.payment.state is State.COMMITTED


class TestLostRaces:
    """Two coordinators, or a coordinator and a reversal: whoever loses the compare-and-set takes up what won."""

    def test_a_commit_that_lost_to_a_reversal_answers_the_reversal(self) -> None:
        """The row is ABORTED: that is answered, and CANCEL goes out, never CONFIRM."""
        play = Dialogue(settlement(State.TRYING))
        play.hear(held(HAMI))
        play.row = replace(settlement(State.ABORTED), reason=REVERSED)
        commands = play.hear(held(URUMQI))
        assert answers(commands) == [State.ABORTED]
        assert {order for order, _ in sent(commands)} == {Order.CANCEL}

    def test_an_abort_that_lost_to_a_commit_answers_the_commit(self) -> None:
        """This coordinator saw a refusal that is none any more: the row says COMMITTED."""
        play = Dialogue(settlement(State.TRYING))
        play.row = settlement(State.COMMITTED)
        commands = play.hear(refused(HAMI, "PAYMENT_CANCELLED"))
        assert answers(commands) == [State.COMMITTED]
        assert {order for order, _ in sent(commands)} == {Order.CONFIRM}

    def test_a_write_whose_outcome_was_lost_is_decided_again_from_the_votes(self) -> None:
        """The row is still TRYING (the commit never happened): the same Write is asked for again."""
        drive, _ = begin(settlement(State.TRYING))
        drive, _ = advance(drive, held(HAMI))
        drive, first = advance(drive, held(URUMQI))
        _, again = advance(drive, Observed(settlement(State.TRYING)))
        assert again == first


@pytest.mark.parametrize("kind", list(PaymentKind))
def test_recovery_sends_what_the_row_says_and_nothing_else(kind: PaymentKind) -> None:
    """A payment taken up from its row alone tells every ledger the order of its state (rule 8)."""
    step = SAGA[kind]
    for state, order in ((State.TRYING, step.do), (State.COMMITTED, step.complete), (State.ABORTED, step.undo)):
        _, commands = begin(replace(settlement(state), kind=kind))
        assert sent(commands) == ([] if order is None else [(order, HAMI), (order, URUMQI)])
    for state in (State.DONE, State.CLOSED):
        _, commands = begin(replace(settlement(state), kind=kind))
        assert sent(commands) == []
        assert writes(commands) == []


def test_recovery_aborts_what_is_overdue_without_asking_anyone() -> None:
    """A payment found TRYING past its deadline is aborted before anything is sent."""
    _, commands = begin(settlement(State.TRYING, overdue=True))
    assert [write.reason for write in writes(commands)] == [VOTE_DEADLINE_PASSED]
    assert sent(commands) == []


@pytest.mark.parametrize("silent", [HAMI, URUMQI])
@pytest.mark.parametrize("order", [Order.TRY, Order.CONFIRM, Order.CANCEL, Order.CREDIT])
def test_every_step_that_stays_unanswered_is_sent_again_there_alone(order: Order, silent: AdmDvs) -> None:
    """Each step fails at each ledger once: the payment waits there, and goes on with the answer."""
    row = {
        Order.TRY: settlement(State.TRYING),
        Order.CONFIRM: settlement(State.COMMITTED),
        Order.CANCEL: settlement(State.ABORTED),
        Order.CREDIT: refund(),
    }[order]
    play = Dialogue(row)
    for area in row.areas:
        if area != silent:
            play.hear(acknowledged(area, order))
    assert play.row.state is row.state
    assert sent(play.hear(Ticked())) == [(order, silent)]
    play.hear(acknowledged(silent, order))
    assert play.row.state is not row.state


@pytest.mark.parametrize("refusing", [HAMI, URUMQI])
def test_every_do_that_fails_is_undone_everywhere(refusing: AdmDvs) -> None:
    """Whichever ledger refuses, with or without the other's hold, both are told to let go until both have."""
    for other_holds in (True, False):
        play = Dialogue(settlement(State.TRYING))
        if other_holds:
            play.hear(held(URUMQI if refusing == HAMI else HAMI))
        assert sent(play.hear(refused(refusing))) == [(Order.CANCEL, HAMI), (Order.CANCEL, URUMQI)]
        play.hear(acknowledged(HAMI, Order.CANCEL))
        play.hear(acknowledged(URUMQI, Order.CANCEL))
        assert play.row.state is State.CLOSED


@pytest.mark.parametrize("kind", list(PaymentKind))
@pytest.mark.parametrize("state", list(State))
def test_only_a_commit_moves_money(kind: PaymentKind, state: State) -> None:
    """No row but a committed one yields CONFIRM or CREDIT; none but an aborted one yields CANCEL."""
    order = order_of(replace(settlement(state), kind=kind))
    assert order not in {Order.CONFIRM, Order.CREDIT} or state is State.COMMITTED
    assert order is not Order.CANCEL or state is State.ABORTED


def test_a_settlement_is_tried_then_confirmed_or_cancelled() -> None:
    """TRYING asks for votes, COMMITTED confirms, ABORTED cancels, and what is finished says nothing."""
    assert {state: order_of(settlement(state)) for state in State} == {
        State.TRYING: Order.TRY,
        State.COMMITTED: Order.CONFIRM,
        State.ABORTED: Order.CANCEL,
        State.DONE: None,
        State.CLOSED: None,
    }


def test_a_quarantine_written_keeps_everything_else() -> None:
    """The flag is set; state, reason and balances stand."""
    row = settlement(State.ABORTED)
    marked = applied(row, Write(row.payment_id, State.ABORTED, State.ABORTED, quarantine="CONFIRMED_THOUGH_ABORTED"))
    assert marked == replace(row, quarantine="CONFIRMED_THOUGH_ABORTED")


def test_one_ledger_is_the_same_saga() -> None:
    """A payment inside one area votes, commits and confirms like any other."""
    play = Dialogue(settlement(State.TRYING, legs=(leg(1, HAMI), leg(2, HAMI))))
    play.hear(held(HAMI))
    play.hear(acknowledged(HAMI, Order.CONFIRM))
    assert play.row.state is State.DONE
