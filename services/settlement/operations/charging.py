"""Charges: begun, and given back. What they are for is the caller's to judge and to write beside them.

Each survives the cancellation of the call it serves, and answers from the durable row alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeAlias

from chassis import telemetry
from chassis.faults import fault_point
from kernel.clock import business_year
from kernel.ids import PaymentId, PsnNo
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import PlanLeg
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import RACES_MAX
from services.settlement.saga import charging
from services.settlement.saga.payment import REFUSED_STATES, Payment
from services.settlement.saga.requests import check_same_request, refusal_failure
from services.settlement.store import charges
from services.settlement.store import payments as store
from services.settlement.store.payments import Connection

Beside: TypeAlias = Callable[[Connection, Payment], Awaitable[None]]
"""What is written with a new row, in its transaction; a ``Failure`` of it keeps the row from being written."""
Check: TypeAlias = Callable[[Payment], None]
"""Judges a charge that would be given back; raises a ``Failure`` that keeps it."""


async def begin(
    engine: Engine, *, key: Key, content: bytes, psn_no: PsnNo, legs: tuple[PlanLeg, ...], beside: Beside
) -> Payment:
    """Takes all of the legs or nothing; the row once that is decided to be taken. The same key gives the same row.

    Failures: those of ``beside``, of a charge that is new; and those of ``outcome``.
    """
    engine.check_serving()
    begun = await engine.own(_begun(engine, key, content, psn_no, legs, beside))
    return await outcome(engine, begun, content)


async def outcome(engine: Engine, charge: Payment, content: bytes) -> Payment:
    """What has become of a charge, waited for; whoever began it may have died, so it is driven on from here.

    Failures: KEY_REUSED_WITH_OTHER_CONTENT; PAYMENT_IN_PROGRESS; COORDINATOR_RESTORING; why it was refused.
    """
    check_same_request(charge, content)
    engine.take_up(charge)
    payment = await engine.answer_of(charge)
    if payment.state in REFUSED_STATES:
        raise refusal_failure(payment)
    return payment


async def give_back(
    engine: Engine, *, charge_id: PaymentId, check: Check, beside: Beside, unknown: str, not_paid: str
) -> Payment:
    """Gives all of a charge back, once; the refund, or the one that was made before, which nothing is asked of again.

    Failures: those of ``saga.charging.give_back`` and of ``check``; COORDINATOR_RESTORING.
    """
    engine.check_serving()
    return await engine.own(_given_back(engine, charge_id, check, beside, unknown, not_paid))


async def _begun(
    engine: Engine, key: Key, content: bytes, psn_no: PsnNo, legs: tuple[PlanLeg, ...], beside: Beside
) -> Payment:
    async with engine.database.driver_transaction() as connection:
        asked = charging.charge_of(
            legs,
            payment_id=PaymentId(engine.new_id()),
            key=key,
            request_hash=content,
            psn_no=psn_no,
            year=business_year(await store.now(connection)),
        )
        row = await charges.insert_trying(
            connection,
            asked,
            epoch=engine.epoch,
            traceparent=telemetry.traceparent(),
            vote_deadline=timedelta(seconds=engine.settings.vote_deadline_s),
        )
        if row is not None:
            await beside(connection, row)
        found = row or await store.by_key(connection, key)
        fault_point("settlement.charge.before_commit")
    fault_point("settlement.charge.after_commit")
    if found is None:
        raise LookupError("the key of a charge is taken and stands for nothing")
    engine.take_up(found)
    return found


async def _given_back(
    engine: Engine, charge_id: PaymentId, check: Check, beside: Beside, unknown: str, not_paid: str
) -> Payment:
    for _ in range(RACES_MAX):
        async with engine.database.driver_transaction() as connection:
            charge = await store.by_id(connection, charge_id)
            live = await store.live_refund(connection, charge_id)
            refund_id = PaymentId(engine.new_id())
            refund = charging.give_back(charge, live, refund_id=refund_id, unknown=unknown, not_paid=not_paid)
            if live is not None or charge is None:
                return refund
            check(charge)
            row = await store.insert_decided(
                connection, refund, epoch=engine.epoch, traceparent=telemetry.traceparent(), lease=engine.lease
            )
            if row is not None:
                await beside(connection, row)
            fault_point("settlement.charge_refund.before_commit")
        if row is not None:
            fault_point("settlement.charge_refund.after_commit")
            engine.take_up(row)
            return row
    raise AssertionError("a refund lost every race, though each loser finds what the winner wrote")
