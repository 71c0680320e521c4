"""What a request finds: the same key again, revocation, reversal, a ledger's inquiry, each decided from the rows found.

Every function takes rows as they were read and says what follows; if that is a write that loses its race, the rows are
read again and the same function is asked again, which ends because a row only ever moves forward.
"""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Final, TypeAlias, assert_never

from kernel.failures import Failure, Kind
from kernel.ids import PaymentId, PlanId, PsnNo
from kernel.values import value
from services.settlement.domain.payment import (
    PRE_SETTLE_OF,
    REVOKES,
    Key,
    Window,
    may_take_back,
    reversal_key,
)
from services.settlement.domain.plan import PlanLeg
from services.settlement.saga.coordinator import Write, abort, overdue_abort
from services.settlement.saga.payment import (
    ACCEPTANCE_DEADLINE_PASSED,
    PAID_STATES,
    REFUSED_STATES,
    REVERSED,
    VOTE_DEADLINE_PASSED,
    Payment,
    PaymentKind,
    State,
)
from services.settlement.saga.restoring import is_unclear

IN_PROGRESS: Final = "PAYMENT_IN_PROGRESS"
PLAN_STALE: Final = "PLAN_STALE"
"""The reason of a settlement that was refused before it began, because its plan no longer held."""


def check_same_request(found: Payment, request_hash: bytes) -> None:
    """A key that is taken may only be used again for the same request (rule 6).

    PAYMENT_REVERSED if it was reversed before it was seen, whatever its content (rule 3);
    KEY_REUSED_WITH_OTHER_CONTENT if the content differs.
    """
    if found.kind is PaymentKind.TOMBSTONE:
        raise reversed_failure()
    if found.request_hash != request_hash:
        raise Failure(Kind.INVALID, "KEY_REUSED_WITH_OTHER_CONTENT", infno=found.key.infno, msgid=found.key.msgid)


def reversed_failure() -> Failure:
    """What whoever sends a reversed request is told."""
    return Failure(Kind.CONFLICT, REVERSED)


def in_progress_failure(payment: Payment) -> Failure:
    """What a caller is told whose time is over before the payment is decided: send the same request again."""
    return Failure(Kind.UNAVAILABLE, IN_PROGRESS, setl_id=str(payment.payment_id))


def refusal_failure(payment: Payment) -> Failure:
    """Why an aborted payment was refused, for a caller who gets no new plan."""
    if payment.reason == REVERSED:
        return reversed_failure()
    return Failure(_REFUSALS.get(payment.reason, Kind.PRECONDITION), payment.reason, leg_no=payment.refused_leg_no)


_REFUSALS: Final = {
    PLAN_STALE: Kind.CONFLICT,
    VOTE_DEADLINE_PASSED: Kind.CONFLICT,
    ACCEPTANCE_DEADLINE_PASSED: Kind.CONFLICT,
    "ACCOUNT_NOT_FOUND": Kind.NOT_FOUND,
    "PAYMENT_CONTENT_DIFFERS": Kind.EXISTS,
    "CLOSING_CONTENT_DIFFERS": Kind.EXISTS,
}
"""The kinds of the refusals that are not PRECONDITION, as the ledger's catalogue has them."""


def ledger_failure(reason: str) -> Failure:
    """A ledger's refusal of anything else than a vote."""
    return Failure(_REFUSALS.get(reason, Kind.PRECONDITION), reason)


@value
class PlanFacts:
    """What begins a settlement: the plan as stored, judged by the database's clock and the patient's row."""

    plan_id: PlanId
    digest: bytes
    fixmedins_code: str
    infno: str  # Of the transaction that made it.
    patient_version: int
    is_expired: bool
    version_now: int  # Of the patient's year, read under its lock.
    is_sanctioned: bool = False  # The patient, a funder or the institution, since the plan was made.


