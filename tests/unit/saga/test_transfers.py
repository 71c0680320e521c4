"""A transfer's life as a dialogue: ledgers vote, then a person does; what every answer of that person finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.settlement.domain.payment import Window
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.saga.coordinator import Observed, Order, Ticked, Write, advance, applied, begin, wins
from services.settlement.saga.payment import (
    ACCEPTANCE_DEADLINE_PASSED,
    DECLINED,
    REVERSED,
    VOTE_DEADLINE_PASSED,
    Payment,
    State,
)
from services.settlement.saga.requests import AlreadyStopped, Decision, inquired, reverse
from services.settlement.saga.transfers import accept, decline, receiver_of, transfer_of
from tests.unit.saga.dialogue import (
    DECIDED_AT,
    HAMI,
    PAYMENT_ID,
    SETTLE_KEY,
    URUMQI,
    Dialogue,
    acknowledged,
    answers,
    held,
    leg,
    refused,
    sent,
    writes,
)

Vote: TypeAlias = Callable[..., Write | Payment]
GIVER, RECEIVER = PsnNo("650000000001"), PsnNo("650000000009")
TAKEN = replace(leg(1, HAMI, 1_000), psn_no=GIVER)
TAKEN_TOO = replace(leg(2, HAMI, 500, Role.WALLET), psn_no=GIVER)
BROUGHT = replace(leg(3, URUMQI, 1_500, Role.RECEIVER), psn_no=RECEIVER)
LEGS = (TAKEN, TAKEN_TOO, BROUGHT)


def transfer(state: State = State.TRYING, *, asked: bool = False, overdue: bool = False, reason: str = "") -> Payment:
    """A transfer's row; whatever was decided had its receiver asked."""
    made = transfer_of(LEGS, payment_id=PAYMENT_ID, key=SETTLE_KEY, request_hash=b"h" * 32, giver=GIVER, year=2026)
    refused_because = reason or ("ACCOUNT_FROZEN" if state in {State.ABORTED, State.CLOSED} else "")
    return replace(
        made,
        state=state,
        pending_accept=asked or state in {State.COMMITTED, State.DONE},
        overdue=overdue,
        reason=refused_because,
        decided_at=None if state is State.TRYING else DECIDED_AT,
    )


def reason_of(vote: Vote, found: Payment | None, by: PsnNo = RECEIVER) -> str:
    """Why an answer is refused."""
    with pytest.raises(Failure) as told:
        vote(found, by=by)
    return told.value.reason


class TestMaking:
    """What a transfer may be made of."""

    def test_what_is_taken_is_its_amount_and_the_wallet_its_receiver(self) -> None:
        """Received money is not counted a second time."""
        assert (transfer().amount_fen, receiver_of(transfer())) == (1_500, RECEIVER)

    @pytest.mark.parametrize(
        "legs",
        [
            (TAKEN, BROUGHT),
            (TAKEN, TAKEN_TOO),
            (BROUGHT,),
            (TAKEN, TAKEN_TOO, replace(BROUGHT, past_fen=1_000), replace(BROUGHT, leg_no=4, past_fen=500)),
            (TAKEN, replace(TAKEN_TOO, psn_no=RECEIVER), BROUGHT),
            (TAKEN, replace(TAKEN_TOO, role=Role.FUNDER), BROUGHT),
            (TAKEN, TAKEN_TOO, replace(BROUGHT, past_fen=0, current_fen=1_500)),
        ],
        ids=["too much brought", "nobody receives", "nothing taken", "two receive", "another's", "a funder's", "parts"],
    )
    def test_what_does_not_add_up_is_not_made(self, legs: tuple[PlanLeg, ...]) -> None:
        """It takes from the giver alone, and brings just that to one wallet."""
        with pytest.raises(Failure) as told:
            transfer_of(legs, payment_id=PAYMENT_ID, key=SETTLE_KEY, request_hash=b"", giver=GIVER, year=2026)
        assert (told.value.kind, told.value.reason) == (Kind.INVALID, "TRANSFER_DOES_NOT_ADD_UP")


