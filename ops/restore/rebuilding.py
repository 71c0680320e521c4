"""Makes the coordinator's rows anew from what the ledgers kept, and decides what the ledgers prove.

Every decision goes through the statements that a coordinator decides with, so its event, the patient's version and
the plan's digest are what they were. Each payment is one transaction or two, and all of it may be run again.
"""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from chassis.clock import DatabaseClock
from chassis.outbox import OutgoingEvent, put_driver
from kernel.clock import SystemClock
from kernel.ids import AdmDvs, FixmedinsCode, PaymentId, PlanId
from ops.consent import Change, Consent, record
from ops.restore.comparing import Difference, Item
from ops.sources import CannotMendError, Sources
from services.settlement.domain.bill import Bill
from services.settlement.domain.payment import PRE_SETTLE_OF, PREMIUM_INFNO, is_of_charge
from services.settlement.domain.plan import Plan, PlannedVisit, ResultAmounts, leg_document
from services.settlement.domain.split import Role
from services.settlement.operations.rows import Rows, WriteAsked
from services.settlement.saga.coordinator import Write
from services.settlement.saga.payment import CANCELLED, VOTE_DEADLINE_PASSED, Payment, PaymentKind, State
from services.settlement.saga.restoring import UNCLEAR, Found, Verdict
from services.settlement.store import payments as store
from services.settlement.store import plans, premiums, stays
from services.settlement.wire.events import account_credited, bill_refunded, premium_revoked
from services.settlement.wire.origin import Origin

NEVER: Final = datetime(9999, 1, 1, tzinfo=UTC)
"""A settlement that a person must decide has no deadline and is never driven."""
LEASE: Final = timedelta(seconds=1)
FIGURES_LOST: Final = "RESTORED_WITHOUT_FIGURES"
"""The policy version of a plan that no ledger had kept: its legs are true, the bill's other figures are lost."""

_INSERT_PLAN: Final = """
    INSERT INTO plans (plan_id, digest, psn_no, year, patient_version, fixmedins_code, infno, legs, amount_fen,
                       document, created_at, expires_at, insutype, pool, deductible_fen, fund_fen, large_fen)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, $9, $10::jsonb, $11::timestamptz,
            $11::timestamptz + interval '1 second', $12, $13, $14, $15, $16)
    ON CONFLICT DO NOTHING"""
_ENSURE_YEAR: Final = "INSERT INTO patient_years (psn_no, year, version) VALUES ($1, $2, 0) ON CONFLICT DO NOTHING"
_INSERT_UNDECIDED: Final = """
    INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, plan_id,
                          legs, amount_fen, quarantine, epoch, created_at, deadline_at, next_drive_at, accept_by,
                          pending_at)
    SELECT $1, $2::text, 'TRYING', $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, c.epoch, $13, $14, $14,
           CASE $2::text WHEN 'TRANSFER' THEN $14::timestamptz END, CASE $2::text WHEN 'TRANSFER' THEN now() END
      FROM coordinator c
    ON CONFLICT DO NOTHING RETURNING payment_id"""
_PUT_ASIDE: Final = """
    UPDATE payments SET quarantine = $2, deadline_at = $3, next_drive_at = $3,
                        pending_at = CASE kind WHEN 'TRANSFER' THEN coalesce(pending_at, now()) END
     WHERE payment_id = $1 AND state = 'TRYING'"""
_INSERT_DECIDED: Final = """
    INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year,
                          original_id, legs, amount_fen, epoch, created_at, decided_at)
    SELECT $1, $2, 'COMMITTED', $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, c.epoch, $12, $13 FROM coordinator c
    ON CONFLICT DO NOTHING RETURNING payment_id"""

# What is told of it, and the year in which it may be taken back, are those of the decision that was lost.
_DECIDED_AT: Final = "UPDATE payments SET decided_at = $2 WHERE payment_id = $1 AND decided_at > $2"


