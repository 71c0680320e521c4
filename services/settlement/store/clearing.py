"""The rows of clearing: a run writes them all in one transaction, and nothing changes them afterwards.

A run is set-based from end to end, so that a period of millions costs this process no memory: the database works it
out, sorts it on its disk, and is asked for the lines page by page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias
from uuid import UUID

from kernel.ids import AdmDvs
from kernel.money import Fen
from kernel.values import value
from services.settlement.domain.clearing import Period, Standing
from services.settlement.domain.payment import CHARGES

Connection: TypeAlias = Any
"""A raw asyncpg connection (the driver publishes no types)."""

RUN_MAX_S: Final = 3_600
"""For the longest statement of a run; three million settlements take minutes."""
_EVER: Final = datetime(1900, 1, 1, tzinfo=UTC)
LINES_AT_ONCE: Final = 5_000
"""What is read of a period's lines at once: half a megabyte of text."""
CSV_HEADER: Final = (
    "line_no,period,debtor_area,creditor_area,part,clr_type,setl_id,leg_no,original_setl_id,fixmedins_code,"
    "business_date,amount_fen\n"
)

# Neither a process that waits for this lock nor a query of the run takes its snapshot before the lock is held: LOCK
# takes none. Who may run is so judged by what the run before has left. Readers of the table do not wait.
BEGIN: Final = f"""
BEGIN ISOLATION LEVEL REPEATABLE READ;
SET LOCAL statement_timeout = '{RUN_MAX_S}s'; SET LOCAL plan_cache_mode = force_custom_plan;
SET LOCAL enable_seqscan = on; SET LOCAL enable_hashjoin = on; SET LOCAL enable_mergejoin = on;
LOCK TABLE clearing_runs IN EXCLUSIVE MODE NOWAIT"""
"""Begins the transaction of a run; LockNotAvailable where another is under way. The pool's connections otherwise find
everything by an index (``chassis.db``), which is not how millions of rows are read."""

_CLEARED_UNTIL: Final = "SELECT max(ends_at) FROM clearing_runs"
_OLD_WRITES: Final = """
SELECT EXISTS (SELECT FROM pg_stat_activity
               WHERE datname = current_database() AND backend_xid IS NOT NULL AND xact_start < $1)"""
_FIRST: Final = """
SELECT least((SELECT created_at FROM plans ORDER BY plan_id LIMIT 1),
             (SELECT day::timestamp AT TIME ZONE 'Asia/Shanghai' FROM wallet_transfers ORDER BY payment_id LIMIT 1),
             (SELECT p.created_at FROM premium_payments JOIN payments p USING (payment_id)
              ORDER BY payment_id LIMIT 1))"""
_OPEN: Final = """
    FROM payments WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED')
        AND kind IN ('SETTLE', 'REFUND', 'TRANSFER', 'CHARGE') AND created_at < $1"""
_OPEN_COUNT: Final = f"""
SELECT count(*) AS open_count, (array_agg(payment_id ORDER BY payment_id))[1] AS open_example
{_OPEN} AND state = 'COMMITTED' AND decided_at < $1"""
_INSERT_CARRIED: Final = f"""
INSERT INTO clearing_carried (period, payment_id)
SELECT $2, payment_id {_OPEN} AND (state = 'TRYING' OR state = 'COMMITTED' AND decided_at < $1)"""

