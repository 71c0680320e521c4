"""Registering people, one or five hundred at once: the same rules, a handful of statements either way."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain.person import drawn_number
from services.identity.domain.registration import Held, NewPerson, Outcome, Register, Registration, Row
from services.identity.domain.sealing import Seals
from services.identity.operations import lookups
from services.identity.operations.sealed import name_of, sealed_certno, sealed_name
from services.identity.operations.telling import tell
from services.identity.store import people
from services.identity.store import registration as store
from services.identity.store.people import SealedPerson
from services.identity.store.registration import NewRow
from services.identity.wire.people import person_changed

_NUMBER_BITS: Final = 128
_TRIES_MAX: Final = 10
"""Each try that fails was overtaken by somebody who has committed since, so few are needed even among many."""
REGISTRATION: Final = "REGISTRATION"
"""The purpose in the audit when a registration met somebody who is known."""


class _OvertakenError(Exception):
    """Somebody else registered or changed one of these people between our look and our writing."""


async def register_person(
    *,
    database: Database,
    seals: Seals,
    registration: Registration,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> tuple[PsnNo, bool]:
    """The person's number, and whether he was known before; the refusals of ``Register.take``.

    Of two registrations of one certificate at once, one is new.
    """
    [outcome] = await register_people(
        database=database,
        seals=seals,
        rows=[Row(registration)],
        asked_by=asked_by,
        now=now,
        randomness=randomness,
    )
    if isinstance(outcome, Failure):
        raise outcome
    return outcome.psn_no, outcome.existed


async def register_people(
    *,
    database: Database,
    seals: Seals,
    rows: Sequence[Row | Failure],
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> list[Outcome]:
    """What became of each row, in order: as if each had come by itself, one after another, in one transaction.

    A row that was refused before keeps its refusal; for the others see ``Register.take``. UNAVAILABLE SERVICE_BUSY,
    with nothing written, if others go on registering the same people at the same time.
    """
    sound = [(row, seals.blind_index(row.registration.certificate)) for row in rows if isinstance(row, Row)]
    if not sound:
        return [row for row in rows if isinstance(row, Failure)]
    for _ in range(_TRIES_MAX):
        try:
            async with database.transaction() as connection:
                register = await _register_of(connection, sound, seals)
                outcomes = iter([_outcome(register, row, index, randomness) for row, index in sound])
                await _write(connection, register, seals, asked_by=asked_by, now=now, randomness=randomness)
        except _OvertakenError:
            continue
        return [row if isinstance(row, Failure) else next(outcomes) for row in rows]
    raise Failure(Kind.UNAVAILABLE, "SERVICE_BUSY")


async def _register_of(connection: AsyncConnection, rows: Sequence[tuple[Row, bytes]], seals: Seals) -> Register:
    """As much of the register as these rows touch; those who may be enrolled stay locked."""
    holders = await store.holders_of(connection, {index for _, index in rows})
    given = {row.registration.psn_no for row, _ in rows if row.registration.psn_no is not None}
    held: dict[PsnNo, Held] = {}
    if holders:
        lock = any(row.enrolment is not None for row, _ in rows)
        known = await people.load_people(connection, set(holders.values()), lock=lock)
        if any(person.merged_into is not None for person in known.values()):
            raise _OvertakenError
        sealed = await people.sealed_people(connection, known)
        held = {psn_no: Held(person, name_of(sealed[psn_no], seals=seals)) for psn_no, person in known.items()}
    return Register(holders=holders, people=held, numbers=await store.known_numbers(connection, given))


def _outcome(register: Register, row: Row, index: bytes, randomness: Randomness) -> Outcome:
    try:
        return register.take(row, index, drawn=drawn_number(randomness.getrandbits(_NUMBER_BITS)))
    except Failure as refusal:
        return refusal


async def _write(
    connection: AsyncConnection,
    register: Register,
    seals: Seals,
    *,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> None:
    new, changed = register.new, register.changed
    if new:
        rows = [NewRow(each, _sealed(each, seals, randomness)) for each in new]
        if not await store.insert_people(connection, rows, now=now):
            raise _OvertakenError
        enrolments = [(each.person.psn_no, enrolment) for each in new for enrolment in each.person.enrolments]
        await people.save_enrolments(connection, enrolments, now=now)
    if changed:
        await people.save_people(connection, changed, now=now)
    told = [each.person for each in new] + [after for _, after in changed]
    await tell(connection, [person_changed(each, now=now) for each in told], now=now, randomness=randomness)
    refused = REGISTRATION + lookups.REFUSED
    await lookups.record(connection, register.met, purpose=REGISTRATION, asked_by=asked_by, now=now)
    await lookups.record(connection, register.refused, purpose=refused, asked_by=asked_by, now=now)


def _sealed(new: NewPerson, seals: Seals, randomness: Randomness) -> SealedPerson:
    psn_no, registration = new.person.psn_no, new.registration
    return SealedPerson(
        psn_no,
        registration.certificate.kind,
        certno=sealed_certno(psn_no, registration.certificate.number, seals=seals, randomness=randomness),
        name=sealed_name(psn_no, registration.name, seals=seals, randomness=randomness),
    )