class Rebuilder:
    """Carries a comparison's items out, one after the other."""

    def __init__(self, sources: Sources, consent: Consent, command: str) -> None:
        self._sources = sources
        self._consent = consent
        self._command = command
        self._clock = DatabaseClock(sources.coordinator, SystemClock())
        self._rows = Rows(
            sources.coordinator, clock=self._clock, epoch=0, vote_deadline=LEASE, lease=LEASE, restores=True
        )

    async def settlement(self, item: Item) -> None:
        """A lost or undecided settlement: its row, then the decision that is proved, or put aside for a person."""
        if item.origin is not None and not item.stored:
            await self._insert_undecided(item, item.origin)
        else:
            await self._put_aside(item)
        if item.verdict in {Verdict.COMMIT, Verdict.ABORT}:
            await self.decide(item, commit=item.verdict is Verdict.COMMIT)

    async def decide(self, item: Item, *, commit: bool) -> None:
        """TRYING → COMMITTED or ABORTED by compare-and-set, with its audit record before it."""
        async with self._sources.coordinator.driver_transaction() as connection:
            payment = await store.by_id(connection, PaymentId(item.payment_id))
            if payment is None or payment.state is not State.TRYING:
                raise CannotMendError(f"payment {item.payment_id} has moved on by itself meanwhile")
            to = State.COMMITTED if commit else State.ABORTED
            change = Change(item.payment_id, {"state": item.stored or None}, {"state": to.value})
            await record(connection, self._command, self._consent, [change])
        # A transfer whose receiver was asked stands so in its row, and the compare-and-set looks at it.
        write = replace(_commit(item) if commit else _abort(item), expected_pending=payment.pending_accept)
        await self._clock.sync()
        outcome = (await self._rows.decide([WriteAsked(write, payment, None, "")]))[0]
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome.state is not to:
            raise CannotMendError(f"payment {item.payment_id} is {outcome.state.value} and could not be decided")
        booked = [branch.decided_at for branch in item.branches.values() if branch.state == "CONFIRMED"]
        if commit and (times := [one for one in booked if one is not None]):
            async with self._sources.coordinator.driver_connection() as connection:
                await connection.execute(_DECIDED_AT, item.payment_id, min(times))

    async def _insert_undecided(self, item: Item, origin: Origin) -> None:
        """The row and its plan, in no state that anybody drives or answers from."""
        created_at = origin.created_at or min(branch.created_at for branch in item.branches.values())
        async with self._sources.coordinator.driver_transaction() as connection:
            if origin.kind is PaymentKind.SETTLE and origin.plan_id is not None:
                plan = Plan.of_document(origin.plan) if origin.plan is not None else _substitute(origin, origin.plan_id)
                await _insert_plan(connection, plan, created_at)
                await connection.execute(_ENSURE_YEAR, origin.psn_no, origin.year)
            inserted = await connection.fetchval(
                _INSERT_UNDECIDED,
                item.payment_id,
                origin.kind.value,
                *origin.key,
                origin.request_hash,
                origin.psn_no,
                origin.year,
                origin.plan_id,
                json.dumps([leg_document(leg) for leg in origin.legs]),
                item.amount_fen,
                UNCLEAR,
                created_at,
                NEVER,
            )
            if inserted is not None:
                await stays.record(connection, PaymentId(item.payment_id))
            if inserted is not None and is_of_charge(origin.key):
                await _charged(connection, PaymentId(item.payment_id))
            if inserted is None and await store.by_id(connection, PaymentId(item.payment_id)) is None:
                raise CannotMendError(
                    f"the key {item.key} stands for another payment here: settlement processes worked on the restored "
                    f"database before `restore begin`. Payment {item.payment_id} needs a person"
                )
            change = Change(item.payment_id, {"row": None}, {"row": "TRYING", "quarantine": UNCLEAR})
            await record(connection, self._command, self._consent, [change])

    async def _put_aside(self, item: Item) -> None:
        async with self._sources.coordinator.driver_transaction() as connection:
            await connection.execute(_PUT_ASIDE, item.payment_id, UNCLEAR, NEVER)
            if item.verdict is Verdict.UNCLEAR:
                change = Change(item.payment_id, {"quarantine": ""}, {"quarantine": UNCLEAR})
                await record(connection, self._command, self._consent, [change])

    async def booked(self, item: Item) -> None:
        """A credit or refund that was lost: its row as it was decided; every ledger is sent it again and answers."""
        origin = item.origin
        if origin is None:
            raise AssertionError("a row cannot be made from nothing")
        booked_at = min(one.booked_at for one in item.credits.values())
        payment = Payment(
            payment_id=PaymentId(item.payment_id),
            kind=origin.kind,
            state=State.COMMITTED,
            key=origin.key,
            request_hash=origin.request_hash,
            psn_no=origin.psn_no,
            year=origin.year,
            legs=origin.legs,
            original_id=origin.original_id,
            created_at=origin.created_at or booked_at,
            decided_at=booked_at,
        )
        async with self._sources.coordinator.driver_transaction() as connection:
            event = await self._event(connection, payment, booked_at)
            inserted = await connection.fetchval(
                _INSERT_DECIDED,
                payment.payment_id,
                payment.kind.value,
                *payment.key,
                payment.request_hash,
                payment.psn_no,
                payment.year,
                payment.original_id,
                json.dumps([leg_document(leg) for leg in payment.legs]),
                payment.amount_fen,
                payment.created_at,
                booked_at,
            )
            if inserted is None:
                raise CannotMendError(
                    f"{item.key} or its original stands for another row here: {item.payment_id} needs a person"
                )
            if is_of_charge(payment.key):
                await premiums.judge_anew(connection, payment.key)
            elif payment.kind is PaymentKind.REFUND and payment.psn_no is not None:
                await store.lock_patients(connection, [(payment.psn_no, payment.year)])
                await store.move_patient_on(connection, payment.psn_no, payment.year)
            await put_driver(connection, [event])
            change = Change(item.payment_id, {"row": None}, {"row": f"{payment.kind.value} COMMITTED"})
            await record(connection, self._command, self._consent, [change])

    async def _event(self, connection: Any, payment: Payment, booked_at: datetime) -> OutgoingEvent:  # noqa: ANN401  Untyped driver.
        if payment.kind is not PaymentKind.REFUND or payment.original_id is None:
            return account_credited(payment, occurred_at=booked_at)
        if is_of_charge(payment.key):
            return premium_revoked(payment, occurred_at=booked_at)
        original = await store.by_id(connection, payment.original_id)
        plan = (
            None if original is None or original.plan_id is None else await plans.document(connection, original.plan_id)
        )
        if plan is None:
            raise CannotMendError(f"the original of refund {payment.payment_id} is unknown: it needs a person")
        return bill_refunded(payment, plan, occurred_at=booked_at)


