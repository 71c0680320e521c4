"""Many people registered by a handful of statements."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.registration import NewPerson
from services.identity.store.people import SealedPerson

_HOLDERS: Final = sa.text("""
    SELECT certno_index, psn_no FROM persons WHERE certno_index = ANY (CAST(:indexes AS bytea[]))
    UNION ALL
    SELECT certno_index, psn_no FROM former_certificates WHERE certno_index = ANY (CAST(:indexes AS bytea[]))""")
_NUMBERS: Final = sa.text("""
    SELECT psn_no, merged_into IS NOT NULL AS merged FROM persons WHERE psn_no = ANY (CAST(:psn_nos AS text[]))""")
_FORMER: Final = sa.text("""
    SELECT EXISTS (SELECT FROM former_certificates WHERE certno_index = ANY (CAST(:indexes AS bytea[])))""")
_ADD: Final = sa.text("""
    INSERT INTO persons (psn_no, certificate_kind, certno_sealed, name_sealed, key_id, certno_index, name_masked, brdy,
        gend, version, registered_at)
    SELECT psn_no, kind, certno_sealed, name_sealed, key_id, certno_index, name_masked, brdy, gend, 1,
        CAST(:now AS timestamptz)
    FROM unnest(CAST(:psn_nos AS text[]), CAST(:kinds AS text[]), CAST(:certnos AS bytea[]), CAST(:names AS bytea[]),
        CAST(:key_ids AS text[]), CAST(:indexes AS bytea[]), CAST(:names_masked AS text[]), CAST(:brdys AS date[]),
        CAST(:gends AS text[]))
        AS new (psn_no, kind, certno_sealed, name_sealed, key_id, certno_index, name_masked, brdy, gend)
    ORDER BY certno_index
    ON CONFLICT DO NOTHING""")
"""In the order of the certificates, so that of two batches with the same people one waits for the other, not both."""


@dataclass(frozen=True, slots=True)
class NewRow:
    """A person to be added, with what only a key holder can read of him."""

    new: NewPerson
    sealed: SealedPerson


async def holders_of(connection: AsyncConnection, indexes: Collection[bytes]) -> dict[bytes, PsnNo]:
    """Whose certificates they are, or were; those that nobody holds are left out."""
    rows = await connection.execute(_HOLDERS, {"indexes": list(indexes)})
    return {bytes(row.certno_index): PsnNo(row.psn_no) for row in rows}


async def known_numbers(connection: AsyncConnection, psn_nos: Collection[PsnNo]) -> dict[PsnNo, bool]:
    """Those of the numbers that somebody has, each with whether it is a merged double's."""
    if not psn_nos:
        return {}
    rows = await connection.execute(_NUMBERS, {"psn_nos": list(psn_nos)})
    return {PsnNo(row.psn_no): row.merged for row in rows}


async def insert_people(connection: AsyncConnection, rows: Sequence[NewRow], *, now: datetime) -> bool:
    """Whether all of them are new: no number and no certificate, present or former, was there before.

    If it is not so the caller rolls back: some of them may stand written.
    """
    written = await connection.execute(
        _ADD,
        {
            "psn_nos": [row.new.person.psn_no for row in rows],
            "kinds": [row.new.registration.certificate.kind.value for row in rows],
            "certnos": [row.sealed.certno.content for row in rows],
            "names": [row.sealed.name.content for row in rows],
            "key_ids": [row.sealed.certno.key_id for row in rows],
            "indexes": [row.new.certno_index for row in rows],
            "names_masked": [row.new.person.name_masked for row in rows],
            "brdys": [row.new.person.brdy for row in rows],
            "gends": [row.new.person.sex.value for row in rows],
            "now": now,
        },
    )
    if written.rowcount != len(rows):
        return False
    # The insert waited for whoever was just replacing one of these certificates, so this statement sees what he did.
    return not await connection.scalar(_FORMER, {"indexes": [row.new.certno_index for row in rows]})
