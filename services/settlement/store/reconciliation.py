"""Our books by institution and day, and the institution's beside them: statements on the raw connection, page by page.

No statement looks at more than a page, so none is long, however many records a day has.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from chassis.db import violated_constraint
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.values import value
from services.settlement.domain.payment import REVERSAL_PREFIX
from services.settlement.domain.reconciliation import (
    AMOUNTS,
    Amounts,
    Group,
    OurRecord,
    Period,
    Record,
    Standing,
    Total,
    fallback_id,
)
from services.settlement.saga.payment import PAID_STATES, REVERSED, PaymentKind, State

Connection: TypeAlias = Any
"""A raw asyncpg connection (the driver publishes no types)."""

PAGE_MAX: Final = 1_000
_OF_BILLS: Final = frozenset({"SETTLE", "REFUND", "TOMBSTONE"})
_NO_ID: Final = UUID(int=0)

# Our books. What a record says of its money is in its plan; a refund says its original's, negated.

_OF_PLAN: Final = f"""
LEFT JOIN payments o ON o.payment_id = ANY (ARRAY[p.original_id])
LEFT JOIN plans l ON l.plan_id = ANY (ARRAY[coalesce(p.plan_id, o.plan_id)])
LEFT JOIN LATERAL jsonb_to_record(l.document -> 'amounts') AS a ({", ".join(f"{name} BIGINT" for name in AMOUNTS)})
    ON true"""
_OURS: Final = f"""
p.payment_id, p.kind, p.state, p.reason, p.infno AS ours_infno, p.msgid AS ours_msgid, p.clr_type AS ours_clr_type,
p.decided_at, l.document -> 'visit' ->> 'insutype' AS ours_insutype,
{", ".join(f"a.{name} AS ours_{name}" for name in AMOUNTS)}"""
_PAGE: Final = """
SELECT p.payment_id, p.decided_at FROM payments p
WHERE p.fixmedins_code = $1 AND p.kind IN ('SETTLE', 'REFUND') AND p.state IN ('COMMITTED', 'DONE')
    AND p.decided_at < $2 AND (p.decided_at, p.payment_id) > ($3, $4)
ORDER BY p.decided_at, p.payment_id LIMIT $5"""
_TOTALS: Final = f"""
SELECT l.document -> 'visit' ->> 'insutype' AS insutype, p.clr_type, p.kind = 'REFUND' AS is_refund, count(*) AS count,
    {", ".join(f"sum(a.{name}) AS {name}" for name in AMOUNTS)}
FROM unnest($1::uuid[]) AS q (payment_id) JOIN payments p ON p.payment_id = ANY (ARRAY[q.payment_id]) {_OF_PLAN}
WHERE p.clr_type IS NOT NULL
GROUP BY 1, 2, 3"""  # noqa: S608  Constants.
_MISSING: Final = f"""
SELECT {_OURS}
FROM unnest($1::uuid[]) AS q (payment_id) JOIN payments p ON p.payment_id = ANY (ARRAY[q.payment_id]) {_OF_PLAN}
WHERE p.clr_type IS NOT NULL AND NOT EXISTS (
    SELECT FROM reconciliation_rows r WHERE r.upload_id = $2 AND r.record_id = ANY (ARRAY[q.payment_id]))
ORDER BY p.decided_at, p.payment_id"""  # noqa: S608  Constants.


@value
class Cursor:
    """How far our books were read: behind this record."""

    decided_at: datetime
    payment_id: UUID


@value
class BookPage:
    """Some records of ours, by id, in the order of our books; ``after`` leads on, None at the end."""

    payment_ids: list[UUID]
    after: Cursor | None


def beginning_of(period: Period) -> Cursor:
    """Before the period's first record."""
    return Cursor(period.begins, _NO_ID)


