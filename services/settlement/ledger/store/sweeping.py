"""What the clock looks for: holds whose time is over, and commands that failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from kernel.ids import PaymentId
from services.settlement.ledger.store.sets import Connection

_CLAIM_DUE: Final = """
    UPDATE branches AS b
    SET last_inquired_at = clock_timestamp(), inquiries = b.inquiries + 1,
        next_inquire_at = clock_timestamp() + least($2::interval * power(2, least(b.inquiries, 20)), $3::interval)
    FROM (
        SELECT payment_id FROM branches WHERE state = 'HELD' AND next_inquire_at <= clock_timestamp()
        ORDER BY next_inquire_at LIMIT $1
    ) AS due
    WHERE b.payment_id = ANY (ARRAY[due.payment_id])
    RETURNING b.payment_id, extract(epoch FROM clock_timestamp() - b.inquire_at)::float8 AS overdue_s, b.inquiries
"""
_COUNT_HELD: Final = """
    SELECT count(*) AS held, count(*) FILTER (WHERE inquire_at < clock_timestamp() - $1::interval) AS long_held
    FROM branches WHERE state = 'HELD'
"""
_QUARANTINE: Final = """
    INSERT INTO quarantine (command_kind, command_id, command, problem, first_failed_at, last_failed_at)
    VALUES ($1, $2, $3, $4, clock_timestamp(), clock_timestamp())
    ON CONFLICT (command_kind, command_id) DO UPDATE
    SET failures = quarantine.failures + 1, last_failed_at = excluded.last_failed_at, problem = excluded.problem,
        command = excluded.command, done_at = NULL
"""
_QUARANTINED: Final = "SELECT command_kind, command_id FROM quarantine WHERE done_at IS NULL"
_END_QUARANTINE: Final = """
    UPDATE quarantine SET done_at = clock_timestamp() FROM unnest($1::text[], $2::uuid[]) AS v(command_kind, command_id)
    WHERE quarantine.command_kind = v.command_kind AND quarantine.command_id = v.command_id AND done_at IS NULL
"""
_ENSURE_AREA: Final = "INSERT INTO ledger_state (area) VALUES ($1) ON CONFLICT DO NOTHING"


@dataclass(frozen=True, slots=True)
class DueHold:
    """A hold to ask the coordinator about: how long it is overdue, and how often it was asked, this time included."""

    payment_id: PaymentId
    overdue_s: float
    inquiries: int


@dataclass(frozen=True, slots=True)
class Held:
    """How many holds stand, and how many of them are far beyond their deadline."""

    held: int
    long_held: int


async def claim_due_holds(
    connection: Connection, *, limit: int, backoff: timedelta, backoff_max: timedelta
) -> list[DueHold]:
    """Due holds, each put off by ``backoff``, doubled with every inquiry up to ``backoff_max``, before it is asked."""
    records = await connection.fetch(_CLAIM_DUE, limit, backoff, backoff_max)
    return [DueHold(PaymentId(it["payment_id"]), it["overdue_s"], it["inquiries"]) for it in records]


async def count_held(connection: Connection, *, overdue: timedelta) -> Held:
    """The holds of this ledger, and those overdue by more than ``overdue``."""
    record = await connection.fetchrow(_COUNT_HELD, overdue)
    return Held(record["held"], record["long_held"])


async def put_in_quarantine(
    connection: Connection, *, command_kind: str, command_id: UUID, command: str, problem: str
) -> None:
    """Keeps a command that failed, or counts one failure more."""
    await connection.execute(_QUARANTINE, command_kind, command_id, command, problem)


async def read_quarantined(connection: Connection) -> set[tuple[str, UUID]]:
    """Kind and id of every command that is still in quarantine."""
    return {(record["command_kind"], record["command_id"]) for record in await connection.fetch(_QUARANTINED)}


async def end_quarantine(connection: Connection, passed: Sequence[tuple[str, UUID]]) -> None:
    """Marks commands that passed after all."""
    await connection.execute(_END_QUARANTINE, [kind for kind, _ in passed], [command_id for _, command_id in passed])


async def ensure_area(connection: Connection, area: str) -> None:
    """Makes an empty database this area's ledger; ValueError if it is another area's already."""
    await connection.execute(_ENSURE_AREA, area)
    owner = await connection.fetchval("SELECT area FROM ledger_state")
    if owner != area:
        raise ValueError(f"the database is the ledger of area {owner}, not of {area}")
