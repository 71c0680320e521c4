"""Faults put in by hand: each replaces one production function, and each must be caught by the search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final
from unittest.mock import patch

from kernel.ids import AdmDvs, PsnNo
from services.family.domain.bindings import Binding, BindingState, Close, LedgerAnswer, LedgerCommand, Open, due
from services.settlement.ledger.domain import crediting, holding
from services.settlement.ledger.domain.commands import (
    AmendAuthorisation,
    BranchReply,
    Cancel,
    CloseAuthorisation,
    Confirm,
    OpenAuthorisation,
    Request,
    Try,
)
from services.settlement.ledger.domain.model import (
    Account,
    AuthorisationState,
    Book,
    BranchState,
    EntryKind,
    Leg,
)
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
from tests.model.bindings import Bond
from tests.model.functions import PRODUCTION, Functions


@dataclass(frozen=True, slots=True)
class Mutation:
    """A fault: its name, the rule it breaks, and the functions with it in."""

    name: str
    rule: str
    functions: Functions
    needs_refusal: bool = False  # It shows, or shows sooner, where a ledger refuses.
    of_transfer: bool = False  # It shows where a receiver votes last.
    bond: Bond | None = None  # It shows where such a binding is opened, changed or ended.


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


def _ended_before_closed(binding: Binding) -> Binding | None:
    """The family says UNBOUND at once, and tells the ledger afterwards."""
    after = real.unbound(binding)
    return None if after is None else replace(after, state=BindingState.UNBOUND)


def _told_also_when_unbound(binding: Binding) -> LedgerCommand | None:
    return Close(binding.authorisation_id) if binding.state is BindingState.UNBOUND else due(binding)


def _stopped_before_closed(binding: Binding) -> Binding | None:
    """The binding is SUSPENDED as soon as identity has said so, and nobody tells the ledger."""
    after = real.stopped(binding)
    return None if after is None else replace(after, state=BindingState.SUSPENDED)


def _silent_when_stopped(binding: Binding) -> LedgerCommand | None:
    """Only what a person has ended is closed at the ledger."""
    return None if binding.state is BindingState.CLOSING and binding.cause else due(binding)


def _late_answer_counts(binding: Binding, command: LedgerCommand, answer: LedgerAnswer) -> Binding | None:
    """The ledger's answer is taken in, whatever the row says by now."""
    if isinstance(command, Open) and answer.refusal is None and answer.is_open:
        return replace(binding, state=BindingState.ACTIVE)
    return real.answered(binding, command, answer)


