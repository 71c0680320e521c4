"""Persons as identity last told of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, PsnNo
from services.family.domain.people import Enrolment, Person, Sanction
from services.family.tables import PERSONS, PROJECTION_SOURCES

ASKED_VERSION: Final = 0
"""The version of a person who was asked for before any event about him has come."""


async def load(connection: AsyncConnection, psn_nos: Iterable[PsnNo]) -> dict[PsnNo, tuple[Person, int]]:
    """Those of the persons who are known here, each with the version known."""
    rows = await connection.execute(select(PERSONS).where(PERSONS.c.psn_no.in_(sorted(set(psn_nos)))))
    return {PsnNo(row.psn_no): (_person(row), row.version) for row in rows}


async def numbers_of(connection: AsyncConnection, psn_no: PsnNo) -> list[PsnNo]:
    """This number, and those that identity has found to be doubles of it."""
    doubles = await connection.scalars(
        select(PERSONS.c.psn_no).where(PERSONS.c.merged_into == psn_no).order_by(PERSONS.c.psn_no)
    )
    return [psn_no, *map(PsnNo, doubles)]


async def put(connection: AsyncConnection, person: Person, *, version: int) -> None:
    """Keeps what an event tells, unless something as new or newer is known."""
    row = _row(person, version)
    await connection.execute(
        insert(PERSONS)
        .values(row)
        .on_conflict_do_update(index_elements=[PERSONS.c.psn_no], set_=row, where=PERSONS.c.version < version)
    )


async def put_asked(connection: AsyncConnection, person: Person, *, version_seen: int | None) -> None:
    """Keeps what identity answered when asked, unless an event has come since ``version_seen`` was read.

    The answer has no version of its own: it is at least as new as what was seen, so it takes that one's place and the
    next event replaces it.
    """
    row = _row(person, ASKED_VERSION if version_seen is None else version_seen)
    await connection.execute(
        insert(PERSONS)
        .values(row)
        .on_conflict_do_update(index_elements=[PERSONS.c.psn_no], set_=row, where=PERSONS.c.version == row["version"])
    )


async def has_snapshot(connection: AsyncConnection, source: str) -> bool:
    """Whether this service's snapshot has been read whole."""
    known = await connection.execute(select(PROJECTION_SOURCES.c.source).where(PROJECTION_SOURCES.c.source == source))
    return known.first() is not None


async def note_snapshot(connection: AsyncConnection, source: str) -> None:
    """Remembers that this service's snapshot has been read whole."""
    await connection.execute(
        insert(PROJECTION_SOURCES).values(source=source, snapshot_at=func.now()).on_conflict_do_nothing()
    )


def _row(person: Person, version: int) -> dict[str, Any]:
    return {
        "psn_no": person.psn_no,
        "version": version,
        "name_masked": person.name_masked,
        "birth_date": person.birth_date,
        "died_on": person.died_on,
        "merged_into": person.merged_into,
        "enrolments": [
            {"insutype": enrolment.insutype, "area": enrolment.area, "status": enrolment.status}
            for enrolment in person.enrolments
        ],
        "sanctions": [
            {"from_at": sanction.from_at.isoformat(), "to_at": sanction.to_at.isoformat()}
            for sanction in person.sanctions
        ],
    }


def _person(row: Any) -> Person:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    return Person(
        psn_no=PsnNo(row.psn_no),
        name_masked=row.name_masked,
        birth_date=row.birth_date,
        died_on=row.died_on,
        merged_into=None if row.merged_into is None else PsnNo(row.merged_into),
        enrolments=tuple(
            Enrolment(insutype=told["insutype"], area=AdmDvs(told["area"]), status=told["status"])
            for told in row.enrolments
        ),
        sanctions=tuple(
            Sanction(
                from_at=datetime.fromisoformat(told["from_at"]),
                to_at=datetime.fromisoformat(told["to_at"]),
            )
            for told in row.sanctions
        ),
    )
