"""Settle, revoke, reverse, look up: the money steps of the desk. Each survives the cancellation of the call it serves.

The engine owns the work; a function here only asks it and waits, at most as long as the call's deadline allows
(``chassis.deadlines``). What is answered is always read from the durable row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final, TypeAlias, assert_never

from chassis import telemetry
from chassis.faults import fault_point
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PaymentId, PlanId, PsnNo
from kernel.policy import Policies
from kernel.values import value
from services.settlement.domain.clearing import is_cleared
from services.settlement.domain.med_types import OF_INPATIENTS
from services.settlement.domain.payment import REVOKES, SETTLES, Key, Window, area_of, check_key, request_hash
from services.settlement.domain.split import Role
from services.settlement.domain.stay import check_last
from services.settlement.operations.burying import Burials
from services.settlement.operations.engine import Engine
from services.settlement.operations.freshness import Freshness
from services.settlement.operations.rows import Begun
from services.settlement.saga.coordinator import Write
from services.settlement.saga.payment import PAID_STATES, REVERSED, Payment, PaymentKind
from services.settlement.saga.requests import (
    PLAN_STALE,
    AlreadyGivenBack,
    AlreadyStopped,
    Bury,
    GiveBack,
    check_same_request,
    mutual_aid_paused_failure,
    plan_paid_failure,
    refusal_failure,
    refused_as_stale,
    reversed_failure,
)
from services.settlement.saga.requests import reverse as reverse_decision
from services.settlement.saga.requests import revoke as revoke_decision
from services.settlement.saga.restoring import predates_failure
from services.settlement.store import payments as store
from services.settlement.store import plans, refunds, stale_plans, stays
from services.settlement.store.clearing import cleared_until
from services.settlement.store.payments import Beginning, Connection
from services.settlement.store.refunds import Stands
from services.settlement.wire.events import bill_refunded

_log = telemetry.logger("payments")

RACES_MAX: Final = 8
"""How often a request decides anew after a lost race; a row only moves forward, so a few rounds always suffice."""

PlanDocument: TypeAlias = Mapping[str, Any]
"""A stored plan in JSON's terms; ``Plan.of_document`` reads it."""


@value
class Settled:
    """The bill is paid: ``payment`` is COMMITTED or DONE; its answer is a function of the row and its plan."""

    payment: Payment
    plan: PlanDocument


@value
class Replanned:
    """Nothing was taken: a source had changed (``payment.reason``), and ``plan_id`` shows what would be paid now."""

    payment: Payment
    plan_id: PlanId


@value
class Refunded:
    """The money went back: ``refund`` has its own id, key and time; ``plan`` is the original's."""

    refund: Payment
    original: Payment
    plan: PlanDocument


@value
class Stopped:
    """Nothing had been taken and nothing ever will be under this key."""


@value
class Found:
    """What became of a payment: the row, the plan it pays, the refund that took it back, the original it refunds."""

    payment: Payment
    plan: PlanDocument | None
    refund: Payment | None
    original: Payment | None
    replan_plan_id: PlanId | None


async def settle(
    engine: Engine, *, key: Key, plan_id: PlanId, plan_digest: bytes, freshness: Freshness, now: datetime
) -> Settled | Replanned:
    """2207 / 2102 / 2304: pays exactly that plan or nothing. The same key again gives the same answer.

    ``now`` judges the msgid's age only. Failures: those of ``check_key``; MUTUAL_AID_PAUSED, PLAN_UNKNOWN,
    PLAN_NOT_OF_INSTITUTION, INFNO_DOES_NOT_FIT, PLAN_DIGEST_MISMATCH, PLAN_EXPIRED, PLAN_PAID, PATIENT_BUSY (nothing
    stored, the key stays free); KEY_REUSED_WITH_OTHER_CONTENT (never executed); PAYMENT_REVERSED;
    COORDINATOR_RESTORING; REQUEST_PREDATES_RESTORE; PAYMENT_IN_PROGRESS (undecided when the call's time is over: send
    the same request again); the refusal's own reason (a ledger's, PLAN_STALE, VOTE_DEADLINE_PASSED) when no new plan
    can be made.
    """
    check_key(key, infnos=SETTLES, now=now, retention=engine.settings.retention)
    content = request_hash("settle", plan_id.bytes, plan_digest)
    await _check_not_lost(engine, key)
    if freshness.is_stale:
        await _check_mutual_aid(engine, key, plan_id)
    begun = await _begun(
        engine, Beginning(PaymentId(engine.new_id()), key, content, plan_id, plan_digest, telemetry.traceparent())
    )
    if not begun.is_new:
        check_same_request(begun.payment, content)
        # Whoever began it may have died since: a second coordinator does no harm, and the caller need not wait for the
        # deadline to learn that nobody drives it.
        engine.take_up(begun.payment, await _plan_of(engine, begun.payment))
    payment = await engine.answer_of(begun.payment)
    plan = begun.plan or await _plan_of(engine, payment)
    if payment.state in PAID_STATES:
        return Settled(payment, plan)
    if payment.reason == REVERSED:
        raise reversed_failure()
    return await engine.own(_replanned(engine, payment, plan))


