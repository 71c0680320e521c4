"""OPEN, AMEND and CLOSE of authorisations, and freezing: each decided once, for its id or version."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from kernel.clock import business_month
from services.settlement.ledger.domain.commands import (
    AccountReply,
    AmendAuthorisation,
    AuthorisationCommand,
    AuthorisationReply,
    CloseAuthorisation,
    OpenAuthorisation,
    SetFrozen,
)
from services.settlement.ledger.domain.limits import Limits, MonthUse
from services.settlement.ledger.domain.model import (
    AccountKey,
    AccountKind,
    AccountState,
    Authorisation,
    AuthorisationEvent,
    AuthorisationEventKey,
    AuthorisationState,
    AuthorisationStep,
    FreezeRecord,
    Refusal,
)
from services.settlement.ledger.domain.state import Draft, Outcome, State

_OPEN_VERSION = 1
_CLOSE_VERSION = 0


def decide_authorisation(state: State, command: AuthorisationCommand, *, now: datetime) -> Outcome:
    """An id is opened once and closed once; a limit's version is decided once."""
    match command:
        case OpenAuthorisation():
            return _decide_open(Draft(state, now), command)
        case AmendAuthorisation():
            return _decide_amend(Draft(state, now), command)
        case CloseAuthorisation():
            return _decide_close(Draft(state, now), command)
        case _:
            assert_never(command)


def _decide_open(draft: Draft, command: OpenAuthorisation) -> Outcome:
    """OPEN after CLOSE is refused, also when CLOSE overtook it; the id with other content is refused."""
    authorisation_id = command.authorisation_id
    known = draft.authorisation(authorisation_id)
    if known is not None:
        key = AuthorisationEventKey(authorisation_id, AuthorisationStep.OPEN, _OPEN_VERSION)
        opened = draft.state.authorisation_events.get(key)
        if known.state is AuthorisationState.CLOSED:
            return _answer(draft, known, Refusal("AUTHORISATION_CLOSED"))
        if opened is None or not _is_same_opening(opened, command):
            return _answer(draft, known, Refusal("AUTHORISATION_CONTENT_DIFFERS"))
        return _answer(draft, opened.after, None)
    if command.authorised_fen is not None and command.used_fen > command.authorised_fen:
        refusal = Refusal("AUTHORISED_AMOUNT_BELOW_USE", metadata={"used_fen": str(command.used_fen), "held_fen": "0"})
        return draft.outcome(AuthorisationReply(authorisation_id, None, refusal))
    fresh = Authorisation(
        authorisation_id=authorisation_id,
        state=AuthorisationState.OPEN,
        funder_psn_no=command.funder_psn_no,
        beneficiary_psn_no=command.beneficiary_psn_no,
        authorised_fen=command.authorised_fen,
        used_fen=command.used_fen,
        version=_OPEN_VERSION,
        opened_used_fen=command.used_fen,
        per_payment_fen=command.per_payment_fen,
        per_month_fen=command.per_month_fen,
        counts_months=command.per_month_fen is not None or command.carried is not None,
        opened_month=command.carried,
    )
    if command.carried is not None:
        draft.put_month(MonthUse(authorisation_id, command.carried.month, command.carried.used_fen))
    return _decided(draft, AuthorisationStep.OPEN, _OPEN_VERSION, command.limits, fresh)


def _is_same_opening(opened: AuthorisationEvent, command: OpenAuthorisation) -> bool:
    after = opened.after
    return (after.funder_psn_no, after.beneficiary_psn_no, opened.asked, after.opened_used_fen, after.opened_month) == (
        command.funder_psn_no,
        command.beneficiary_psn_no,
        command.limits,
        command.used_fen,
        command.carried,
    )


def _decide_amend(draft: Draft, command: AmendAuthorisation) -> Outcome:
    """A version is decided once, refused or not; versions older than the one in force are ignored.

    A limit per payment or per month is never refused, however much was used: it lets nothing more through (ADR 27).
    """
    known = draft.authorisation(command.authorisation_id)
    if known is None:
        # Not stored: OPEN may still be on its way, and the same command passes after it.
        return draft.outcome(AuthorisationReply(command.authorisation_id, None, Refusal("AUTHORISATION_UNKNOWN")))
    key = AuthorisationEventKey(command.authorisation_id, AuthorisationStep.AMEND, command.version)
    decided = draft.state.authorisation_events.get(key)
    if decided is not None:
        if decided.asked != command.limits:
            return _answer(draft, known, Refusal("AUTHORISATION_CONTENT_DIFFERS"))
        return _answer(draft, decided.after, decided.refusal)
    if known.state is AuthorisationState.CLOSED or command.version <= known.version:
        closed = Refusal("AUTHORISATION_CLOSED") if known.state is AuthorisationState.CLOSED else None
        return _answer(draft, known, closed)
    if command.authorised_fen is not None and command.authorised_fen < known.used_fen + known.held_fen:
        in_use = {"used_fen": str(known.used_fen), "held_fen": str(known.held_fen)}
        refusal = Refusal("AUTHORISED_AMOUNT_BELOW_USE", metadata=in_use)
        return _decided(draft, AuthorisationStep.AMEND, command.version, command.limits, known, refusal)
    begins = command.per_month_fen is not None and not known.counts_months
    amended = replace(
        known,
        authorised_fen=command.authorised_fen,
        version=command.version,
        per_payment_fen=command.per_payment_fen,
        per_month_fen=command.per_month_fen,
        counts_months=begins or known.counts_months,
    )
    if begins:
        draft.begin_months(known.authorisation_id)
    return _decided(draft, AuthorisationStep.AMEND, command.version, command.limits, amended)


