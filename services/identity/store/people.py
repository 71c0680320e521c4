"""Persons, their enrolments, particulars and deaths, and what was changed of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import CertificateKind, Sex
from services.identity.domain.person import (
    DeathEvidence,
    Enrolment,
    EnrolmentChange,
    InsuranceStatus,
    Insutype,
    Person,
    PersonChange,
)
from services.identity.domain.sealing import Sealed
from services.identity.store.arrays import any_of
from services.identity.store.sanctions import sanctions_of
from services.identity.tables.people import (
    ENROLMENT_CHANGES,
    ENROLMENTS,
    FORMER_CERTIFICATES,
    PERSON_CHANGES,
    PERSONS,
)
from services.identity.tables.sanctions import SANCTIONS

_SAVE_VERSIONS: Final = sa.text("""
    UPDATE persons SET version = changed.version
    FROM unnest(CAST(:psn_nos AS text[]), CAST(:versions AS bigint[])) AS changed (psn_no, version)
    WHERE persons.psn_no = changed.psn_no""")
_CHANGED_ENROLMENTS: Final = """
    SELECT psn_no, insutype, area, stas, psn_type, CAST(:now AS timestamptz)
    FROM unnest(CAST(:psn_nos AS text[]), CAST(:insutypes AS text[]), CAST(:areas AS text[]), CAST(:stas AS text[]),
                CAST(:psn_types AS text[])) AS changed (psn_no, insutype, area, stas, psn_type)
    ORDER BY psn_no, insutype"""
_SAVE_ENROLMENTS: Final = sa.text(f"""
    INSERT INTO enrolments (psn_no, insutype, insuplc_admdvs, psn_insu_stas, psn_type, changed_at){_CHANGED_ENROLMENTS}
    ON CONFLICT (psn_no, insutype) DO UPDATE SET insuplc_admdvs = excluded.insuplc_admdvs,
        psn_insu_stas = excluded.psn_insu_stas, psn_type = excluded.psn_type, changed_at = excluded.changed_at""")
_ADD_ENROLMENT_CHANGES: Final = sa.text(f"""
    INSERT INTO enrolment_changes (psn_no, insutype, insuplc_admdvs, psn_insu_stas, psn_type,
                                   changed_at){_CHANGED_ENROLMENTS}
    """)
_SEALED: Final[sa.Select[tuple[object, ...]]] = sa.select(
    PERSONS.c.psn_no, PERSONS.c.certificate_kind, PERSONS.c.key_id, PERSONS.c.certno_sealed, PERSONS.c.name_sealed
)


@dataclass(frozen=True, slots=True)
class SealedPerson:
    """What only a key holder can read of a person."""

    psn_no: PsnNo
    kind: CertificateKind
    certno: Sealed = field(repr=False)
    name: Sealed = field(repr=False)


async def sealed_holder_of(connection: AsyncConnection, certno_index: bytes) -> SealedPerson | None:
    """Whose certificate it is, or was; one statement whether or not anybody's, so that it takes as long."""
    now = _SEALED.where(PERSONS.c.certno_index == certno_index)
    before = _SEALED.join(FORMER_CERTIFICATES, FORMER_CERTIFICATES.c.psn_no == PERSONS.c.psn_no).where(
        FORMER_CERTIFICATES.c.certno_index == certno_index
    )
    row = (await connection.execute(now.union_all(before))).first()
    return None if row is None else _sealed(row)


async def is_known(connection: AsyncConnection, psn_no: PsnNo) -> bool:
    """Whether somebody has this number."""
    return await connection.scalar(sa.select(sa.literal(1)).where(PERSONS.c.psn_no == psn_no)) is not None


async def sealed_person(connection: AsyncConnection, psn_no: PsnNo) -> SealedPerson:
    """The sealed columns of a person who exists."""
    return (await sealed_people(connection, [psn_no]))[psn_no]


async def sealed_people(connection: AsyncConnection, psn_nos: Iterable[PsnNo]) -> dict[PsnNo, SealedPerson]:
    """The sealed columns of those of the people who are on record."""
    rows = await connection.execute(_SEALED.where(PERSONS.c.psn_no == any_of(psn_nos)))
    return {PsnNo(row.psn_no): _sealed(row) for row in rows}


async def load_person(connection: AsyncConnection, psn_no: PsnNo, *, lock: bool = False) -> Person | None:
    """A person with all that belongs to him; with ``lock``, nobody else changes him until this transaction ends."""
    return (await load_people(connection, [psn_no], lock=lock)).get(psn_no)


async def load_people(
    connection: AsyncConnection, psn_nos: Iterable[PsnNo], *, lock: bool = False
) -> dict[PsnNo, Person]:
    """Those of the people who are on record; with ``lock``, locked in the order of their numbers."""
    wanted = list(psn_nos)
    statement = sa.select(PERSONS).where(PERSONS.c.psn_no == any_of(wanted)).order_by(PERSONS.c.psn_no)
    if lock:
        # key_share: rows that merely refer to the person (look-ups, used codes) need not wait for his change.
        statement = statement.with_for_update(key_share=True)
    rows = (await connection.execute(statement)).all()
    if not rows:
        return {}
    enrolments: dict[PsnNo, list[Enrolment]] = {}
    for each in await connection.execute(
        sa.select(ENROLMENTS).where(ENROLMENTS.c.psn_no == any_of(wanted)).order_by(ENROLMENTS.c.insutype)
    ):
        enrolments.setdefault(PsnNo(each.psn_no), []).append(_enrolment(each))
    sanctions = {psn_no: await sanctions_of(connection, psn_no) for psn_no in await _sanctioned(connection, wanted)}
    return {
        PsnNo(row.psn_no): Person(
            psn_no=PsnNo(row.psn_no),
            name_masked=row.name_masked,
            brdy=row.brdy,
            sex=Sex(row.gend),
            enrolments=tuple(enrolments.get(PsnNo(row.psn_no), ())),
            sanctions=sanctions.get(PsnNo(row.psn_no), ()),
            version=row.version,
            death_date=row.death_date,
            merged_into=None if row.merged_into is None else PsnNo(row.merged_into),
            real_name_at=row.real_name_at,
        )
        for row in rows
    }


