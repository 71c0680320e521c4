"""The engine's database steps, each for many payments at once: begin, decide, finish, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from chassis.db import Database, is_transient
from chassis.faults import fault_point
from chassis.outbox import OutgoingEvent
from kernel.clock import Clock
from kernel.failures import Failure
from kernel.ids import PaymentId
from kernel.values import value
from services.settlement.saga.coordinator import Write, applied
from services.settlement.saga.payment import Payment, PaymentKind, State
from services.settlement.saga.requests import check_plan, patient_busy_failure
from services.settlement.store import payments as store
from services.settlement.store import plans
from services.settlement.store.payments import Beginning, Connection, JudgedPlan
from services.settlement.wire.events import bill_settled, charge_taken, transfer_changed


@value
class Begun:
    """The row under a key: new and ours to drive, or found there. ``plan`` is known when it is new."""

    payment: Payment
    plan: Mapping[str, Any] | None
    is_new: bool


@value
class WriteAsked:
    """A Write of the saga, the row it starts from, and, for a commit, the plan that its event tells of."""

    write: Write
    payment: Payment
    plan: Mapping[str, Any] | None
    traceparent: str


class Rows:
    """The payments' table as the engine uses it."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        epoch: int,
        vote_deadline: timedelta,
        lease: timedelta,
        restores: bool = False,
    ) -> None:
        """``clock`` shows the database's time (``chassis.clock``); it dates decisions, and judges no deadline."""
        self.database = database
        self.epoch = epoch
        self._clock = clock
        self._restores = restores  # The operator's command alone, which decides while nobody else may.
        self._vote_deadline = vote_deadline
        self.lease = lease

    async def begin(self, asked: list[Beginning]) -> list[Begun | BaseException]:
        """Inserts TRYING, or finds what the key stands for, or refuses; what has begun is durable on return.

        Refusals, in place of a row: those of ``check_plan``, PATIENT_BUSY. All are refused with COORDINATOR_RESTORING
        while nothing may begin here.
        """
        fault_point("settlement.begin.before_commit")
        async with self.database.driver_connection() as connection:
            judged = await store.begin_trying(connection, asked, epoch=self.epoch, vote_deadline=self._vote_deadline)
            fault_point("settlement.begin.after_commit")
            begun = [_begun(beginning, plan) for beginning, plan in zip(asked, judged, strict=True)]
            left = [position for position, it in enumerate(begun) if it is None]
            # Whoever could not begin may be told so only if his key is free: a taken key has its own answer.
            taken = await store.taken_keys(connection, [asked[position].key for position in left]) if left else {}
            found = {position: Begun(taken[n], None, is_new=False) for n, position in enumerate(left) if n in taken}
            return [
                it or found.get(position) or await self._refusal(connection, asked[position], judged[position])
                for position, it in enumerate(begun)
            ]

    async def _refusal(self, connection: Connection, asked: Beginning, plan: JudgedPlan | None) -> Failure:
        """Why a settlement has not begun whose key is free."""
        try:
            check_plan(None if plan is None else plan.facts, key=asked.key, digest=asked.plan_digest)
            await store.check_serving(connection, self.epoch)
        except Failure as refusal:
            return refusal
        return patient_busy_failure()

    async def decide(self, asked: list[WriteAsked]) -> Sequence[Payment | BaseException]:
        """Carries out Writes that leave TRYING, the commits with their facts, in one statement; the rows afterwards."""
        try:
            return await self._decide_together(asked)
        except Exception as error:
            if is_transient(error) or len(asked) == 1:
                raise
        return [await self._decide_alone(one) for one in asked]

    async def _decide_alone(self, asked: WriteAsked) -> Payment | BaseException:
        try:
            return (await self._decide_together([asked]))[0]
        except Exception as error:  # noqa: BLE001  It belongs to the one who asked.
            return error

    async def _decide_together(self, asked: list[WriteAsked]) -> list[Payment]:
        ordered = _one_each(asked)
        aborts = any(one.write.to is State.ABORTED for one in ordered)
        async with self.database.driver_connection() as connection:
            now = self._clock.now()
            events = await self._events(connection, ordered, now)
            fault_point("settlement.decide.before_commit")
            if aborts:
                fault_point("settlement.abort.before_commit")
            won = await self._written(connection, ordered, now, events)
            fault_point("settlement.decide.after_commit")
            if aborts:
                fault_point("settlement.abort.after_commit")
            return await self._outcomes(connection, asked, ordered, won)

    async def _events(
        self, connection: Connection, asked: list[WriteAsked], now: datetime
    ) -> dict[PaymentId, OutgoingEvent]:
        """What is told of those that are decided, or whose receiver is asked; of those that are not won it is not."""
        events = {}
        for one in asked:
            payment = one.payment
            if payment.kind is PaymentKind.TRANSFER:
                if one.write.to is State.TRYING and not one.write.asks_receiver:
                    continue
                decided_at = store.decided_at_of(payment, now)
                row = applied(payment, one.write, decided_at=decided_at)
                told = transfer_changed(row, occurred_at=decided_at, traceparent=one.traceparent)
                if told is not None:
                    events[payment.payment_id] = told
                continue
            if one.write.to is State.COMMITTED and payment.kind is PaymentKind.CHARGE:
                decided_at = store.decided_at_of(payment, now)
                row = applied(payment, one.write, decided_at=decided_at)
                events[payment.payment_id] = charge_taken(row, occurred_at=decided_at, traceparent=one.traceparent)
                continue
            if one.write.to is not State.COMMITTED or payment.kind is not PaymentKind.SETTLE:
                continue
            plan = one.plan
            if plan is None and payment.plan_id is not None:
                plan = await plans.document(connection, payment.plan_id)
            if plan is None:
                raise LookupError(f"the plan of payment {payment.payment_id} is missing")
            decided_at = store.decided_at_of(payment, now)
            row = applied(payment, one.write, decided_at=decided_at)
            event = bill_settled(row, plan, occurred_at=decided_at, traceparent=one.traceparent)
            events[payment.payment_id] = event
        return events

    async def finish(self, asked: list[WriteAsked]) -> Sequence[Payment | BaseException]:
        """Carries out Writes to a last state or into quarantine, in one statement; the rows as they then stand."""
        fault_point("settlement.finish.before_commit")
        async with self.database.driver_connection() as connection:
            ordered = _one_each(asked)
            won = await self._written(connection, ordered, self._clock.now(), {})
            fault_point("settlement.finish.after_commit")
            return await self._outcomes(connection, asked, ordered, won)

    async def _written(
        self,
        connection: Connection,
        asked: list[WriteAsked],
        now: datetime,
        events: Mapping[PaymentId, OutgoingEvent],
    ) -> dict[PaymentId, datetime | None]:
        """Those that were won. COORDINATOR_RESTORING if nothing may be decided now: no race was lost then."""
        epoch = None if self._restores else self.epoch
        writes = [one.write for one in asked]
        won = await store.write(connection, writes, epoch=epoch, lease=self.lease, now=now, events=events)
        if len(won) < len(asked):
            await store.check_serving(connection, epoch)
        return won

    async def _outcomes(
        self,
        connection: Connection,
        asked: list[WriteAsked],
        written: list[WriteAsked],
        won: Mapping[PaymentId, datetime | None],
    ) -> list[Payment]:
        """The rows as they now stand: those won from memory, those lost as they are read."""
        winners = {id(one) for one in written if one.write.payment_id in won}
        lost = [one.write.payment_id for one in asked if id(one) not in winners]
        read = await store.by_ids(connection, lost) if lost else {}
        return [
            applied(one.payment, one.write, decided_at=won[one.write.payment_id])
            if id(one) in winners
            else read[one.write.payment_id]
            for one in asked
        ]

    async def read(self, payment_ids: list[PaymentId]) -> Sequence[Payment | None]:
        """The rows, in the order asked; None where there is none."""
        async with self.database.driver_connection() as connection:
            found = await store.by_ids(connection, payment_ids)
        return [found.get(payment_id) for payment_id in payment_ids]


def _one_each(asked: list[WriteAsked]) -> list[WriteAsked]:
    """One Write for each payment, in the order of ids, so that two coordinators with the same ones do not deadlock."""
    first: dict[PaymentId, WriteAsked] = {}
    for one in asked:
        first.setdefault(one.write.payment_id, one)
    return sorted(first.values(), key=lambda one: one.write.payment_id)


def _begun(beginning: Beginning, plan: JudgedPlan | None) -> Begun | None:
    """The payment that has begun; None if it has not."""
    if plan is None or plan.created_at is None:
        return None
    payment = Payment(
        payment_id=beginning.payment_id,
        kind=PaymentKind.SETTLE,
        state=State.TRYING,
        key=beginning.key,
        request_hash=beginning.request_hash,
        psn_no=plan.psn_no,
        year=plan.year,
        legs=store.legs_in(plan.document),
        plan_id=beginning.plan_id,
        created_at=plan.created_at,
        deadline_at=plan.deadline_at,
    )
    return Begun(payment, plan.document, is_new=True)
