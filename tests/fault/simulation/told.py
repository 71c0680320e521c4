"""What a terminal asks and what it is told: the values that cross between terminals and coordinators."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from kernel.clock import business_year
from kernel.ids import PaymentId
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import PlanLeg
from services.settlement.saga.payment import PAID_STATES, Payment, PaymentKind, State
from services.settlement.saga.requests import IN_PROGRESS, refusal_failure, reversed_failure
from tests.fault.simulation.rows import AskedTransfer, StoredPlan

UNKNOWN: Final = "SETTLEMENT_UNKNOWN"
PENDING: Final = "PENDING"
"""Every ledger holds a transfer, and its receiver is asked."""
UNDECIDED: Final = frozenset({IN_PROGRESS, "PATIENT_BUSY", PENDING})
"""Answers that leave the outcome open: the terminal goes on."""
NEVER_BEGUN: Final = frozenset({"PLAN_STALE", "PLAN_EXPIRED"})
"""Refusals before anything was stored; with the same plan they are final."""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: PAID, REFUNDED, STOPPED, CREDITED, PENDING, ACCEPTED, DECLINED, or the reason of a refusal."""

    outcome: str
    payment_id: PaymentId | None = None

    @property
    def is_final(self) -> bool:
        """Whether it says what became of the request, for ever."""
        return self.outcome not in UNDECIDED and self.outcome != UNKNOWN


@dataclass(frozen=True, slots=True)
class Asked:
    """One sending of a request, and where its answer goes."""

    kind: str
    operation: int
    key: Key
    content: bytes
    answer: Callable[[Told], None]
    plan: StoredPlan | None = None
    original_id: PaymentId | None = None
    leg: PlanLeg | None = None
    transfer: AskedTransfer | None = None

    @property
    def label(self) -> str:
        """The request in a trace: what, and the end of its msgid."""
        return f"{self.kind} {self.key.infno}/{self.key.msgid[-6:]}"

    def credit(self, payment_id: PaymentId, now: datetime) -> Payment:
        """The row of a credit, in the year in which it is accepted (as ``operations.crediting``)."""
        if self.leg is None:
            raise ValueError("a credit without a leg")
        return Payment(
            payment_id=payment_id,
            kind=PaymentKind.CREDIT,
            state=State.COMMITTED,
            key=self.key,
            request_hash=self.content,
            psn_no=self.leg.psn_no,
            year=business_year(now),
            legs=(self.leg,),
        )


def judged(row: Payment | None) -> Told:
    """GetSettlement by msgid, in the words of the answer to the request itself."""
    if row is None:
        return Told(UNKNOWN)
    if row.kind is PaymentKind.TOMBSTONE:
        return Told(reversed_failure().reason)
    if row.state is State.TRYING:
        return Told(PENDING, row.payment_id) if row.pending_accept else Told(IN_PROGRESS)
    if row.kind is PaymentKind.TRANSFER:
        accepted = row.state in PAID_STATES
        return Told("ACCEPTED" if accepted else refusal_failure(row).reason, row.payment_id)
    if row.kind is PaymentKind.SETTLE:
        paid = row.state in PAID_STATES
        return Told("PAID" if paid else refusal_failure(row).reason, row.payment_id)
    return Told("REFUNDED", row.payment_id)
