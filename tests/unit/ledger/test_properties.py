"""Whatever comes, in whatever order and however often: money is right to the fen and answers do not change."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from services.settlement.ledger.domain.commands import (
    BranchReply,
    Command,
    CommandRefused,
    PutCredit,
    Reply,
    Request,
    Try,
    identity_of,
)
from services.settlement.ledger.domain.deciding import apply, apply_all
from services.settlement.ledger.domain.model import BranchState
from services.settlement.ledger.domain.state import State
from tests.unit.ledger.given import NOW, OWN, Story, account, confirm, in_shanghai, own_leg, try_
from tests.unit.ledger.sequences import lives, violations

NEW_YEAR = in_shanghai(2027, 1, 1)


@given(commands=lives(), turn=st.none() | st.integers(0, 40))
@settings(max_examples=400, deadline=None)
def test_the_invariants_hold_after_every_command(commands: list[Command], turn: int | None) -> None:
    """I1, I2, I5, I8 and I9 hold after each command, with the year turning anywhere in between."""
    story = Story()
    for number, command in enumerate(commands):
        if turn is not None and number >= turn:
            story.now = NEW_YEAR
        story.do(command)
        assert violations(story.state, story.entries) == []


def _settled(reply: Reply) -> bool:
    """Whether the reply is a decision that was stored."""
    match reply:
        case BranchReply():
            return not reply.alarm and reply.refusal is None
        case _:
            return not isinstance(reply, CommandRefused) and getattr(reply, "refusal", None) is None


@given(commands=lives(), turn=st.none() | st.integers(0, 40))
@settings(max_examples=200, deadline=None)
def test_a_vote_and_a_credit_are_answered_the_same_for_ever(commands: list[Command], turn: int | None) -> None:
    """TRY that was HELD stays HELD with its balances unless cancelled; REFUSED stays REFUSED; a credit stays booked."""
    story, first = Story(), dict[tuple[str, object, bytes], Reply]()
    for number, command in enumerate(commands):
        if turn is not None and number >= turn:
            story.now = NEW_YEAR
        reply = story.do(command).reply
        if not isinstance(command, Try | PutCredit):
            continue
        told = first.setdefault((*identity_of(command), command.digest), reply)
        if isinstance(command, PutCredit):
            if _settled(told):
                assert reply == told
            else:
                first[(*identity_of(command), command.digest)] = reply
        elif isinstance(told, BranchReply) and isinstance(reply, BranchReply):
            if told.state is BranchState.REFUSED:
                assert reply.state is BranchState.REFUSED
            elif story.state.branches[command.payment_id].state is BranchState.CANCELLED:
                assert reply.refusal is not None
            else:
                assert reply == told


@given(commands=lives(), cuts=st.lists(st.integers(0, 40), max_size=6))
@settings(max_examples=200, deadline=None)
def test_a_batch_decides_what_one_by_one_would(commands: list[Command], cuts: list[int]) -> None:
    """However commands are cut into batches, state and replies are the same."""
    requests = [Request(command, epoch=0) for command in commands]
    alone, replies = State(), list[Reply]()
    for request in requests:
        alone, outcome = apply(alone, request, now=NOW)
        replies.append(outcome.reply)
    batched, answered = State(), list[Reply]()
    borders = [0, *sorted(min(cut, len(requests)) for cut in cuts), len(requests)]
    for start, end in pairwise(borders):
        batched, outcomes = apply_all(batched, requests[start:end], now=NOW)
        answered += [outcome.reply for outcome in outcomes]
    assert (batched, answered) == (alone, replies)


@given(commands=lives())
@settings(max_examples=100, deadline=None)
def test_a_decision_does_not_touch_the_state_it_was_made_in(commands: list[Command]) -> None:
    """Applying a command to a state leaves that state as it was, so that a failed write can be decided again."""
    state = State()
    for command in commands:
        before = state.copy()
        after, _ = apply(state, Request(command), now=NOW)
        assert state == before
        state = after


def test_an_older_epoch_is_refused_and_a_newer_one_is_remembered() -> None:
    """After a command of epoch 5, epoch 4 does nothing any more and 5 still does; authorisations know no epoch."""
    story = Story(account(OWN, past=10))
    state, _ = apply(story.state, Request(try_(1, own_leg(5)), epoch=5), now=NOW)
    state, stale = apply(state, Request(confirm(1), epoch=4), now=NOW)
    assert isinstance(stale.reply, CommandRefused)
    assert (stale.reply.refusal.reason, stale.reply.refusal.metadata) == ("STALE_EPOCH", {"epoch": "5"})
    assert state.accounts[OWN].held.past == 5
    state, done = apply(state, Request(confirm(1), epoch=5), now=NOW + timedelta(seconds=1))
    assert isinstance(done.reply, BranchReply)
    assert (done.reply.state, state.epoch) == (BranchState.CONFIRMED, 5)
