"""Facts become messages, once each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.ids import PsnNo
from services.notify import store
from services.notify.clients import Identity
from services.notify.domain.facts import PersonTold, Told
from services.notify.domain.messages import messages, people_in

IDENTITY: Final = "identity"
SNAPSHOT_BATCH_SIZE: Final = 1_000


async def tell(connection: AsyncConnection, *, identity: Identity, told: Sequence[Told]) -> set[PsnNo]:
    """Writes the messages of these facts that have not been written yet; the people who got one.

    A name whose event is still on its way is asked for; one that cannot be had becomes "your relative".
    """
    wanted = {psn_no for one in told for psn_no in people_in(one.fact)}
    names = await store.names(connection, wanted) if wanted else {}
    for psn_no in sorted(wanted - names.keys()):
        if (name := await identity.name(psn_no)) is not None:
            await store.put_asked_name(connection, psn_no, name)
            names[psn_no] = name
    return await store.write(connection, [message for one in told for message in messages(one, names)])


async def keep_person(connection: AsyncConnection, *, identity: Identity, person: PersonTold) -> set[PsnNo]:
    """Keeps a person's masked name and tells of sanctions not told yet; the people who got a message.

    Of a number that was merged, what its inbox has is in the inbox of the number that counts from now on, behind what
    is there; and whatever is told to it later comes there too.
    """
    got = await store.put_person(connection, person)
    return got | (await tell(connection, identity=identity, told=person.sanctions) if person.sanctions else set())


async def read_snapshot(*, database: Database, identity: Identity) -> None:
    """Takes over everyone identity knows, once in the life of this database; from then on its stream suffices."""
    async with database.transaction() as connection:
        if await store.has_snapshot(connection, IDENTITY):
            return
    batch: list[PersonTold] = []
    async for person in identity.snapshot():
        batch.append(person)
        if len(batch) >= SNAPSHOT_BATCH_SIZE:
            await _keep(database, identity, batch)
            batch.clear()
    await _keep(database, identity, batch)
    async with database.transaction() as connection:
        await store.note_snapshot(connection, IDENTITY)


async def _keep(database: Database, identity: Identity, batch: list[PersonTold]) -> None:
    async with database.transaction() as connection:
        for person in sorted(batch, key=lambda person: person.psn_no):
            await keep_person(connection, identity=identity, person=person)