def check_plan(plan: PlanFacts | None, *, key: Key, digest: bytes) -> None:
    """A plan may be paid by this request.

    Refusals in this order: PLAN_UNKNOWN; PLAN_NOT_OF_INSTITUTION; INFNO_DOES_NOT_FIT; PLAN_DIGEST_MISMATCH;
    PLAN_EXPIRED; PLAN_STALE (another settlement or refund of the patient came between, or a sanction of somebody who
    takes part): the one that is stored (``refused_as_stale``), with the plan that is possible now.
    """
    if plan is None:
        raise Failure(Kind.NOT_FOUND, "PLAN_UNKNOWN")
    if plan.fixmedins_code != key.fixmedins_code:
        raise Failure(Kind.FORBIDDEN, "PLAN_NOT_OF_INSTITUTION")
    if plan.infno != PRE_SETTLE_OF.get(key.infno):
        raise Failure(Kind.INVALID, "INFNO_DOES_NOT_FIT", field="infno", infno=key.infno)
    if plan.digest != digest:
        raise Failure(Kind.INVALID, "PLAN_DIGEST_MISMATCH")
    if plan.is_expired:
        raise Failure(Kind.PRECONDITION, "PLAN_EXPIRED")
    if plan.patient_version != plan.version_now or plan.is_sanctioned:
        raise Failure(Kind.CONFLICT, PLAN_STALE)


def refused_as_stale(
    *,
    payment_id: PaymentId,
    key: Key,
    request_hash: bytes,
    plan_id: PlanId,
    psn_no: PsnNo,
    year: int,
    legs: tuple[PlanLeg, ...],
) -> Payment:
    """The row of a settlement whose plan no longer held: closed from the start, no ledger has heard of it."""
    return Payment(
        payment_id=payment_id,
        kind=PaymentKind.SETTLE,
        state=State.CLOSED,
        key=key,
        request_hash=request_hash,
        psn_no=psn_no,
        year=year,
        legs=legs,
        plan_id=plan_id,
        reason=PLAN_STALE,
        replanned=True,
    )


def plan_paid_failure(settlement: PaymentId) -> Failure:
    """What whoever sends a plan again under a new key is told: the bill is paid already, and by which settlement."""
    return Failure(Kind.EXISTS, "PLAN_PAID", setl_id=str(settlement))


def mutual_aid_paused_failure() -> Failure:
    """Nobody can rule out at present that a funder is sanctioned (domain §8): the same request may pass in a moment."""
    return Failure(Kind.UNAVAILABLE, "MUTUAL_AID_PAUSED")


def patient_busy_failure() -> Failure:
    """One patient's settlements run one after another: the same request may pass in a moment."""
    return Failure(Kind.UNAVAILABLE, "PATIENT_BUSY")


def refund_of(original: Payment, *, refund_id: PaymentId, key: Key, request_hash: bytes) -> Payment:
    """The refund of a whole settlement, to be written as it is: it needs no vote (rule 7).

    It gives back leg by leg exactly what was charged, so the cap per leg holds by construction; one live refund per
    original is the database's to keep (payments_live_refund).
    """
    return Payment(
        payment_id=refund_id,
        kind=PaymentKind.REFUND,
        state=State.COMMITTED,
        key=key,
        request_hash=request_hash,
        psn_no=original.psn_no,
        year=original.year,
        legs=original.legs,
        original_id=original.payment_id,
    )


def tombstone(key: Key, *, payment_id: PaymentId) -> Payment:
    """The row that keeps a late original from ever starting (rule 3)."""
    return Payment(
        payment_id=payment_id,
        kind=PaymentKind.TOMBSTONE,
        state=State.CLOSED,
        key=key,
        request_hash=b"",
        psn_no=None,
        year=0,
        reason=REVERSED,
    )


def _check_window(original: Payment, now: datetime, window: Window) -> None:
    if original.decided_at is None or not may_take_back(original.decided_at, now, window):
        raise Failure(Kind.PRECONDITION, "REVOKE_WINDOW_CLOSED", setl_id=str(original.payment_id))


@value
class Bury:
    """Insert this tombstone; if the key is taken by then, read and decide again."""

    tombstone: Payment


@value
class GiveBack:
    """Insert this refund; if another refund lives by then, read and decide again."""

    refund: Payment


@value
class AlreadyStopped:
    """Nothing was taken and nothing will be: answer REVERSED."""


@value
class AlreadyGivenBack:
    """The money has gone back by this refund: answer REVERSED with it."""

    refund: Payment


