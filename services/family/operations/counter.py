"""Deeds of the counter, as officers read them; who reads them is kept beside (domain §10: audit of every look-up)."""

from __future__ import annotations

from datetime import datetime

from chassis import telemetry
from chassis.db import Database
from kernel.ids import PsnNo
from services.family.domain.counter import Done, Lookup, WantedDeeds, person_in
from services.family.store import counter as store
from services.family.store import people as people_store


async def list_deeds(
    *, database: Database, wanted: WantedDeeds, before: int | None, size: int, asked_by: str, now: datetime
) -> tuple[list[Done], bool]:
    """So many deeds, the latest first, and whether more follow.

    Whoever is asked for, whoever's documents are shown, and whom a subject names was looked up: that is kept in the
    same transaction.
    """
    async with database.transaction() as connection:
        numbers = [] if wanted.psn_no is None else await people_store.numbers_of(connection, wanted.psn_no)
        found = await store.page(connection, wanted, numbers, before=before, rows_max=size + 1)
        page = found[:size]
        met = person_in(wanted.subject).union(*(done.people for done in page))
        await store.note_lookup(
            connection, met | set(numbers[:1]), asked_by=asked_by, trace_id=telemetry.trace_id(), now=now
        )
        return page, len(found) > size


async def list_lookups(
    *, database: Database, psn_no: PsnNo, before: int | None, size: int
) -> tuple[list[Lookup], bool]:
    """So many look-ups of deeds that concern this person, under any number of his, and whether more follow."""
    async with database.transaction() as connection:
        numbers = await people_store.numbers_of(connection, psn_no)
        found = await store.lookups_of(connection, numbers, before=before, rows_max=size + 1)
        return found[:size], len(found) > size