async def revoke(engine: Engine, *, key: Key, original_id: PaymentId, policies: Policies, now: datetime) -> Refunded:
    """2208 / 2103 / 2305: takes a whole settlement back. The same key again gives the same answer.

    Failures: those of ``check_key``; SETTLEMENT_UNKNOWN (also one of another institution), INFNO_DOES_NOT_FIT,
    PAYMENT_IN_PROGRESS, SETTLEMENT_NOT_PAID, REVOKE_WINDOW_CLOSED, ALREADY_REVOKED (metadata: setl_id of that
    revocation); KEY_REUSED_WITH_OTHER_CONTENT; PAYMENT_REVERSED.
    """
    check_key(key, infnos=frozenset(REVOKES), now=now, retention=engine.settings.retention)
    content = request_hash("revoke", original_id.bytes)
    await _check_not_lost(engine, key)
    return await engine.own(_revoked(engine, key, content, original_id, policies))


async def reverse(
    engine: Engine, *, original_key: Key, policies: Policies, burials: Burials, now: datetime
) -> Refunded | Stopped:
    """2601: for an answer never seen. Before the decision it stops the payment, after it it is a refund.

    A key nobody has seen is blocked for ever (protocol rule 3). Failures: those of ``check_key``; TOO_MANY_REVERSALS
    (nothing is blocked then); REVOKE_WINDOW_CLOSED (the settlement stands: ask for it by its key); REVOCATION_STANDS (a
    committed revocation is never undone).
    """
    check_key(original_key, infnos=SETTLES | frozenset(REVOKES), now=now, retention=engine.settings.retention)
    engine.check_serving()
    return await stop(engine, original_key, policies=policies, burials=burials)


async def stop(
    engine: Engine, original_key: Key, *, policies: Policies | None = None, burials: Burials | None = None
) -> Refunded | Stopped:
    """What a reversal does with whatever its key stands for; a giver's withdrawal of a transfer is the same.

    No policies are needed where the key is a transfer's: it has no window. Failures: REVOKE_WINDOW_CLOSED,
    REVOCATION_STANDS, TRANSFER_ACCEPTED, TOO_MANY_REVERSALS.
    """
    return await engine.own(_reversed(engine, original_key, policies, burials))


async def look_up(
    engine: Engine, *, fixmedins_code: str, payment_id: PaymentId | None = None, key: Key | None = None
) -> Found:
    """What became of a payment, by id or by key; SETTLEMENT_UNKNOWN, also if it is another institution's.

    COORDINATOR_RESTORING while what is unknown here may only be lost.
    """
    engine.check_serving()
    async with engine.database.driver_connection() as connection:
        payment = await (store.by_key(connection, key) if key is not None else _by_id(connection, payment_id))
        if payment is None or payment.key.fixmedins_code != fixmedins_code:
            raise Failure(Kind.NOT_FOUND, "SETTLEMENT_UNKNOWN")
        original = None if payment.original_id is None else await store.by_id(connection, payment.original_id)
        refund = await store.live_refund(connection, payment.payment_id) if payment.state in PAID_STATES else None
        plan_id = (original or payment).plan_id
        plan = None if plan_id is None else await plans.document(connection, plan_id)
    return Found(payment, plan, refund, original, payment.replan_plan_id)


async def _by_id(connection: Connection, payment_id: PaymentId | None) -> Payment | None:
    return None if payment_id is None else await store.by_id(connection, payment_id)


async def _begun(engine: Engine, beginning: Beginning) -> Begun:
    """The payment that has begun, or what its key stands for; a plan that is stale is refused there and then."""
    try:
        return await engine.begin(beginning)
    except Failure as refusal:
        if refusal.reason != PLAN_STALE:
            raise
    await engine.own(_refused_as_stale(engine, beginning))
    # Whatever stands under the key now, ours or another's, is the answer.
    return await engine.begin(beginning)