async def page_of_books(
    connection: Connection, fixmedins_code: str, *, after: Cursor, until: datetime, limit: int = PAGE_MAX
) -> BookPage:
    """The records of ours behind ``after`` that were decided before ``until``."""
    rows = await connection.fetch(_PAGE, fixmedins_code, until, after.decided_at, after.payment_id, limit)
    last = Cursor(rows[-1]["decided_at"], rows[-1]["payment_id"]) if len(rows) == limit else None
    return BookPage([row["payment_id"] for row in rows], last)


async def totals_of(connection: Connection, payment_ids: Sequence[UUID]) -> list[tuple[Group, Total]]:
    """What these records come to, by group; a group may come twice."""
    rows = await connection.fetch(_TOTALS, payment_ids)
    return [(Group(row["insutype"], row["clr_type"]), _total(row)) for row in rows]


async def missing_of(
    connection: Connection, payment_ids: Sequence[UUID], *, upload_id: UUID
) -> list[tuple[UUID, OurRecord]]:
    """Those of our records that the upload lacks."""
    rows = await connection.fetch(_MISSING, payment_ids, upload_id)
    return [(row["payment_id"], _ours(row)) for row in rows]


def _total(row: Any) -> Total:  # noqa: ANN401  Untyped driver.
    amounts = Amounts(*(int(row[name]) for name in AMOUNTS))
    if row["is_refund"]:
        return Total(row["count"], row["count"], amounts.negated())
    return Total(row["count"], 0, amounts)


def _ours(row: Any) -> OurRecord:  # noqa: ANN401  Untyped driver.
    state, kind = State(row["state"]), PaymentKind(row["kind"])
    if state is State.TRYING:
        return OurRecord(Standing.IN_PROGRESS, None, None)
    if state not in PAID_STATES:
        was_stopped = kind is PaymentKind.TOMBSTONE or row["reason"] == REVERSED
        return OurRecord(Standing.REVERSED if was_stopped else Standing.REFUSED, None, None)
    amounts = Amounts(*(row[f"ours_{name}"] for name in AMOUNTS))
    asked_for = not row["ours_infno"].startswith(REVERSAL_PREFIX)
    record = Record(
        setl_id=row["payment_id"],
        infno=row["ours_infno"] if asked_for else "",
        msgid=row["ours_msgid"] if asked_for else "",
        is_refund=kind is PaymentKind.REFUND,
        insutype=row["ours_insutype"],
        clr_type=row["ours_clr_type"],
        amounts=amounts.negated() if kind is PaymentKind.REFUND else amounts,
    )
    return OurRecord(Standing.SETTLED, record, business_date(row["decided_at"]))


# The institution's books.

_BEGIN: Final = """
INSERT INTO reconciliation_uploads (upload_id, fixmedins_code, stmt_date, rows_cnt, keep_until)
VALUES ($1, $2, $3, $4, now() + $5::interval)"""
_PUT_ROWS: Final = f"""
INSERT INTO reconciliation_rows (upload_id, record_id, row_no, setl_id, infno, msgid, is_refund, insutype, clr_type,
                                 {", ".join(AMOUNTS)})
SELECT $1, coalesce(q.setl_id, p.payment_id, q.fallback_id), q.row_no, q.setl_id, q.infno, q.msgid, q.is_refund,
       q.insutype, q.clr_type, {", ".join(f"q.{name}" for name in AMOUNTS)}
FROM unnest($3::reconciliation_row[])
     AS q (row_no, setl_id, fallback_id, infno, msgid, is_refund, insutype, clr_type, {", ".join(AMOUNTS)})
LEFT JOIN payments p
    ON p.fixmedins_code = ANY (ARRAY[CASE WHEN q.setl_id IS NULL THEN $2::text END])
    AND p.infno = q.infno AND p.msgid = q.msgid"""  # noqa: S608  Constants.
