"""Differences between an institution's books and ours: statements on the raw connection.

Where a day or an institution is asked for, the state is compared as ``coalesce(state, '')``, which no index has:
planned while the table was empty, a statement might else look through all that stands so instead (ADR 16).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias
from uuid import UUID

from kernel.values import value
from services.settlement.domain.payment import area_of
from services.settlement.domain.reconciliation import (
    Decision,
    DifferenceKind,
    DifferenceState,
    Found,
    OurRecord,
    Record,
    Standing,
)

Connection: TypeAlias = Any
"""A raw asyncpg connection (the driver publishes no types); JSON is text on it."""

CLEARED_MAX: Final = 1_000
_COLUMNS: Final = """d.difference_id, d.fixmedins_code, d.stmt_date, d.record_id, d.kind, d.state, d.fields, d.theirs,
d.ours, d.ours_standing, d.ours_date, d.fingerprint, d.found_at, d.changed_at, d.cause, d.opter"""
_KNOWN: Final = """
SELECT d.record_id, d.state, d.fingerprint, d.cause, d.opter FROM reconciliation_differences d
WHERE d.fixmedins_code = $1 AND d.stmt_date = $2 AND d.record_id = ANY ($3::uuid[])
ORDER BY d.record_id FOR UPDATE"""
_PUT: Final = """
INSERT INTO reconciliation_differences (
    difference_id, fixmedins_code, stmt_date, area, record_id, kind, state, fields, theirs, ours, ours_standing,
    ours_date, fingerprint, cause, opter, upload_id, found_at, changed_at)
SELECT q.difference_id, $2, $3, $4, q.record_id, q.kind, q.state, ARRAY(SELECT jsonb_array_elements_text(q.fields)),
       q.theirs, q.ours, q.ours_standing, q.ours_date, decode(q.fingerprint, 'hex'),
       q.cause, q.opter, $5, $6, $6
FROM jsonb_to_recordset($1::jsonb) AS q (
    difference_id UUID, record_id UUID, kind TEXT, state TEXT, fields JSONB, theirs JSONB, ours JSONB,
    ours_standing TEXT, ours_date DATE, fingerprint TEXT,
    cause TEXT, opter TEXT)