async def _refused_as_stale(engine: Engine, beginning: Beginning) -> None:
    """Writes that the plan no longer held, together with the plan that is possible now, under the request's key.

    PLAN_PAID, and nothing written, where it was paid under another key: a new plan would have that bill paid twice.

    A stale plan may become payable again (a sanction ends), and its cashier has been shown another one by then: so the
    key is used up, as by every refusal that brings a plan.
    """
    async with engine.database.driver_connection() as connection:
        plan = await plans.document(connection, beginning.plan_id)
        if plan is None:
            raise LookupError(f"plan {beginning.plan_id} was judged and is not there")
        paid = await stale_plans.paid_by(connection, beginning.plan_id)
    if paid is not None:
        raise plan_paid_failure(paid)
    refused = refused_as_stale(
        payment_id=beginning.payment_id,
        key=beginning.key,
        request_hash=beginning.request_hash,
        plan_id=beginning.plan_id,
        psn_no=PsnNo(plan["visit"]["psn_no"]),
        year=plan["year"],
        legs=store.legs_in(plan),
    )
    replan_plan_id = await _new_plan(engine, refused, plan, frozenset())
    fault_point("settlement.replan.before_commit")
    async with engine.database.driver_connection() as connection:
        await stale_plans.insert_stale(
            connection,
            replace(refused, replan_plan_id=replan_plan_id),
            epoch=engine.epoch,
            traceparent=beginning.traceparent,
        )
    fault_point("settlement.replan.after_commit")


async def _new_plan(engine: Engine, refused: Payment, plan: PlanDocument, silent: frozenset[AdmDvs]) -> PlanId | None:
    """The plan that is possible now; None where none can be made."""
    try:
        return await engine.replan(refused, plan, silent)
    except Failure as failure:
        _log.info("no new plan can be made", payment_id=str(refused.payment_id), reason=failure.reason)
        return None


async def _plan_of(engine: Engine, payment: Payment) -> PlanDocument:
    """The plan that a settlement pays."""
    async with engine.database.driver_connection() as connection:
        plan = None if payment.plan_id is None else await plans.document(connection, payment.plan_id)
    if plan is None:
        raise LookupError(f"the plan of payment {payment.payment_id} is missing")
    return plan


async def _check_not_lost(engine: Engine, key: Key) -> None:
    """COORDINATOR_RESTORING; REQUEST_PREDATES_RESTORE if the restore may have lost the answer to this very key."""
    engine.check_serving()
    if engine.standing.predates(key):
        async with engine.database.driver_connection() as connection:
            if await store.by_key(connection, key) is None:
                raise predates_failure(key)


async def _check_mutual_aid(engine: Engine, key: Key, plan_id: PlanId) -> None:
    """MUTUAL_AID_PAUSED if this would begin a payment by funders. What has begun under the key goes on."""
    async with engine.database.driver_connection() as connection:
        if await store.by_key(connection, key) is not None:
            return
        plan = await plans.document(connection, plan_id)
    if plan is not None and any(leg.role is Role.FUNDER for leg in store.legs_in(plan)):
        raise mutual_aid_paused_failure()


async def _replanned(engine: Engine, payment: Payment, plan: PlanDocument) -> Replanned:
    """The settled answer to a refusal: a new plan, or the refusal's own reason where none could be made."""
    if not payment.replanned:
        async with engine.database.driver_connection() as connection:
            # Whoever answered first has settled it for everyone.
            payment = await store.by_id(connection, payment.payment_id) or payment
    if not payment.replanned:
        replan_plan_id = await _new_plan(engine, payment, plan, await engine.acknowledged(payment))
        fault_point("settlement.replan.before_commit")
        async with engine.database.driver_connection() as connection:
            payment = await store.settle_replan(connection, payment.payment_id, replan_plan_id) or payment
        fault_point("settlement.replan.after_commit")
    if payment.replan_plan_id is None:
        raise refusal_failure(payment)
    return Replanned(payment, payment.replan_plan_id)


async def _revoked(engine: Engine, key: Key, content: bytes, original_id: PaymentId, policies: Policies) -> Refunded:
    for _ in range(RACES_MAX):
        async with engine.database.driver_transaction() as connection:
            stands = await refunds.stands(connection, original_id, key)
            if stands.by_key is not None:
                check_same_request(stands.by_key, content)
                return await _refunded(connection, stands.by_key, stands.original)
            step = revoke_decision(
                stands.original,
                stands.refund,
                key=key,
                request_hash=content,
                refund_id=PaymentId(engine.new_id()),
                now=stands.now,
                window=_window_of(stands.original, policies, stands.cleared_until),
            )
            if isinstance(step, AlreadyGivenBack):
                return await _refunded(connection, step.refund, stands.original)
            given_back = await _give_back(engine, connection, step.refund, stands)
        if given_back is not None:
            return await _driven(engine, given_back)
    raise AssertionError("a revocation lost every race, though each loser finds what the winner wrote")