class TestTheCoordinator:
    """``advance`` with a person among the voters."""

    def test_every_held_vote_has_the_receiver_asked_and_commits_nothing(self) -> None:
        """The mark is written; whoever waits is told only after it; no ledger is told anything."""
        dialogue = Dialogue(transfer())
        dialogue.hear(held(HAMI))
        after = dialogue.hear(held(URUMQI))
        assert writes(after) == [Write(PAYMENT_ID, State.TRYING, State.TRYING, asks_receiver=True)]
        assert (dialogue.row.state, dialogue.row.pending_accept, sent(after)) == (State.TRYING, True, [])
        assert answers(after) == [State.TRYING]

    def test_a_refusal_aborts_before_anybody_is_asked(self) -> None:
        """The receiver never hears of what cannot be given."""
        dialogue = Dialogue(transfer())
        dialogue.hear(refused(HAMI))
        assert (dialogue.row.state, dialogue.row.pending_accept) == (State.ABORTED, False)

    def test_a_coordinator_that_finds_it_pending_sends_no_try(self) -> None:
        """The ledgers' votes were forgotten with the memory they were in; they stand all the same."""
        _, commands = begin(transfer(asked=True))
        assert (sent(commands), writes(commands), answers(commands)) == ([], [], [State.TRYING])

    def test_time_alone_does_nothing_to_what_waits_for_a_person(self) -> None:
        """There is nobody to be told again."""
        drive, _ = begin(transfer(asked=True))
        assert advance(drive, Ticked())[1] == []

    def test_the_receivers_deadline_aborts_by_its_own_reason(self) -> None:
        """While the ledgers vote it is theirs; then it is his."""
        for asked, reason in ((False, VOTE_DEADLINE_PASSED), (True, ACCEPTANCE_DEADLINE_PASSED)):
            _, commands = begin(transfer(asked=asked, overdue=True))
            [write] = writes(commands)
            assert (write.to, write.reason, write.expected_pending) == (State.ABORTED, reason, asked)

    def test_an_accepted_transfer_is_confirmed_everywhere(self) -> None:
        """From the commit on it is a payment like any other."""
        dialogue = Dialogue(transfer(asked=True))
        dialogue.row = transfer(State.COMMITTED)
        assert sent(dialogue.hear(Observed(dialogue.row))) == [(Order.CONFIRM, HAMI), (Order.CONFIRM, URUMQI)]
        for area in (HAMI, URUMQI):
            dialogue.hear(acknowledged(area, Order.CONFIRM))
        assert dialogue.row.state is State.DONE

    def test_a_reading_from_before_the_mark_changes_nothing(self) -> None:
        """A stale read does not take the question back."""
        drive, _ = begin(transfer(asked=True))
        assert advance(drive, Observed(transfer(overdue=True))) == (drive, [])


class TestTheCompareAndSet:
    """``wins``: on state, mark and time at once."""

    def test_the_abort_at_the_ledgers_deadline_loses_once_the_receiver_is_asked(self) -> None:
        """It was decided by a reading that no longer holds."""
        late = begin(transfer(overdue=True))[1]
        [write] = writes(late)
        assert (wins(transfer(), write), wins(transfer(asked=True), write)) == (True, False)

    def test_the_receiver_is_asked_once(self) -> None:
        """A second coordinator's mark loses, so no deadline moves twice."""
        ask = Write(PAYMENT_ID, State.TRYING, State.TRYING, asks_receiver=True)
        row = transfer()
        assert (wins(row, ask), wins(applied(row, ask), ask)) == (True, False)

    def test_a_yes_loses_against_abort_time_and_missing_mark(self) -> None:
        """What was decided by an older reading takes no effect."""
        yes = accept(transfer(asked=True), by=RECEIVER)
        assert isinstance(yes, Write)
        rows = [
            transfer(asked=True),
            transfer(),
            transfer(asked=True, overdue=True),
            transfer(State.ABORTED),
            transfer(State.DONE),
        ]
        assert [wins(row, yes) for row in rows] == [True, False, False, False, False]


