"""Settle, revoke, reverse, look up: the money steps of the desk. Each survives the cancellation of the call it serves.

The engine owns the work; a function here only asks it and waits, at most as long as the call's deadline allows
(``chassis.deadlines``). What is answered is always read from the durable row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from kernel.ids import AdmDvs, PaymentId, PlanId
from services.settlement.domain.payment import Key
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import Payment

PlanDocument: TypeAlias = Mapping[str, Any]
"""A stored plan in JSON's terms; ``Plan.of_document`` reads it."""


@dataclass(frozen=True, slots=True)
class Settled:
    """The bill is paid: ``payment`` is COMMITTED or DONE; its answer is a function of the row and its plan."""

    payment: Payment
    plan: PlanDocument


@dataclass(frozen=True, slots=True)
class Replanned:
    """Nothing was taken: a source had changed (``payment.reason``), and ``plan_id`` shows what would be paid now."""

    payment: Payment
    plan_id: PlanId


@dataclass(frozen=True, slots=True)
class Refunded:
    """The money went back: ``refund`` has its own id, key and time; ``plan`` is the original's."""

    refund: Payment
    original: Payment
    plan: PlanDocument


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing had been taken and nothing ever will be under this key."""


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a payment: the row, the plan it pays, the refund that took it back, the original it refunds."""

    payment: Payment
    plan: PlanDocument | None
    refund: Payment | None
    original: Payment | None
    replan_plan_id: PlanId | None


Replan: TypeAlias = Callable[[Payment, PlanDocument, frozenset[AdmDvs]], Awaitable[PlanId]]
"""Makes and stores a new plan after a refusal: (the refused payment, its plan, silent areas) → the new plan's id.

It is called when every ledger but the silent ones has let go of the refused attempt, so balances read then are free of
it; the silent areas must be left out as AREA_UNREACHABLE. A ``Failure`` says that no new plan can be made now: the
refusal's own reason is then the answer, for ever.
"""


async def settle(
    engine: Engine, *, key: Key, plan_id: PlanId, plan_digest: bytes, now: datetime
) -> Settled | Replanned:
    """2207 / 2102 / 2304: pays exactly that plan or nothing. The same key again gives the same answer.

    ``now`` judges the msgid's age only. Failures: those of ``check_key``; PLAN_UNKNOWN, PLAN_NOT_OF_INSTITUTION,
    INFNO_DOES_NOT_FIT, PLAN_DIGEST_MISMATCH, PLAN_EXPIRED, PLAN_STALE, PATIENT_BUSY (nothing stored, the key stays
    free); KEY_REUSED_WITH_OTHER_CONTENT (never executed); PAYMENT_REVERSED; PAYMENT_IN_PROGRESS (undecided when the
    call's time is over: send the same request again); the refusal's own reason when no new plan can be made.
    """
    raise NotImplementedError


async def revoke(engine: Engine, *, key: Key, original_id: PaymentId, now: datetime) -> Refunded:
    """2208 / 2103 / 2305: takes a whole settlement back. The same key again gives the same answer.

    Failures: those of ``check_key``; SETTLEMENT_UNKNOWN (also one of another institution), INFNO_DOES_NOT_FIT,
    PAYMENT_IN_PROGRESS, SETTLEMENT_NOT_PAID, REVOKE_WINDOW_CLOSED, ALREADY_REVOKED (metadata: setl_id of that
    revocation); KEY_REUSED_WITH_OTHER_CONTENT; PAYMENT_REVERSED.
    """
    raise NotImplementedError


async def reverse(engine: Engine, *, original_key: Key, now: datetime) -> Refunded | Stopped:
    """2601: for an answer never seen. Before the decision it stops the payment, after it it is a refund.

    A key nobody has seen is blocked for ever (protocol rule 3). Failures: those of ``check_key``; REVOKE_WINDOW_CLOSED
    (the settlement stands: ask for it by its key); REVOCATION_STANDS (a committed revocation is never undone).
    """
    raise NotImplementedError


async def look_up(
    engine: Engine, *, fixmedins_code: str, payment_id: PaymentId | None = None, key: Key | None = None
) -> Found:
    """What became of a payment, by id or by key; SETTLEMENT_UNKNOWN, also if it is another institution's."""
    raise NotImplementedError
