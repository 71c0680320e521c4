"""Keeping what identity tells about persons and their relations."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.ids import AdmDvs, BindingId, PsnNo
from services.family.clients import Identity
from services.family.domain.people import Person
from services.family.operations import merging
from services.family.operations.people import reconsider
from services.family.store import bindings, moves
from services.family.store import people as store

IDENTITY: Final = "identity"
FORMER_BINDINGS: Final = "former_bindings"
"""Kept beside the sources whose snapshot was read: that what a former release left is to be judged."""
SNAPSHOT_BATCH_SIZE: Final = 1_000


async def keep_person(connection: AsyncConnection, *, person: Person, version: int) -> None:
    """Takes over what an event tells; an older one changes nothing. Bindings that may rest on it are judged anew.

    Of a number that was merged, the one that counts takes its place in its groups.
    """
    known = (await store.load(connection, [person.psn_no])).get(person.psn_no)
    await store.put(connection, person, version=version)
    if known is not None and known[1] < version:
        await reconsider(connection, former=known[0], person=person)
    if person.merged_into is not None and (known is None or known[1] <= version):
        await merging.follow(connection, double=person.psn_no, keep=person.merged_into)


async def doubt_kinship(connection: AsyncConnection, *, pairs: Collection[tuple[PsnNo, PsnNo]]) -> None:
    """Identity will be asked anew about the bindings of these pairs (funder, beneficiary)."""
    await bindings.doubt(connection, pairs)


async def keep_move(connection: AsyncConnection, *, psn_no: PsnNo, area: AdmDvs, moved_at: datetime) -> None:
    """Notes where somebody's account is from now on; his bindings are judged anew, and follow it."""
    if await moves.keep(connection, psn_no, area, moved_at=moved_at):
        await bindings.doubt_person(connection, psn_no)


async def read_snapshot(*, database: Database, identity: Identity) -> None:
    """Takes over everyone identity knows, once in the life of this database; from then on its stream suffices.

    If it breaks off, it is read again from the beginning at the next start.
    """
    await doubt_former(database=database)
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


async def doubt_former(*, database: Database) -> None:
    """Has every live binding judged, once in the life of this database: it may be of a release that stopped fewer.

    That did not look at deaths, insurance, provinces, merged numbers and sanctions to come; without news of its people
    such a binding would stand for ever. If it breaks off, the next start goes on with those that are left.
    """
    async with database.transaction() as connection:
        if await store.has_snapshot(connection, FORMER_BINDINGS):
            return
    last: BindingId | None = None
    while True:
        async with database.transaction() as connection:
            last = await bindings.doubt_all(connection, after=last, rows_max=SNAPSHOT_BATCH_SIZE)
            if last is None:
                await store.note_snapshot(connection, FORMER_BINDINGS)
                return


async def _keep(database: Database, batch: list[tuple[Person, int]]) -> None:
    async with database.transaction() as connection:
        for person, version in sorted(batch, key=lambda told: told[0].psn_no):
            await keep_person(connection, person=person, version=version)
