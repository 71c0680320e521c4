"""What a partial return of goods would do, shown before it is done: revoke the whole, settle the rest.

Between the two the money that went back is its owners' again. So the rest is planned twice: with all of it still there,
and with none of it. Nothing is moved or stored, and neither plan can be paid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from kernel.clock import business_month
from kernel.failures import Failure
from kernel.ids import AdmDvs, PaymentId, PlanId
from kernel.money import Fen
from kernel.values import value
from services.settlement.clients import LedgerClient
from services.settlement.domain.payment import REVOKES, SETTLES, Key, request_hash
from services.settlement.domain.plan import Plan
from services.settlement.domain.returning import GivenBack, check_rest
from services.settlement.domain.split import Role
from services.settlement.domain.visit import Presented
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import window_of
from services.settlement.operations.planning import AREA_UNREACHABLE, Desk, pre_settle
from services.settlement.saga.payment import Payment
from services.settlement.saga.requests import revoke
from services.settlement.store import payments as store
from services.settlement.store import plans

_REVOKED_WITH: Final = {settles: revokes for revokes, settles in REVOKES.items()}


@value
class PlannedReturn:
    """The settlement as it stands, the rest with its money back and without, and what no account can take any more."""

    original: Payment
    plan: Plan
    expected: Plan
    at_worst: Plan
    to_suspense_fen: Fen


async def plan_return(
    desk: Desk, engine: Engine, *, setl_id: PaymentId, rest: Presented, new_id: Callable[[], UUID], now: datetime
) -> PlannedReturn:
    """Whether the settlement could be revoked now, and what its rest would cost then.

    Failures: those of ``saga.requests.revoke`` (SETTLEMENT_UNKNOWN, PAYMENT_IN_PROGRESS, SETTLEMENT_NOT_PAID,
    ALREADY_REVOKED, REVOKE_WINDOW_CLOSED), of ``check_rest`` and of ``pre_settle``; COORDINATOR_RESTORING.
    """
    engine.check_serving()
    original, plan = await _revocable(desk, setl_id, rest)
    check_rest(plan, settled_with=original.key.infno, rest=rest)
    began_at = original.created_at or now
    given_back = GivenBack(original.legs, original.year, business_month(began_at), plan.use)
    expected = await pre_settle(desk, visit=rest, plan_id=PlanId(new_id()), now=now, trial=given_back)
    spent = replace(given_back, is_spent=True)
    at_worst = await pre_settle(desk, visit=rest, plan_id=PlanId(new_id()), now=now, trial=spent)
    lost = await asyncio.gather(*(_without_account(desk.ledgers, original, area) for area in original.areas))
    return PlannedReturn(original, plan, expected.plan, at_worst.plan, sum(lost))


async def _revocable(desk: Desk, setl_id: PaymentId, rest: Presented) -> tuple[Payment, Plan]:
    async with desk.database.driver_connection() as connection:
        original = await store.by_id(connection, setl_id)
        live = None if original is None else await store.live_refund(connection, setl_id)
        settled_with = original.key.infno if original is not None and original.key.infno in SETTLES else "2207"
        # What a revocation would be told now is what is told here; the refund it would write is not written.
        revoke(
            original,
            live,
            key=Key(rest.fixmedins_code, _REVOKED_WITH[settled_with], ""),
            request_hash=request_hash("return", setl_id.bytes),
            refund_id=setl_id,
            now=await store.now(connection),
            window=await window_of(connection, original, desk.policies),
        )
        plan_id = None if original is None else original.plan_id
        document = None if plan_id is None else await plans.document(connection, plan_id)
    if original is None or document is None:
        raise LookupError(f"the plan of settlement {setl_id} is missing")
    return original, Plan.of_document(document, legs=original.legs)


async def _without_account(ledgers: LedgerClient, original: Payment, area: AdmDvs) -> Fen:
    """What would go to one area's suspense; nothing where the area does not answer now."""
    legs = original.legs_at(area)
    asked = [(leg.psn_no, Role.WALLET if leg.role is Role.WALLET else Role.OWN) for leg in legs]
    try:
        balances, _ = await ledgers.balances(area, asked)
    except Failure as failure:
        if failure.reason != AREA_UNREACHABLE:
            raise
        return 0
    return sum(leg.amount_fen for leg, balance in zip(legs, balances, strict=True) if not balance.exists)
