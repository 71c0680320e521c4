"""The year-end job's command: what no other command has touched since the year began is turned into it."""

from __future__ import annotations

from datetime import datetime

from services.settlement.ledger.domain.commands import AccountReply, TurnAccount
from services.settlement.ledger.domain.state import Draft, Outcome, State


def decide_turn(state: State, command: TurnAccount, *, now: datetime) -> Outcome:
    """The account as any command finds it (protocol, "Year turn"): balance and holds of last year's current are past.

    One that is turned already stays as it is, so the job may be repeated, stopped and crossed by payments anywhere. The
    present year decides, not the command's: an account is never turned ahead of its time.
    """
    draft = Draft(state, now)
    return draft.outcome(AccountReply(command.account, draft.account(command.account)))