def _try_without_authorisation(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """TRY asks for money and amount, not whether the authorisation is open."""
    unasked = tuple(it for it in holding.REFUSALS if it[0] != "AUTHORISATION_NOT_OPEN")
    with patch.object(holding, "REFUSALS", unasked):
        return real.apply(state, request)


def _close_cancels(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """CLOSE releases what is held under the authorisation."""
    after, outcome = real.apply(state, request)
    if isinstance(request.command, CloseAuthorisation):
        for branch in [it for it in after.branches.values() if it.state is BranchState.HELD]:
            after, _ = real.apply(after, Request(Cancel(branch.payment_id)))
    return after, outcome


def _confirm_needs_open(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """What is held under an authorisation that was closed meanwhile is not booked but released."""
    closed = any(it.state is AuthorisationState.CLOSED for it in state.authorisations.values())
    if closed and isinstance(request.command, Confirm):
        return real.apply(state, Request(Cancel(request.command.payment_id)))
    return real.apply(state, request)


def _late_open_opens(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """An OPEN that comes after its CLOSE opens."""
    command = request.command
    known = isinstance(command, OpenAuthorisation) and state.authorisations.get(command.authorisation_id)
    if known and known.state is AuthorisationState.CLOSED:
        state = replace(state, authorisations={}, authorisation_events={})
    return real.apply(state, request)


def _amend_below_use(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """AMEND lowers the amount below what is held and used."""
    command = request.command
    if not isinstance(command, AmendAuthorisation) or command.authorisation_id not in state.authorisations:
        return real.apply(state, request)
    known = state.authorisations[command.authorisation_id]
    unused = replace(known, used_fen=0, held_fen=0)
    after, outcome = real.apply(replace(state, authorisations={command.authorisation_id: unused}), request)
    lowered = after.authorisations[command.authorisation_id]
    used = replace(lowered, used_fen=known.used_fen, held_fen=known.held_fen)
    return replace(after, authorisations={command.authorisation_id: used}), outcome


def _refund_misses_funder(state: LedgerState, request: Request) -> tuple[LedgerState, Outcome]:
    """What comes back after the end goes to the area's suspense, not to the funder."""
    if not any(it.state is AuthorisationState.CLOSED for it in state.authorisations.values()):
        return real.apply(state, request)

    def in_suspense(draft: Draft, leg: Leg, **given: Any) -> Account | None:  # noqa: ANN401  As the ledger's own takes.
        stranger = replace(leg.account, psn_no=PsnNo("650000000099"))
        return book_received(draft, replace(leg, account=stranger), **given)

    with patch.object(crediting, "book_received", in_suspense):
        return real.apply(state, request)


def _moved_while_held(binding: Binding, command: LedgerCommand, answer: LedgerAnswer) -> Binding | None:
    """What is still held under the old authorisation is not waited for."""
    return real.answered(binding, command, replace(answer, held_fen=0))


def _moved_without_use(binding: Binding, command: LedgerCommand, answer: LedgerAnswer) -> Binding | None:
    """What was used is not carried over."""
    return real.answered(binding, command, replace(answer, used_fen=0))


ENDING: Final = Bond(BindingState.ACTIVE)
MOVING: Final = Bond(BindingState.ACTIVE, moves_to=AdmDvs("650500"))
OPENING: Final = Bond(BindingState.OPENING)
LOWERED: Final = Bond(BindingState.ACTIVE, is_lowered=True)

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
    Mutation(
        "the family says UNBOUND before the ledger has closed",
        "domain §2",
        replace(PRODUCTION, unbound=_ended_before_closed, due=_told_also_when_unbound),
        bond=ENDING,
    ),
    Mutation(
        "the family says SUSPENDED and leaves the ledger open",
        "domain §2",
        replace(PRODUCTION, stopped=_stopped_before_closed),
        bond=ENDING,
    ),
    Mutation(
        "nobody tells the ledger of what has stopped by itself",
        "rule 8",
        replace(PRODUCTION, due=_silent_when_stopped),
        bond=ENDING,
    ),
    Mutation(
        "a late answer to an opening makes an ended binding active",
        "domain §2",
        replace(PRODUCTION, answered=_late_answer_counts),
        bond=OPENING,
    ),
    Mutation(
        "TRY does not look at the authorisation",
        "protocol table",
        replace(PRODUCTION, apply=_try_without_authorisation),
        bond=ENDING,
    ),
    Mutation("CLOSE cancels what is held", "protocol table", replace(PRODUCTION, apply=_close_cancels), bond=ENDING),
    Mutation(
        "CONFIRM asks whether the authorisation is open",
        "protocol table",
        replace(PRODUCTION, apply=_confirm_needs_open),
        bond=ENDING,
    ),
    Mutation("OPEN after CLOSE opens", "ledger table", replace(PRODUCTION, apply=_late_open_opens), bond=OPENING),
    Mutation("AMEND goes below what is used and held", "I9", replace(PRODUCTION, apply=_amend_below_use), bond=LOWERED),
    Mutation(
        "a binding moves on while something is held",
        "moving",
        replace(PRODUCTION, answered=_moved_while_held),
        bond=MOVING,
    ),
    Mutation(
        "what was used does not move along", "moving", replace(PRODUCTION, answered=_moved_without_use), bond=MOVING
    ),
    Mutation(
        "a refund after the end misses the funder",
        "refund",
        replace(PRODUCTION, apply=_refund_misses_funder),
        bond=ENDING,
    ),
)
