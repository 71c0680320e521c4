"""The rows of credits, which begin decided: any number in one statement, each under its own key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from kernel.ids import PaymentId
from services.settlement.domain.payment import CREDIT_INFNO
from services.settlement.domain.plan import leg_document
from services.settlement.saga.payment import Payment
from services.settlement.store.payments import Connection, check_serving

_INSERT: Final = f"""
INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, legs,
                      amount_fen, epoch, traceparent, decided_at, next_drive_at)
SELECT q.payment_id, 'CREDIT', 'COMMITTED', q.area, '{CREDIT_INFNO}', q.row_id, q.request_hash, q.psn_no, q.year,
       q.legs::jsonb, q.amount_fen, $9, $10, clock_timestamp(), now() + $11::interval
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::bytea[], $5::text[], $6::smallint[], $7::text[], $8::bigint[])
         AS q (payment_id, area, row_id, request_hash, psn_no, year, legs, amount_fen)
JOIN coordinator c ON c.epoch = $9 AND c.restoring_since IS NULL
ORDER BY q.area, q.row_id  -- Two calls with the same rows must not wait for each other.
ON CONFLICT DO NOTHING
RETURNING payment_id, created_at, decided_at"""  # noqa: S608  A constant.


async def insert(
    connection: Connection, credits_: Sequence[Payment], *, epoch: int, traceparent: str, lease: timedelta
) -> dict[PaymentId, Payment]:
    """Inserts credits; those that were, as they stand now. The key of any other is taken: read what it stands for.

    COORDINATOR_RESTORING as ``check_serving`` has it, judged by the insert itself (``insert_decided``).
    """
    if not credits_:
        return {}
    columns = [
        (
            credit.payment_id,
            credit.key.fixmedins_code,
            credit.key.msgid,
            credit.request_hash,
            credit.psn_no,
            credit.year,
            json.dumps([leg_document(leg) for leg in credit.legs]),
            credit.amount_fen,
        )
        for credit in credits_
    ]
    rows = await connection.fetch(_INSERT, *map(list, zip(*columns, strict=True)), epoch, traceparent, lease)
    if not rows:
        await check_serving(connection, epoch)
    times = {row["payment_id"]: row for row in rows}
    return {
        credit.payment_id: replace(credit, created_at=row["created_at"], decided_at=row["decided_at"])
        for credit in credits_
        if (row := times.get(credit.payment_id)) is not None
    }
