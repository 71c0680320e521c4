"""A charge: money taken for something that no terminal settles, such as a premium; and what gives it back.

To the ledgers it is what a settlement is, hold then confirm or cancel, so nothing of ``coordinator`` differs. It rests
on no plan: whoever asks for it has seen the amount, and its key says what it is for.
"""

from __future__ import annotations

from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import PaymentId, PsnNo
from services.settlement.domain.payment import Key, charge_refund_key, request_hash
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.saga.payment import REFUSED_STATES, Payment, PaymentKind, State
from services.settlement.saga.requests import in_progress_failure, refund_of

_TAKEN_FROM: Final = frozenset({Role.OWN, Role.WALLET, Role.FUNDER})


def charge_of(
    legs: tuple[PlanLeg, ...], *, payment_id: PaymentId, key: Key, request_hash: bytes, psn_no: PsnNo, year: int
) -> Payment:
    """The row of a charge, to be inserted as it is. ValueError unless something is taken, and nothing brought."""
    if not legs or any(leg.role not in _TAKEN_FROM or leg.amount_fen <= 0 for leg in legs):
        raise ValueError("a charge takes something by each of its legs")
    return Payment(
        payment_id=payment_id,
        kind=PaymentKind.CHARGE,
        state=State.TRYING,
        key=key,
        request_hash=request_hash,
        psn_no=psn_no,
        year=year,
        legs=legs,
    )


def give_back(
    charge: Payment | None, live_refund: Payment | None, *, refund_id: PaymentId, unknown: str, not_paid: str
) -> Payment:
    """The refund to be written for a charge, or the one that it has; the whole of it, once (rule 7).

    Refusals in this order: ``unknown`` (no charge); PAYMENT_IN_PROGRESS; ``not_paid`` (nothing was taken).
    """
    if charge is None or charge.kind is not PaymentKind.CHARGE:
        raise Failure(Kind.NOT_FOUND, unknown)
    if live_refund is not None:
        return live_refund
    if charge.state is State.TRYING:
        raise in_progress_failure(charge)
    if charge.state in REFUSED_STATES:
        raise Failure(Kind.PRECONDITION, not_paid)
    content = request_hash("give back", charge.payment_id.bytes)
    return refund_of(charge, refund_id=refund_id, key=charge_refund_key(charge.key), request_hash=content)
