"""Money into accounts, freezes: the money steps of the accounts' face (the accounts live in their area's ledger)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from chassis import telemetry
from chassis.deadlines import timeout_s
from chassis.faults import fault_point
from chassis.outbox import put_driver
from kernel.clock import business_year
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PaymentId, PsnNo
from kernel.money import Fen
from kernel.policy import Part
from services.settlement.clients import Balance
from services.settlement.domain.payment import credit_key, request_hash
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import Payment, PaymentKind, State
from services.settlement.saga.requests import IN_PROGRESS, check_same_request, ledger_failure
from services.settlement.store import account_commands
from services.settlement.store import payments as store
from services.settlement.store.account_commands import FreezeRequest
from services.settlement.wire.events import account_credited, account_freeze_changed
from services.settlement.wire.ledger import freeze_command, frozen_or_refused


@dataclass(frozen=True, slots=True)
class Credited:
    """The account was credited once for this row id; ``balance`` is the account right after it.

    ``balance.exists`` is false when the account is closed and the money waits in the area's suspense.
    """

    payment: Payment
    balance: Balance


async def is_credited(engine: Engine, *, area: AdmDvs, row_id: str) -> bool:
    """Whether this row was accepted before: then its answer stands, whatever has become of the person since."""
    async with engine.database.driver_connection() as connection:
        return await store.by_key(connection, credit_key(area, row_id)) is not None


async def credit(
    engine: Engine, *, area: AdmDvs, row_id: str, psn_no: PsnNo, role: Role, part: Part, amount_fen: Fen
) -> Credited:
    """Credits an account, once for each (area, row_id); ``role`` is OWN (personal account) or WALLET.

    That the person may have such an account there is the caller's to check first. Failures:
    KEY_REUSED_WITH_OTHER_CONTENT; PAYMENT_IN_PROGRESS (stored and certain to arrive, but the ledger has not answered
    within the call's time).
    """
    leg = PlanLeg(
        leg_no=1,
        role=role,
        psn_no=psn_no,
        area=area,
        past_fen=amount_fen if part is Part.PAST else 0,
        current_fen=amount_fen if part is Part.CURRENT else 0,
        authorisation_id=None,
        floor_fen=0,
        floor_parts=(),
    )
    payment = await engine.answer_of(await engine.own(_credited(engine, leg, row_id)))
    after = payment.account_after(leg.leg_no)
    if after is None:
        return Credited(payment, Balance(psn_no, role, area, False, 0, 0, 0, 0, payment.year, False))  # noqa: FBT003  In the order of the fields.
    return Credited(
        payment,
        Balance(
            psn_no=psn_no,
            role=role,
            area=area,
            exists=True,
            past_fen=after.past_fen,
            current_fen=after.current_fen,
            held_past_fen=after.held_past_fen,
            held_current_fen=after.held_current_fen,
            year=after.year,
            frozen=after.frozen,
        ),
    )


async def _credited(engine: Engine, leg: PlanLeg, row_id: str) -> Payment:
    """The credit's row, made now or before, and driven on."""
    key = credit_key(leg.area, row_id)
    content = request_hash("credit", leg.psn_no, leg.role.value, leg.past_fen, leg.current_fen)
    async with engine.database.driver_transaction() as connection:
        credit_row = Payment(
            payment_id=PaymentId(engine.new_id()),
            kind=PaymentKind.CREDIT,
            state=State.COMMITTED,
            key=key,
            request_hash=content,
            psn_no=leg.psn_no,
            # The year in which it is accepted, by the database's clock: a repetition keeps it.
            year=business_year(await store.now(connection)),
            legs=(leg,),
        )
        row = await store.insert_decided(
            connection, credit_row, epoch=engine.epoch, traceparent=telemetry.traceparent(), lease=engine.lease
        )
        if row is not None and row.decided_at is not None:
            event = account_credited(row, occurred_at=row.decided_at, traceparent=telemetry.traceparent())
            await put_driver(connection, [event])
        else:
            row = await store.by_key(connection, key)
        fault_point("settlement.account_credit.before_commit")
    fault_point("settlement.account_credit.after_commit")
    if row is None:
        raise AssertionError("a credit's key is taken and stands for nothing")
    check_same_request(row, content)
    engine.take_up(row)
    return row


async def set_frozen(
    engine: Engine, *, request_id: UUID, area: AdmDvs, psn_no: PsnNo, frozen: bool, cause: str
) -> Balance:
    """Freezes or unfreezes a personal account, once for each request id, and tells its owner.

    Requests for one account take effect in the order in which they were stored, whatever the ledger misses of them.
    Failures: KEY_REUSED_WITH_OTHER_CONTENT; the ledger's refusal (ACCOUNT_NOT_FOUND), the same for every repetition;
    PAYMENT_IN_PROGRESS (stored, it will be done, but the ledger has not answered within the call's time).
    """
    asked = FreezeRequest(request_id, area, psn_no, frozen, cause, telemetry.traceparent())
    fault_point("settlement.freeze_request.before_commit")
    async with engine.database.driver_connection() as connection:
        request = await account_commands.insert(connection, asked, lease=engine.lease)
    fault_point("settlement.freeze_request.after_commit")
    if not request.asks_the_same(asked):
        raise Failure(Kind.INVALID, "KEY_REUSED_WITH_OTHER_CONTENT", request_id=str(request_id))
    end = asyncio.get_running_loop().time() + timeout_s(engine.settings.answer_wait_s)
    while not request.is_answered:
        if asyncio.get_running_loop().time() >= end:
            raise Failure(Kind.UNAVAILABLE, IN_PROGRESS, request_id=str(request_id))
        answered = await engine.own(drive_freeze(engine, request))
        if answered is None:
            await asyncio.sleep(engine.settings.resend_pause_s)
        else:
            request = answered
    if request.balance is None:
        raise ledger_failure(request.refusal)
    return request.balance


async def drive_freeze(engine: Engine, request: FreezeRequest) -> FreezeRequest | None:
    """Sends a freeze once and stores the answer with its fact, once; None if the ledger did not answer.

    Nothing is sent while an earlier request for the same account waits: the account would end as that one wants it.
    """
    async with engine.database.driver_connection() as connection:
        if not await account_commands.is_next(connection, request.request_id):
            return None
    command = freeze_command(
        request_id=request.request_id,
        psn_no=request.psn_no,
        frozen=request.frozen,
        cause=request.cause,
        traceparent=request.traceparent,
    )
    reply = await engine.ledgers.send(request.area, command)
    told = None if reply is None else frozen_or_refused(request.area, reply)
    if told is None:
        return None
    async with engine.database.driver_transaction() as connection:
        answered_at = await account_commands.answer(connection, request.request_id, told)
        if answered_at is not None and not isinstance(told, str):
            event = account_freeze_changed(
                request_id=request.request_id,
                psn_no=request.psn_no,
                area=request.area,
                frozen=request.frozen,
                cause=request.cause,
                occurred_at=answered_at,
                traceparent=request.traceparent,
            )
            await put_driver(connection, [event])
        answered = await account_commands.load(connection, request.request_id)
        fault_point("settlement.freeze_answer.before_commit")
    fault_point("settlement.freeze_answer.after_commit")
    return answered


async def sweep_freezes(engine: Engine, *, limit: int) -> int:
    """Sends freezes again that have no answer yet; how many there were. None while the coordinator restores."""
    if engine.standing.is_restoring:
        return 0
    fault_point("settlement.freeze_sweep.before_commit")
    async with engine.database.driver_connection() as connection:
        requests = await account_commands.take_due(
            connection,
            limit=limit,
            pause=engine.lease,
            pause_max=timedelta(seconds=engine.settings.lease_max_s),
        )
    if requests:
        fault_point("settlement.freeze_sweep.after_commit")
    await asyncio.gather(*(drive_freeze(engine, request) for request in requests))
    return len(requests)
