"""TRY, CONFIRM and CANCEL: the ledger's table of protocol.md, cell by cell."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final, assert_never

from kernel.clock import business_month
from kernel.money import Fen
from kernel.values import value
from services.settlement.ledger.domain.closing import put_released
from services.settlement.ledger.domain.commands import BranchReply, Cancel, Confirm, Try
from services.settlement.ledger.domain.model import (
    CONTRA_LEG_NO,
    NOTHING,
    Account,
    AccountKind,
    AccountState,
    AlarmKind,
    Authorisation,
    AuthorisationState,
    Book,
    Branch,
    BranchState,
    EntryKind,
    Leg,
    Part,
    Parts,
    Refusal,
    Role,
)
from services.settlement.ledger.domain.receiving import book_received, refused_to_receive
from services.settlement.ledger.domain.state import Draft, Outcome, State


@value
class _Facts:
    """What the checks of one leg look at; ``amount`` is the leg's amount as it reads on the account now.

    ``legs`` are all of the payment, ``month_fen`` what its month has used and held under the authorisation, where
    months are counted.
    """

    leg: Leg
    account: Account
    authorisation: Authorisation | None
    amount: Parts
    legs: tuple[Leg, ...]
    month_fen: Fen

    @property
    def is_funder(self) -> bool:
        return self.leg.role is Role.FUNDER


def _account_missing(facts: _Facts) -> dict[str, str] | None:
    return {} if facts.account.state is AccountState.CLOSED else None


def _account_closing(facts: _Facts) -> dict[str, str] | None:
    return {} if facts.account.state is AccountState.CLOSING else None


def _account_frozen(facts: _Facts) -> dict[str, str] | None:
    """Freezing does not touch the wallet (domain §6)."""
    return {} if facts.account.frozen and facts.leg.role is not Role.WALLET else None


def _authorisation_not_open(facts: _Facts) -> dict[str, str] | None:
    """Open, and given by this very funder."""
    if not facts.is_funder:
        return None
    authorisation = facts.authorisation
    open_here = (
        authorisation is not None
        and authorisation.state is AuthorisationState.OPEN
        and authorisation.funder_psn_no == facts.account.key.psn_no
    )
    return None if open_here else {}


def _authorised_amount_exceeded(facts: _Facts) -> dict[str, str] | None:
    """I9: used and held count together against the authorised amount."""
    left_fen = facts.authorisation.left_fen if facts.is_funder and facts.authorisation else None
    if left_fen is None or facts.amount.total <= left_fen:
        return None
    return {"left_fen": str(left_fen)}


def _payment_limit_exceeded(facts: _Facts) -> dict[str, str] | None:
    """I9: all that one payment takes under the authorisation in this ledger, however many legs it has (ADR 27)."""
    limit_fen = facts.authorisation.per_payment_fen if facts.is_funder and facts.authorisation else None
    if limit_fen is None:
        return None
    asked_fen = sum(leg.amount.total for leg in facts.legs if leg.authorisation_id == facts.leg.authorisation_id)
    return None if asked_fen <= limit_fen else {"limit_fen": str(limit_fen)}


def _month_limit_exceeded(facts: _Facts) -> dict[str, str] | None:
    """I9: used and held of the payment's month count together; after a limit was lowered they may be above it."""
    limit_fen = facts.authorisation.per_month_fen if facts.is_funder and facts.authorisation else None
    if limit_fen is None or facts.month_fen + facts.amount.total <= limit_fen:
        return None
    return {"left_fen": str(max(limit_fen - facts.month_fen, 0))}


def _floor_not_kept(facts: _Facts) -> dict[str, str] | None:
    """What stays available over the floor parts, once this leg is held, is at least the floor (domain §6).

    A funder's leg names one, and an own account's out of which a relative is given something (domain §3).
    """
    if not facts.leg.floor_fen:
        return None
    left = facts.account.available - facts.amount
    kept_fen = sum(
        fen for part, fen in ((Part.PAST, left.past), (Part.CURRENT, left.current)) if part in facts.leg.floor_parts
    )
    return None if kept_fen >= facts.leg.floor_fen else {"floor_fen": str(facts.leg.floor_fen)}


def _insufficient_funds(facts: _Facts) -> dict[str, str] | None:
    """I1, for each part by itself. The current part of a year that has not begun here holds nothing yet."""
    available = facts.account.available
    if facts.leg.year > facts.account.year:
        available = Parts(available.past, 0)
    return None if available.covers(facts.amount) else {}