# A charge and its refund name the area that is paid where a bill names its institution (``domain.payment.CHARGES``).
# What is counted: booked, and decided within the period; or carried by the run before, and booked since.
_INSERT_LINES: Final = """
WITH counted AS (
    SELECT payment_id FROM payments
    WHERE kind IN ('SETTLE', 'REFUND', 'TRANSFER', 'CHARGE') AND state = 'DONE' AND decided_at >= $2 AND decided_at < $3
    UNION ALL
    SELECT p.payment_id FROM clearing_carried c JOIN payments p USING (payment_id)
    WHERE c.period = $4 AND p.state = 'DONE' AND p.decided_at < $2
), shares AS MATERIALIZED (
    SELECT p.payment_id, s.leg_no, s.part, s.debtor_area, p.original_id, coalesce(p.clr_type, '') AS clr_type,
           CASE WHEN p.has_no_bill THEN '' ELSE p.fixmedins_code END AS fixmedins_code,
           CASE WHEN p.kind = 'TRANSFER' THEN (
                    SELECT leg.area FROM jsonb_to_recordset(p.legs) AS leg (role text, area text)
                    WHERE leg.role IN ('RECEIVER', 'MOVED_TO'))
                WHEN p.has_no_bill THEN p.fixmedins_code
                ELSE substr(p.fixmedins_code, 2, 6) END AS creditor_area,
           CASE p.kind WHEN 'REFUND' THEN -s.amount_fen ELSE s.amount_fen END AS amount_fen,
           (p.decided_at AT TIME ZONE 'Asia/Shanghai')::date AS business_date, p.decided_at < $5 AS is_carried
    FROM counted
    JOIN (SELECT *, kind = 'TRANSFER' OR split_part(infno, '/', 1) = ANY ($6::text[]) AS has_no_bill FROM payments) p
        USING (payment_id)
    LEFT JOIN payments o ON o.payment_id = p.original_id
    LEFT JOIN plans l ON l.plan_id = coalesce(p.plan_id, o.plan_id)
    CROSS JOIN LATERAL (
        SELECT leg.leg_no, CASE WHEN p.has_no_bill THEN 'TRANSFER' ELSE leg.role END AS part,
               leg.area AS debtor_area, leg.past_fen + leg.current_fen AS amount_fen
        FROM jsonb_to_recordset(p.legs)
            AS leg (leg_no smallint, role text, area text, past_fen bigint, current_fen bigint)
        WHERE leg.role NOT IN ('RECEIVER', 'MOVED_TO')
        UNION ALL
        SELECT 0, 'FUND', l.document -> 'visit' ->> 'insuplc_admdvs',
               (l.document -> 'amounts' ->> 'fund_pay_sumamt')::bigint
        WHERE NOT p.has_no_bill
    ) s
), lines AS (
    INSERT INTO clearing_lines (period, line_no, debtor_area, creditor_area, part, clr_type, payment_id, leg_no,
                                original_id, fixmedins_code, business_date, amount_fen)
    SELECT $1, row_number() OVER (ORDER BY debtor_area COLLATE "C", creditor_area COLLATE "C", part COLLATE "C",
                                           clr_type COLLATE "C", business_date, payment_id, leg_no),
           debtor_area, creditor_area, part, clr_type, payment_id, leg_no, original_id, fixmedins_code, business_date,
           amount_fen
    FROM shares WHERE debtor_area <> creditor_area AND amount_fen <> 0
    RETURNING 1
)
SELECT count(DISTINCT payment_id) AS payments_count, (SELECT count(*) FROM lines) AS lines_count,
       coalesce(sum(amount_fen) FILTER (WHERE debtor_area = creditor_area), 0)::bigint AS local_fen,
       count(DISTINCT payment_id) FILTER (WHERE is_carried) AS carried_in_count,
       count(*) FILTER (WHERE debtor_area IS NULL OR creditor_area IS NULL OR amount_fen IS NULL) AS unknown_count
FROM shares"""
_INSERT_RUN: Final = """
INSERT INTO clearing_runs (period, starts_at, ends_at, run_by, payments_count, local_fen, lines_count, lines_sha256,
                           carried_in_count, carried_on_count, carry_reason)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING run_at"""
_INSERT_PAIRS: Final = """
INSERT INTO clearing_pairs (period, debtor_area, creditor_area, part, clr_type, charges_count, charged_fen,
                            refunds_count, refunded_fen)
SELECT period, debtor_area, creditor_area, part, clr_type,
       count(*) FILTER (WHERE amount_fen > 0), coalesce(sum(amount_fen) FILTER (WHERE amount_fen > 0), 0),
       count(*) FILTER (WHERE amount_fen < 0), coalesce(-sum(amount_fen) FILTER (WHERE amount_fen < 0), 0)
FROM clearing_lines WHERE period = $1
GROUP BY period, debtor_area, creditor_area, part, clr_type"""

