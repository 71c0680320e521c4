"""Plans that no longer hold: whether one was paid, and the refusal of a settlement that never began."""

from __future__ import annotations

import json
from typing import Final

from kernel.ids import PaymentId, PlanId
from services.settlement.domain.plan import leg_document
from services.settlement.saga.payment import Payment
from services.settlement.store.payments import Connection, check_serving

_PAID_BY: Final = """
SELECT p.payment_id FROM payments p
WHERE p.fixmedins_code = $1 AND p.kind IN ('SETTLE', 'REFUND') AND p.state IN ('COMMITTED', 'DONE')
    AND p.decided_at >= $2 AND p.plan_id = $3
    AND NOT EXISTS (SELECT FROM payments r WHERE r.original_id = p.payment_id)
LIMIT 1"""
_BEING_PAID_BY: Final = """
SELECT p.payment_id FROM payments p
WHERE p.psn_no = $1 AND p.kind = 'SETTLE' AND p.state = 'TRYING' AND p.quarantine <> 'RESTORED_UNCLEAR'
    AND p.plan_id = $2"""
_PLAN: Final = "SELECT psn_no, fixmedins_code, created_at FROM plans WHERE plan_id = $1"


async def paid_by(connection: Connection, plan_id: PlanId) -> PaymentId | None:
    """The settlement that has paid a plan, or is about to, and was not taken back; None if there is none.

    There is no index of plans. It is looked for among what its institution was paid since the plan was made, by the
    database's clock: what a terminal thinks of the time, a msgid says, and that may be months off.
    """
    plan = await connection.fetchrow(_PLAN, plan_id)
    if plan is None:
        return None
    # In this order: what is under way at the first look may be paid at the second, and never the other way round.
    found: PaymentId | None = await connection.fetchval(_BEING_PAID_BY, plan["psn_no"], plan_id)
    if found is None:
        found = await connection.fetchval(_PAID_BY, plan["fixmedins_code"], plan["created_at"], plan_id)
    return found


_INSERT_STALE: Final = """
INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, plan_id, legs,
                      amount_fen, reason, replanned, replan_plan_id, epoch, traceparent, deadline_at, decided_at,
                      finished_at)
SELECT $1, 'SETTLE', 'CLOSED', $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10, $11, true, $12, $13, $14, now(), now(), now()
FROM coordinator c WHERE c.epoch = $13 AND c.restoring_since IS NULL
ON CONFLICT DO NOTHING
RETURNING payment_id"""


async def insert_stale(connection: Connection, refused: Payment, *, epoch: int, traceparent: str) -> None:
    """Stores a refusal that came before anything began, with its answer; nothing where the key is taken by now.

    COORDINATOR_RESTORING as ``insert_decided`` has it.
    """
    stored = await connection.fetchval(
        _INSERT_STALE,
        refused.payment_id,
        *refused.key,
        refused.request_hash,
        refused.psn_no,
        refused.year,
        refused.plan_id,
        json.dumps([leg_document(leg) for leg in refused.legs]),
        refused.amount_fen,
        refused.reason,
        refused.replan_plan_id,
        epoch,
        traceparent,
    )
    if stored is None:
        await check_serving(connection, epoch)
