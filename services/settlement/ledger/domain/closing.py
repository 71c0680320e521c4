"""The end of an account: it takes no new hold, and closes when its last one has ended (protocol, "Closing, moving")."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final

from services.settlement.ledger.domain.commands import AccountReply, CloseAccount
from services.settlement.ledger.domain.model import (
    NOTHING,
    Account,
    AccountState,
    Book,
    Closing,
    EntryKind,
    Refusal,
    SuspenseTask,
)
from services.settlement.ledger.domain.state import Draft, Outcome, State

_LEG_NO: Final = 1
"""Of what is left at the end, as a task for an officer names it."""


def decide_close(state: State, command: CloseAccount, *, now: datetime) -> Outcome:
    """CLOSING, or CLOSED at once where nothing is held; a repetition is told how the account stands by then.

    Refusals in this order: CLOSING_CONTENT_DIFFERS; ACCOUNT_NOT_FOUND (none, or closed by another command: nothing is
    stored); ACCOUNT_CLOSING (another command's closing waits for the last hold).
    """
    draft = Draft(state, now)
    key = command.account
    stored = state.closings.get(command.closing_id)
    account = draft.account(key)
    if stored is not None:
        if (stored.account, stored.cause) != (key, command.cause):
            return draft.outcome(AccountReply(key, None, Refusal("CLOSING_CONTENT_DIFFERS")))
        if account is not None and account.state is AccountState.CLOSING:
            account = put_released(draft, account)  # Its last hold may have ended where nobody knew of closings yet.
        return draft.outcome(AccountReply(key, account))
    if account is None or account.state is AccountState.CLOSED:
        return draft.outcome(AccountReply(key, account, Refusal("ACCOUNT_NOT_FOUND")))
    if account.state is AccountState.CLOSING:
        return draft.outcome(AccountReply(key, account, Refusal("ACCOUNT_CLOSING")))
    draft.put_closing(Closing(command.closing_id, key, command.cause, now))
    return draft.outcome(AccountReply(key, put_released(draft, replace(account, state=AccountState.CLOSING))))


def put_released(draft: Draft, account: Account) -> Account:
    """Writes an account from which a hold has gone; one that waits for that to close is closed with its last hold.

    What is left on it goes to the area's suspense with a task for an officer: he brings it to the owner's new account,
    to the heirs', or out to the fund (``ReleaseSuspense``).
    """
    closing = draft.closing_of(account.key) if account.state is AccountState.CLOSING else None
    if closing is None or account.held.total:
        draft.put_account(account)
        return account
    left = account.balance
    if left.total:
        source_id, kind = closing.closing_id, EntryKind.CLOSING
        account = draft.book(account, NOTHING - left, source_id=source_id, leg_no=_LEG_NO, kind=kind)
        draft.book_contra(Book.SUSPENSE, left.total, source_id=source_id, leg_no=_LEG_NO, kind=kind)
        draft.add_task(SuspenseTask(source_id, _LEG_NO, account.key, left.total, created_at=draft.now))
    closed = replace(account, state=AccountState.CLOSED)
    draft.put_account(closed)
    draft.put_closing(replace(closing, finished_at=draft.now))
    return closed