def revoke(
    original: Payment | None,
    live_refund: Payment | None,
    *,
    key: Key,
    request_hash: bytes,
    refund_id: PaymentId,
    now: datetime,
    window: Window,
) -> GiveBack | AlreadyGivenBack:
    """The refund that a revocation writes, or the one that this very revocation has written before.

    Refusals in this order: SETTLEMENT_UNKNOWN (no settlement, or another institution's); INFNO_DOES_NOT_FIT;
    PAYMENT_IN_PROGRESS; SETTLEMENT_NOT_PAID; KEY_REUSED_WITH_OTHER_CONTENT; ALREADY_REVOKED (metadata: its setl_id);
    REVOKE_WINDOW_CLOSED.
    """
    if original is None or original.kind is not PaymentKind.SETTLE or original.key.fixmedins_code != key.fixmedins_code:
        raise Failure(Kind.NOT_FOUND, "SETTLEMENT_UNKNOWN")
    if REVOKES.get(key.infno) != original.key.infno:
        raise Failure(Kind.INVALID, "INFNO_DOES_NOT_FIT", field="infno", infno=key.infno)
    if original.state is State.TRYING:
        raise in_progress_failure(original)
    if original.state in REFUSED_STATES:
        raise Failure(Kind.PRECONDITION, "SETTLEMENT_NOT_PAID")
    if live_refund is not None and live_refund.key == key:
        # The same request a moment ago: its row was not there yet when the key was looked up.
        check_same_request(live_refund, request_hash)
        return AlreadyGivenBack(live_refund)
    if live_refund is not None:
        raise Failure(Kind.PRECONDITION, "ALREADY_REVOKED", setl_id=str(live_refund.payment_id))
    _check_window(original, now, window)
    return GiveBack(refund_of(original, refund_id=refund_id, key=key, request_hash=request_hash))


Reversal: TypeAlias = Bury | Write | GiveBack | AlreadyStopped | AlreadyGivenBack


def reverse(
    original: Payment | None,
    live_refund: Payment | None,
    *,
    original_key: Key,
    new_id: PaymentId,
    request_hash: bytes,
    now: datetime,
    window: Window,
) -> Reversal:
    """What 2601 does, by what it finds under the original's key (protocol, "Coordinator").

    Nothing: a tombstone. Undecided: the abort, by compare-and-set. Refused or buried: nothing to do. Paid: the refund
    under a key derived from the original's, unless one lives already; REVOKE_WINDOW_CLOSED outside the window.
    A revocation that was made stands: REVOCATION_STANDS (rule 7). So does a transfer that its receiver has accepted:
    TRANSFER_ACCEPTED. One that a restore has put aside may be such a one, which its giver cannot know:
    PAYMENT_IN_PROGRESS until a person has decided.
    """
    if original is None:
        return Bury(tombstone(original_key, payment_id=new_id))
    match original.kind:
        case PaymentKind.TOMBSTONE:
            return AlreadyStopped()
        case PaymentKind.REFUND | PaymentKind.CREDIT | PaymentKind.CHARGE:
            raise Failure(Kind.PRECONDITION, "REVOCATION_STANDS", setl_id=str(original.payment_id))
        case PaymentKind.SETTLE | PaymentKind.TRANSFER:
            pass
        case _:
            assert_never(original.kind)
    if original.state is State.TRYING:
        if original.kind is PaymentKind.TRANSFER and is_unclear(original):
            raise in_progress_failure(original)
        return abort(original, REVERSED)
    if original.state in REFUSED_STATES:
        return AlreadyStopped()
    if original.kind is PaymentKind.TRANSFER:
        raise accepted_failure()
    if live_refund is not None:
        return AlreadyGivenBack(live_refund)
    _check_window(original, now, window)
    key = reversal_key(original_key)
    return GiveBack(refund_of(original, refund_id=new_id, key=key, request_hash=request_hash))


def accepted_failure() -> Failure:
    """What is told when somebody would stop a transfer whose receiver has the money."""
    return Failure(Kind.PRECONDITION, "TRANSFER_ACCEPTED")


class Decision(Enum):
    """What a ledger that asks is told (protocol rules 2 and 4)."""

    WAIT = "WAIT"  # Keep the hold and ask again later.
    CONFIRM = "CONFIRM"
    CANCEL = "CANCEL"


def inquired(found: Payment | None) -> Decision | Write:
    """The answer to an inquiry, or the Write that must come first: then read the row and ask again.

    Unknown: WAIT, never a guess; the caller raises the alarm (rule 4). Undecided: WAIT, or the abort by compare-and-set
    once the database's clock says that the deadline has passed (rule 2), be it the ledgers' or the receiver's.
    """
    if found is None:
        return Decision.WAIT
    if found.state in PAID_STATES:
        return Decision.CONFIRM
    if found.state in REFUSED_STATES:
        return Decision.CANCEL
    return overdue_abort(found) if found.overdue else Decision.WAIT