async def _reversed(
    engine: Engine, original_key: Key, policies: Policies | None, burials: Burials | None
) -> Refunded | Stopped:
    for _ in range(RACES_MAX):
        async with engine.database.driver_transaction() as connection:
            original = await store.by_key(connection, original_key)
            live = None if original is None else await store.live_refund(connection, original.payment_id)
            step = reverse_decision(
                original,
                live,
                original_key=original_key,
                new_id=PaymentId(engine.new_id()),
                request_hash=request_hash("reverse", *original_key),
                now=await store.now(connection),
                window=await window_of(connection, original, policies),
            )
            given_back: Refunded | None = None
            stopped = False
            match step:
                case AlreadyStopped():
                    return Stopped()
                case AlreadyGivenBack(refund):
                    return await _refunded(connection, refund, original)
                case Bury(tombstone):
                    stopped = await _bury(engine, connection, tombstone, burials)
                case GiveBack(refund):
                    stands = await refunds.stands(connection, refund.original_id, refund.key)
                    given_back = await _give_back(engine, connection, refund, stands)
                case Write():
                    pass
                case _:
                    assert_never(step)
        if stopped:
            fault_point("settlement.tombstone.after_commit")
            return Stopped()
        if given_back is not None:
            return await _driven(engine, given_back)
        if isinstance(step, Write) and original is not None:
            await engine.write(original, step)
    raise AssertionError("a reversal lost every race, though each loser finds what the winner wrote")


async def window_of(connection: Connection, original: Payment | None, policies: Policies | None) -> Window:
    """Until when a settlement may be taken back: the rule of its area of care on the day on which it was decided.

    The day of the deed counts and not that of the wish, so nobody's window closes because a policy changed.
    """
    return _window_of(original, policies, await cleared_until(connection))


def _window_of(original: Payment | None, policies: Policies | None, until: datetime | None) -> Window:
    """The same; ``until`` is the end of what was cleared.

    A run that commits meanwhile does no harm: a refund belongs to the day of its own decision, which is past any period
    that can be run.
    """
    if original is None or original.kind is not PaymentKind.SETTLE or original.decided_at is None:
        return Window()
    if policies is None:
        raise AssertionError("a settlement stands under the key of a transfer")
    in_force = policies.on(business_date(original.decided_at))
    rule = in_force.for_area(area_of(original.key.fixmedins_code)).revoke_window
    return Window(rule, is_cleared=is_cleared(original.decided_at, until))


async def _insert(engine: Engine, connection: Connection, payment: Payment) -> Payment | None:
    return await store.insert_decided(
        connection, payment, epoch=engine.epoch, traceparent=telemetry.traceparent(), lease=engine.lease
    )


async def _bury(engine: Engine, connection: Connection, tombstone: Payment, burials: Burials | None) -> bool:
    """Blocks a key for ever; False if something stands under it meanwhile. TOO_MANY_REVERSALS."""
    if burials is not None:
        burials.admit(tombstone.key.fixmedins_code)
    if await _insert(engine, connection, tombstone) is None:
        return False
    fault_point("settlement.tombstone.before_commit")
    return True


async def _give_back(engine: Engine, connection: Connection, refund: Payment, stands: Stands) -> Refunded | None:
    """Writes a refund with its fact; None if another one was faster. Failures: those of ``check_last``."""
    original, plan = stands.original, stands.plan
    if original is None or original.psn_no is None:
        raise AssertionError("a refund without a settlement")
    if plan is None:
        raise LookupError(f"the plan of payment {original.payment_id} is missing")
    patients = [(psn_no, original.year) for psn_no in (original.psn_no, stands.merged_into) if psn_no is not None]
    if original.key.infno in OF_INPATIENTS:
        await store.lock_patients(connection, patients)
        # Under the lock: no settlement of the stay begins meanwhile.
        check_last(original.payment_id, await stays.parts_beside(connection, original.payment_id))
    decided_at = max(stands.now, original.decided_at or stands.now)
    traceparent = telemetry.traceparent()
    row = await refunds.give_back(
        connection,
        refund,
        patients,
        bill_refunded(refund, plan, occurred_at=decided_at, traceparent=traceparent),
        epoch=engine.epoch,
        traceparent=traceparent,
        lease=engine.lease,
        decided_at=decided_at,
    )
    if row is None:
        return None
    fault_point("settlement.refund.before_commit")
    return Refunded(row, original, plan)


async def _driven(engine: Engine, refunded: Refunded) -> Refunded:
    """The refund is durable: from here on it is sent until every ledger has booked it.

    Those that answer are waited for, so that whoever plans anew after this answer finds the money there.
    """
    fault_point("settlement.refund.after_commit")
    engine.take_up(refunded.refund, refunded.plan)
    await engine.acknowledged(refunded.refund)
    return refunded


async def _refunded(connection: Connection, refund: Payment, original: Payment | None) -> Refunded:
    """A refund that was made before, with its original."""
    if original is None or original.payment_id != refund.original_id:
        original = None if refund.original_id is None else await store.by_id(connection, refund.original_id)
    plan = None if original is None or original.plan_id is None else await plans.document(connection, original.plan_id)
    if original is None or plan is None:
        raise LookupError(f"the settlement of refund {refund.payment_id} is missing")
    return Refunded(refund, original, plan)
