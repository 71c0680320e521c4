"""The decisions a run is made with: production's own, or one of them broken on purpose to prove that it is noticed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final, TypeAlias

from kernel.ids import PsnNo
from services.settlement.ledger.domain import deciding
from services.settlement.ledger.domain.commands import Cancel, PutCredit, Request, Try
from services.settlement.ledger.domain.model import Book, BranchState, CreditPurpose, EntryKind
from services.settlement.ledger.domain.receiving import book_received
from services.settlement.ledger.domain.state import Draft, Outcome
from services.settlement.ledger.domain.state import State as LedgerState
from services.settlement.saga import coordinator, requests, transfers
from services.settlement.saga.coordinator import Advance, Answer, Branch, Drive, Event, Order, Replied, Send, Write
from services.settlement.saga.payment import PAID_STATES, REFUSED_STATES, Payment, PaymentKind, State
from services.settlement.saga.requests import AlreadyStopped, Bury, Reversal

Applied: TypeAlias = tuple[LedgerState, list[Outcome]]


@dataclass(frozen=True, slots=True)
class Decisions:
    """Every decision that the simulation asks for; it takes none itself."""

    begin: Callable[[Payment], Advance] = coordinator.begin
    advance: Callable[[Drive, Event], Advance] = coordinator.advance
    reverse: Callable[..., Reversal] = requests.reverse
    apply_all: Callable[..., Applied] = deciding.apply_all
    wins: Callable[[Payment, Write], bool] = coordinator.wins
    accept: Callable[..., Write | Payment] = transfers.accept
    decline: Callable[..., Write | Payment] = transfers.decline


PRODUCTION: Final = Decisions()


def _without_tombstone(*args: object, **kwargs: object) -> Reversal:
    """A reversal of an unknown key is answered, and nothing is written."""
    decided = requests.reverse(*args, **kwargs)  # type: ignore[arg-type]
    return AlreadyStopped() if isinstance(decided, Bury) else decided


def _confirming_early(drive: Drive, event: Event) -> Advance:
    """Every ledger is told to book as soon as it has voted, before the payment is decided."""
    after, commands = coordinator.advance(drive, event)
    if isinstance(event, Replied) and event.branch is Branch.HELD and drive.payment.state is State.TRYING:
        commands = [*commands, Send(drive.payment, event.area, Order.CONFIRM)]
    return after, commands


def _answering_early(drive: Drive, event: Event) -> Advance:
    """OK is answered when the last vote comes, before the decision is durable."""
    after, commands = coordinator.advance(drive, event)
    early = [
        Answer(coordinator.applied(drive.payment, command))
        for command in commands
        if isinstance(command, Write) and command.to is State.COMMITTED
    ]
    return after, [*early, *commands]


def _expiring(state: LedgerState, asked: Sequence[Request], *, now: datetime) -> Applied:
    """The ledger ends holds by itself once their time is over."""
    over = [
        Request(Cancel(branch.payment_id))
        for branch in state.branches.values()
        if branch.state is BranchState.HELD and branch.inquire_at is not None and branch.inquire_at < now
    ]
    after, outcomes = deciding.apply_all(state, [*over, *asked], now=now)
    return after, outcomes[len(over) :]


def _blocking_nothing(state: LedgerState, asked: Sequence[Request], *, now: datetime) -> Applied:
    """A CANCEL that overtakes its TRY is answered BLOCKED, and nothing is written."""
    outcomes: list[Outcome] = []
    for request in asked:
        state, outcome = deciding.apply(state, request, now=now)
        blocked = [it for it in outcome.branches.values() if it.state is BranchState.BLOCKED]
        for branch in blocked:
            del state.branches[branch.payment_id]
            outcome = replace(outcome, branches={})
        outcomes.append(outcome)
    return state, outcomes


def _refunding_first(state: LedgerState, asked: Sequence[Request], *, now: datetime) -> Applied:
    """Money goes back for a hold that is not confirmed yet: the refund treats it as if it were."""
    outcomes: list[Outcome] = []
    for request in asked:
        command, shown, branch = request.command, state, None
        if isinstance(command, PutCredit) and command.purpose is CreditPurpose.REFUND and command.original_payment_id:
            branch = state.branches.get(command.original_payment_id)
            if branch is not None and branch.state is BranchState.HELD:
                shown = state.copy()
                shown.branches[branch.payment_id] = replace(branch, state=BranchState.CONFIRMED)
        state, outcome = deciding.apply(shown, request, now=now)
        if shown.branches is not state.branches and branch is not None and branch.state is BranchState.HELD:
            held = replace(state.branches[branch.payment_id], state=BranchState.HELD)
            state.branches[branch.payment_id] = held
            outcome = replace(outcome, branches={branch.payment_id: held})
        outcomes.append(outcome)
    return state, outcomes


def _aborting_blindly(row: Payment, write: Write) -> bool:
    """An abort overwrites a commit."""
    return coordinator.wins(row, write) or (write.to is State.ABORTED and row.state in PAID_STATES)


def _accepting_blindly(row: Payment, write: Write) -> bool:
    """A receiver's yes overwrites the abort."""
    return coordinator.wins(row, write) or (write.to is State.COMMITTED and row.state in REFUSED_STATES)


