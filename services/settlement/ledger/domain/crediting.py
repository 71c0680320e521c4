"""CREDIT: money into accounts. Business never refuses it; contradictions raise an alarm and credit nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Final

from services.settlement.ledger.domain.commands import CreditReply, PutCredit
from services.settlement.ledger.domain.holding import confirm
from services.settlement.ledger.domain.model import (
    CONTRA_LEG_NO,
    Account,
    AccountKind,
    AlarmKind,
    Book,
    Branch,
    BranchState,
    Credit,
    CreditPurpose,
    EntryKind,
    Refusal,
)
from services.settlement.ledger.domain.receiving import book_received
from services.settlement.ledger.domain.state import Draft, Outcome, State

_CONTRA: Final = {
    CreditPurpose.MONTHLY: Book.FUND_INFLOW,
    CreditPurpose.WALLET: Book.FUND_INFLOW,
    CreditPurpose.CARRIED_OVER: Book.FUND_INFLOW,
    CreditPurpose.REFUND: Book.CLEARING,
}


def decide_credit(state: State, command: PutCredit, *, now: datetime) -> Outcome:
    """The credit booked, once for its id; a repetition gets the stored reply, other content under the same id nothing.

    A credit that was not booked leaves nothing behind: the same command may come again once the reason is gone.
    """
    draft = Draft(state, now)
    stored = state.credits.get(command.credit_id)
    if stored is not None:
        if stored.digest != command.digest:
            return _nothing_credited(
                draft, command, Refusal("CREDIT_CONTENT_DIFFERS"), AlarmKind.CREDIT_WITH_OTHER_CONTENT
            )
        return draft.outcome(CreditReply(command.credit_id, stored.legs, stored.balances))
    if command.purpose is CreditPurpose.REFUND:
        return _decide_refund(draft, command)
    return _ahead_of_year(draft, command) or _booked(draft, command, {})


def _decide_refund(draft: Draft, command: PutCredit) -> Outcome:
    """Money back to each origin, never more than was charged (I8); an original still held is confirmed first."""
    original = draft.branch(command.original_payment_id) if command.original_payment_id else None
    if original is None or original.state not in {BranchState.HELD, BranchState.CONFIRMED}:
        return _nothing_credited(draft, command, Refusal("ORIGINAL_NOT_CHARGED"), AlarmKind.REFUND_WITHOUT_CHARGE)
    refusal = _beyond_charge(original, command)
    if refusal is not None:
        return _nothing_credited(draft, command, refusal, AlarmKind.REFUND_BEYOND_CHARGE)
    if original.state is BranchState.HELD:
        original = confirm(draft, original)
    charged = {leg.leg_no: leg for leg in original.takings}
    refunded = dict(original.refunded_fen)
    for leg in command.legs:
        refunded[leg.leg_no] = refunded.get(leg.leg_no, 0) + leg.amount.total
        if authorisation := draft.authorisation(charged[leg.leg_no].authorisation_id):
            draft.put_use(authorisation.with_returned(leg.amount.total), original.month)
    draft.put_branch(replace(original, refunded_fen=refunded))
    # The year of the charge counts, whatever year the refund is made in: "current" is of the leg it goes back on.
    return _booked(draft, command, {leg_no: leg.year for leg_no, leg in charged.items()})


def _beyond_charge(original: Branch, command: PutCredit) -> Refusal | None:
    charged = {leg.leg_no: leg for leg in original.takings}
    for leg in command.legs:
        origin = charged.get(leg.leg_no)
        if origin is None or origin.account != leg.account:
            return Refusal("REFUND_LEG_UNKNOWN", leg.leg_no)
        left_fen = origin.amount.total - original.refunded_fen.get(leg.leg_no, 0)
        if leg.amount.total > left_fen:
            return Refusal("REFUND_EXCEEDS_CHARGE", leg.leg_no, {"left_fen": str(left_fen)})
    return None


def _ahead_of_year(draft: Draft, command: PutCredit) -> Outcome | None:
    """The current part of a year that has not begun here does not exist yet: the same command passes later."""
    for leg in command.legs:
        account = draft.account(leg.account)
        year = account.year if account else draft.year
        if leg.amount.current and leg.year > year and leg.account.kind is AccountKind.PERSONAL:
            return _nothing_credited(draft, command, Refusal("CREDIT_YEAR_AHEAD", leg.leg_no))
    return None


def _booked(draft: Draft, command: PutCredit, years: Mapping[int, int]) -> Outcome:
    """Every leg booked, on its account or in suspense, and the contra entry that makes the sum zero.

    ``years`` tells by leg whose year's current part is meant, where it is not the leg's own.
    """
    kind, contra = EntryKind(command.purpose.value), _CONTRA[command.purpose]
    balances: list[Account | None] = []
    for leg in command.legs:
        account = book_received(
            draft,
            leg,
            source_id=command.credit_id,
            kind=kind,
            opens=command.purpose is not CreditPurpose.REFUND,
            accepted_at=command.accepted_at,
            year=years.get(leg.leg_no),
        )
        balances.append(account)
    total_fen = sum(leg.amount.total for leg in command.legs)
    draft.book_contra(contra, -total_fen, source_id=command.credit_id, leg_no=CONTRA_LEG_NO, kind=kind)
    credit = Credit(
        credit_id=command.credit_id,
        purpose=command.purpose,
        digest=command.digest,
        legs=command.legs,
        balances=tuple(balances),
        booked_at=draft.now,
        original_payment_id=command.original_payment_id,
        memo=command.memo,
        origin=command.origin,
    )
    draft.put_credit(credit)
    return draft.outcome(CreditReply(credit.credit_id, credit.legs, credit.balances))


def _nothing_credited(draft: Draft, command: PutCredit, refusal: Refusal, alarm: AlarmKind | None = None) -> Outcome:
    """An answer that books nothing; whatever the draft holds by now is dropped with it."""
    clean = Draft(draft.state, draft.now)
    if alarm is not None:
        clean.add_alarm(alarm, command.credit_id)
    return clean.outcome(CreditReply(command.credit_id, refusal=refusal, alarm=alarm is not None))