_COMPARE_BEGIN: Final = """
INSERT INTO reconciliation_days (fixmedins_code, stmt_date, comparing_id) VALUES ($1, $2, $3)
ON CONFLICT (fixmedins_code, stmt_date) DO UPDATE SET comparing_id = EXCLUDED.comparing_id"""
_HOLD_DAY: Final = """
SELECT comparing_id FROM reconciliation_days WHERE fixmedins_code = $1 AND stmt_date = $2 FOR UPDATE"""
_ROWS: Final = f"""
SELECT r.row_no, r.record_id, r.setl_id, r.infno, r.msgid, r.is_refund, r.insutype, r.clr_type,
    {", ".join(f"r.{name}" for name in AMOUNTS)}, p.fixmedins_code, {_OURS}
FROM reconciliation_rows r
LEFT JOIN payments p ON p.payment_id = ANY (ARRAY[r.record_id]) {_OF_PLAN}
WHERE r.upload_id = $1 AND r.row_no > $2 ORDER BY r.row_no LIMIT $3"""  # noqa: S608  Constants.
_FINISH: Final = """
UPDATE reconciliation_uploads SET state = 'COMPARED', digest = $2, ours_cnt = $3, compared_at = $4,
    keep_until = now() + $5::interval
WHERE upload_id = $1"""
_FINISH_DAY: Final = """
WITH before AS (
    SELECT d.compared_id FROM reconciliation_days d WHERE d.fixmedins_code = $1 AND d.stmt_date = $2
), moved AS (
    UPDATE reconciliation_days SET compared_id = $3 WHERE fixmedins_code = $1 AND stmt_date = $2
)
UPDATE reconciliation_uploads u SET keep_until = now() FROM before
WHERE u.upload_id = ANY (ARRAY[before.compared_id]) RETURNING u.digest"""
_LATEST: Final = """
SELECT u.upload_id, u.rows_cnt, u.compared_at
FROM reconciliation_days d JOIN reconciliation_uploads u ON u.upload_id = ANY (ARRAY[d.compared_id])
WHERE d.fixmedins_code = $1 AND d.stmt_date = $2"""


@value
class Upload:
    """An institution's records of one day on their way in."""

    upload_id: UUID
    fixmedins_code: str
    day: date


@value
class RowBeside:
    """A stated record, and what our books have under its id."""

    row_no: int
    record_id: UUID
    theirs: Record
    ours: OurRecord | None


@value
class Latest:
    """The rows that a day was last compared with."""

    upload_id: UUID
    rows_cnt: int
    compared_at: datetime


async def begin_upload(connection: Connection, upload: Upload, *, rows_cnt: int, unfinished: timedelta) -> None:
    """Takes note of an upload whose rows follow; they are kept for so long while it is not compared."""
    await connection.execute(_BEGIN, upload.upload_id, upload.fixmedins_code, upload.day, rows_cnt, unfinished)


async def put_rows(connection: Connection, upload: Upload, rows: Sequence[tuple[int, Record]]) -> None:
    """Keeps rows with their numbers; ROW_STATED_TWICE (INVALID) if one of the records was stated before."""
    sent = [
        (
            row_no,
            row.setl_id,
            None if row.setl_id is not None else fallback_id(upload.fixmedins_code, row.infno, row.msgid),
            row.infno,
            row.msgid,
            row.is_refund,
            row.insutype,
            row.clr_type,
            *(getattr(row.amounts, name) for name in AMOUNTS),
        )
        for row_no, row in rows
    ]
    try:
        await connection.execute(_PUT_ROWS, upload.upload_id, upload.fixmedins_code, sent)
    except asyncpg.UniqueViolationError as error:
        if violated_constraint(error) != "reconciliation_rows_record":
            raise
        raise Failure(Kind.INVALID, "ROW_STATED_TWICE", first_row_no=rows[0][0], last_row_no=rows[-1][0]) from None


async def begin_comparing(connection: Connection, upload: Upload) -> None:
    """From now on this upload is the one that its day is compared with; an earlier one gives up."""
    await connection.execute(_COMPARE_BEGIN, upload.fixmedins_code, upload.day, upload.upload_id)


