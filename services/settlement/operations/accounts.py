"""Freezes and their ends (the accounts live in their area's ledger; money comes in by ``crediting``)."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

from chassis import telemetry
from chassis.deadlines import timeout_s
from chassis.faults import fault_point
from chassis.outbox import put_driver
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.settlement.clients import Balance
from services.settlement.operations.engine import Engine
from services.settlement.saga.requests import IN_PROGRESS, ledger_failure
from services.settlement.store import account_commands
from services.settlement.store.account_commands import FreezeRequest
from services.settlement.wire.events import account_freeze_changed
from services.settlement.wire.ledger import freeze_command, frozen_or_refused


async def set_frozen(
    engine: Engine, *, request_id: UUID, area: AdmDvs, psn_no: PsnNo, frozen: bool, cause: str
) -> Balance:
    """Freezes or unfreezes a personal account, once for each request id, and tells its owner.

    A freeze is lifted by its own cause alone; the answer says whether the account is frozen by another one.
    Requests for one account take effect in the order in which they were stored, whatever the ledger misses of them.
    Failures: KEY_REUSED_WITH_OTHER_CONTENT; the ledger's refusal (ACCOUNT_NOT_FOUND, FREEZE_OF_OTHER_CAUSE), the same
    for every repetition;
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
        # Where another cause stands, lifting one has changed nothing for the owner.
        if answered_at is not None and not isinstance(told, str) and told.frozen == request.frozen:
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
