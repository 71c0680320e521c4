"""Facts of other rooms into our own tables, each at its version, however often and in whatever order they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from chassis.faults import fault_point
from chassis.inbox import forget_versions
from services.settlement.domain.credential import SigningKey
from services.settlement.domain.facts import Caught, Fact, ProjectedBinding, ProjectedInstitution, ProjectedPerson
from services.settlement.domain.visit import Terminal
from services.settlement.operations.merging import take_over
from services.settlement.store import projections as projected

SNAPSHOT_BATCH_SIZE: Final = 500
FORGET_BATCH_SIZE: Final = 20_000


async def apply(connection: AsyncConnection, facts: Sequence[tuple[Fact, int]]) -> None:
    """Keeps each fact, unless its version of its aggregate or a newer one is known; in the caller's transaction.

    A few statements however many facts there are.
    """
    for kind, save in _SAVERS.items():
        told = [(fact, version) for fact, version in facts if isinstance(fact, kind)]
        if told:
            await save(connection, told)


async def _save_people(connection: AsyncConnection, told: Sequence[tuple[ProjectedPerson, int]]) -> None:
    """Whatever is kept under a number that was merged goes on under the one that counts (``merging``)."""
    saved = await projected.save_people(connection, told)
    await take_over(connection, {person.psn_no: person.merged_into for person in saved if person.merged_into})


_Save = Callable[[AsyncConnection, Sequence[tuple[Any, int]]], Awaitable[None]]
_SAVERS: Final[Mapping[type[Fact], _Save]] = {
    ProjectedPerson: _save_people,
    ProjectedInstitution: projected.save_institutions,
    Terminal: projected.save_terminals,
    SigningKey: projected.save_signing_keys,
    ProjectedBinding: projected.save_bindings,
}


async def snapshot_is_taken(database: Database, *, source: str) -> bool:
    """Whether this source's snapshot has been read whole before."""
    async with database.transaction() as connection:
        return await projected.snapshot_taken(connection, source)


async def take_snapshot(database: Database, *, source: str, facts: AsyncIterator[tuple[Fact, int] | Caught]) -> int:
    """Keeps every fact and its version, and notes that the source was read whole; how many there were.

    It may end anywhere and begin anew: each fact is kept at its version.
    """
    asked_at = asyncio.get_running_loop().time()
    count, caught = await _keep_all(database, facts)
    if caught is not None:
        await _note_heard(database, source, caught, asked_at)
    async with database.transaction() as connection:
        await projected.note_snapshot(connection, source)
        fault_point("settlement.snapshot.before_commit")
    fault_point("settlement.snapshot.after_commit")
    return count


async def take_changes(
    database: Database, *, source: str, facts: AsyncIterator[tuple[Fact, int] | Caught]
) -> tuple[Caught, int]:
    """Keeps what changed since a cursor, then notes how far that reaches; how far, and how many facts there were.

    It may end anywhere and begin anew with the old cursor: each fact is kept at its version. EOFError if the answer
    ended without saying how far it reaches.
    """
    asked_at = asyncio.get_running_loop().time()
    count, caught = await _keep_all(database, facts)
    if caught is None:
        raise EOFError("the answer does not say how far it reaches")
    await _note_heard(database, source, caught, asked_at)
    return caught, count


async def begin_anew(database: Database, *, source: str, consumer: str) -> None:
    """The next question is asked from the beginning, and what it brings counts: identity was restored from a backup.

    Its versions go on from the backup's, so of what stands here none is newer than what it says from now on, by NATS
    (to ``consumer``) or when asked. The facts stand until they are said anew. It may end anywhere and begin anew: the
    cursor goes last. In steps, since a statement is bounded and a nation has many people.
    """
    for kind in projected.OF_IDENTITY:
        while await _forget_some(database, kind, consumer):
            pass
    async with database.driver_connection() as connection:
        await projected.forget_cursor(connection, source)


async def _forget_some(database: Database, kind: str, consumer: str) -> int:
    async with database.driver_connection() as connection:
        passed = await projected.forget_versions(connection, kind, rows_max=FORGET_BATCH_SIZE)
        return passed + await forget_versions(connection, consumer, kind, rows_max=FORGET_BATCH_SIZE)


async def last_heard(database: Database, *, source: str) -> tuple[int, float] | None:
    """The cursor to go on from, and how many seconds ago the source was last heard; None if it never was."""
    async with database.driver_connection() as connection:
        return await projected.heard(connection, source)


async def _note_heard(database: Database, source: str, caught: Caught, asked_at: float) -> None:
    """After the facts, never before them: a crash in between asks for them again."""
    async with database.driver_connection() as connection:
        asked_s_ago = asyncio.get_running_loop().time() - asked_at
        await projected.note_heard(connection, source, caught, asked_s_ago=asked_s_ago)


async def _keep_all(database: Database, facts: AsyncIterator[tuple[Fact, int] | Caught]) -> tuple[int, Caught | None]:
    """Keeps the facts in batches; how many there were, and how far they reach if that was said."""
    count = 0
    caught: Caught | None = None
    batch: list[tuple[Fact, int]] = []
    async for part in facts:
        if isinstance(part, Caught):
            caught = part
            continue
        batch.append(part)
        count += 1
        if len(batch) == SNAPSHOT_BATCH_SIZE:
            await _keep(database, batch)
            batch.clear()
    if batch:
        await _keep(database, batch)
    return count, caught


async def _keep(database: Database, batch: list[tuple[Fact, int]]) -> None:
    async with database.transaction() as connection:
        await apply(connection, batch)
        fault_point("settlement.snapshot_part.before_commit")
    fault_point("settlement.snapshot_part.after_commit")