async def hold_day(connection: Connection, upload: Upload) -> None:
    """Keeps the day to this transaction; RECONCILIATION_SUPERSEDED (CONFLICT) if other rows came in between."""
    if await connection.fetchval(_HOLD_DAY, upload.fixmedins_code, upload.day) != upload.upload_id:
        raise Failure(Kind.CONFLICT, "RECONCILIATION_SUPERSEDED")


async def rows_beside_ours(connection: Connection, upload: Upload, *, after: int) -> list[RowBeside]:
    """A page of stated records behind that row, each beside ours."""
    rows = await connection.fetch(_ROWS, upload.upload_id, after, PAGE_MAX)
    return [
        RowBeside(row["row_no"], row["record_id"], _theirs(row), _ours(row) if _is_of(upload, row) else None)
        for row in rows
    ]


def _is_of(upload: Upload, row: Any) -> bool:  # noqa: ANN401  Untyped driver.
    """Whether a payment was found, and it is this institution's: of others' bills nobody is told anything."""
    return row["fixmedins_code"] == upload.fixmedins_code and row["kind"] in _OF_BILLS


def _theirs(row: Any) -> Record:  # noqa: ANN401  Untyped driver.
    return Record(
        setl_id=row["setl_id"],
        infno=row["infno"],
        msgid=row["msgid"],
        is_refund=row["is_refund"],
        insutype=row["insutype"],
        clr_type=row["clr_type"],
        amounts=Amounts(*(row[name] for name in AMOUNTS)),
    )


async def finish(
    connection: Connection, upload: Upload, *, digest: bytes, ours_cnt: int, compared_at: datetime, kept: timedelta
) -> bool:
    """The day is compared with this upload; whether the rows that it was compared with before were the same.

    Those are needed no more, these are ``kept`` for so long.
    """
    before = await connection.fetchval(_FINISH_DAY, upload.fixmedins_code, upload.day, upload.upload_id)
    await connection.execute(_FINISH, upload.upload_id, digest, ours_cnt, compared_at, kept)
    return bool(before == digest)


async def latest(connection: Connection, fixmedins_code: str, day: date) -> Latest | None:
    """The rows with which a day was last compared; None if none ever were."""
    row = await connection.fetchrow(_LATEST, fixmedins_code, day)
    return None if row is None else Latest(row["upload_id"], row["rows_cnt"], row["compared_at"])


# Purge: what broke off, what others took the place of, and in the end what counts.

_UNKEPT: Final = """
WITH unkept AS (
    SELECT upload_id FROM reconciliation_uploads WHERE rows_kept <> 'GONE' AND keep_until < now()
    ORDER BY keep_until LIMIT 1
)
UPDATE reconciliation_uploads u SET rows_kept = 'PURGING' FROM unkept WHERE u.upload_id = ANY (ARRAY[unkept.upload_id])
RETURNING u.upload_id"""
_FORGET_ROWS: Final = """
DELETE FROM reconciliation_rows WHERE upload_id = $1 AND row_no = ANY (ARRAY(
    SELECT row_no FROM reconciliation_rows WHERE upload_id = $1 ORDER BY row_no LIMIT $2))"""
_FORGOTTEN: Final = "UPDATE reconciliation_uploads SET rows_kept = 'GONE' WHERE upload_id = $1"


async def unkept_upload(connection: Connection) -> UUID | None:
    """Marks an upload whose rows are kept no longer; None if there is none."""
    upload_id: UUID | None = await connection.fetchval(_UNKEPT)
    return upload_id


async def forget_rows(connection: Connection, upload_id: UUID) -> bool:
    """Deletes a page of an upload's rows; whether that was all."""
    if await connection.execute(_FORGET_ROWS, upload_id, PAGE_MAX) == f"DELETE {PAGE_MAX}":
        return False
    await connection.execute(_FORGOTTEN, upload_id)
    return True
