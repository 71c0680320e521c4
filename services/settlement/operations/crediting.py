"""划入: money into accounts, one row or many, each once for its row id (the accounts live in their area's ledger)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from chassis import telemetry
from chassis.faults import fault_point
from chassis.outbox import put_driver
from kernel.clock import business_year
from kernel.failures import Failure
from kernel.ids import AdmDvs, PaymentId, PsnNo
from kernel.money import Fen
from kernel.policy import Part
from services.settlement.clients import Balance
from services.settlement.domain.payment import Key, credit_key, request_hash
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.operations import holders
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import Payment, PaymentKind, State
from services.settlement.saga.requests import IN_PROGRESS, check_same_request
from services.settlement.store import credits as store
from services.settlement.store import payments
from services.settlement.wire.events import account_credited


@dataclass(frozen=True, slots=True)
class CreditRow:
    """What a row asks for; ``role`` is OWN (personal account) or WALLET."""

    area: AdmDvs
    row_id: str
    psn_no: PsnNo
    role: Role
    part: Part
    amount_fen: Fen

    @property
    def key(self) -> Key:
        """A row id is used once in its area."""
        return credit_key(self.area, self.row_id)

    @property
    def holding(self) -> holders.Holding:
        """The account it is for."""
        return holders.Holding(self.psn_no, self.role, self.part, self.area)

    def payment(self, payment_id: PaymentId, year: int) -> Payment:
        """Its row, decided: CREDIT cannot be refused."""
        past_fen, current_fen = (self.amount_fen, 0) if self.part is Part.PAST else (0, self.amount_fen)
        leg = PlanLeg(
            leg_no=1,
            role=self.role,
            psn_no=self.psn_no,
            area=self.area,
            past_fen=past_fen,
            current_fen=current_fen,
            authorisation_id=None,
            floor_fen=0,
            floor_parts=(),
        )
        return Payment(
            payment_id=payment_id,
            kind=PaymentKind.CREDIT,
            state=State.COMMITTED,
            key=self.key,
            request_hash=request_hash("credit", self.psn_no, self.role.value, past_fen, current_fen),
            psn_no=self.psn_no,
            year=year,
            legs=(leg,),
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A row that is durable and certain to arrive; ``existed``: it was so before."""

    payment: Payment
    existed: bool

    @property
    def is_booked(self) -> bool:
        """Whether its ledger has said that it is done."""
        return self.payment.is_answerable


@dataclass(frozen=True, slots=True)
class Credited:
    """The account was credited once for this row id; ``balance`` is the account right after it.

    ``balance.exists`` is false when the account is closed and the money waits in the area's suspense.
    """

    payment: Payment
    balance: Balance


async def credit(engine: Engine, row: CreditRow) -> Credited:
    """Credits an account, once for each (area, row_id).

    Failures: as ``check_holder`` has them, unless the row was accepted before: then its answer stands, whatever has
    become of the person since; KEY_REUSED_WITH_OTHER_CONTENT; PAYMENT_IN_PROGRESS (stored and certain to arrive, but
    the ledger has not answered within the call's time).
    """
    (refusal,) = await _refusals(engine, [row])
    if refusal is not None:
        raise refusal
    return await credit_unchecked(engine, row)


async def credit_unchecked(engine: Engine, row: CreditRow) -> Credited:
    """As ``credit``, for a caller who knows that the person may have such an account there."""
    (accepted,) = await engine.own(_accepted(engine, [row]))
    if isinstance(accepted, Failure):
        raise accepted
    payment = await engine.answer_of(accepted.payment)
    after = payment.account_after(1)
    if after is None:
        return Credited(payment, Balance(row.psn_no, row.role, row.area, False, 0, 0, 0, 0, payment.year, False))  # noqa: FBT003  In the order of the fields.
    return Credited(
        payment,
        Balance(
            psn_no=row.psn_no,
            role=row.role,
            area=row.area,
            exists=True,
            past_fen=after.past_fen,
            current_fen=after.current_fen,
            held_past_fen=after.held_past_fen,
            held_current_fen=after.held_current_fen,
            year=after.year,
            frozen=after.frozen,
        ),
    )


async def credit_all(engine: Engine, rows: Sequence[CreditRow]) -> list[Accepted | Failure]:
    """Credits every row for itself, as ``credit`` does each; in their order, what became of it.

    All that may be accepted is stored in one transaction; then each row's ledger is waited for as long as the call has
    time. A row that is not booked by then is certain to arrive, and the same call again tells that it has.
    """
    refusals = await _refusals(engine, rows)
    passed = [row for row, refusal in zip(rows, refusals, strict=True) if refusal is None]
    accepted = await engine.own(_accepted(engine, passed)) if passed else []
    waited = iter(await asyncio.gather(*(_booked(engine, each) for each in accepted)))
    return [next(waited) if refusal is None else refusal for refusal in refusals]


async def _booked(engine: Engine, accepted: Accepted | Failure) -> Accepted | Failure:
    """The row once its ledger has answered; as it stands if the call's time is over, or a person must look at it."""
    if isinstance(accepted, Failure) or accepted.payment.quarantine:
        return accepted
    try:
        return Accepted(await engine.answer_of(accepted.payment), accepted.existed)
    except Failure as failure:
        if failure.reason != IN_PROGRESS:
            raise
        return accepted


async def _refusals(engine: Engine, rows: Sequence[CreditRow]) -> list[Failure | None]:
    """By place: why a row that nobody has accepted yet must not be."""
    async with engine.database.driver_connection() as connection:
        known = await payments.taken_keys(connection, [row.key for row in rows])
        asked = [place for place in range(len(rows)) if place not in known]
        found = await holders.refusals(
            connection, [rows[place].holding for place in asked], now=await payments.now(connection)
        )
    refused = dict(zip(asked, found, strict=True))
    return [refused.get(place) for place in range(len(rows))]


async def _accepted(engine: Engine, rows: Sequence[CreditRow]) -> list[Accepted | Failure]:
    """The rows' payments, made now or before, and driven on; KEY_REUSED_WITH_OTHER_CONTENT in the place of a row."""
    keys, traceparent = [row.key for row in rows], telemetry.traceparent()
    async with engine.database.driver_transaction() as connection:
        # The year in which they are accepted, by the database's clock: a repetition keeps it.
        made = _made(engine, rows, await payments.now(connection))
        fresh = await store.insert(connection, made, epoch=engine.epoch, traceparent=traceparent, lease=engine.lease)
        known = await payments.taken_keys(connection, keys) if len(fresh) < len(rows) else {}
        events = [
            account_credited(row, occurred_at=row.decided_at, traceparent=traceparent)
            for row in fresh.values()
            if row.decided_at is not None
        ]
        await put_driver(connection, events)
        fault_point("settlement.account_credit.before_commit")
    fault_point("settlement.account_credit.after_commit")
    accepted: list[Accepted | Failure] = []
    for place, asked in enumerate(made):
        stands = fresh.get(asked.payment_id) or known.get(place)
        if stands is None:
            raise AssertionError("a credit's key is taken and stands for nothing")
        try:
            check_same_request(stands, asked.request_hash)
        except Failure as failure:
            accepted.append(failure)
        else:
            engine.take_up(stands)
            accepted.append(Accepted(stands, existed=asked.payment_id not in fresh))
    return accepted


def _made(engine: Engine, rows: Sequence[CreditRow], now: datetime) -> list[Payment]:
    year = business_year(now)
    return [row.payment(PaymentId(engine.new_id()), year) for row in rows]