REFUSALS: Final[tuple[tuple[str, Callable[[_Facts], dict[str, str] | None]], ...]] = (
    ("ACCOUNT_NOT_FOUND", _account_missing),
    ("ACCOUNT_CLOSING", _account_closing),
    ("ACCOUNT_FROZEN", _account_frozen),
    ("AUTHORISATION_NOT_OPEN", _authorisation_not_open),
    ("AUTHORISED_AMOUNT_EXCEEDED", _authorised_amount_exceeded),
    ("PAYMENT_LIMIT_EXCEEDED", _payment_limit_exceeded),
    ("MONTH_LIMIT_EXCEEDED", _month_limit_exceeded),
    ("FLOOR_NOT_KEPT", _floor_not_kept),
    ("INSUFFICIENT_FUNDS", _insufficient_funds),
)
"""Why a leg is refused, in the order of protocol.md, an authorisation's limits together; the first that applies."""


def decide_try(state: State, command: Try, *, now: datetime) -> Outcome:
    """All legs are held, or none; each leg sees what the legs before it hold. A repetition gets the stored vote.

    A leg that receives holds nothing: its account is only asked whether money may come.
    """
    stored = state.branches.get(command.payment_id)
    if stored is not None:
        return _stored_vote(state, stored, command, now=now)
    draft = Draft(state, now)
    balances: list[Account] = []
    month = month_of(command, now=now)
    for leg in command.legs:
        held = refused_to_receive(draft, leg) if leg.is_receiving else _held(draft, leg, command, month)
        if isinstance(held, Refusal):
            return _refused(state, command, held, now=now)
        if held is not None:
            balances.append(held)
    branch = Branch(
        payment_id=command.payment_id,
        state=BranchState.HELD,
        created_at=now,
        digest=command.digest,
        legs=command.legs,
        balances=tuple(balances),
        inquire_at=now + timedelta(milliseconds=command.inquire_after_ms),
        memo=command.memo,
        origin=command.origin,
        month=month,
    )
    draft.put_branch(branch)
    return draft.outcome(BranchReply(branch.payment_id, BranchState.HELD, balances=branch.balances))


def decide_confirm(state: State, command: Confirm, *, now: datetime) -> Outcome:
    """What is held is spent. Without a hold nothing happens and someone is called."""
    draft = Draft(state, now)
    branch = draft.branch(command.payment_id)
    match branch.state if branch else None:
        case BranchState.HELD if branch:
            confirm(draft, branch)
            return draft.outcome(BranchReply(command.payment_id, BranchState.CONFIRMED))
        case BranchState.CONFIRMED:
            return draft.outcome(BranchReply(command.payment_id, BranchState.CONFIRMED))
        case _:
            reply = BranchReply(
                command.payment_id,
                branch.state if branch else None,
                refusal=branch.refusal if branch else None,
                alarm=True,
            )
            return draft.add_alarm(AlarmKind.CONFIRM_WITHOUT_HOLD, command.payment_id).outcome(reply)


def decide_cancel(state: State, command: Cancel, *, now: datetime) -> Outcome:
    """What is held is released; before any TRY, BLOCKED is left behind. What is confirmed stays (protocol rule 7)."""
    draft = Draft(state, now)
    branch = draft.branch(command.payment_id)
    if branch is None:
        draft.put_branch(Branch(command.payment_id, BranchState.BLOCKED, created_at=now, decided_at=now))
        return draft.outcome(BranchReply(command.payment_id, BranchState.BLOCKED))
    match branch.state:
        case BranchState.HELD:
            _release(draft, branch)
            return draft.outcome(BranchReply(command.payment_id, BranchState.CANCELLED))
        case BranchState.REFUSED | BranchState.BLOCKED | BranchState.CANCELLED:
            return draft.outcome(BranchReply(command.payment_id, branch.state, refusal=branch.refusal))
        case BranchState.CONFIRMED:
            reply = BranchReply(command.payment_id, BranchState.CONFIRMED, alarm=True)
            return draft.add_alarm(AlarmKind.CANCEL_AFTER_CONFIRM, command.payment_id).outcome(reply)
        case _:
            assert_never(branch.state)


