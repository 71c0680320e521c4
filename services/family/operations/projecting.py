"""Keeping what identity tells about persons and their relations."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.ids import PsnNo
from services.family.clients import Identity
from services.family.domain.people import Person
from services.family.store import bindings
from services.family.store import people as store

IDENTITY: Final = "identity"
SNAPSHOT_BATCH_SIZE: Final = 1_000


async def keep_person(connection: AsyncConnection, *, person: Person, version: int) -> None:
    """Takes over what an event tells; an older one changes nothing."""
    await store.put(connection, person, version=version)


async def doubt_kinship(connection: AsyncConnection, *, pairs: Collection[tuple[PsnNo, PsnNo]]) -> None:
    """Identity will be asked anew about the bindings of these pairs (funder, beneficiary)."""
    await bindings.doubt(connection, pairs)


async def read_snapshot(*, database: Database, identity: Identity) -> None:
    """Takes over everyone identity knows, once in the life of this database; from then on its stream suffices.

    If it breaks off, it is read again from the beginning at the next start.
    """
    async with database.transaction() as connection:
        if await store.has_snapshot(connection, IDENTITY):
            return
    batch: list[tuple[Person, int]] = []
    async for told in identity.snapshot():
        batch.append(told)
        if len(batch) >= SNAPSHOT_BATCH_SIZE:
            await _keep(database, batch)
            batch.clear()
    await _keep(database, batch)
    async with database.transaction() as connection:
        await store.note_snapshot(connection, IDENTITY)


async def _keep(database: Database, batch: list[tuple[Person, int]]) -> None:
    async with database.transaction() as connection:
        for person, version in sorted(batch, key=lambda told: told[0].psn_no):
            await keep_person(connection, person=person, version=version)