async def _sanctioned(connection: AsyncConnection, psn_nos: list[PsnNo]) -> list[PsnNo]:
    """Those of the people who were ever sanctioned: so few that each may be read by himself."""
    found = await connection.execute(
        sa.select(SANCTIONS.c.psn_no).where(SANCTIONS.c.psn_no == any_of(psn_nos)).distinct()
    )
    return [PsnNo(row.psn_no) for row in found]


async def save_person(connection: AsyncConnection, before: Person, after: Person, *, now: datetime) -> None:
    """Writes what differs in version and enrolments; the caller loaded ``before`` with its lock."""
    await save_people(connection, [(before, after)], now=now)


async def save_people(connection: AsyncConnection, changed: Sequence[tuple[Person, Person]], *, now: datetime) -> None:
    """As ``save_person``, for each before and after; few statements however many there are."""
    await connection.execute(
        _SAVE_VERSIONS,
        {"psn_nos": [after.psn_no for _, after in changed], "versions": [after.version for _, after in changed]},
    )
    await save_enrolments(
        connection,
        [
            (after.psn_no, enrolment)
            for before, after in changed
            for enrolment in after.enrolments
            if enrolment not in before.enrolments
        ],
        now=now,
    )


async def save_enrolments(
    connection: AsyncConnection, enrolments: Sequence[tuple[PsnNo, Enrolment]], *, now: datetime
) -> None:
    """Writes enrolments as they are from now on, and that they were changed; each insutype of a person once."""
    if not enrolments:
        return
    rows = {
        "psn_nos": [psn_no for psn_no, _ in enrolments],
        "insutypes": [each.insutype.value for _, each in enrolments],
        "areas": [each.insuplc_admdvs for _, each in enrolments],
        "stas": [each.psn_insu_stas.value for _, each in enrolments],
        "psn_types": [each.psn_type for _, each in enrolments],
        "now": now,
    }
    await connection.execute(_SAVE_ENROLMENTS, rows)
    await connection.execute(_ADD_ENROLMENT_CHANGES, rows)


async def enrolment_changes(connection: AsyncConnection, psn_no: PsnNo) -> tuple[EnrolmentChange, ...]:
    """How somebody was insured and since when, in the order in which it was changed."""
    rows = await connection.execute(
        sa.select(ENROLMENT_CHANGES).where(ENROLMENT_CHANGES.c.psn_no == psn_no).order_by(ENROLMENT_CHANGES.c.id)
    )
    return tuple(EnrolmentChange(_enrolment(row), row.changed_at) for row in rows)


async def save_particulars(connection: AsyncConnection, person: Person, sealed: SealedPerson) -> None:
    """Writes name, birth date, sex and what is sealed, both with one key; the caller holds the person's lock."""
    await connection.execute(
        sa.update(PERSONS)
        .where(PERSONS.c.psn_no == person.psn_no)
        .values(
            name_masked=person.name_masked,
            brdy=person.brdy,
            gend=person.sex.value,
            certno_sealed=sealed.certno.content,
            name_sealed=sealed.name.content,
            key_id=sealed.name.key_id,
        )
    )


async def save_death(connection: AsyncConnection, person: Person, evidence: DeathEvidence | None) -> None:
    """Writes the date of death, or that there is none; the caller holds the person's lock."""
    await connection.execute(
        sa.update(PERSONS)
        .where(PERSONS.c.psn_no == person.psn_no)
        .values(death_date=person.death_date, death_evidence=None if evidence is None else evidence.value)
    )


async def insert_change(
    connection: AsyncConnection,
    psn_no: PsnNo,
    change: PersonChange,
    *,
    fields: Iterable[str] = (),
    other_psn_no: PsnNo | None = None,
    opter: str,
    cause: str,
    now: datetime,
) -> None:
    """Records who changed what of a person; the names of fields, never their values."""
    await connection.execute(
        sa.insert(PERSON_CHANGES).values(
            psn_no=psn_no,
            kind=change.value,
            fields=",".join(fields),
            other_psn_no=other_psn_no,
            opter=opter,
            cause=cause,
            changed_at=now,
        )
    )


def _sealed(row: sa.Row[tuple[object, ...]]) -> SealedPerson:
    return SealedPerson(
        PsnNo(row.psn_no),
        CertificateKind(row.certificate_kind),
        certno=Sealed(row.key_id, row.certno_sealed),
        name=Sealed(row.key_id, row.name_sealed),
    )


def _enrolment(row: sa.Row[tuple[object, ...]]) -> Enrolment:
    return Enrolment(
        Insutype(row.insutype), AdmDvs(row.insuplc_admdvs), InsuranceStatus(row.psn_insu_stas), row.psn_type
    )