class TestTheReceiver:
    """Yes and no, by what they find."""

    def test_yes_is_the_commit_and_again_the_same_row(self) -> None:
        """Once it is accepted, a repetition writes nothing."""
        yes = accept(transfer(asked=True), by=RECEIVER)
        assert yes == Write(PAYMENT_ID, State.TRYING, State.COMMITTED, expected_pending=True, in_time=True)
        done = transfer(State.DONE)
        assert accept(done, by=RECEIVER) is done

    def test_a_late_yes_writes_the_abort(self) -> None:
        """Nobody needs to have noticed before."""
        late = accept(transfer(asked=True, overdue=True), by=RECEIVER)
        assert isinstance(late, Write)
        assert (late.to, late.reason) == (State.ABORTED, ACCEPTANCE_DEADLINE_PASSED)

    def test_no_is_the_abort_and_again_the_same_row(self) -> None:
        """A no needs no question; a repetition writes nothing."""
        for asked in (False, True):
            no = decline(transfer(asked=asked), by=RECEIVER)
            assert isinstance(no, Write)
            assert (no.to, no.reason, no.expected_pending) == (State.ABORTED, DECLINED, asked)
        declined = transfer(State.CLOSED, reason=DECLINED)
        assert decline(declined, by=RECEIVER) is declined

    @pytest.mark.parametrize(
        ("vote", "found", "reason"),
        [
            (accept, None, "TRANSFER_UNKNOWN"),
            (accept, transfer(), "PAYMENT_IN_PROGRESS"),
            (accept, transfer(State.ABORTED, reason=DECLINED), DECLINED),
            (accept, transfer(State.CLOSED, reason=REVERSED), REVERSED),
            (accept, transfer(State.CLOSED, reason=ACCEPTANCE_DEADLINE_PASSED), ACCEPTANCE_DEADLINE_PASSED),
            (accept, transfer(State.CLOSED), "ACCOUNT_FROZEN"),
            (decline, None, "TRANSFER_UNKNOWN"),
            (decline, transfer(State.COMMITTED), "TRANSFER_ACCEPTED"),
            (decline, transfer(State.CLOSED, reason=ACCEPTANCE_DEADLINE_PASSED), ACCEPTANCE_DEADLINE_PASSED),
            (decline, transfer(State.ABORTED, reason=REVERSED), REVERSED),
        ],
    )
    def test_each_refusal_has_its_name(self, vote: Vote, found: Payment | None, reason: str) -> None:
        """What came first is what is told."""
        assert reason_of(vote, found) == reason

    def test_to_anybody_else_it_does_not_exist(self) -> None:
        """Not even to its giver."""
        assert reason_of(accept, transfer(asked=True), GIVER) == "TRANSFER_UNKNOWN"
        assert reason_of(decline, transfer(asked=True), GIVER) == "TRANSFER_UNKNOWN"


class TestTheGiverAndTheLedgers:
    """A withdrawal is a reversal; an inquiry waits as long as the receiver may."""

    @pytest.mark.parametrize("asked", [False, True])
    def test_a_withdrawal_aborts_what_is_not_accepted(self, asked: bool) -> None:  # noqa: FBT001  A case, not a switch.
        """By compare-and-set on what it has read."""
        step = self.withdrawn(transfer(asked=asked))
        assert step == Write(PAYMENT_ID, State.TRYING, State.ABORTED, reason=REVERSED, expected_pending=asked)

    def test_what_is_accepted_stands_and_what_is_refused_needs_nothing(self) -> None:
        """No refund exists of a transfer."""
        assert self.withdrawn(transfer(State.CLOSED)) == AlreadyStopped()
        with pytest.raises(Failure) as told:
            self.withdrawn(transfer(State.DONE))
        assert told.value.reason == "TRANSFER_ACCEPTED"

    def test_an_inquiry_waits_for_the_receiver_and_aborts_at_his_deadline(self) -> None:
        """The ledger never ends it, and never before the receiver's time is over (rule 2)."""
        assert inquired(transfer(asked=True)) is Decision.WAIT
        late = inquired(transfer(asked=True, overdue=True))
        assert isinstance(late, Write)
        assert (late.reason, late.expected_pending) == (ACCEPTANCE_DEADLINE_PASSED, True)

    @staticmethod
    def withdrawn(found: Payment) -> object:
        """What a withdrawal does."""
        return reverse(
            found,
            None,
            original_key=SETTLE_KEY,
            new_id=PAYMENT_ID,
            request_hash=b"r" * 32,
            now=DECIDED_AT,
            window=Window(),
        )