def _accepting_unasked(found: Payment | None, *, by: PsnNo) -> Write | Payment:
    """A receiver's yes is taken for the last vote, whether every ledger holds or not."""
    if found is not None and found.is_voting:
        return Write(found.payment_id, State.TRYING, State.COMMITTED)
    return transfers.accept(found, by=by)


def _accepting_late(found: Payment | None, *, by: PsnNo) -> Write | Payment:
    """A receiver's yes counts as long as nobody has noticed that it is too late."""
    step = transfers.accept(found, by=by)
    if found is not None and found.overdue and isinstance(step, Write):
        return Write(found.payment_id, State.TRYING, State.COMMITTED, expected_pending=True)
    return step


def _asking_early(drive: Drive, event: Event) -> Advance:
    """The receiver is asked as soon as one ledger holds."""
    after, commands = coordinator.advance(drive, event)
    if isinstance(event, Replied) and event.branch is Branch.HELD and after.payment.is_voting and not after.is_writing:
        asks = Write(after.payment.payment_id, State.TRYING, State.TRYING, asks_receiver=True)
        if after.payment.kind is PaymentKind.TRANSFER:
            return replace(after, is_writing=True), [*commands, asks]
    return after, commands


def _receiving_at_try(state: LedgerState, asked: Sequence[Request], *, now: datetime) -> Applied:
    """What a leg brings is booked with the vote, and not again with the confirmation."""
    outcomes: list[Outcome] = []
    for request in asked:
        state, outcome = deciding.apply(state, request, now=now)
        if isinstance(request.command, Try) and outcome.branches:
            draft = Draft(state, now)
            for leg in request.command.legs if outcome.reply.refusal is None else ():
                if leg.is_receiving:
                    ids = {"source_id": request.command.payment_id, "kind": EntryKind.TRANSFER_IN}
                    book_received(draft, leg, opens=True, **ids)  # type: ignore[arg-type]
                    draft.book_contra(Book.CLEARING, -leg.amount.total, leg_no=0, **ids)  # type: ignore[arg-type]
            booked = draft.outcome(outcome.reply)
            state.absorb(booked)
            accounts = {**outcome.accounts, **booked.accounts}
            outcome = replace(outcome, accounts=accounts, entries=(*outcome.entries, *booked.entries))
        outcomes.append(outcome)
    return state, outcomes


BROKEN: Final[Mapping[str, Decisions]] = {
    "no-tombstone": Decisions(reverse=_without_tombstone),
    "confirm-before-decision": Decisions(advance=_confirming_early),
    "answer-before-decision": Decisions(advance=_answering_early),
    "ledger-expires-hold": Decisions(apply_all=_expiring),
    "cancel-blocks-nothing": Decisions(apply_all=_blocking_nothing),
    "refund-before-confirm": Decisions(apply_all=_refunding_first),
    "abort-without-compare-and-set": Decisions(wins=_aborting_blindly),
    "accept-without-compare-and-set": Decisions(wins=_accepting_blindly),
    "accept-before-the-votes": Decisions(accept=_accepting_unasked),
    "accept-too-late": Decisions(accept=_accepting_late),
    "ask-before-the-votes": Decisions(advance=_asking_early),
    "receive-at-try": Decisions(apply_all=_receiving_at_try),
}
"""One broken decision each; a simulation that does not notice one of them proves nothing."""
