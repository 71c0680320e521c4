"""A settlement's refund: all that decides whether it may be, in one statement; all that it writes, in another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final

from chassis.db import announce_commit
from chassis.outbox import COLUMNS, OutgoingEvent, row_of
from kernel.ids import PaymentId, PsnNo
from kernel.values import value
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import leg_document
from services.settlement.saga.payment import Payment
from services.settlement.store.payments import PAYMENT_COLUMNS, Connection, check_serving, payment_of

_STANDS: Final = f"""
SELECT c.now, c.cleared_until, f.*
FROM (SELECT clock_timestamp() AS now, (SELECT max(ends_at) FROM clearing_runs) AS cleared_until) AS c
LEFT JOIN (
    SELECT 'key' AS found_as, NULL AS merged_into, NULL::jsonb AS plan, {PAYMENT_COLUMNS}
    FROM payments p WHERE (p.fixmedins_code, p.infno, p.msgid) = ($2, $3, $4)
    UNION ALL
    SELECT 'original', (SELECT m.merged_into FROM persons m WHERE m.psn_no = ANY (ARRAY[p.psn_no]) FOR SHARE),
           (SELECT l.document FROM plans l WHERE l.plan_id = ANY (ARRAY[p.plan_id])), {PAYMENT_COLUMNS}
    FROM payments p WHERE p.payment_id = $1
    UNION ALL
    SELECT 'refund', NULL, NULL, {PAYMENT_COLUMNS} FROM payments p WHERE p.original_id = $1
) AS f ON true"""  # noqa: S608  Constants.
_EVENT_TYPES: Final = ("uuid", "text", "bigint", "text", "bytea", "text", "timestamptz")
_EVENT: Final = ", ".join(f"${number}::{name}" for number, name in enumerate(_EVENT_TYPES, start=19))
_GIVE_BACK: Final = f"""
WITH patients AS MATERIALIZED (  -- Before the payments, in the order of all who lock them (``store.payments``).
    SELECT y.psn_no, y.year FROM unnest($16::text[], $17::smallint[]) AS q (psn_no, year)
    JOIN patient_years y ON y.psn_no = ANY (ARRAY[q.psn_no]) AND y.year = q.year
    ORDER BY q.psn_no, q.year FOR UPDATE OF y
), given AS (
    INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year,
                          original_id, legs, amount_fen, epoch, traceparent, decided_at, next_drive_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, $12, $13, $14, $18, now() + $15::interval
    FROM coordinator c WHERE c.epoch = $13 AND c.restoring_since IS NULL AND (SELECT count(*) FROM patients) >= 0
    ON CONFLICT DO NOTHING
    RETURNING created_at, decided_at
), moved AS (
    UPDATE patient_years y SET version = y.version + 1
    FROM patients q WHERE y.psn_no = ANY (ARRAY[q.psn_no]) AND y.year = q.year AND EXISTS (SELECT FROM given)
), told AS (
    INSERT INTO outbox ({COLUMNS}) SELECT {_EVENT} FROM given
)
SELECT created_at, decided_at FROM given"""  # noqa: S608  Constants.


@value
class Stands:
    """What a revocation finds, all at one moment."""

    now: datetime
    """By the database's clock, by which windows are judged (rule 9)."""
    cleared_until: datetime | None
    """The end of the last period that was cleared; None where none was."""
    by_key: Payment | None
    """What its own key stands for."""
    original: Payment | None
    plan: dict[str, Any] | None
    """The original's, in JSON's terms."""
    merged_into: PsnNo | None
    """The number that counts instead of the original's patient; nobody merges it until the transaction ends."""
    refund: Payment | None
    """The original's live one."""


async def stands(connection: Connection, original_id: PaymentId | None, key: Key) -> Stands:
    """What decides on giving back this settlement under this key, in a transaction that goes on."""
    rows = await connection.fetch(_STANDS, original_id, *key)
    found = {row["found_as"]: row for row in rows if row["found_as"] is not None}
    payments = {name: payment_of(row) for name, row in found.items()}
    original = found.get("original")
    return Stands(
        now=rows[0]["now"],
        cleared_until=rows[0]["cleared_until"],
        by_key=payments.get("key"),
        original=payments.get("original"),
        plan=None if original is None else original["plan"],
        merged_into=None if original is None else original["merged_into"],
        refund=payments.get("refund"),
    )


async def give_back(
    connection: Connection,
    refund: Payment,
    patients: Sequence[tuple[PsnNo, int]],
    event: OutgoingEvent,
    *,
    epoch: int,
    traceparent: str,
    lease: timedelta,
    decided_at: datetime,
) -> Payment | None:
    """Writes a refund with its fact, and moves the ``patients``' years on: plans made before it are stale.

    What a double has used counts for the number that stands for it, and so does what it gets back: both are patients.
    None, and nothing is written, if its key is taken or its original has a live refund: read again.
    COORDINATOR_RESTORING as ``insert_decided`` has it.
    """
    row = await connection.fetchrow(
        _GIVE_BACK,
        refund.payment_id,
        refund.kind.value,
        refund.state.value,
        *refund.key,
        refund.request_hash,
        refund.psn_no,
        refund.year,
        refund.original_id,
        json.dumps([leg_document(leg) for leg in refund.legs]),
        refund.amount_fen,
        epoch,
        traceparent,
        lease,
        [psn_no for psn_no, _ in patients],
        [year for _, year in patients],
        decided_at,
        *row_of(event),
    )
    if row is None:
        await check_serving(connection, epoch)
        return None
    announce_commit(connection)
    return replace(refund, created_at=row["created_at"], decided_at=row["decided_at"])
