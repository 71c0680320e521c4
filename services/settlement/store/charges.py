"""The row of a charge as it begins: a settlement's, without a plan and without a patient's year."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Final

from services.settlement.domain.plan import leg_document
from services.settlement.saga.payment import Payment
from services.settlement.store.payments import Connection, check_serving

_BEGIN: Final = """
INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, legs,
                      amount_fen, epoch, traceparent, deadline_at, next_drive_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13, now() + $14::interval, now() + $14::interval
FROM coordinator c WHERE c.epoch = $12 AND c.restoring_since IS NULL
ON CONFLICT DO NOTHING
RETURNING created_at, deadline_at"""


async def insert_trying(
    connection: Connection, payment: Payment, *, epoch: int, traceparent: str, vote_deadline: timedelta
) -> Payment | None:
    """Inserts a charge; None if its key is taken: read what it stands for.

    COORDINATOR_RESTORING as ``check_serving`` has it, judged by the insert itself (``insert_decided``).
    """
    row = await connection.fetchrow(
        _BEGIN,
        payment.payment_id,
        payment.kind.value,
        payment.state.value,
        *payment.key,
        payment.request_hash,
        payment.psn_no,
        payment.year,
        json.dumps([leg_document(leg) for leg in payment.legs]),
        payment.amount_fen,
        epoch,
        traceparent,
        vote_deadline,
    )
    if row is None:
        await check_serving(connection, epoch)
        return None
    return replace(payment, created_at=row["created_at"], deadline_at=row["deadline_at"])