def _decide_close(draft: Draft, command: CloseAuthorisation) -> Outcome:
    """Closed at once and for ever; what is held goes on. CLOSE before OPEN leaves the id closed.

    A repetition is told how the closed authorisation stands by then: what is held and used still changes. So does what
    the present month took, which counts on where its funder's account goes (ADR 27).
    """
    key = AuthorisationEventKey(command.authorisation_id, AuthorisationStep.CLOSE, _CLOSE_VERSION)
    decided = draft.state.authorisation_events.get(key)
    known = draft.authorisation(command.authorisation_id)
    month = business_month(draft.now)
    use = draft.month_use(known.authorisation_id, month) if known is not None and known.counts_months else None
    if decided is not None:
        return _answer(draft, known or decided.after, None, use)
    if known is None:
        closed = Authorisation(command.authorisation_id, AuthorisationState.CLOSED)
    else:
        closed = replace(known, state=AuthorisationState.CLOSED)
    return _decided(draft, AuthorisationStep.CLOSE, _CLOSE_VERSION, closed.limits, closed, use=use)


def _decided(
    draft: Draft,
    step: AuthorisationStep,
    version: int,
    asked: Limits,
    after: Authorisation,
    refusal: Refusal | None = None,
    use: MonthUse | None = None,
) -> Outcome:
    key = AuthorisationEventKey(after.authorisation_id, step, version)
    draft.put_event(AuthorisationEvent(key, asked, _told(after), refusal, draft.now))
    if refusal is None:
        draft.put_authorisation(after)
    return _answer(draft, after, refusal, use)


def _answer(
    draft: Draft, authorisation: Authorisation, refusal: Refusal | None, use: MonthUse | None = None
) -> Outcome:
    return draft.outcome(AuthorisationReply(authorisation.authorisation_id, _told(authorisation), refusal, use))


def _told(authorisation: Authorisation) -> Authorisation:
    """As an answer has it, now and later: that months are counted here is the ledger's own affair."""
    return replace(authorisation, counts_months=False) if authorisation.counts_months else authorisation


def decide_freeze(state: State, command: SetFrozen, *, now: datetime) -> Outcome:
    """Freezes or unfreezes the personal account, once for each command id; holds that stand are not touched.

    A freeze is lifted by its own cause alone: an account that a court and the fund's inspectors have frozen stays so
    until both have let go. The answer is the account as it stands then. Refusals in this order: FREEZE_CONTENT_DIFFERS;
    ACCOUNT_NOT_FOUND; FREEZE_OF_OTHER_CAUSE (only others stand). What is free already may be lifted by anyone.

    Two commands about one person take effect in the order in which they first arrive: whoever sends both waits for the
    answer to one before sending the other. A late repetition of either has no effect.
    """
    draft = Draft(state, now)
    key = AccountKey(command.psn_no, AccountKind.PERSONAL)
    stored = state.freezes.get(command.freeze_id)
    if stored is not None:
        same = (stored.account.key, stored.frozen, stored.cause) == (key, command.frozen, command.cause)
        if not same:
            return draft.outcome(AccountReply(key, None, Refusal("FREEZE_CONTENT_DIFFERS")))
        return draft.outcome(AccountReply(key, stored.account))
    account = draft.account(key)
    if account is None or account.state is AccountState.CLOSED:
        # Not stored: the account's first credit may still come, and the same command passes after it.
        return draft.outcome(AccountReply(key, account, Refusal("ACCOUNT_NOT_FOUND")))
    standing = state.standing_freezes.get(key, frozenset()) if account.frozen else frozenset()
    if not command.frozen and standing and command.cause not in standing:
        # Not stored, as above: its freeze may still be on its way.
        return draft.outcome(AccountReply(key, account, Refusal("FREEZE_OF_OTHER_CAUSE")))
    standing = standing | {command.cause} if command.frozen else standing - {command.cause}
    after = replace(account, frozen=bool(standing))
    draft.put_account(after)
    draft.put_freeze(FreezeRecord(command.freeze_id, command.frozen, command.cause, after, draft.now), standing)
    return draft.outcome(AccountReply(key, after))
