"""Money that comes in, by a credit or a transfer: onto its account, or into suspense with a task for an officer."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from kernel.ids import PaymentId
from services.settlement.ledger.domain.model import (
    Account,
    AccountKind,
    AccountState,
    Book,
    CreditId,
    CreditLeg,
    EntryKind,
    Leg,
    Refusal,
    SuspenseTask,
)
from services.settlement.ledger.domain.state import Draft

ENDED_FOR_GOOD: Final = frozenset({"DIED", "MERGED"})
"""Causes of a closing after which no credit opens the account again: what comes waits for an officer."""


def refused_to_receive(draft: Draft, leg: Leg) -> Refusal | None:
    """Why a leg's account cannot be promised money; None if it can. Being frozen does not stop it.

    A wallet need not exist yet: money opens it (ADR 6).
    """
    account = draft.account(leg.account)
    if account is None:
        return None if leg.account.kind is AccountKind.WALLET else Refusal("ACCOUNT_NOT_FOUND", leg.leg_no)
    match account.state:
        case AccountState.OPEN:
            return None
        case AccountState.CLOSING:
            return Refusal("ACCOUNT_CLOSING", leg.leg_no)
        case AccountState.CLOSED:
            return Refusal("ACCOUNT_NOT_FOUND", leg.leg_no)


def _comes_back(draft: Draft, account: Account, accepted_at: datetime | None) -> bool:
    """Whether money that was taken on then is for an account of somebody who is insured here again."""
    if account.state is not AccountState.CLOSED or accepted_at is None:
        return False
    closing = draft.ended_by(account.key)
    if closing is None or closing.finished_at is None or closing.cause in ENDED_FOR_GOOD:
        return False
    return closing.finished_at < accepted_at


def book_received(
    draft: Draft,
    leg: Leg | CreditLeg,
    *,
    source_id: CreditId | PaymentId,
    kind: EntryKind,
    opens: bool,
    accepted_at: datetime | None = None,
    year: int | None = None,
) -> Account | None:
    """The account with the leg's money on it; None if it is closed, or missing and not to be opened: then suspense.

    It cannot be refused. An account that ended before ``accepted_at`` is opened again, unless for good. ``year`` tells
    whose current part is meant, where it is not the leg's own.
    """
    account = draft.account(leg.account) or (Account(leg.account, draft.year) if opens else None)
    if account is not None and opens and _comes_back(draft, account, accepted_at):
        account = replace(account, state=AccountState.OPEN)
    if account is None or account.state is AccountState.CLOSED:
        fen = leg.amount.total
        draft.book_contra(Book.SUSPENSE, fen, source_id=source_id, leg_no=leg.leg_no, kind=kind)
        draft.add_task(SuspenseTask(source_id, leg.leg_no, leg.account, fen, created_at=draft.now))
        return None
    amount = account.reading(leg.amount, leg.year if year is None else year)
    credited = draft.book(account, amount, source_id=source_id, leg_no=leg.leg_no, kind=kind)
    draft.put_account(credited)
    return credited
