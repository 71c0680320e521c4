"""Transfers to another person's wallet: begin, accept, decline, withdraw. Their API comes with wallets.

Who may give to whom, how much and at which hours is the caller's to judge first (domain §3); the saga keeps the money.
Each survives the cancellation of the call it serves, and answers from the durable row alone.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from chassis import telemetry
from chassis.faults import fault_point
from kernel.clock import business_year
from kernel.ids import AdmDvs, PaymentId, PsnNo
from services.settlement.domain.payment import request_hash, transfer_key
from services.settlement.domain.plan import PlanLeg
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import RACES_MAX, stop
from services.settlement.saga import transfers
from services.settlement.saga.coordinator import Write
from services.settlement.saga.payment import REFUSED_STATES, Payment
from services.settlement.saga.requests import check_same_request, refusal_failure
from services.settlement.store import payments as store
from services.settlement.store import transfers as transfer_store


async def begin(
    engine: Engine, *, request_id: str, giver: PsnNo, legs: tuple[PlanLeg, ...], accept_within: timedelta
) -> Payment:
    """Holds the giver's money and asks the receiver; the row once he is being asked. The same id gives the same row.

    ``legs``: what is taken from the giver's accounts (OWN, WALLET), and one RECEIVER. After the ledgers' own deadline
    the receiver has ``accept_within``, at most ``ACCEPT_WITHIN_MAX``, by the database's clock; then the money is
    released. Failures: TRANSFER_DOES_NOT_ADD_UP; KEY_REUSED_WITH_OTHER_CONTENT; PAYMENT_REVERSED; PAYMENT_IN_PROGRESS;
    COORDINATOR_RESTORING; the reason of the refusal or of the abort.
    """
    if not timedelta() < accept_within <= transfers.ACCEPT_WITHIN_MAX:
        raise ValueError(f"a receiver cannot be given {accept_within}")
    payment = await engine.answer_of(await engine.own(_begun(engine, request_id, giver, legs, accept_within)))
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


async def withdraw(engine: Engine, *, area: AdmDvs, request_id: str) -> None:
    """The giver takes the transfer back before it is accepted; one that was never seen can never start (rule 3).

    TRANSFER_ACCEPTED if the receiver has the money; COORDINATOR_RESTORING.
    """
    engine.check_serving()
    await stop(engine, transfer_key(area, request_id))


async def _begun(
    engine: Engine, request_id: str, giver: PsnNo, legs: tuple[PlanLeg, ...], accept_within: timedelta
) -> Payment:
    key = transfer_key(legs[0].area, request_id)
    content = request_hash("transfer", giver, *(part for leg in legs for part in _hashed(leg)))
    async with engine.database.driver_transaction() as connection:
        asked = transfers.transfer_of(
            legs,
            payment_id=PaymentId(engine.new_id()),
            key=key,
            request_hash=content,
            giver=giver,
            year=business_year(await store.now(connection)),
        )
        row = await transfer_store.insert_trying(
            connection,
            asked,
            epoch=engine.epoch,
            traceparent=telemetry.traceparent(),
            vote_deadline=timedelta(seconds=engine.settings.vote_deadline_s),
            accept_within=accept_within,
        )
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


def _hashed(leg: PlanLeg) -> tuple[str | int, ...]:
    return (leg.role.value, leg.psn_no, leg.area, leg.past_fen, leg.current_fen)


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