ON CONFLICT (fixmedins_code, stmt_date, record_id) DO UPDATE SET
    kind = EXCLUDED.kind, state = EXCLUDED.state, fields = EXCLUDED.fields, theirs = EXCLUDED.theirs,
    ours = EXCLUDED.ours, ours_standing = EXCLUDED.ours_standing, ours_date = EXCLUDED.ours_date,
    fingerprint = EXCLUDED.fingerprint, upload_id = EXCLUDED.upload_id,
    changed_at = CASE WHEN reconciliation_differences.state = EXCLUDED.state
                          AND reconciliation_differences.fingerprint = EXCLUDED.fingerprint
                      THEN reconciliation_differences.changed_at ELSE EXCLUDED.changed_at END,
    cause = EXCLUDED.cause, opter = EXCLUDED.opter"""
_CLEAR: Final = """
UPDATE reconciliation_differences SET state = 'CLEARED', changed_at = $4
WHERE coalesce(state, '') = 'OPEN' AND difference_id = ANY (ARRAY(
    SELECT difference_id FROM reconciliation_differences
    WHERE fixmedins_code = $1 AND stmt_date = $2 AND coalesce(state, '') = 'OPEN' AND upload_id <> $3 LIMIT $5))"""
_COUNTS: Final = """
SELECT kind, state, count(*) AS count FROM reconciliation_differences
WHERE fixmedins_code = $1 AND stmt_date = $2 GROUP BY kind, state ORDER BY kind, state"""
_OF_DAY: Final = f"""
SELECT {_COLUMNS} FROM reconciliation_differences d
WHERE d.fixmedins_code = $1 AND d.stmt_date = $2 AND d.record_id > $3 AND coalesce(d.state, '') = ANY ($4::text[])
ORDER BY d.record_id LIMIT $5"""  # noqa: S608  Constants.
_LIST_OPEN: Final = f"""
SELECT {_COLUMNS} FROM reconciliation_differences d
WHERE d.state = 'OPEN' AND (d.stmt_date, d.difference_id) > ($1, $2)
ORDER BY d.stmt_date, d.difference_id LIMIT $3"""  # noqa: S608  Constants.
_LIST_OPEN_OF_AREA: Final = f"""
SELECT {_COLUMNS} FROM reconciliation_differences d
WHERE d.state = 'OPEN' AND d.area = $4 AND (d.stmt_date, d.difference_id) > ($1, $2)
ORDER BY d.stmt_date, d.difference_id LIMIT $3"""  # noqa: S608  Constants.
_LIST_OF_INSTITUTION: Final = f"""
SELECT {_COLUMNS} FROM reconciliation_differences d
WHERE d.fixmedins_code = $4 AND (d.stmt_date, d.record_id) > ($1, $2) AND coalesce(d.state, '') = $5
ORDER BY d.stmt_date, d.record_id LIMIT $3"""  # noqa: S608  Constants.
_LOCKED: Final = f"""
SELECT {_COLUMNS} FROM reconciliation_differences d WHERE d.difference_id = $1 FOR UPDATE"""  # noqa: S608  Constants.
_DECIDE: Final = """
WITH decided AS (
    UPDATE reconciliation_differences SET state = $2, cause = $3, opter = $4, changed_at = $5
    WHERE difference_id = $1 RETURNING difference_id, fingerprint
)
INSERT INTO reconciliation_decisions (difference_id, state, cause, opter, fingerprint, decided_at)
SELECT difference_id, $2, $3, $4, fingerprint, $5 FROM decided"""
_FORGET: Final = """
DELETE FROM reconciliation_differences WHERE difference_id = ANY (ARRAY(
    SELECT d.difference_id FROM reconciliation_differences d
    WHERE d.state = 'CLEARED' AND d.changed_at < now() - $1::interval
        AND (SELECT count(*) FROM reconciliation_decisions k WHERE k.difference_id = d.difference_id) = 0
    ORDER BY d.changed_at LIMIT $2))"""


class Count(NamedTuple):
    """How many differences of a day are of this kind and stand so."""

    kind: DifferenceKind
    state: DifferenceState
    cnt: int


@value
class Difference:
    """A difference as it is kept."""

    difference_id: UUID
    fixmedins_code: str
    day: date
    found: Found
    state: DifferenceState
    found_at: datetime
    changed_at: datetime
    decision: Decision | None
    """The officer's word that stands."""


@value
class ToPut:
    """A difference as it was found just now, and where it stands."""

    difference_id: UUID
    found: Found
    state: DifferenceState
    decision: Decision | None


@value
class Known:
    """A difference as it was found before."""

    state: DifferenceState
    fingerprint: bytes
    decision: Decision | None


async def known(
    connection: Connection, fixmedins_code: str, day: date, record_ids: Sequence[UUID]
) -> dict[UUID, Known]:
    """Of these records those that differed before. They stay locked."""
    rows = await connection.fetch(_KNOWN, fixmedins_code, day, record_ids)
    return {row["record_id"]: Known(DifferenceState(row["state"]), row["fingerprint"], _decision(row)) for row in rows}


async def put(
    connection: Connection,
    fixmedins_code: str,
    day: date,
    differences: Sequence[ToPut],
    *,
    upload_id: UUID,
    now: datetime,
) -> None:
    """Keeps differences as they were found; one that was known keeps its id and the time when it was first found."""
    sent = json.dumps([_sent(each) for each in differences])
    await connection.execute(_PUT, sent, fixmedins_code, day, area_of(fixmedins_code), upload_id, now)


async def clear(connection: Connection, fixmedins_code: str, day: date, *, upload_id: UUID, now: datetime) -> bool:
    """A page of the day's open differences that this upload did not show are cleared; whether that was all."""
    done = await connection.execute(_CLEAR, fixmedins_code, day, upload_id, now, CLEARED_MAX)
    return bool(done != f"UPDATE {CLEARED_MAX}")


