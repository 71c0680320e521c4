"""What an operator's command books: a charge that a restored ledger has lost, and money that leaves suspense.

No coordinator sends these. They go through the same lock, state and entries as every other command.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from services.settlement.ledger.domain.commands import BranchReply, Charge, CreditReply, ReleaseSuspense
from services.settlement.ledger.domain.holding import confirm, month_of
from services.settlement.ledger.domain.model import (
    CONTRA_LEG_NO,
    AccountState,
    AlarmKind,
    Book,
    Branch,
    BranchState,
    Credit,
    CreditId,
    CreditLeg,
    CreditPurpose,
    EntryKind,
    Leg,
    Parts,
    Refusal,
)
from services.settlement.ledger.domain.state import Draft, Outcome, State

_RELEASES: Final = UUID("8c4be1b0-1e56-5f57-a2f0-6a1e7f1d6a55")
_LEG_NO: Final = 1


def decide_charge(state: State, command: Charge, *, now: datetime) -> Outcome:
    """Books a payment that the coordinator has committed, whatever business would say today: it was promised.

    A frozen account, a closed authorisation, a floor and a limit per payment or month do not stop it; money that is
    not there does, and then nothing is booked and nothing is left behind, so the same command may come again. A branch
    that has let go contradicts it.
    """
    draft = Draft(state, now)
    branch = draft.branch(command.payment_id)
    match branch.state if branch else None:
        case None:
            refusal = _held(draft, command)
            if refusal is not None:
                return Draft(state, now).outcome(BranchReply(command.payment_id, None, refusal=refusal))
            held = Branch(
                payment_id=command.payment_id,
                state=BranchState.HELD,
                created_at=now,
                digest=command.digest,
                legs=command.legs,
                balances=tuple(
                    account for leg in command.legs if not leg.is_receiving and (account := draft.account(leg.account))
                ),
                inquire_at=now,
                memo=command.memo,
                origin=command.origin,
                month=month_of(command, now=now),
            )
            confirm(draft, held)
        case BranchState.HELD if branch:
            confirm(draft, branch)
        case BranchState.CONFIRMED:
            pass
        case contradicting:
            reply = BranchReply(command.payment_id, contradicting, alarm=True)
            return draft.add_alarm(AlarmKind.CONFIRM_WITHOUT_HOLD, command.payment_id).outcome(reply)
    return draft.outcome(BranchReply(command.payment_id, BranchState.CONFIRMED))


def _held(draft: Draft, command: Charge) -> Refusal | None:
    """Holds every leg that takes, or says what is not there."""
    for leg in command.legs:
        if not leg.is_receiving and (refusal := _leg_held(draft, leg, month_of(command, now=draft.now))) is not None:
            return refusal
    return None


def _leg_held(draft: Draft, leg: Leg, month: int) -> Refusal | None:
    account = draft.account(leg.account)
    if account is None or account.state is AccountState.CLOSED:
        return Refusal("ACCOUNT_NOT_FOUND", leg.leg_no)
    amount = account.reading(leg.amount, leg.year)
    if not account.available.covers(amount):
        return Refusal("INSUFFICIENT_FUNDS", leg.leg_no)
    if leg.authorisation_id is not None:
        authorisation = draft.authorisation(leg.authorisation_id)
        if authorisation is None:
            return Refusal("AUTHORISATION_NOT_OPEN", leg.leg_no)
        if authorisation.left_fen is not None and authorisation.left_fen < amount.total:
            return Refusal("AUTHORISED_AMOUNT_EXCEEDED", leg.leg_no, {"left_fen": str(authorisation.left_fen)})
        draft.put_use(authorisation.with_held(amount.total), month)
    draft.put_account(account.with_held(amount))
    return None


def release_id(command: ReleaseSuspense) -> CreditId:
    """The credit that a task's release books: the same each time, so that it cannot be booked twice (I5)."""
    return CreditId(uuid5(_RELEASES, f"{command.credit_id}/{command.leg_no}"))


def decide_release(state: State, command: ReleaseSuspense, *, now: datetime) -> Outcome:
    """Money out of suspense onto the account that an officer names, or out of the ledger back to the fund.

    The account must be there and open for money: SUSPENSE_TASK_UNKNOWN, SUSPENSE_TASK_DONE, ACCOUNT_NOT_FOUND.
    """
    draft = Draft(state, now)
    task = state.suspense_tasks.get((command.credit_id, command.leg_no))
    credit_id = release_id(command)
    if task is None:
        return draft.outcome(CreditReply(credit_id, refusal=Refusal("SUSPENSE_TASK_UNKNOWN", command.leg_no)))
    if task.done_at is not None:
        return draft.outcome(CreditReply(credit_id, refusal=Refusal("SUSPENSE_TASK_DONE", command.leg_no)))
    kind = EntryKind.SUSPENSE
    if command.to is None:
        draft.book_contra(Book.FUND_INFLOW, task.amount_fen, source_id=credit_id, leg_no=_LEG_NO, kind=kind)
    else:
        account = draft.account(command.to)
        if account is None or account.state is AccountState.CLOSED:
            return Draft(state, now).outcome(CreditReply(credit_id, refusal=Refusal("ACCOUNT_NOT_FOUND", _LEG_NO)))
        amount = Parts(task.amount_fen, 0)
        booked = draft.book(account, amount, source_id=credit_id, leg_no=_LEG_NO, kind=kind)
        draft.put_account(booked)
        leg = CreditLeg(_LEG_NO, command.to, amount, draft.year)
        draft.put_credit(Credit(credit_id, CreditPurpose.SUSPENSE, command.digest, (leg,), (booked,), now))
    draft.book_contra(Book.SUSPENSE, -task.amount_fen, source_id=credit_id, leg_no=CONTRA_LEG_NO, kind=kind)
    draft.end_task(task)
    return draft.outcome(CreditReply(credit_id))
