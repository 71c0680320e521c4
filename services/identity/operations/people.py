"""Registering people, changing what is known of them, and looking them up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import telemetry
from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.randomness import Randomness
from services.identity.domain import person as rules
from services.identity.domain.certificate import masked_number
from services.identity.domain.name import masked_name
from services.identity.domain.person import InsuranceStatus, Insutype, Person, known, writable
from services.identity.domain.registration import Registered, Registration, check_same_person
from services.identity.domain.sealing import NONCE_BYTES, Seals
from services.identity.operations.drawn import new_bytes, new_id
from services.identity.store import events, people
from services.identity.wire import people as wire

_NUMBER_BITS: Final = 128
REGISTRATION: Final = "REGISTRATION"
"""The purpose in the audit when a registration met somebody who is known."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A person as the one who asked may see him."""

    person: Person
    certno_masked: str


async def register_person(
    *,
    database: Database,
    seals: Seals,
    registration: Registration,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> tuple[PsnNo, bool]:
    """The person's number, and whether he was known before.

    EXISTS: PERSON_DIFFERS if the certificate is another's by name, number, birth date or sex; PERSON_NUMBER_TAKEN if
    the given number belongs to another certificate. Of two registrations of one certificate at once, one is new.
    """
    person = Person(
        psn_no=registration.psn_no or rules.drawn_number(randomness.getrandbits(_NUMBER_BITS)),
        name_masked=masked_name(registration.name),
        brdy=registration.brdy,
        sex=registration.sex,
    )
    certno_index = seals.blind_index(registration.certificate)
    async with database.transaction() as connection:
        new = await people.insert_person(
            connection,
            person,
            kind=registration.certificate.kind,
            sealed=_sealed(person.psn_no, registration, seals, randomness),
            certno_index=certno_index,
            now=now,
        )
        if new:
            await _tell(connection, person, now=now, randomness=randomness)
            return person.psn_no, False
        # The insert waited for whoever registered the same at the same time, so this statement sees him.
        holder = await people.holder_of(connection, certno_index)
        if holder is None:
            raise Failure(Kind.EXISTS, "PERSON_NUMBER_TAKEN", field="psn_no")
        check_same_person(await _registered(connection, holder, seals), registration)
        await _audit(connection, holder, purpose=REGISTRATION, asked_by=asked_by, now=now)
        return holder, True


async def look_up_person(
    *, database: Database, seals: Seals, psn_no: PsnNo, purpose: str, asked_by: str, now: datetime
) -> Seen:
    """A person, with the look-up on record in the same transaction; PERSON_UNKNOWN (NOT_FOUND)."""
    async with database.transaction() as connection:
        person = known(await people.load_person(connection, psn_no))
        await _audit(connection, psn_no, purpose=purpose, asked_by=asked_by, now=now)
        sealed = await people.sealed_person(connection, psn_no)
    certno = seals.open(sealed.certno, place=_certno_place(psn_no)).decode()
    return Seen(person, masked_number(certno))


async def enrol(
    *, database: Database, psn_no: PsnNo, insutype: Insutype, area: AdmDvs, now: datetime, randomness: Randomness
) -> Person:
    """The person, insured there; PERSON_UNKNOWN, PERSON_MERGED, PERSON_DECEASED. What is so already is not told again."""
    return await _change(database, psn_no, lambda person: rules.enrolled(person, insutype, area), now, randomness)


async def change_insurance_status(
    *,
    database: Database,
    psn_no: PsnNo,
    insutype: Insutype,
    status: InsuranceStatus,
    now: datetime,
    randomness: Randomness,
) -> Person:
    """The person with this status; PERSON_UNKNOWN, PERSON_MERGED, then as ``with_status``."""
    return await _change(database, psn_no, lambda person: rules.with_status(person, insutype, status), now, randomness)


async def _change(
    database: Database, psn_no: PsnNo, change: Callable[[Person], Person], now: datetime, randomness: Randomness
) -> Person:
    async with database.transaction() as connection:
        before = writable(await people.load_person(connection, psn_no, lock=True))
        after = change(before)
        if after is not before:
            await people.save_person(connection, before, after, now=now)
            await _tell(connection, after, now=now, randomness=randomness)
        return after


async def _tell(connection: AsyncConnection, person: Person, *, now: datetime, randomness: Randomness) -> None:
    event_id = new_id(now, randomness)
    await events.tell(connection, [wire.person_changed(person, event_id=event_id, now=now)])


async def _audit(connection: AsyncConnection, psn_no: PsnNo, *, purpose: str, asked_by: str, now: datetime) -> None:
    await people.insert_lookup(
        connection, psn_no, purpose=purpose, asked_by=asked_by, trace_id=telemetry.trace_id(), now=now
    )


async def _registered(connection: AsyncConnection, psn_no: PsnNo, seals: Seals) -> Registered:
    person = known(await people.load_person(connection, psn_no))
    sealed = await people.sealed_person(connection, psn_no)
    name = seals.open(sealed.name, place=_name_place(psn_no)).decode()
    return Registered(psn_no, name, person.brdy, person.sex)


def _sealed(psn_no: PsnNo, registration: Registration, seals: Seals, randomness: Randomness) -> people.SealedPerson:
    return people.SealedPerson(
        psn_no,
        certno=seals.seal(
            registration.certificate.number.encode(),
            place=_certno_place(psn_no),
            nonce=new_bytes(randomness, NONCE_BYTES),
        ),
        name=seals.seal(
            registration.name.encode(), place=_name_place(psn_no), nonce=new_bytes(randomness, NONCE_BYTES)
        ),
    )


def _certno_place(psn_no: PsnNo) -> str:
    return f"{psn_no}/certno"


def _name_place(psn_no: PsnNo) -> str:
    return f"{psn_no}/psn_name"
