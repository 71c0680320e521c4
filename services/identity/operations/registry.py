"""The civil registry by its batch file: rows taken in, and facts checked against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.db import Database
from services.identity.domain.kinship import Fact
from services.identity.domain.registry import Finding, RegistryRow, StatedRow, finding, normal
from services.identity.domain.sealing import Seals
from services.identity.store import registry as store


@dataclass(frozen=True, slots=True)
class BatchFileRegistry:
    """The registry as its latest batch files told it; one adapter of the ``Registry`` that a fact is checked with."""

    database: Database

    async def check(self, fact: Fact) -> Finding:
        """What the rows say; UNKNOWN of people whom no file has named."""
        async with self.database.transaction() as connection:
            person = await store.indexes_of(connection, fact.psn_no)
            other = await store.indexes_of(connection, fact.other_psn_no)
            rows = await store.rows_naming(connection, person | other)
        return finding(fact, person=person, other=other, rows=rows)


@dataclass(frozen=True, slots=True)
class Loaded:
    """How many rows were new or gave a wedding its end; and the facts that wait and speak of somebody in any row."""

    taken: int = 0
    waiting: Sequence[UUID] = ()


async def load_rows(
    *, database: Database, seals: Seals, rows: Sequence[StatedRow], asked_by: str, now: datetime
) -> Loaded:
    """The rows taken in, certificates as blind indexes alone, and who loaded them.

    What waits is found by rows that say nothing new as well: whoever was cut off before asking sends the same again.
    """
    if not rows:
        return Loaded()
    sealed = [
        normal(RegistryRow(row.kind, seals.blind_index(row.a), seals.blind_index(row.b), row.from_date, row.to_date))
        for row in rows
    ]
    async with database.transaction() as connection:
        taken = await store.insert_rows(connection, sealed, asked_by=asked_by, now=now)
        indexes = {index for row in sealed for index in (row.a, row.b)}
        return Loaded(taken, await store.waiting_facts(connection, indexes))
