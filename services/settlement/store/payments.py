"""The payments' rows: set-based statements on the raw connection, each a compare-and-set or a read.

Locks are taken in one order everywhere: patients' years by (psn_no, year), then payments by id.

A key of a joined table is compared as ``= ANY (ARRAY[...])``, which only an index condition can answer: a plain ``=``,
planned once for all while the table was known to be empty, would walk its whole index for ever after (ADR 16). So would
an order by the table's own columns.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias

from chassis.db import announce_commit
from chassis.outbox import COLUMNS, OutgoingEvent, row_of
from kernel.ids import PaymentId, PlanId, PsnNo
from kernel.values import value
from services.settlement.domain.payment import PRE_SETTLE_OF, Key
from services.settlement.domain.plan import PlanLeg, leg_document, leg_of
from services.settlement.saga.coordinator import Write
from services.settlement.saga.payment import AccountAfter, Payment, PaymentKind, State
from services.settlement.saga.requests import PlanFacts
from services.settlement.saga.restoring import Standing, restoring_failure

Connection: TypeAlias = Any
"""A raw asyncpg connection (the driver publishes no types); JSON is text on it."""

PAYMENT_COLUMNS: Final = """p.payment_id, p.kind, p.state, p.fixmedins_code, p.infno, p.msgid, p.request_hash, p.psn_no,
p.year, p.plan_id, p.original_id, p.legs, p.reason, p.refused_leg_no, p.balances_after, p.replanned, p.replan_plan_id,
p.quarantine, p.created_at, p.deadline_at, p.accept_by, p.decided_at, p.pending_at IS NOT NULL AS pending_accept,
p.state = 'TRYING' AND p.deadline_at <= clock_timestamp() AS overdue"""

_BY_ID: Final = f"SELECT {PAYMENT_COLUMNS} FROM payments p WHERE p.payment_id = $1"  # noqa: S608  Constants.
_BY_IDS: Final = f"SELECT {PAYMENT_COLUMNS} FROM payments p WHERE p.payment_id = ANY ($1::uuid[])"  # noqa: S608  Constants.
_BY_KEY: Final = f"""
SELECT {PAYMENT_COLUMNS} FROM payments p WHERE (p.fixmedins_code, p.infno, p.msgid) = ($1, $2, $3)"""  # noqa: S608  Constants.
_LIVE_REFUND: Final = f"SELECT {PAYMENT_COLUMNS} FROM payments p WHERE p.original_id = $1"  # noqa: S608  Constants.


async def by_id(connection: Connection, payment_id: PaymentId) -> Payment | None:
    """One payment; None if it was never heard of."""
    return _found(await connection.fetchrow(_BY_ID, payment_id))


async def by_ids(connection: Connection, payment_ids: Sequence[PaymentId]) -> dict[PaymentId, Payment]:
    """Those of the payments that are known."""
    rows = await connection.fetch(_BY_IDS, list(payment_ids))
    return {row["payment_id"]: payment_of(row) for row in rows}


async def by_key(connection: Connection, key: Key) -> Payment | None:
    """What a request key stands for; None if it was never heard of."""
    return _found(await connection.fetchrow(_BY_KEY, *key))


async def live_refund(connection: Connection, original_id: PaymentId) -> Payment | None:
    """The one refund of a settlement, if there is one."""
    return _found(await connection.fetchrow(_LIVE_REFUND, original_id))


def _found(row: Any) -> Payment | None:  # noqa: ANN401  Untyped driver.
    return None if row is None else payment_of(row)


def payment_of(row: Any) -> Payment:  # noqa: ANN401  Untyped driver.
    """A row read with all the columns of a payment."""
    balances = row["balances_after"]
    return Payment(
        payment_id=row["payment_id"],
        kind=PaymentKind(row["kind"]),
        state=State(row["state"]),
        key=Key(row["fixmedins_code"], row["infno"], row["msgid"]),
        request_hash=row["request_hash"],
        psn_no=row["psn_no"],
        year=row["year"],
        legs=tuple(leg_of(leg) for leg in row["legs"]),
        plan_id=row["plan_id"],
        original_id=row["original_id"],
        reason=row["reason"],
        refused_leg_no=row["refused_leg_no"],
        balances_after=() if balances is None else tuple(AccountAfter(*after) for after in balances),
        replanned=row["replanned"],
        replan_plan_id=row["replan_plan_id"],
        quarantine=row["quarantine"],
        overdue=row["overdue"],
        pending_accept=row["pending_accept"],
        created_at=row["created_at"],
        deadline_at=row["deadline_at"],
        accept_by=row["accept_by"],
        decided_at=row["decided_at"],
    )


def legs_in(document: Mapping[str, Any]) -> tuple[PlanLeg, ...]:
    """The legs of a stored plan."""
    return tuple(leg_of(leg) for leg in document["legs"])


# Begin: under the patients' locks, judge the plans; insert what may begin.

_TAKEN: Final = f"""
SELECT q.n, {PAYMENT_COLUMNS}
FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[]) AS q (n, fixmedins_code, infno, msgid)
JOIN payments p
    ON p.fixmedins_code = ANY (ARRAY[q.fixmedins_code]) AND p.infno = q.infno AND p.msgid = q.msgid"""  # noqa: S608  Constants.
_BEGIN: Final = """
WITH judged AS MATERIALIZED (
    SELECT q.n, q.payment_id, q.fixmedins_code, q.infno, q.msgid, q.request_hash, q.traceparent, l.plan_id, l.digest,
           l.fixmedins_code AS plan_fixmedins_code, l.infno AS plan_infno, l.patient_version, l.psn_no, l.year, l.legs,
           l.amount_fen, l.document, l.expires_at <= clock_timestamp() AS is_expired,
           -- A stay is judged by the versions of one year: a part of it is paid in the year it was planned or not.
           CASE WHEN l.infno = '2303' AND l.year <> extract(year FROM clock_timestamp() AT TIME ZONE 'Asia/Shanghai')
                THEN -1 ELSE y.version END AS version_now,
           l.fixmedins_code = q.fixmedins_code AND l.infno = q.plan_infno AND l.digest = q.plan_digest AS is_its_own,
           EXISTS (SELECT FROM sanctions s
                   WHERE s.psn_no = ANY (
                           l.psn_no || ARRAY(SELECT leg.value ->> 'psn_no' FROM jsonb_array_elements(l.legs) AS leg))
                       AND s.from_at <= clock_timestamp() AND clock_timestamp() < s.to_at)
           OR EXISTS (SELECT FROM institution_sanctions s
                      WHERE s.fixmedins_code = ANY (ARRAY[l.fixmedins_code])
                          AND s.from_at <= clock_timestamp() AND clock_timestamp() < s.to_at) AS is_sanctioned
    FROM unnest($1::begin_row[])
         AS q (n, payment_id, fixmedins_code, infno, msgid, request_hash, plan_id, plan_digest, plan_infno, traceparent)
    JOIN plans l ON l.plan_id = ANY (ARRAY[q.plan_id])
    JOIN patient_years y ON y.psn_no = ANY (ARRAY[l.psn_no]) AND y.year = l.year
    ORDER BY l.psn_no, l.year, q.n FOR UPDATE OF y
), begun AS (  -- What check_plan of the saga lets pass, said once more: only that is inserted under the lock.
    INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, plan_id,
                          legs, amount_fen, epoch, traceparent, deadline_at, next_drive_at)
    SELECT j.payment_id, 'SETTLE', 'TRYING', j.fixmedins_code, j.infno, j.msgid, j.request_hash, j.psn_no, j.year,
           j.plan_id, j.legs, j.amount_fen, $2, j.traceparent, now() + $3::interval, now() + $3::interval
    FROM judged j JOIN coordinator c ON c.epoch = $2 AND c.restoring_since IS NULL
    WHERE j.is_its_own AND NOT j.is_expired AND j.version_now = j.patient_version AND NOT j.is_sanctioned
    ORDER BY j.fixmedins_code, j.infno, j.msgid
    ON CONFLICT DO NOTHING
    RETURNING payment_id, created_at, deadline_at
), stays AS (
    INSERT INTO stay_settlements (payment_id, psn_no, fixmedins_code, mdtrt_id, interim)
    SELECT b.payment_id, j.psn_no, j.fixmedins_code, j.document #>> '{visit,mdtrt_id}',
           coalesce((j.document #>> '{facts,interim}')::boolean, false)
    FROM begun b JOIN judged j USING (payment_id) WHERE j.infno = '2304'
)
SELECT j.n, j.plan_id, j.digest, j.plan_fixmedins_code, j.plan_infno, j.patient_version, j.psn_no, j.year, j.document,
       j.is_expired, j.version_now, j.is_sanctioned, b.created_at, b.deadline_at
FROM judged j LEFT JOIN begun b USING (payment_id)"""


@value
class Beginning:
    """A settlement that asks to begin."""

    payment_id: PaymentId
    key: Key
    request_hash: bytes
    plan_id: PlanId
    plan_digest: bytes
    traceparent: str


@value
class JudgedPlan:
    """A plan, the facts that the saga judges it by, and whose it is."""

    facts: PlanFacts
    psn_no: PsnNo
    year: int
    document: dict[str, Any]
    created_at: datetime | None
    """When the payment began that asked for it, and until when ledgers may vote; None if it did not begin."""
    deadline_at: datetime | None


async def begin_trying(
    connection: Connection, beginnings: Sequence[Beginning], *, epoch: int, vote_deadline: timedelta
) -> list[JudgedPlan | None]:
    """Inserts TRYING for those whose plan may be paid, whose key is free and whose patient is not busy.

    The plan of each as it stands under the lock of its patient's year; None where there is none. One statement: it is
    durable on return, unless the caller's transaction goes on.
    """
    rows = await connection.fetch(
        _BEGIN,
        [
            (n, it.payment_id, *it.key, it.request_hash, it.plan_id, it.plan_digest, plan_infno, it.traceparent)
            for n, it in enumerate(beginnings)
            for plan_infno in [PRE_SETTLE_OF.get(it.key.infno)]
        ],
        epoch,
        vote_deadline,
    )
    judged: list[JudgedPlan | None] = [None] * len(beginnings)
    for row in rows:
        judged[row["n"]] = _judged(row)
    return judged


def _judged(row: Any) -> JudgedPlan:  # noqa: ANN401  Untyped driver.
    facts = PlanFacts(
        plan_id=row["plan_id"],
        digest=row["digest"],
        fixmedins_code=row["plan_fixmedins_code"],
        infno=row["plan_infno"],
        patient_version=row["patient_version"],
        is_expired=row["is_expired"],
        version_now=row["version_now"],
        is_sanctioned=row["is_sanctioned"],
    )
    return JudgedPlan(facts, row["psn_no"], row["year"], row["document"], row["created_at"], row["deadline_at"])


async def taken_keys(connection: Connection, keys: Sequence[Key]) -> dict[int, Payment]:
    """By position: what those of the keys stand for that are taken."""
    columns = [list(column) for column in zip(*keys, strict=True)]
    rows = await connection.fetch(_TAKEN, list(range(len(keys))), *columns)
    return {row["n"]: payment_of(row) for row in rows}


# Writes of the saga: compare-and-set on the state, many at once.

_LOCK_PATIENTS: Final = """
SELECT y.version FROM patient_years y
JOIN unnest($1::text[], $2::smallint[]) AS q (psn_no, year) ON y.psn_no = ANY (ARRAY[q.psn_no]) AND y.year = q.year
ORDER BY q.psn_no, q.year FOR UPDATE OF y"""
_EVENT: Final = ", ".join(f"q.{name}" for name in COLUMNS.split(", "))
_NO_EVENT: Final = (None,) * len(COLUMNS.split(", "))
_WRITE: Final = f"""
WITH patients AS MATERIALIZED (  -- As _LOCK_PATIENTS has it: before the payments, for those whose version moves on.
    SELECT y.version FROM patient_years y
    JOIN (SELECT DISTINCT psn_no, year FROM payments WHERE payment_id = ANY ($3::uuid[])) AS p
        ON y.psn_no = ANY (ARRAY[p.psn_no]) AND y.year = p.year
    ORDER BY p.psn_no, p.year FOR UPDATE OF y
), held AS MATERIALIZED (  -- In the order of ids: two batches with the same rows must not wait for each other.
    SELECT payment_id FROM payments
    WHERE payment_id = ANY ($2::uuid[]) AND (SELECT count(*) FROM patients) >= 0
    ORDER BY payment_id FOR UPDATE
), won AS (
    UPDATE payments p SET
        state = q.to_state,
        reason = CASE WHEN q.reason = '' THEN p.reason ELSE q.reason END,
        refused_leg_no = CASE WHEN q.refused_leg_no = 0 THEN p.refused_leg_no ELSE q.refused_leg_no END,
        balances_after = coalesce(q.balances_after::jsonb, p.balances_after),
        quarantine = q.quarantine,
        pending_at = CASE WHEN q.asks_receiver THEN clock_timestamp() ELSE p.pending_at END,
        deadline_at = CASE WHEN q.asks_receiver THEN p.accept_by ELSE p.deadline_at END,
        decided_at = CASE WHEN p.state = 'TRYING' AND q.to_state <> 'TRYING' THEN greatest($6, p.created_at)
                          ELSE p.decided_at END,
        finished_at = CASE WHEN q.to_state IN ('DONE', 'CLOSED') THEN clock_timestamp() END,
        next_drive_at = CASE WHEN q.asks_receiver THEN p.accept_by WHEN q.to_state = q.expected THEN p.next_drive_at
                             ELSE now() + $4::interval END,
        attempts = CASE WHEN q.to_state = q.expected THEN p.attempts ELSE 0 END
    FROM unnest($1::write_row[])
         AS q (payment_id, expected, to_state, reason, refused_leg_no, balances_after, quarantine,
               expected_pending, asks_receiver, in_time, {COLUMNS})
    WHERE p.payment_id = ANY (ARRAY[q.payment_id]) AND p.state = q.expected
        AND (SELECT count(*) FROM held) > 0
        AND (p.state <> 'TRYING' OR (p.pending_at IS NOT NULL) = q.expected_pending)
        AND (NOT q.in_time OR p.deadline_at > clock_timestamp())
        AND ($5::bigint IS NULL OR EXISTS (SELECT FROM coordinator c WHERE c.epoch = $5 AND c.restoring_since IS NULL))
    RETURNING p.payment_id, p.kind, p.state, p.psn_no, p.year, q.expected, p.decided_at, {_EVENT}
), told AS (
    INSERT INTO outbox ({COLUMNS}) SELECT {COLUMNS} FROM won WHERE event_id IS NOT NULL ORDER BY payment_id
), moved AS (
    UPDATE patient_years y SET version = y.version + 1
    FROM won WHERE won.state = 'COMMITTED' AND won.expected = 'TRYING' AND won.kind = 'SETTLE'
        AND y.psn_no = ANY (ARRAY[won.psn_no]) AND y.year = won.year
)
SELECT payment_id, decided_at FROM won"""  # noqa: S608  Constants.


async def lock_patients(connection: Connection, patients: Sequence[tuple[PsnNo, int]]) -> None:
    """Locks the patients' years until the transaction ends; what changes a version or begins a settlement holds one."""
    await connection.execute(_LOCK_PATIENTS, [psn_no for psn_no, _ in patients], [year for _, year in patients])


async def write(
    connection: Connection,
    writes: Sequence[Write],
    *,
    epoch: int | None,
    lease: timedelta,
    now: datetime,
    events: Mapping[PaymentId, OutgoingEvent],
) -> dict[PaymentId, datetime | None]:
    """Carries out compare-and-sets; the deciding time of those that were won. Losers changed nothing: read them.

    What is decided is decided at ``now`` (``decided_at_of``), and its event, if it has one, is put beside it. A commit
    moves the patient's version on in the same statement, which locks the patient's year first. The rows are left to
    this coordinator for ``lease``. A coordinator of another ``epoch`` than the database's wins nothing, nor does any
    while it restores; None is the operator's command that carries the restore out.
    """
    rows = await connection.fetch(
        _WRITE,
        [_write_row(write, events.get(write.payment_id)) for write in writes],
        [write.payment_id for write in writes],
        [write.payment_id for write in writes if write.to is State.COMMITTED and write.expected is State.TRYING],
        lease,
        epoch,
        now,
    )
    if events:
        announce_commit(connection)
    return {row["payment_id"]: row["decided_at"] for row in rows}


def _write_row(it: Write, event: OutgoingEvent | None) -> tuple[object, ...]:
    return (
        it.payment_id,
        it.expected.value,
        it.to.value,
        it.reason,
        it.refused_leg_no,
        json.dumps(it.balances_after) if it.balances_after else None,
        it.quarantine,
        it.expected_pending,
        it.asks_receiver,
        it.in_time,
        *(_NO_EVENT if event is None else row_of(event)),
    )


def decided_at_of(payment: Payment, now: datetime) -> datetime:
    """When a payment counts as decided that is decided now: never before it began."""
    return now if payment.created_at is None else max(now, payment.created_at)


# Rows that begin decided: refunds, credits, tombstones.

_INSERT_DECIDED: Final = """
INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, original_id,
                      legs, amount_fen, reason, epoch, traceparent, decided_at, finished_at, next_drive_at)
SELECT $1, $2, $3::text, $4, $5, $6, $7, $8, $9, $10, $11::jsonb, $12, $13, $14, $15, clock_timestamp(),
       CASE WHEN $3::text IN ('DONE', 'CLOSED') THEN clock_timestamp() END, now() + $16::interval
FROM coordinator c WHERE c.epoch = $14 AND c.restoring_since IS NULL
ON CONFLICT DO NOTHING
RETURNING created_at, decided_at"""
_MOVE_ON: Final = "UPDATE patient_years SET version = version + 1 WHERE psn_no = $1 AND year = $2"


async def insert_decided(
    connection: Connection, payment: Payment, *, epoch: int, traceparent: str, lease: timedelta
) -> Payment | None:
    """Inserts a row that begins decided; None if its key is taken or its original has a live refund: read again.

    COORDINATOR_RESTORING as ``check_serving`` has it. The insert asks for itself how the coordinator stands: a restore
    that began after a question before it would find one write more under way than its lock has waited for.
    """
    row = await connection.fetchrow(
        _INSERT_DECIDED,
        payment.payment_id,
        payment.kind.value,
        payment.state.value,
        *payment.key,
        payment.request_hash,
        payment.psn_no,
        payment.year,
        payment.original_id,
        json.dumps([leg_document(leg) for leg in payment.legs]),
        payment.amount_fen,
        payment.reason,
        epoch,
        traceparent,
        lease,
    )
    if row is None:
        await check_serving(connection, epoch)
        return None
    return replace(payment, created_at=row["created_at"], decided_at=row["decided_at"])


async def move_patient_on(connection: Connection, psn_no: PsnNo, year: int) -> None:
    """A refund changes the patient's year as a settlement does: plans made before it are stale."""
    await connection.execute(_MOVE_ON, psn_no, year)


# The answer to a refusal.

_SETTLE_REPLAN: Final = """
UPDATE payments SET replanned = true, replan_plan_id = $2
WHERE payment_id = $1 AND NOT replanned AND state IN ('ABORTED', 'CLOSED')"""


async def settle_replan(connection: Connection, payment_id: PaymentId, plan_id: PlanId | None) -> Payment | None:
    """Settles the answer to a refusal, once: a new plan or none; the row, with whatever was settled first."""
    await connection.execute(_SETTLE_REPLAN, payment_id, plan_id)
    return await by_id(connection, payment_id)


# Recovery: take rows that nobody has finished, each for a while, longer each time.

_TAKE_DUE: Final = f"""
WITH due AS (
    SELECT payment_id FROM payments
    WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED') AND next_drive_at <= clock_timestamp()
        AND EXISTS (SELECT FROM coordinator c WHERE c.epoch = $4 AND c.restoring_since IS NULL)
    ORDER BY next_drive_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE payments p SET attempts = p.attempts + 1,
    next_drive_at = clock_timestamp() + least($2::interval * power(2, least(p.attempts, 16)), $3::interval)
FROM due WHERE p.payment_id = ANY (ARRAY[due.payment_id])
RETURNING {PAYMENT_COLUMNS}, p.traceparent"""  # noqa: S608  Constants.


async def take_due(
    connection: Connection, *, epoch: int, limit: int, pause: timedelta, pause_max: timedelta
) -> list[tuple[Payment, str]]:
    """Takes up to ``limit`` open payments whose time has come, each with the trace it began in.

    Others leave them alone for the pause, which doubles each time. None are taken by a coordinator of another epoch,
    or while it restores.
    """
    rows = await connection.fetch(_TAKE_DUE, limit, pause, pause_max, epoch)
    return [(payment_of(row), row["traceparent"]) for row in rows]


async def read_standing(connection: Connection) -> Standing:
    """The epoch, whether the coordinator restores, and until when requests may have lost their answers."""
    row = await connection.fetchrow("SELECT epoch, restoring_since, restored_until FROM coordinator")
    return Standing(row["epoch"], row["restoring_since"] is not None, row["restored_until"])


async def check_serving(connection: Connection, epoch: int | None) -> None:
    """COORDINATOR_RESTORING while it restores, and for a process whose epoch is over; None is asked nothing."""
    standing = await read_standing(connection)
    if epoch is not None and (standing.is_restoring or standing.epoch != epoch):
        raise restoring_failure()


async def now(connection: Connection) -> datetime:
    """The database's clock, by which deadlines and windows are judged (rule 9)."""
    instant: datetime = await connection.fetchval("SELECT clock_timestamp()")
    return instant
