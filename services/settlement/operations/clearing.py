"""Running a period of clearing, and reading what was run."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from chassis import telemetry
from chassis.db import Database
from chassis.faults import fault_point
from kernel.failures import Failure, Kind
from services.settlement.domain.clearing import Period, Position, check_runnable, net_positions, under_way_failure
from services.settlement.saga.restoring import restoring_failure
from services.settlement.store import clearing as store
from services.settlement.store.clearing import ClearingPair, ClearingRun
from services.settlement.store.payments import now as database_now
from services.settlement.store.payments import read_standing

_log = telemetry.logger("clearing")


@dataclass(frozen=True, slots=True)
class Ran:
    """A period as it was run, just now or before."""

    run: ClearingRun
    existed: bool


async def run(database: Database, *, period: Period, carry_reason: str, run_by: str) -> Ran:
    """Runs a period: writes its lines, its pairs and itself in one transaction, or nothing. Once run, it stays so.

    Failures: COORDINATOR_RESTORING; those of ``check_runnable``; CLEARING_UNDER_WAY while somebody else runs one.
    """
    async with database.driver_connection() as connection:
        found = await store.load(connection, period)
        if found is not None:
            return Ran(found, existed=True)
        old_writes = await store.writes_since_before(connection, period.ends_at)
    try:
        async with database.driver_transaction(begin=store.BEGIN) as connection:
            found = await store.load(connection, period)
            if found is not None:
                return Ran(found, existed=True)
            written = await _written(connection, period, carry_reason, run_by, old_writes=old_writes)
            fault_point("settlement.clearing.before_commit")
    except asyncpg.LockNotAvailableError:
        raise under_way_failure() from None
    fault_point("settlement.clearing.after_commit")
    _log.info("a period is cleared", period=str(period), lines=written.lines_count, payments=written.payments_count)
    return Ran(written, existed=False)


async def _written(
    connection: Any,  # noqa: ANN401  Untyped driver.
    period: Period,
    carry_reason: str,
    run_by: str,
    *,
    old_writes: bool,
) -> ClearingRun:
    if (await read_standing(connection)).is_restoring:
        raise restoring_failure()
    now = await database_now(connection)
    standing = await store.standing(connection, period, now=now, writes_since_before=old_writes)
    check_runnable(period, standing, carry_open=bool(carry_reason))
    lines = await store.write_lines(connection, period, is_first=standing.is_first)
    digest = hashlib.sha256()
    async for part in store.file_of(connection, period):
        digest.update(part)
    return await store.write_run(
        connection,
        ClearingRun(
            period=period,
            run_at=now,
            run_by=run_by,
            payments_count=lines.payments_count,
            local_fen=lines.local_fen,
            lines_count=lines.lines_count,
            lines_sha256=digest.digest(),
            carried_in_count=lines.carried_in_count,
            carried_on_count=standing.open_count,
            carry_reason=carry_reason if standing.open_count else "",
        ),
    )


async def view(database: Database, period: Period) -> tuple[ClearingRun, tuple[Position, ...]]:
    """A period that was run, and every area's position; CLEARING_UNKNOWN."""
    async with database.driver_connection() as connection:
        found = await _known(connection, period)
        return found, net_positions(await store.owed(connection, period))


async def list_runs(
    database: Database, *, before: str | None, size: int, now: datetime
) -> tuple[list[ClearingRun], bool, Period]:
    """A page of the runs, the latest first; whether there are more; which period is next."""
    async with database.driver_connection() as connection:
        found = await store.runs(connection, before=before, limit=size + 1)
        return found[:size], len(found) > size, await store.next_period(connection, now)


async def list_pairs(
    database: Database, period: Period, *, debtor: str, creditor: str, after: tuple[str, ...] | None, size: int
) -> tuple[list[ClearingPair], bool]:
    """A page of a period's statements, and whether there are more; CLEARING_UNKNOWN."""
    async with database.driver_connection() as connection:
        await _known(connection, period)
        found = await store.pairs(connection, period, debtor=debtor, creditor=creditor, after=after, limit=size + 1)
    return found[:size], len(found) > size


async def exported(database: Database, period: Period, *, debtor: str, creditor: str) -> AsyncGenerator[str]:
    """The period's file in parts of whole lines; no connection is kept between them. CLEARING_UNKNOWN."""
    async with database.driver_connection() as connection:
        await _known(connection, period)
    yield store.CSV_HEADER
    last = 0
    while True:
        async with database.driver_connection() as connection:
            text, last = await store.lines_as_text(connection, period, after=last, debtor=debtor, creditor=creditor)
        if not text:
            return
        yield text


async def trace(database: Database, payment_id: UUID) -> list[dict[str, Any]]:
    """The lines in which a payment and its refund were cleared."""
    async with database.driver_connection() as connection:
        return await store.lines_of(connection, payment_id)


async def _known(connection: Any, period: Period) -> ClearingRun:  # noqa: ANN401  Untyped driver.
    found = await store.load(connection, period)
    if found is None:
        raise Failure(Kind.NOT_FOUND, "CLEARING_UNKNOWN", period=str(period))
    return found