_RUN_COLUMNS: Final = """period, starts_at, ends_at, run_at, run_by, payments_count, local_fen, lines_count,
lines_sha256, carried_in_count, carried_on_count, carry_reason"""
_RUN: Final = f"SELECT {_RUN_COLUMNS} FROM clearing_runs WHERE period = $1"  # noqa: S608  Constants.
_RUNS: Final = f"""
SELECT {_RUN_COLUMNS} FROM clearing_runs
WHERE $1::text IS NULL OR period < $1 ORDER BY period DESC LIMIT $2"""  # noqa: S608  Constants.
_OWED: Final = """
SELECT debtor_area, creditor_area, sum(charged_fen - refunded_fen)::bigint AS owed_fen FROM clearing_pairs
WHERE period = $1 GROUP BY debtor_area, creditor_area"""
_PAIRS: Final = """
SELECT debtor_area, creditor_area, part, clr_type, charges_count, charged_fen, refunds_count, refunded_fen
FROM clearing_pairs
WHERE period = $1 AND ($2 = '' OR debtor_area = $2) AND ($3 = '' OR creditor_area = $3)
    AND ($4::text[] IS NULL OR (debtor_area, creditor_area, part, clr_type) > ($4[1], $4[2], $4[3], $4[4]))
ORDER BY debtor_area, creditor_area, part, clr_type LIMIT $5"""
_LINES_AS_TEXT: Final = """
SELECT line_no, concat_ws(',', line_no, period, debtor_area, creditor_area, part, clr_type, payment_id, leg_no,
                          coalesce(original_id::text, ''), fixmedins_code, to_char(business_date, 'YYYY-MM-DD'),
                          amount_fen) AS line
FROM clearing_lines
WHERE period = $1 AND line_no > $2 AND ($3 = '' OR debtor_area = $3) AND ($4 = '' OR creditor_area = $4)
ORDER BY line_no LIMIT $5"""
_LINES_OF: Final = """
SELECT period, line_no, debtor_area, creditor_area, part, clr_type, payment_id, leg_no, original_id, fixmedins_code,
       business_date, amount_fen
FROM clearing_lines
WHERE payment_id = $1 OR payment_id = (SELECT r.payment_id FROM payments r WHERE r.original_id = $1)
ORDER BY period, line_no"""


@value
class ClearingRun:
    """A period as it was run."""

    period: Period
    run_at: datetime
    run_by: str
    payments_count: int
    local_fen: Fen
    lines_count: int
    lines_sha256: bytes
    carried_in_count: int
    carried_on_count: int
    carry_reason: str


@value
class ClearingPair:
    """What one area owes another for a period."""

    debtor_area: AdmDvs
    creditor_area: AdmDvs
    part: str
    clr_type: str
    charges_count: int
    charged_fen: Fen
    refunds_count: int
    refunded_fen: Fen

    @property
    def mark(self) -> tuple[str, str, str, str]:
        """Where the next page goes on."""
        return (self.debtor_area, self.creditor_area, self.part, self.clr_type)


@value
class Written:
    """What a run's lines came to."""

    payments_count: int
    lines_count: int
    local_fen: Fen
    carried_in_count: int


async def cleared_until(connection: Connection) -> datetime | None:
    """The end of the last period that was run; None where none was."""
    end: datetime | None = await connection.fetchval(_CLEARED_UNTIL)
    return end


async def writes_since_before(connection: Connection, instant: datetime) -> bool:
    """Whether a transaction that began before this instant still writes. To be asked before the run's snapshot."""
    found: bool = await connection.fetchval(_OLD_WRITES, instant)
    return found


async def standing(connection: Connection, period: Period, *, now: datetime, writes_since_before: bool) -> Standing:
    """What decides whether the period may be run, in the run's own snapshot."""
    is_open = await connection.fetchrow(_OPEN_COUNT, period.ends_at, timeout=RUN_MAX_S)
    return Standing(
        now=now,
        next_period=await next_period(connection, now),
        is_first=await cleared_until(connection) is None,
        open_count=is_open["open_count"],
        open_example=is_open["open_example"],
        writes_since_before=writes_since_before,
    )


async def next_period(connection: Connection, now: datetime) -> Period:
    """The one after the last that was run; where none was, that of the first plan or transfer, or of today.

    Ids grow with time, nearly: what is older than the first run all the same is counted by it (``write_lines``).
    """
    end = await cleared_until(connection)
    return Period.of(end or await connection.fetchval(_FIRST) or now)