def confirm(draft: Draft, branch: Branch) -> Branch:
    """HELD → CONFIRMED: held −, balance −, entries for each part and their contra; authorisation held −, used +.

    What a leg receives is booked with it. It cannot fail: an account that was closed since the vote does not stop it.
    """
    total_fen = 0
    for leg in branch.legs:
        if leg.is_receiving:
            opens = leg.account.kind is AccountKind.WALLET
            book_received(draft, leg, source_id=branch.payment_id, kind=EntryKind.TRANSFER_IN, opens=opens)
            total_fen -= leg.amount.total
            continue
        account = draft.account(leg.account)
        if account is None:
            raise LookupError(f"leg {leg.leg_no} of a held payment has no account")
        amount = account.reading(leg.amount, leg.year)
        booked = draft.book(
            account, NOTHING - amount, source_id=branch.payment_id, leg_no=leg.leg_no, kind=EntryKind.PAYMENT
        )
        put_released(draft, booked.with_released(amount))
        if authorisation := draft.authorisation(leg.authorisation_id):
            draft.put_use(authorisation.with_spent(amount.total), branch.month)
        total_fen += amount.total
    draft.book_contra(
        Book.CLEARING, total_fen, source_id=branch.payment_id, leg_no=CONTRA_LEG_NO, kind=EntryKind.PAYMENT
    )
    confirmed = branch.decided(BranchState.CONFIRMED, draft.now)
    draft.put_branch(confirmed)
    return confirmed


def month_of(command: Try, *, now: datetime) -> int:
    """The civil month in which the payment counts: the command's; of a release that does not say, that of ``now``."""
    return command.month or business_month(now)


def _held(draft: Draft, leg: Leg, command: Try, month: int) -> Account | Refusal:
    """The account with the leg's money held, or the first reason why not."""
    account = draft.account(leg.account)
    if account is None:
        return Refusal("ACCOUNT_NOT_FOUND", leg.leg_no)
    authorisation = draft.authorisation(leg.authorisation_id)
    month_fen = 0
    if authorisation is not None and authorisation.counts_months:
        month_fen = draft.month_use(authorisation.authorisation_id, month).total_fen
    amount = account.reading(leg.amount, leg.year)
    facts = _Facts(leg, account, authorisation, amount, command.legs, month_fen)
    for reason, check in REFUSALS:
        metadata = check(facts)
        if metadata is not None:
            return Refusal(reason, leg.leg_no, metadata)
    held = account.with_held(amount)
    draft.put_account(held)
    if authorisation is not None:
        draft.put_use(authorisation.with_held(amount.total), month, limit_fen=authorisation.per_month_fen)
    return held


def _refused(state: State, command: Try, refusal: Refusal, *, now: datetime) -> Outcome:
    """The refusal alone is written; what the legs before it would have held is dropped with their draft."""
    draft = Draft(state, now)
    branch = Branch(
        payment_id=command.payment_id,
        state=BranchState.REFUSED,
        created_at=now,
        decided_at=now,
        digest=command.digest,
        refusal=refusal,
        memo=command.memo,
        origin=command.origin,
    )
    draft.put_branch(branch)
    return draft.outcome(BranchReply(command.payment_id, BranchState.REFUSED, refusal=refusal))


def _stored_vote(state: State, stored: Branch, command: Try, *, now: datetime) -> Outcome:
    """Protocol rule 5: the stored reply, never a fresh decision; other content is refused and never executed."""
    draft = Draft(state, now)
    match stored.state:
        case BranchState.BLOCKED | BranchState.CANCELLED:
            refusal = Refusal("PAYMENT_CANCELLED")
            return draft.outcome(BranchReply(stored.payment_id, BranchState.REFUSED, refusal=refusal))
        case BranchState.HELD | BranchState.CONFIRMED | BranchState.REFUSED if stored.digest != command.digest:
            refusal = Refusal("PAYMENT_CONTENT_DIFFERS")
            draft.add_alarm(AlarmKind.TRY_WITH_OTHER_CONTENT, stored.payment_id)
            return draft.outcome(BranchReply(stored.payment_id, BranchState.REFUSED, refusal=refusal, alarm=True))
        case BranchState.HELD | BranchState.CONFIRMED:
            return draft.outcome(BranchReply(stored.payment_id, BranchState.HELD, balances=stored.balances))
        case BranchState.REFUSED:
            return draft.outcome(BranchReply(stored.payment_id, BranchState.REFUSED, refusal=stored.refusal))
        case _:
            assert_never(stored.state)


def _release(draft: Draft, branch: Branch) -> None:
    """HELD → CANCELLED: held − on accounts and authorisations. Statements show nothing of it."""
    for leg in branch.takings:
        account = draft.account(leg.account)
        if account is None:
            raise LookupError(f"leg {leg.leg_no} of a held payment has no account")
        amount = account.reading(leg.amount, leg.year)
        put_released(draft, account.with_released(amount))
        if authorisation := draft.authorisation(leg.authorisation_id):
            draft.put_use(authorisation.with_released(amount.total), branch.month)
    draft.put_branch(branch.decided(BranchState.CANCELLED, draft.now))
