"""Everything held about a person, handed to him: his face first, the look-up on record, then page by page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from chassis.deadlines import remaining_s
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import rights as document
from services.identity.domain.attestation import Purpose
from services.identity.domain.certificate import CertificateKind
from services.identity.domain.person import writable
from services.identity.domain.rights_sections import SECTIONS, Section
from services.identity.domain.sealing import Sealed, Seals
from services.identity.operations import attestations, lookups
from services.identity.operations.corrections import opened_value
from services.identity.operations.drawn import new_id
from services.identity.operations.sealed import certno_of, name_of, opened_certno
from services.identity.store import people
from services.identity.store import rights as store
from services.identity.store.lookups import numbers_of

EXPORTED: Final = "DATA_EXPORTED"
"""The purpose in the audit."""
PIECE_BYTES: Final = 32 << 10
"""So much of the document goes into one message; a row longer than that goes whole."""

EXPORTS_MAX: Final = 3
"""So many exports at once, so that people who read slowly do not keep all connections from everybody else."""

EXPORT_MAX_S: Final = 600
"""How far ahead an export's deadline may lie: whoever stops reading keeps his place and his connection until then."""
_ROUNDING_S: Final = 5
"""A deadline travels as a rounded number of seconds."""


class Exports:
    """The exports under way in one replica."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(EXPORTS_MAX)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """A place for one export, for as long as it takes.

        DEADLINE_TOO_FAR (INVALID) if the caller may keep it longer than ``EXPORT_MAX_S``, UNAVAILABLE SERVICE_BUSY if
        none is free.
        """
        if (remaining_s() or 0) > EXPORT_MAX_S + _ROUNDING_S:
            raise Failure(Kind.INVALID, "DEADLINE_TOO_FAR", seconds_max=EXPORT_MAX_S)
        if self._places.locked():
            raise Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")
        async with self._places:
            yield


async def begin_export(
    *,
    database: Database,
    psn_no: PsnNo,
    attestation_id: UUID,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> None:
    """Lets one export begin: the attestation is used up and the look-up on record before anything is shown.

    Refusals in this order: PERSON_UNKNOWN, PERSON_MERGED, then those of an attestation's use. An export that breaks off
    needs another attestation.
    """
    async with lookups.on_record(database, purpose=EXPORTED, asked_by=asked_by, now=now) as (connection, met):
        met.add(psn_no)
        writable(await people.load_person(connection, psn_no))
        used_for = f"export:{new_id(now, randomness)}"
        await attestations.use(
            connection,
            attestation_id=attestation_id,
            psn_no=psn_no,
            purpose=Purpose.EXPORT_DATA,
            used_for=used_for,
            now=now,
        )


async def exported(*, database: Database, seals: Seals, psn_no: PsnNo, now: datetime) -> AsyncGenerator[bytes, None]:
    """The document in pieces, all of one moment, of an export that has begun; few rows are in memory at once."""
    piece = bytearray(document.beginning(exported_at=now).encode())
    async with database.snapshot() as connection:
        numbers = await numbers_of(connection, psn_no)
        for section in SECTIONS:
            async for text in _section(connection, section, numbers, seals):
                piece += text.encode()
                if len(piece) >= PIECE_BYTES:
                    yield bytes(piece)
                    piece.clear()
    yield bytes(piece) + document.END.encode()


async def _section(
    connection: AsyncConnection, section: Section, numbers: list[PsnNo], seals: Seals
) -> AsyncIterator[str]:
    empty = True
    yield document.section_beginning(section)
    async for row in store.rows(connection, section.name, numbers):
        yield document.row_text(section, _opened(section.name, row, seals), first=empty)
        empty = False
    yield document.section_end(section, empty=empty)


def _opened(section: str, row: Mapping[str, Any], seals: Seals) -> Mapping[str, object]:
    open_row = _OPENED.get(section)
    return row if open_row is None else open_row(row, seals)


def _person(row: Mapping[str, Any], seals: Seals) -> Mapping[str, object]:
    sealed = people.SealedPerson(
        PsnNo(row["psn_no"]),
        CertificateKind(row["psn_cert_type"]),
        certno=Sealed(row["key_id"], row["certno_sealed"]),
        name=Sealed(row["key_id"], row["psn_name_sealed"]),
    )
    return _clear(row) | {"certno": certno_of(sealed, seals=seals), "psn_name": name_of(sealed, seals=seals)}


def _former_certificate(row: Mapping[str, Any], seals: Seals) -> Mapping[str, object]:
    psn_no, sealed = PsnNo(row["psn_no"]), Sealed(row["key_id"], row["certno_sealed"])
    opened = _clear(row) | {"certno": opened_certno(psn_no, sealed, seals=seals)}
    return {name: value for name, value in opened.items() if name != "psn_no"}


def _correction(row: Mapping[str, Any], seals: Seals) -> Mapping[str, object]:
    sealed = Sealed(row["key_id"], row["value_sealed"])
    opened = _clear(row) | {"value": opened_value(row["correction_id"], sealed, seals=seals)}
    return {name: value for name, value in opened.items() if name != "correction_id"}


def _clear(row: Mapping[str, Any]) -> dict[str, object]:
    """What of a row is not sealed."""
    return {name: value for name, value in row.items() if name != "key_id" and not name.endswith("_sealed")}


_OPENED: Final[Mapping[str, Callable[[Mapping[str, Any], Seals], Mapping[str, object]]]] = MappingProxyType(
    {"person": _person, "former_certificates": _former_certificate, "corrections": _correction}
)
