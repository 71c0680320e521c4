"""Facts of other rooms into our own tables, each at its version, however often and in whatever order they come."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final, assert_never

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from chassis.faults import fault_point
from services.settlement.domain.credential import SigningKey
from services.settlement.domain.facts import Fact, ProjectedBinding, ProjectedPerson
from services.settlement.domain.visit import Institution
from services.settlement.store import projections as projected

SNAPSHOT_BATCH_SIZE: Final = 500


async def apply(connection: AsyncConnection, *, fact: Fact, version: int) -> None:
    """Keeps the fact, unless a newer or the same version of its aggregate is known; in the caller's transaction."""
    match fact:
        case ProjectedPerson():
            await projected.save_person(connection, fact, version)
        case Institution():
            await projected.save_institution(connection, fact, version)
        case SigningKey():
            await projected.save_signing_key(connection, fact, version)
        case ProjectedBinding():
            await projected.save_binding(connection, fact, version)
        case _:
            assert_never(fact)


async def snapshot_is_taken(database: Database, *, source: str) -> bool:
    """Whether this source's snapshot has been read whole before."""
    async with database.transaction() as connection:
        return await projected.snapshot_taken(connection, source)


async def take_snapshot(database: Database, *, source: str, facts: AsyncIterator[tuple[Fact, int]]) -> int:
    """Keeps every fact and its version, and notes that the source was read whole; how many there were.

    It may end anywhere and begin anew: each fact is kept at its version.
    """
    count = 0
    batch: list[tuple[Fact, int]] = []
    async for pair in facts:
        batch.append(pair)
        count += 1
        if len(batch) == SNAPSHOT_BATCH_SIZE:
            await _keep(database, batch)
            batch.clear()
    await _keep(database, batch)
    async with database.transaction() as connection:
        await projected.note_snapshot(connection, source)
        fault_point("settlement.snapshot.before_commit")
    fault_point("settlement.snapshot.after_commit")
    return count


async def _keep(database: Database, batch: list[tuple[Fact, int]]) -> None:
    async with database.transaction() as connection:
        for fact, version in batch:
            await apply(connection, fact=fact, version=version)
        fault_point("settlement.snapshot_part.before_commit")
    fault_point("settlement.snapshot_part.after_commit")
