"""Correcting a record, and another certificate in place of the present one: decided by an officer, who is named."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import particulars as rules
from services.identity.domain.certificate import Certificate, masked_number, parsed_certificate
from services.identity.domain.particulars import Record, Updated, Wanted
from services.identity.domain.person import Person, PersonChange, writable
from services.identity.domain.sealing import Seals
from services.identity.operations import lookups
from services.identity.operations.kinship_ground import Ground, follow_person, locked_ground
from services.identity.operations.people import Seen, relative_of
from services.identity.operations.sealed import certno_of, name_of, sealed_certno, sealed_name
from services.identity.operations.telling import tell
from services.identity.store import certificates, people
from services.identity.store.certificates import FormerCertificate
from services.identity.store.people import SealedPerson
from services.identity.wire.people import person_changed

UPDATED: Final = "PERSON_UPDATED"
CERTIFICATE_CHANGED: Final = "CERTIFICATE_CHANGED"
"""Purposes in the audit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What a change of a record is written with: who decided it, why and when, and what sealing it needs."""

    opter: str
    cause: str
    now: datetime
    seals: Seals
    randomness: Randomness


async def update_person(
    *, database: Database, psn_no: PsnNo, wanted: Wanted, asked_by: str, writing: Writing
) -> Person:
    """The person as corrected; see ``apply_update``. Saying what is so already changes nothing."""
    async with lookups.on_record(database, purpose=UPDATED, asked_by=asked_by, now=writing.now) as (connection, met):
        met.add(psn_no)
        return await apply_update(connection, psn_no=psn_no, wanted=wanted, writing=writing)


async def change_certificate(
    *,
    database: Database,
    psn_no: PsnNo,
    certificate: Certificate,
    wanted: Wanted,
    asked_by: str,
    writing: Writing,
) -> Seen:
    """The person under his new certificate; see ``apply_certificate``. The one he has already changes nothing."""
    audit = lookups.on_record(database, purpose=CERTIFICATE_CHANGED, asked_by=asked_by, now=writing.now)
    async with audit as (connection, met):
        met.add(psn_no)
        after = await apply_certificate(
            connection, psn_no=psn_no, certificate=certificate, wanted=wanted, writing=writing
        )
        return Seen(after, masked_number(certificate.number))


async def apply_update(connection: AsyncConnection, *, psn_no: PsnNo, wanted: Wanted, writing: Writing) -> Person:
    """The person as corrected, in the caller's transaction, told and on record with who decided it.

    PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED (PRECONDITION), then as ``domain.particulars.updated``, then, for a birth
    date or sex that kinship rests on, as ``check_person``; what that gains and loses in relations is told as well.
    """
    ground = await locked_ground(connection, {psn_no})
    record = await _record(connection, psn_no, writing)
    after = rules.updated(record, wanted, today=business_date(writing.now))
    if after.fields:
        await _save(connection, record, after, record.certificate, PersonChange.PARTICULARS, writing)
    await _follow(connection, ground, after, writing)
    return after.person


async def apply_certificate(
    connection: AsyncConnection, *, psn_no: PsnNo, certificate: Certificate, wanted: Wanted, writing: Writing
) -> Person:
    """The person under another certificate, in the caller's transaction; the former one goes on finding him.

    PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED (PRECONDITION), then as ``with_certificate``, CERTIFICATE_TAKEN (EXISTS:
    it is or was somebody else's), then as ``check_person``. One that was his own before is his present one again.
    """
    ground = await locked_ground(connection, {psn_no})
    record = await _record(connection, psn_no, writing)
    after = rules.with_certificate(record, certificate, wanted, today=business_date(writing.now))
    if "certno" in after.fields:
        await _replace(connection, record, certificate, writing)
    if after.fields:
        await _save(connection, record, after, certificate, PersonChange.CERTIFICATE, writing)
    await _follow(connection, ground, after, writing)
    return after.person


async def _follow(connection: AsyncConnection, ground: Ground, after: Updated, writing: Writing) -> None:
    """Judges and tells what another birth date or sex does to relations."""
    if {"brdy", "gend"}.intersection(after.fields):
        relative = relative_of(after.person)
        await follow_person(connection, ground, relative, now=writing.now, randomness=writing.randomness)


async def _record(connection: AsyncConnection, psn_no: PsnNo, writing: Writing) -> Record:
    person = writable(await people.load_person(connection, psn_no, lock=True))
    sealed = await people.sealed_person(connection, psn_no)
    certificate = parsed_certificate(
        sealed.kind, certno_of(sealed, seals=writing.seals), today=business_date(writing.now)
    )
    return Record(person, certificate, name_of(sealed, seals=writing.seals))


async def _replace(connection: AsyncConnection, record: Record, certificate: Certificate, writing: Writing) -> None:
    """Puts the new certificate in the place of the present one, which goes to the former ones."""
    psn_no, seals = record.person.psn_no, writing.seals
    certno_index = seals.blind_index(certificate)
    if await certificates.former_holder(connection, certno_index, lock=True) == psn_no:
        await certificates.delete_former(connection, certno_index)
    if not await certificates.save_certificate(connection, psn_no, certificate.kind, certno_index):
        raise Failure(Kind.EXISTS, "CERTIFICATE_TAKEN", field="certno")
    former = FormerCertificate(
        seals.blind_index(record.certificate),
        record.certificate.kind,
        sealed_certno(psn_no, record.certificate.number, seals=seals, randomness=writing.randomness),
        writing.now,
    )
    await certificates.put_former(connection, psn_no, former)


async def _save(
    connection: AsyncConnection,
    record: Record,
    after: Updated,
    certificate: Certificate,
    change: PersonChange,
    writing: Writing,
) -> None:
    person, seals, randomness = after.person, writing.seals, writing.randomness
    sealed = SealedPerson(
        person.psn_no,
        certificate.kind,
        certno=sealed_certno(person.psn_no, certificate.number, seals=seals, randomness=randomness),
        name=sealed_name(person.psn_no, after.name, seals=seals, randomness=randomness),
    )
    await people.save_particulars(connection, person, sealed)
    await people.insert_change(
        connection,
        person.psn_no,
        change,
        fields=after.fields,
        opter=writing.opter,
        cause=writing.cause,
        now=writing.now,
    )
    if person.version != record.person.version:
        await people.save_person(connection, record.person, person, now=writing.now)
        await tell(connection, [person_changed(person, now=writing.now)], now=writing.now, randomness=randomness)
