"""A transfer to another person's wallet: how it is made, and what the receiver's answer finds (protocol, "Acceptance").

It is an ordinary payment with one more branch, which a person votes: Accept is that branch's HELD and, being the last
vote, the commit; Decline is its REFUSED. The giver takes it back as any payment is reversed (``requests.reverse``).
As everywhere, a Write that loses its race is followed by reading the row and asking the same function again.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import PaymentId, PsnNo
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.saga.coordinator import Write, abort, overdue_abort
from services.settlement.saga.payment import DECLINED, PAID_STATES, Payment, PaymentKind, State
from services.settlement.saga.requests import accepted_failure, in_progress_failure, refusal_failure
from services.settlement.saga.restoring import is_unclear

ACCEPT_WITHIN_MAX: Final = timedelta(days=3)
"""The longest that a receiver may be given. Ledgers ask after it, and asking is limited to a week by the contract."""


def transfer_of(
    legs: tuple[PlanLeg, ...], *, payment_id: PaymentId, key: Key, request_hash: bytes, giver: PsnNo, year: int
) -> Payment:
    """The row of a transfer, to be inserted as it is: what is taken from ``giver``'s accounts, and who receives it.

    TRANSFER_DOES_NOT_ADD_UP unless it has one receiver's leg, everything else is the giver's own, and the receiver gets
    to the fen what is taken. What is moved to the giver's own account of another area keeps its parts.
    """
    payment = Payment(
        payment_id=payment_id,
        kind=PaymentKind.TRANSFER,
        state=State.TRYING,
        key=key,
        request_hash=request_hash,
        psn_no=giver,
        year=year,
        legs=legs,
    )
    received = [leg for leg in legs if leg.role.is_receiving]
    taken = [leg for leg in legs if leg.role in {Role.OWN, Role.WALLET} and leg.psn_no == giver]
    adds_up = sum(leg.amount_fen for leg in received) == payment.amount_fen > 0
    if len(received) != 1 or len(received) + len(taken) != len(legs) or not adds_up or not _fits(received[0], taken):
        raise Failure(Kind.INVALID, "TRANSFER_DOES_NOT_ADD_UP")
    return payment


def _fits(received: PlanLeg, taken: list[PlanLeg]) -> bool:
    """A wallet has one part; a move goes from one personal account to the same person's in another area."""
    if received.role is Role.RECEIVER:
        return not received.current_fen
    (moved,) = taken if len(taken) == 1 else (None,)
    return (
        moved is not None
        and moved.role is Role.OWN
        and (moved.psn_no, moved.past_fen, moved.current_fen)
        == (received.psn_no, received.past_fen, received.current_fen)
        and moved.area != received.area
    )


def receiver_of(payment: Payment) -> PsnNo | None:
    """Whose vote a transfer needs; None of any other payment."""
    return next((leg.psn_no for leg in payment.legs if leg.role.is_receiving), None)


def accept(found: Payment | None, *, by: PsnNo) -> Write | Payment:
    """The receiver takes the money: the commit, by compare-and-set (rule 1); or the transfer that was accepted before.

    Refusals in this order: TRANSFER_UNKNOWN (none, or another person's); the reason of its abort, if it has one
    (TRANSFER_DECLINED, TRANSFER_NOT_ACCEPTED_IN_TIME, PAYMENT_REVERSED, a ledger's); PAYMENT_IN_PROGRESS while the
    ledgers vote, and of one that a restore has put aside: its giver may have been told that he has it back. Past the
    deadline the abort is written first.
    """
    transfer = _known(found, by)
    if transfer.state is not State.TRYING:
        return _accepted(transfer)
    if not transfer.pending_accept or is_unclear(transfer):
        raise in_progress_failure(transfer)
    if transfer.overdue:
        return overdue_abort(transfer)
    return Write(transfer.payment_id, State.TRYING, State.COMMITTED, expected_pending=True, in_time=True)


def decline(found: Payment | None, *, by: PsnNo) -> Write | Payment:
    """The receiver does not want the money: the abort, by compare-and-set; or the transfer that was declined before.

    It ends one that a restore has put aside too: whatever was told before, the money is the receiver's to refuse.
    Refusals in this order: TRANSFER_UNKNOWN; TRANSFER_ACCEPTED; the reason of its abort, if that is another one.
    """
    transfer = _known(found, by)
    if transfer.state is State.TRYING:
        return abort(transfer, DECLINED)
    if transfer.state in PAID_STATES:
        raise accepted_failure()
    if transfer.reason != DECLINED:
        raise refusal_failure(transfer)
    return transfer


def _known(found: Payment | None, receiver: PsnNo) -> Payment:
    if found is None or found.kind is not PaymentKind.TRANSFER or receiver_of(found) != receiver:
        raise Failure(Kind.NOT_FOUND, "TRANSFER_UNKNOWN")
    return found


def _accepted(transfer: Payment) -> Payment:
    if transfer.state not in PAID_STATES:
        raise refusal_failure(transfer)
    return transfer
