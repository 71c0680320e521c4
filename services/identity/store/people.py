"""Persons, their enrolments, and the audit of who looked them up."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import CertificateKind, Sex
from services.identity.domain.person import Enrolment, InsuranceStatus, Insutype, Person
from services.identity.domain.sealing import Sealed
from services.identity.store.sanctions import sanctions_of
from services.identity.tables.people import ENROLMENT_CHANGES, ENROLMENTS, FORMER_CERTIFICATES, LOOKUPS, PERSONS


@dataclass(frozen=True, slots=True)
class SealedPerson:
    """What only a key holder can read of a person."""

    psn_no: PsnNo
    certno: Sealed = field(repr=False)
    name: Sealed = field(repr=False)


async def insert_person(
    connection: AsyncConnection,
    person: Person,
    *,
    kind: CertificateKind,
    sealed: SealedPerson,
    certno_index: bytes,
    now: datetime,
) -> bool:
    """Whether the person is new: neither the certificate nor the number was there before."""
    statement = (
        insert(PERSONS)
        .values(
            psn_no=person.psn_no,
            certificate_kind=kind.value,
            certno_sealed=sealed.certno.content,
            name_sealed=sealed.name.content,
            key_id=sealed.certno.key_id,
            certno_index=certno_index,
            name_masked=person.name_masked,
            brdy=person.brdy,
            gend=person.sex.value,
            version=person.version,
            registered_at=now,
        )
        .on_conflict_do_nothing()
        .returning(PERSONS.c.psn_no)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def holder_of(connection: AsyncConnection, certno_index: bytes) -> PsnNo | None:
    """Whose certificate it is, or was."""
    now = sa.select(PERSONS.c.psn_no).where(PERSONS.c.certno_index == certno_index)
    before = sa.select(FORMER_CERTIFICATES.c.psn_no).where(FORMER_CERTIFICATES.c.certno_index == certno_index)
    found = await connection.scalar(now.union_all(before))
    return None if found is None else PsnNo(found)


async def is_known(connection: AsyncConnection, psn_no: PsnNo) -> bool:
    """Whether somebody has this number."""
    return await connection.scalar(sa.select(sa.literal(1)).where(PERSONS.c.psn_no == psn_no)) is not None


async def sealed_person(connection: AsyncConnection, psn_no: PsnNo) -> SealedPerson:
    """The sealed columns of a person who exists."""
    row = (
        await connection.execute(
            sa.select(PERSONS.c.key_id, PERSONS.c.certno_sealed, PERSONS.c.name_sealed).where(
                PERSONS.c.psn_no == psn_no
            )
        )
    ).one()
    return SealedPerson(psn_no, certno=Sealed(row.key_id, row.certno_sealed), name=Sealed(row.key_id, row.name_sealed))


async def load_person(connection: AsyncConnection, psn_no: PsnNo, *, lock: bool = False) -> Person | None:
    """A person with all that belongs to him; with ``lock``, nobody else changes him until this transaction ends."""
    statement = sa.select(PERSONS).where(PERSONS.c.psn_no == psn_no)
    if lock:
        # key_share: rows that merely refer to the person (look-ups, used codes) need not wait for his change.
        statement = statement.with_for_update(key_share=True)
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        return None
    enrolments = await connection.execute(
        sa.select(ENROLMENTS).where(ENROLMENTS.c.psn_no == psn_no).order_by(ENROLMENTS.c.insutype)
    )
    return Person(
        psn_no=psn_no,
        name_masked=row.name_masked,
        brdy=row.brdy,
        sex=Sex(row.gend),
        enrolments=tuple(
            Enrolment(Insutype(each.insutype), AdmDvs(each.insuplc_admdvs), InsuranceStatus(each.psn_insu_stas))
            for each in enrolments
        ),
        sanctions=await sanctions_of(connection, psn_no),
        version=row.version,
        death_date=row.death_date,
        merged_into=None if row.merged_into is None else PsnNo(row.merged_into),
        real_name_at=row.real_name_at,
    )


async def save_person(connection: AsyncConnection, before: Person, after: Person, *, now: datetime) -> None:
    """Writes what differs; the caller loaded ``before`` with its lock."""
    await connection.execute(sa.update(PERSONS).where(PERSONS.c.psn_no == after.psn_no).values(version=after.version))
    for enrolment in after.enrolments:
        if enrolment not in before.enrolments:
            await _save_enrolment(connection, after.psn_no, enrolment, now)


async def _save_enrolment(connection: AsyncConnection, psn_no: PsnNo, enrolment: Enrolment, now: datetime) -> None:
    state = {
        "insuplc_admdvs": enrolment.insuplc_admdvs,
        "psn_insu_stas": enrolment.psn_insu_stas.value,
        "changed_at": now,
    }
    row = {"psn_no": psn_no, "insutype": enrolment.insutype.value, **state}
    statement = insert(ENROLMENTS).values(row)
    await connection.execute(
        statement.on_conflict_do_update(index_elements=[ENROLMENTS.c.psn_no, ENROLMENTS.c.insutype], set_=state)
    )
    await connection.execute(sa.insert(ENROLMENT_CHANGES).values(row))


async def insert_lookup(
    connection: AsyncConnection, psn_no: PsnNo, *, purpose: str, asked_by: str, trace_id: str, now: datetime
) -> None:
    """Records that somebody looked a person up."""
    await connection.execute(
        sa.insert(LOOKUPS).values(
            psn_no=psn_no, purpose=purpose, asked_by=asked_by, trace_id=trace_id, looked_up_at=now
        )
    )
