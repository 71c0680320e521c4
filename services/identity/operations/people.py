"""Looking people up, and where they are insured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from chassis.db import Database
from kernel.ids import AdmDvs, PsnNo
from kernel.randomness import Randomness
from services.identity.domain import person as rules
from services.identity.domain.certificate import masked_number
from services.identity.domain.kinship import Relative
from services.identity.domain.person import InsuranceStatus, Insutype, Person, known, writable
from services.identity.domain.sealing import Seals
from services.identity.operations import lookups
from services.identity.operations.sealed import certno_of
from services.identity.operations.telling import tell
from services.identity.store import people
from services.identity.wire.people import person_changed

ENROLLED: Final = "ENROLLED"
STATUS_CHANGED: Final = "INSURANCE_STATUS_CHANGED"
"""Purposes in the audit: who changes a person sees him."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A person as the one who asked may see him."""

    person: Person
    certno_masked: str


async def look_up_person(
    *, database: Database, seals: Seals, psn_no: PsnNo, purpose: str, asked_by: str, now: datetime
) -> Seen:
    """A person, with the look-up on record in the same transaction; PERSON_UNKNOWN (NOT_FOUND)."""
    async with database.transaction() as connection:
        person = known(await people.load_person(connection, psn_no))
        await lookups.record(connection, [psn_no], purpose=purpose, asked_by=asked_by, now=now)
        sealed = await people.sealed_person(connection, psn_no)
    return Seen(person, masked_number(certno_of(sealed, seals=seals)))


async def enrol(
    *,
    database: Database,
    psn_no: PsnNo,
    insutype: Insutype,
    area: AdmDvs,
    psn_type: str = "",
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> Person:
    """The person, insured there; what is so already is not told again.

    PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED, then as ``enrolled``.
    """

    def change(person: Person) -> Person:
        return rules.enrolled(person, insutype, area, psn_type)

    return await _change(database, psn_no, change, purpose=ENROLLED, asked_by=asked_by, now=now, randomness=randomness)


async def change_insurance_status(
    *,
    database: Database,
    psn_no: PsnNo,
    insutype: Insutype,
    status: InsuranceStatus,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> Person:
    """The person with this status; PERSON_UNKNOWN, PERSON_MERGED, then as ``with_status``."""

    def change(person: Person) -> Person:
        return rules.with_status(person, insutype, status)

    return await _change(
        database, psn_no, change, purpose=STATUS_CHANGED, asked_by=asked_by, now=now, randomness=randomness
    )


def relative_of(person: Person) -> Relative:
    """The person as far as the rules of kinship need to know him."""
    return Relative(person.psn_no, person.brdy, person.sex, person.death_date, person.merged_into)


async def _change(
    database: Database,
    psn_no: PsnNo,
    change: Callable[[Person], Person],
    *,
    purpose: str,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> Person:
    async with lookups.on_record(database, purpose=purpose, asked_by=asked_by, now=now) as (connection, met):
        met.add(psn_no)
        before = writable(await people.load_person(connection, psn_no, lock=True))
        after = change(before)
        if after is not before:
            await people.save_person(connection, before, after, now=now)
            await tell(connection, [person_changed(after, now=now)], now=now, randomness=randomness)
        return after
