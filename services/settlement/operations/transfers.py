"""Transfers to a wallet, whose receiver votes last: begin, accept, decline, withdraw.

Who may give to whom, how much and at which hours is the caller's to judge first (``giving``); the saga keeps the money.
Each survives the cancellation of the call it serves, and answers from the durable row alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeAlias

from chassis import telemetry
from chassis.faults import fault_point
from kernel.clock import business_year
from kernel.ids import PaymentId, PsnNo
from kernel.money import Fen
from services.settlement.domain.payment import Key, request_hash
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import RACES_MAX, stop
from services.settlement.saga import transfers
from services.settlement.saga.coordinator import Write
from services.settlement.saga.payment import REFUSED_STATES, Payment
from services.settlement.saga.requests import check_same_request, refusal_failure
from services.settlement.store import payments as store
from services.settlement.store import transfers as transfer_store
from services.settlement.store.payments import Connection

Beside: TypeAlias = Callable[[Connection, Payment], Awaitable[None]]
"""What is written with a new transfer's row, in its transaction; a ``Failure`` of it keeps it from beginning."""


async def begin(
    engine: Engine,
    *,
    key: Key,
    giver: PsnNo,
    legs: tuple[PlanLeg, ...],
    accept_by: datetime,
    beside: Beside | None = None,
) -> Payment:
    """Holds the giver's money and asks the receiver; the row once he is being asked. The same key gives the same row.

    ``key`` is a ``transfer_key``. ``legs``: what is taken from the giver's accounts (OWN, WALLET), and one RECEIVER.
    The receiver may accept until ``accept_by``, by the database's clock, and never less than the ledgers may vote; then
    the money is released. ValueError if that is more than ``ACCEPT_WITHIN_MAX`` away. Failures: those of ``beside``, of
    a transfer that is new; TRANSFER_DOES_NOT_ADD_UP; KEY_REUSED_WITH_OTHER_CONTENT; PAYMENT_REVERSED;
    PAYMENT_IN_PROGRESS; COORDINATOR_RESTORING; the reason of the refusal or of the abort.
    """
    begun = await engine.own(_begun(engine, key, giver, legs, accept_by, beside))
    payment = await engine.answer_of(begun)
    if payment.state in REFUSED_STATES:
        raise refusal_failure(payment)
    return payment


async def accept(engine: Engine, *, payment_id: PaymentId, receiver: PsnNo) -> Payment:
    """The receiver takes the money; the row, decided. The same answer again gives the same row.

    Failures: those of ``saga.transfers.accept``; COORDINATOR_RESTORING.
    """
    engine.check_serving()
    return await engine.own(_voted(engine, payment_id, lambda found: transfers.accept(found, by=receiver)))


async def decline(engine: Engine, *, payment_id: PaymentId, receiver: PsnNo) -> Payment:
    """The receiver does not want the money: it is released.

    Failures: those of ``saga.transfers.decline``; COORDINATOR_RESTORING.
    """
    engine.check_serving()
    return await engine.own(_voted(engine, payment_id, lambda found: transfers.decline(found, by=receiver)))


async def withdraw(engine: Engine, *, key: Key) -> None:
    """The giver takes the transfer back before it is accepted; one that was never seen can never start (rule 3).

    TRANSFER_ACCEPTED if the receiver has the money; COORDINATOR_RESTORING.
    """
    engine.check_serving()
    await stop(engine, key)


def content_of(giver: PsnNo, *moved: tuple[Role, PsnNo, Fen]) -> bytes:
    """The hash of what a transfer is asked for: who gives out of what, who receives, how much.

    Out of which parts and areas it goes is found out when it begins, and may differ when it is asked for again.
    """
    return request_hash("transfer", giver, *(part for role, psn_no, fen in moved for part in (role.value, psn_no, fen)))


async def _begun(
    engine: Engine,
    key: Key,
    giver: PsnNo,
    legs: tuple[PlanLeg, ...],
    accept_by: datetime,
    beside: Beside | None,
) -> Payment:
    content = content_of(giver, *((leg.role, leg.psn_no, leg.amount_fen) for leg in legs))
    async with engine.database.driver_transaction() as connection:
        now = await store.now(connection)
        if accept_by > now + transfers.ACCEPT_WITHIN_MAX:
            raise ValueError(f"a receiver cannot be given until {accept_by}")
        asked = transfers.transfer_of(
            legs,
            payment_id=PaymentId(engine.new_id()),
            key=key,
            request_hash=content,
            giver=giver,
            year=business_year(now),
        )
        row = await transfer_store.insert_trying(
            connection,
            asked,
            epoch=engine.epoch,
            traceparent=telemetry.traceparent(),
            vote_deadline=timedelta(seconds=engine.settings.vote_deadline_s),
            accept_by=accept_by,
        )
        if row is not None and beside is not None:
            await beside(connection, row)
        found = None if row is not None else await store.by_key(connection, key)
        fault_point("settlement.transfer.before_commit")
    fault_point("settlement.transfer.after_commit")
    if row is None:
        if found is None:
            raise LookupError(f"the key of a transfer of area {key.fixmedins_code} is taken and stands for nothing")
        check_same_request(found, content)
        row = found
    engine.take_up(row)
    return row


async def _voted(engine: Engine, payment_id: PaymentId, decide: Callable[[Payment | None], Write | Payment]) -> Payment:
    for _ in range(RACES_MAX):
        async with engine.database.driver_connection() as connection:
            found = await store.by_id(connection, payment_id)
        step = decide(found)
        if isinstance(step, Payment):
            return step
        if found is not None:
            await engine.write(found, step)
    raise AssertionError("a receiver's vote lost every race, though each loser finds what the winner wrote")
