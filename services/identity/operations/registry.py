"""The civil registry by its batch file: rows taken in, and facts checked against them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

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


async def load_rows(*, database: Database, seals: Seals, rows: Sequence[StatedRow], now: datetime) -> int:
    """How many of the rows were new or gave a wedding its end; certificates are kept as blind indexes alone."""
    if not rows:
        return 0
    sealed = [
        normal(RegistryRow(row.kind, seals.blind_index(row.a), seals.blind_index(row.b), row.from_date, row.to_date))
        for row in rows
    ]
    async with database.transaction() as connection:
        return await store.insert_rows(connection, sealed, now=now)