async def counts(connection: Connection, fixmedins_code: str, day: date) -> list[Count]:
    """The day's differences, counted."""
    return [
        Count(DifferenceKind(row["kind"]), DifferenceState(row["state"]), row["count"])
        for row in await connection.fetch(_COUNTS, fixmedins_code, day)
    ]


async def of_day(
    connection: Connection,
    fixmedins_code: str,
    day: date,
    *,
    states: Sequence[DifferenceState],
    after: UUID,
    limit: int,
) -> list[Difference]:
    """A page of a day's differences in the order of records."""
    said = [state.value for state in states]
    return [_difference(row) for row in await connection.fetch(_OF_DAY, fixmedins_code, day, after, said, limit)]


async def open_page(connection: Connection, *, area: str, after: tuple[date, UUID], limit: int) -> list[Difference]:
    """A page of what is open behind that day and difference, the oldest day first; an empty area means any."""
    rows = await (
        connection.fetch(_LIST_OPEN_OF_AREA, *after, limit, area)
        if area
        else connection.fetch(_LIST_OPEN, *after, limit)
    )
    return [_difference(row) for row in rows]


async def page_of_institution(
    connection: Connection, *, fixmedins_code: str, state: DifferenceState, after: tuple[date, UUID], limit: int
) -> list[Difference]:
    """A page of an institution's that stand so, behind that day and record, the oldest day first."""
    rows = await connection.fetch(_LIST_OF_INSTITUTION, *after, limit, fixmedins_code, state.value)
    return [_difference(row) for row in rows]


async def locked(connection: Connection, difference_id: UUID) -> Difference | None:
    """A difference, which nobody else changes until the transaction ends."""
    row = await connection.fetchrow(_LOCKED, difference_id)
    return None if row is None else _difference(row)


async def decide(connection: Connection, difference_id: UUID, decision: Decision, *, now: datetime) -> None:
    """An officer's decision, and that it was made of what he saw."""
    await connection.execute(_DECIDE, difference_id, decision.state.value, decision.cause, decision.opter, now)


async def forget_cleared(connection: Connection, *, kept: timedelta, limit: int) -> bool:
    """Deletes a page of what was cleared long ago and never judged by anybody; whether that was all."""
    return bool(await connection.execute(_FORGET, kept, limit) != f"DELETE {limit}")


def _sent(it: ToPut) -> dict[str, Any]:
    found, ours = it.found, it.found.ours
    return {
        "difference_id": str(it.difference_id),
        "record_id": str(found.record_id),
        "kind": found.kind.value,
        "state": it.state.value,
        "fields": list(found.fields),
        "theirs": None if found.theirs is None else found.theirs.document(),
        "ours": None if ours is None or ours.record is None else ours.record.document(),
        "ours_standing": None if ours is None else ours.standing.value,
        "ours_date": None if ours is None or ours.day is None else ours.day.isoformat(),
        "fingerprint": found.fingerprint.hex(),
        "cause": "" if it.decision is None else it.decision.cause,
        "opter": "" if it.decision is None else it.decision.opter,
    }


def _difference(row: Any) -> Difference:  # noqa: ANN401  Untyped driver.
    standing, ours = row["ours_standing"], row["ours"]
    return Difference(
        difference_id=row["difference_id"],
        fixmedins_code=row["fixmedins_code"],
        day=row["stmt_date"],
        found=Found(
            record_id=row["record_id"],
            kind=DifferenceKind(row["kind"]),
            fields=tuple(row["fields"]),
            theirs=None if row["theirs"] is None else Record.of_document(row["theirs"]),
            ours=None
            if standing is None
            else OurRecord(Standing(standing), None if ours is None else Record.of_document(ours), row["ours_date"]),
        ),
        state=DifferenceState(row["state"]),
        found_at=row["found_at"],
        changed_at=row["changed_at"],
        decision=_decision(row),
    )


def _decision(row: Any) -> Decision | None:  # noqa: ANN401  Untyped driver.
    return Decision(DifferenceState(row["state"]), row["cause"], row["opter"]) if row["opter"] else None
