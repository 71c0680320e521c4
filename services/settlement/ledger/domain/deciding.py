"""One command after the other: what a ledger does, seen from outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import assert_never, get_args

from services.settlement.ledger.domain.authorising import decide_authorisation, decide_freeze
from services.settlement.ledger.domain.closing import decide_close
from services.settlement.ledger.domain.commands import (
    AmendAuthorisation,
    Cancel,
    Charge,
    CloseAccount,
    CloseAuthorisation,
    Command,
    CommandRefused,
    Confirm,
    OpenAuthorisation,
    PaymentCommand,
    PutCredit,
    ReleaseSuspense,
    Request,
    SetFrozen,
    Try,
    TurnAccount,
)
from services.settlement.ledger.domain.crediting import decide_credit
from services.settlement.ledger.domain.holding import decide_cancel, decide_confirm, decide_try
from services.settlement.ledger.domain.mending import decide_charge, decide_release
from services.settlement.ledger.domain.model import Refusal
from services.settlement.ledger.domain.state import Outcome, State
from services.settlement.ledger.domain.turning import decide_turn

_PAYMENT_COMMANDS = get_args(PaymentCommand)


def decide(state: State, command: Command, *, now: datetime) -> Outcome:  # noqa: C901, PLR0911  One return for each kind of command.
    """What one command answers and writes in this state. ``now`` is the database's clock; it decides the year too."""
    match command:
        case Charge():
            return decide_charge(state, command, now=now)
        case Try():
            return decide_try(state, command, now=now)
        case Confirm():
            return decide_confirm(state, command, now=now)
        case Cancel():
            return decide_cancel(state, command, now=now)
        case PutCredit():
            return decide_credit(state, command, now=now)
        case OpenAuthorisation() | AmendAuthorisation() | CloseAuthorisation():
            return decide_authorisation(state, command, now=now)
        case SetFrozen():
            return decide_freeze(state, command, now=now)
        case CloseAccount():
            return decide_close(state, command, now=now)
        case ReleaseSuspense():
            return decide_release(state, command, now=now)
        case TurnAccount():
            return decide_turn(state, command, now=now)
        case _:
            assert_never(command)


def apply(state: State, request: Request, *, now: datetime) -> tuple[State, Outcome]:
    """The state after one request, and what it answered; the given state is not changed."""
    after, outcomes = apply_all(state, [request], now=now)
    return after, outcomes[0]


def apply_all(state: State, requests: Sequence[Request], *, now: datetime) -> tuple[State, list[Outcome]]:
    """The same as ``apply`` for each request in turn: a batch decides nothing that one by one would not."""
    working = state.copy()
    outcomes: list[Outcome] = []
    for request in requests:
        if request.epoch is not None and isinstance(request.command, _PAYMENT_COMMANDS):
            if request.epoch < working.epoch:
                refusal = Refusal("STALE_EPOCH", metadata={"epoch": str(working.epoch)})
                outcomes.append(Outcome(CommandRefused(refusal)))
                continue
            if request.epoch > working.epoch:
                working = replace(working, epoch=request.epoch)
        outcome = decide(working, request.command, now=now)
        working.absorb(outcome)
        outcomes.append(outcome)
    return working, outcomes
