"""Faults put in by hand: each replaces one production function, and each must be caught by the search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final
from unittest.mock import patch

from services.settlement.ledger.domain import crediting
from services.settlement.ledger.domain.commands import BranchReply, Cancel, Request, Try
from services.settlement.ledger.domain.model import Book, BranchState, EntryKind
from services.settlement.ledger.domain.receiving import book_received
from services.settlement.ledger.domain.state import Draft, Outcome
from services.settlement.ledger.domain.state import State as LedgerState
from services.settlement.saga.coordinator import (
    Advance,
    Answer,
    Branch,
    Command,
    Drive,
    Event,
    Order,
    Send,
    Write,
    applied,
)
from services.settlement.saga.payment import REFUSED_STATES, Payment, PaymentKind, State
from services.settlement.saga.requests import AlreadyStopped, Decision, Reversal
from tests.model import functions as real
from tests.model.functions import PRODUCTION, Functions


@dataclass(frozen=True, slots=True)
class Mutation:
    """A fault: its name, the rule it breaks, and the functions with it in."""

    name: str
    rule: str
    functions: Functions
    needs_refusal: bool = False  # It shows, or shows sooner, where a ledger refuses.
    of_transfer: bool = False  # It shows where a receiver votes last.


def _abort_without_compare(row: Payment, write: Write) -> Payment:
    """An abort is written whatever the row says by now."""
    if write.to is State.ABORTED and row.state is not State.ABORTED:
        return real.written(row, write)
    return real.compare_and_set(row, write)


def _accept_without_compare(row: Payment, write: Write) -> Payment:
    """The receiver's yes is written whatever the row says by now."""
    if write.to is State.COMMITTED and row.state in REFUSED_STATES:
        return real.written(row, write)
    return real.compare_and_set(row, write)


def _accept_without_mark(found: Payment | None) -> Write | Payment | None:
    """The receiver's yes is taken for the last vote, though no durable mark says that every ledger holds."""
    if found is not None and found.kind is PaymentKind.TRANSFER and found.is_voting:
        return Write(found.payment_id, State.TRYING, State.COMMITTED)
    return real.accept(found)


def _ask_on_first_vote(drive: Drive, event: Event) -> Advance:
    """The receiver is asked though not every ledger has voted."""
    after, commands = real.advance(drive, event)
    voted = any(reply is not None and reply.branch is Branch.HELD for reply in after.replies)
    if not voted or after.is_writing or not after.payment.is_voting:
        return after, commands
    ask = Write(after.payment.payment_id, State.TRYING, State.TRYING, asks_receiver=True)
    return replace(after, is_writing=True), [*commands, ask]


def _asked_before_durable(drive: Drive, event: Event) -> Advance:
    """The giver is told that the receiver is asked together with the Write that says so."""
    after, commands = real.advance(drive, event)
    asks = [it for it in commands if isinstance(it, Write) and it.asks_receiver]
    return after, [*commands, *(Answer(applied(after.payment, write)) for write in asks)]