async def write_lines(connection: Connection, period: Period, *, is_first: bool) -> Written:
    """Writes the lines of a period, also for what the one before has carried and is booked now; what they came to.

    The first one that is ever run counts whatever is older as well. LookupError, and nothing may be committed, if a
    share cannot be told.
    """
    row = await connection.fetchrow(
        _INSERT_LINES,
        str(period),
        _EVER if is_first else period.starts_at,
        period.ends_at,
        str(period.previous),
        period.starts_at,
        sorted(CHARGES),
        timeout=RUN_MAX_S,
    )
    if row["unknown_count"]:
        raise LookupError(f"the plan or an area of {row['unknown_count']} shares of {period} is missing")
    return Written(row["payments_count"], row["lines_count"], row["local_fen"], row["carried_in_count"])


async def write_run(connection: Connection, run: ClearingRun) -> ClearingRun:
    """Writes the run whose lines are written already, with its pairs and what it carries on; with the time it got."""
    run_at = await connection.fetchval(
        _INSERT_RUN,
        str(run.period),
        run.period.starts_at,
        run.period.ends_at,
        run.run_by,
        run.payments_count,
        run.local_fen,
        run.lines_count,
        run.lines_sha256,
        run.carried_in_count,
        run.carried_on_count,
        run.carry_reason,
    )
    await connection.execute(_INSERT_PAIRS, str(run.period), timeout=RUN_MAX_S)
    await connection.execute(_INSERT_CARRIED, run.period.ends_at, str(run.period), timeout=RUN_MAX_S)
    return replace(run, run_at=run_at)


async def load(connection: Connection, period: Period) -> ClearingRun | None:
    """A period as it was run; None if it was not."""
    row = await connection.fetchrow(_RUN, str(period))
    return None if row is None else _run_of(row)


async def runs(connection: Connection, *, before: str | None, limit: int) -> list[ClearingRun]:
    """Runs, the latest first."""
    return [_run_of(row) for row in await connection.fetch(_RUNS, before, limit)]


async def owed(connection: Connection, period: Period) -> dict[tuple[AdmDvs, AdmDvs], Fen]:
    """What each debtor owes each creditor, all parts together."""
    rows = await connection.fetch(_OWED, str(period))
    return {(row["debtor_area"], row["creditor_area"]): row["owed_fen"] for row in rows}


async def pairs(
    connection: Connection, period: Period, *, debtor: str, creditor: str, after: tuple[str, ...] | None, limit: int
) -> list[ClearingPair]:
    """Statements of a period, in order; of one debtor or creditor unless empty."""
    rows = await connection.fetch(_PAIRS, str(period), debtor, creditor, None if after is None else list(after), limit)
    return [ClearingPair(**row) for row in rows]


async def lines_as_text(
    connection: Connection, period: Period, *, after: int = 0, debtor: str = "", creditor: str = ""
) -> tuple[str, int]:
    """The next lines of the period's file, whole, and the number of the last one; empty at its end."""
    rows = await connection.fetch(_LINES_AS_TEXT, str(period), after, debtor, creditor, LINES_AT_ONCE)
    return "".join([f"{row['line']}\n" for row in rows]), rows[-1]["line_no"] if rows else after


async def file_of(connection: Connection, period: Period) -> AsyncIterator[bytes]:
    """The period's whole file in parts, in the connection's transaction."""
    yield CSV_HEADER.encode()
    text, last = await lines_as_text(connection, period)
    while text:
        yield text.encode()
        text, last = await lines_as_text(connection, period, after=last)


async def lines_of(connection: Connection, payment_id: UUID) -> list[dict[str, Any]]:
    """The lines in which a payment was cleared, and those of its refund."""
    return [dict(row) for row in await connection.fetch(_LINES_OF, payment_id)]


def _run_of(row: Any) -> ClearingRun:  # noqa: ANN401  Untyped driver.
    found = {name: row[name] for name in row.keys() if name not in {"period", "starts_at", "ends_at"}}  # noqa: SIM118  A record.
    return ClearingRun(period=Period.of(row["starts_at"]), **found)