async def _charged(connection: Any, payment_id: PaymentId) -> None:  # noqa: ANN401  Untyped driver.
    """What stood beside a charge: its key says whose year it pays. What its payer is to him no ledger has kept."""
    payment = await store.by_id(connection, payment_id)
    if payment is None:
        raise LookupError(f"charge {payment_id} was made anew and is not there")
    if payment.key.infno != PREMIUM_INFNO:
        return  # A claim that has lost its approval is approved anew, and finds what was taken for it.
    await premiums.record(connection, payment, relation="", ended=True)
    await premiums.judge_anew(connection, payment.key)


def rebuilt_first(item: Item) -> int:
    """Settlements before what gives them back."""
    return [Difference.LOST_SETTLEMENT, Difference.UNDECIDED, Difference.LOST_CREDIT, Difference.LOST_REFUND].index(
        item.difference
    )


def _commit(item: Item) -> Write:
    balances = tuple(after for branch in item.branches.values() for after in branch.balances)
    return Write(PaymentId(item.payment_id), State.TRYING, State.COMMITTED, balances_after=balances)


def _abort(item: Item) -> Write:
    """With the reason that a ledger gave; that of a silent one where a ledger was never asked."""
    refused = next((branch for branch in item.branches.values() if branch.refusal_reason), None)
    if refused is not None:
        reason, leg_no = refused.refusal_reason, refused.refusal_leg_no
    elif Found.NONE.value in item.found.values():
        reason, leg_no = VOTE_DEADLINE_PASSED, 0
    else:
        reason, leg_no = CANCELLED, 0
    return Write(PaymentId(item.payment_id), State.TRYING, State.ABORTED, reason=reason, refused_leg_no=leg_no)


async def _insert_plan(connection: Any, plan: Plan, created_at: datetime) -> None:  # noqa: ANN401  Untyped driver.
    """The plan as it was stored; it can no longer be paid by anybody else."""
    await connection.execute(
        _INSERT_PLAN,
        plan.plan_id,
        plan.digest,
        plan.visit.psn_no,
        plan.year,
        plan.patient_version,
        plan.visit.fixmedins_code,
        plan.visit.infno,
        json.dumps([leg_document(leg) for leg in plan.legs]),
        sum(leg.amount_fen for leg in plan.legs),
        json.dumps(plan.document(), ensure_ascii=False),
        created_at,
        *plans.use_columns(plan),
    )


def _substitute(origin: Origin, plan_id: PlanId) -> Plan:
    """A plan whose legs are true and whose other figures no ledger had kept: what the accounts paid, and no more."""
    by_role = {role: sum(leg.amount_fen for leg in origin.legs if leg.role is role) for role in Role}
    total_fen = sum(leg.amount_fen for leg in origin.legs)
    nothing = ResultAmounts(**{amount.name: 0 for amount in fields(ResultAmounts)})
    own = [leg for leg in origin.legs if leg.role is Role.OWN]
    amounts = replace(
        nothing,
        medfee_sumamt=total_fen,
        inscp_scp_amt=total_fen,
        psn_part_amt=total_fen,
        acct_pay=by_role[Role.OWN] + by_role[Role.FUNDER],
        acct_mulaid_pay=by_role[Role.FUNDER],
        wallet_pay=by_role[Role.WALLET],
        own_past_fen=sum(leg.past_fen for leg in own),
        own_current_fen=sum(leg.current_fen for leg in own),
    )
    return Plan(
        plan_id=plan_id,
        visit=PlannedVisit(
            fixmedins_code=FixmedinsCode(origin.key.fixmedins_code),
            infno=PRE_SETTLE_OF[origin.key.infno],
            mdtrt_id="",
            med_type="",
            psn_no=origin.psn_no,
            psn_name_masked="*",
            insutype="",
            insuplc_admdvs=AdmDvs(origin.legs[0].area),
            bill=Bill(total_fen, 0, 0, 0, total_fen),
        ),
        year=origin.year,
        patient_version=0,
        policy_version=FIGURES_LOST,
        own_balance_fen=None,
        amounts=amounts,
        legs=origin.legs,
        funders=(),
        skipped=(),
    )