def _receive_at_try(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """What a leg brings is booked with the vote."""
    after, outcome = real.apply(state, request)
    if not isinstance(request.command, Try) or not outcome.branches:
        return after, outcome
    draft = Draft(after, real.NOW)
    for leg in request.command.legs:
        if leg.is_receiving:
            source_id = request.command.payment_id
            book_received(draft, leg, source_id=source_id, kind=EntryKind.TRANSFER_IN, opens=True)
            fen = leg.amount.total
            draft.book_contra(Book.CLEARING, -fen, source_id=source_id, leg_no=0, kind=EntryKind.PAYMENT)
    booked = draft.outcome(outcome.reply)
    after.absorb(booked)
    return after, replace(outcome, accounts=booked.accounts, entries=booked.entries)


def _never_over(drive: Drive, event: Event) -> Advance:
    """Nobody ends a transfer whose receiver does not answer."""
    after, commands = real.advance(drive, event)
    if not after.payment.pending_accept or after.payment.state is not State.TRYING:
        return after, commands
    return replace(after, is_writing=False), [it for it in commands if not isinstance(it, Write)]


def _wait_for_ever(found: Payment | None) -> Decision | Write:
    """A ledger that asks about a transfer is told to wait, whatever the time."""
    return Decision.WAIT if found is not None and found.state is State.TRYING else real.inquired(found)


def _with_each_commit(step: Advance, *, answers: bool) -> Advance:
    """OK answered, or CONFIRM sent, together with the Write of the commit instead of after it."""
    drive, commands = step
    more: list[Command] = []
    for command in commands:
        if isinstance(command, Write) and command.to is State.COMMITTED:
            early = applied(drive.payment, command)
            more += [Answer(early)] if answers else [Send(early, area, Order.CONFIRM) for area in drive.areas]
    return drive, [*commands, *more]


def _ok_before_durable(drive: Drive, event: Event) -> Advance:
    return _with_each_commit(real.advance(drive, event), answers=True)


def _confirm_before_decision(drive: Drive, event: Event) -> Advance:
    return _with_each_commit(real.advance(drive, event), answers=False)


def _reverse_without_tombstone(original: Payment | None, refund: Payment | None, new: Payment) -> Reversal | None:
    """REVERSED is answered for a key nobody has seen, and nothing is written."""
    return AlreadyStopped() if original is None else real.reverse(original, refund, new)


def _credit_before_confirm(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """The refund's money is booked while the original's is still held."""
    with patch.object(crediting, "confirm", lambda _, branch: branch):
        return real.apply(state, request)


def _cancel_blocks_nothing(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """A CANCEL that comes before its TRY is acknowledged and forgotten."""
    if isinstance(request.command, Cancel) and request.command.payment_id not in state.branches:
        return state, Outcome(BranchReply(request.command.payment_id, BranchState.BLOCKED))
    return real.apply(state, request)


def _guess_aborted(found: Payment | None) -> Decision | Write:
    """An unknown payment is taken for an aborted one."""
    return Decision.CANCEL if found is None else real.inquired(found)


def _cancel_without_abort(found: Payment | None) -> Decision | Write:
    """A ledger that asks after the deadline is told CANCEL, and the row stays as it is."""
    return Decision.CANCEL if found is not None and found.overdue else real.inquired(found)


def _forget_aborted(row: Payment) -> bool:
    """Recovery looks after undecided and committed payments alone."""
    return real.is_taken_up(row) and row.state not in REFUSED_STATES


def _commit_on_first_vote(drive: Drive, event: Event) -> Advance:
    """The payment is committed though not every ledger has voted."""
    after, commands = real.advance(drive, event)
    voted = any(reply is not None and reply.branch is Branch.HELD for reply in after.replies)
    if not voted or after.is_writing or after.payment.state is not State.TRYING:
        return after, commands
    commit = Write(after.payment.payment_id, State.TRYING, State.COMMITTED)
    return replace(after, is_writing=True), [*commands, commit]


def _close_before_released(drive: Drive, event: Event) -> Advance:
    """An aborted payment is closed before its ledgers have acknowledged the CANCEL."""
    after, commands = real.advance(drive, event)
    if after.is_writing or after.payment.state is not State.ABORTED:
        return after, commands
    close = Write(after.payment.payment_id, State.ABORTED, State.CLOSED)
    return replace(after, is_writing=True), [*commands, close]


def _compensate_committed(original: Payment | None, refund: Payment | None, new: Payment) -> Reversal | None:
    """A committed payment is aborted where a refund is due."""
    if original is not None and original.state is State.COMMITTED:
        return Write(original.payment_id, State.COMMITTED, State.ABORTED)
    return real.reverse(original, refund, new)


MUTATIONS: Final = (
    Mutation("a ledger ends a hold by itself", "rule 2", replace(PRODUCTION, expires=True)),
    Mutation("abort without compare-and-set", "rule 1", replace(PRODUCTION, write=_abort_without_compare)),
    Mutation(
        "OK is answered before the decision is durable", "rule 1", replace(PRODUCTION, advance=_ok_before_durable)
    ),
    Mutation("CONFIRM is sent before the decision", "rule 1", replace(PRODUCTION, advance=_confirm_before_decision)),
    Mutation(
        "reverse without a tombstone, then the late original",
        "rule 3",
        replace(PRODUCTION, reverse=_reverse_without_tombstone),
    ),
    Mutation(
        "a refund is credited before its original's hold is confirmed",
        "rule 7",
        replace(PRODUCTION, apply=_credit_before_confirm),
    ),
    Mutation("CANCEL before TRY blocks nothing", "rule 5", replace(PRODUCTION, apply=_cancel_blocks_nothing)),
    Mutation("an unknown inquiry is answered CANCEL", "rule 4", replace(PRODUCTION, inquired=_guess_aborted)),
    Mutation(
        "an inquiry after the deadline is answered CANCEL without the abort",
        "rule 2",
        replace(PRODUCTION, inquired=_cancel_without_abort),
    ),
    Mutation(
        "the first vote commits the payment", "protocol table", replace(PRODUCTION, advance=_commit_on_first_vote)
    ),
    Mutation(
        "CLOSED before the ledgers have let go", "protocol table", replace(PRODUCTION, advance=_close_before_released)
    ),
    Mutation("Reverse aborts a committed payment", "rule 7", replace(PRODUCTION, reverse=_compensate_committed)),
    Mutation(
        "recovery forgets aborted payments",
        "rule 8",
        replace(PRODUCTION, is_taken_up=_forget_aborted),
        needs_refusal=True,
    ),
    Mutation(
        "a receiver's yes after the abort, without compare-and-set",
        "rule 1",
        replace(PRODUCTION, write=_accept_without_compare),
        of_transfer=True,
    ),
    Mutation(
        "a receiver's yes without the durable mark that he is asked",
        "acceptance",
        replace(PRODUCTION, accept=_accept_without_mark),
        of_transfer=True,
    ),
    Mutation(
        "the receiver is asked before every ledger holds",
        "acceptance",
        replace(PRODUCTION, advance=_ask_on_first_vote),
        of_transfer=True,
    ),
    Mutation(
        "the giver is told so before the mark is durable",
        "acceptance",
        replace(PRODUCTION, advance=_asked_before_durable),
        of_transfer=True,
    ),
    Mutation(
        "what a receiver gets is booked at TRY",
        "acceptance",
        replace(PRODUCTION, apply=_receive_at_try),
        of_transfer=True,
    ),
    Mutation(
        "nobody ends a transfer that is not accepted",
        "rule 8",
        replace(PRODUCTION, advance=_never_over, inquired=_wait_for_ever),
        of_transfer=True,
    ),
)
