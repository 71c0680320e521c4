"""The civil registry's rows, and the blind indexes by which people are found in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.kinship import FactKind
from services.identity.domain.registry import RegistryRow
from services.identity.tables.kinship import REGISTRY_ROWS
from services.identity.tables.people import FORMER_CERTIFICATES, PERSONS

NO_DATE: Final = date.min
"""Stands for the wedding where a kind has none, so that one constraint tells each row from all others."""
_INSERT: Final = sa.text("""
    INSERT INTO registry_rows AS known (kind, a_index, b_index, from_date, to_date, loaded_at, loaded_by)
    SELECT DISTINCT ON (a_index, b_index, kind, from_date)
        kind, a_index, b_index, from_date, to_date, CAST(:now AS timestamptz), CAST(:asked_by AS text)
    FROM unnest(CAST(:kinds AS text[]), CAST(:a_indexes AS bytea[]), CAST(:b_indexes AS bytea[]),
                CAST(:from_dates AS date[]), CAST(:to_dates AS date[]))
        AS told (kind, a_index, b_index, from_date, to_date)
    ORDER BY a_index, b_index, kind, from_date, to_date NULLS LAST
    ON CONFLICT (a_index, b_index, kind, from_date) DO UPDATE
    SET to_date = excluded.to_date, loaded_at = excluded.loaded_at, loaded_by = excluded.loaded_by
    WHERE excluded.to_date IS NOT NULL AND known.to_date IS DISTINCT FROM excluded.to_date
    RETURNING 1""")
"""In one order, so that two files loaded at once never wait for each other both ways. An end is never taken back."""


_WAITING: Final = sa.text("""
    WITH named AS MATERIALIZED (
        SELECT psn_no FROM persons WHERE certno_index = ANY (CAST(:indexes AS bytea[]))
        UNION
        SELECT psn_no FROM former_certificates WHERE certno_index = ANY (CAST(:indexes AS bytea[]))
    )
    SELECT fact_id FROM kinship_facts WHERE psn_no = ANY (ARRAY(SELECT psn_no FROM named)) AND state = 'SUBMITTED'
    UNION
    SELECT fact_id FROM kinship_facts WHERE other_psn_no = ANY (ARRAY(SELECT psn_no FROM named)) AND state = 'SUBMITTED'
    ORDER BY fact_id""")
"""By arrays, so that each table is read by its index, however few or many the certificates are."""


async def insert_rows(connection: AsyncConnection, rows: Sequence[RegistryRow], *, asked_by: str, now: datetime) -> int:
    """How many of the rows are new, or gave a wedding its end; each is as ``normal`` makes it.

    A row names who loaded what it says now.
    """
    result = await connection.execute(
        _INSERT,
        {
            "kinds": [row.kind.value for row in rows],
            "a_indexes": [row.a for row in rows],
            "b_indexes": [row.b for row in rows],
            "from_dates": [row.from_date or NO_DATE for row in rows],
            "to_dates": [row.to_date for row in rows],
            "asked_by": asked_by,
            "now": now,
        },
    )
    return len(result.all())


async def waiting_facts(connection: AsyncConnection, indexes: Collection[bytes]) -> list[UUID]:
    """The submitted facts that speak of somebody whom one of these certificates, present or former, names."""
    rows = await connection.scalars(_WAITING, {"indexes": sorted(indexes)})
    return list(rows)


async def indexes_of(connection: AsyncConnection, psn_no: PsnNo) -> frozenset[bytes]:
    """The blind indexes of every certificate a person has or had, those of his merged doubles among them."""
    own = sa.select(PERSONS.c.certno_index).where(PERSONS.c.psn_no == psn_no, PERSONS.c.certno_index.is_not(None))
    former = sa.select(FORMER_CERTIFICATES.c.certno_index).where(FORMER_CERTIFICATES.c.psn_no == psn_no)
    return frozenset(await connection.scalars(own.union(former)))


async def rows_naming(connection: AsyncConnection, indexes: frozenset[bytes]) -> list[RegistryRow]:
    """Every row that names any of these certificates."""
    wanted = sa.cast(sa.literal(sorted(indexes), ARRAY(BYTEA)), ARRAY(BYTEA))
    # Two index scans; one OR over both columns would read the table.
    as_first = sa.select(REGISTRY_ROWS).where(REGISTRY_ROWS.c.a_index == sa.any_(wanted))
    as_second = sa.select(REGISTRY_ROWS).where(REGISTRY_ROWS.c.b_index == sa.any_(wanted))
    return [
        RegistryRow(
            FactKind(row.kind),
            row.a_index,
            row.b_index,
            from_date=None if row.from_date == NO_DATE else row.from_date,
            to_date=row.to_date,
        )
        for row in await connection.execute(as_first.union(as_second))
    ]
