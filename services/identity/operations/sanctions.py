"""Sanctions of persons and institutions: imposed, lifted, appealed against.

Whoever changes a sanction holds the row of whom it is imposed on, so that one after another changes his version.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain.holder import person_unknown
from services.identity.domain.institution import Institution
from services.identity.domain.person import Person, known, with_sanctions, writable
from services.identity.domain.sanction import (
    Appeal,
    AppealState,
    Decision,
    Sanction,
    Sanctioned,
    SanctionRecord,
    check_appeal,
    check_begin,
    check_term,
    decided,
    freed,
    lifted,
    same_appeal,
    same_decision,
)
from services.identity.operations import lookups
from services.identity.operations.telling import tell
from services.identity.store import institutions, people
from services.identity.store import sanctions as store
from services.identity.wire.institutions import institution_changed
from services.identity.wire.people import person_changed

SANCTION: Final = "SANCTION"
"""The purpose in the audit when a sanction of a person was imposed, lifted, appealed against or listed."""


async def impose_sanction(
    *,
    database: Database,
    sanctioned: Sanctioned,
    sanction: Sanction,
    opter: str,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> tuple[UUID, Person | Institution]:
    """The sanction's id and whom it is imposed on. The same decision again changes nothing and gives the first id.

    SANCTION_TERM_OUT_OF_RANGE, PERSON_UNKNOWN, PERSON_MERGED or INSTITUTION_UNKNOWN, SANCTION_DECISION_DIFFERS (EXISTS:
    the decision says something else, or of somebody else), SANCTION_FROM_OUT_OF_RANGE. Decisions may overlap.
    """
    check_term(sanction.from_at, sanction.to_at)
    async with lookups.on_record(database, purpose=SANCTION, asked_by=asked_by, now=now) as (connection, met):
        met.update(_named(sanctioned))
        subject = await _locked(connection, sanctioned)
        earlier = await store.of_decision(connection, sanction.decision_no)
        if earlier is None:
            check_begin(sanction.from_at, now=now)
            record = SanctionRecord(sanction, sanctioned, imposed_at=now, imposed_by=opter)
            if await store.insert_sanction(connection, record):
                subject = await _change(connection, subject, (*subject.sanctions, sanction), now, randomness)
                return sanction.sanction_id, subject
            # The insert waited for whoever typed in the same decision at the same time, so this statement sees it.
            earlier = await store.of_decision(connection, sanction.decision_no)
        if earlier is None or earlier.sanctioned != sanctioned or not same_decision(earlier.sanction, sanction):
            raise Failure(Kind.EXISTS, "SANCTION_DECISION_DIFFERS", field="decision_no")
        return earlier.sanction.sanction_id, subject


async def lift_sanction(
    *,
    database: Database,
    sanction_id: UUID,
    cause: str,
    opter: str,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> Person | Institution:
    """Whom the sanction was imposed on, without it; SANCTION_UNKNOWN (NOT_FOUND), SANCTION_OVER.

    Lifting again changes nothing. Other sanctions stay in force; an appeal that waits still waits for its decision.
    """
    async with lookups.on_record(database, purpose=SANCTION, asked_by=asked_by, now=now) as (connection, met):
        record, subject = await _locked_record(connection, sanction_id)
        met.update(_named(record.sanctioned))
        ended = lifted(record.sanction, now=now)
        if ended is not record.sanction:
            await store.lift_sanction(connection, sanction_id, cause=cause, opter=opter, now=now)
            subject = await _change(connection, subject, _with(subject.sanctions, ended), now, randomness)
        return subject


async def file_appeal(*, database: Database, appeal: Appeal, asked_by: str, now: datetime) -> Appeal:
    """The appeal as it is on record; the same one again changes nothing. The sanction stays in force.

    SANCTION_UNKNOWN (NOT_FOUND), APPEAL_NUMBER_TAKEN (EXISTS: the number is of an appeal that says something else),
    then as ``check_appeal``.
    """
    async with lookups.on_record(database, purpose=SANCTION, asked_by=asked_by, now=now) as (connection, met):
        record, _ = await _locked_record(connection, appeal.sanction_id)
        met.update(_named(record.sanctioned))
        earlier = await store.appeal_of_number(connection, appeal.appeal_no)
        if earlier is None:
            check_appeal(appeal, record, now=now)
            if await store.insert_appeal(connection, appeal):
                earlier = appeal
            else:  # Filed at the same time against another sanction; the insert waited for it.
                earlier = await store.appeal_of_number(connection, appeal.appeal_no)
        if earlier is None or not same_appeal(earlier, appeal):
            raise Failure(Kind.EXISTS, "APPEAL_NUMBER_TAKEN", field="appeal_no")
        return earlier


async def decide_appeal(
    *,
    database: Database,
    appeal_id: UUID,
    decision: Decision,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> SanctionRecord:
    """The sanction after an appeal's decision: granted lifts it if it still stands, anything else leaves it.

    APPEAL_UNKNOWN (NOT_FOUND), APPEAL_DECIDED (PRECONDITION: otherwise). The same decision again changes nothing.
    """
    async with lookups.on_record(database, purpose=SANCTION, asked_by=asked_by, now=now) as (connection, met):
        filed = await store.load_appeal(connection, appeal_id)
        if filed is None:
            raise Failure(Kind.NOT_FOUND, "APPEAL_UNKNOWN", field="appeal_id")
        record, subject = await _locked_record(connection, filed.sanction_id)
        met.update(_named(record.sanctioned))
        appeal = next(each for each in record.appeals if each.appeal_id == appeal_id)
        after = decided(appeal, decision)
        if after is appeal:
            return record
        await store.decide_appeal(connection, appeal_id, decision)
        if decision.state is AppealState.GRANTED:
            ended = freed(record.sanction, now=now)
            if ended is not record.sanction:
                await store.lift_sanction(
                    connection, appeal.sanction_id, cause=decision.cause, opter=decision.opter, now=now
                )
                await _change(connection, subject, _with(subject.sanctions, ended), now, randomness)
        return await _record(connection, appeal.sanction_id)


async def list_sanctions(
    *,
    database: Database,
    sanctioned: Sanctioned,
    past: bool,
    after: UUID | None,
    size: int,
    asked_by: str,
    now: datetime,
) -> tuple[list[SanctionRecord], bool]:
    """So many sanctions with their appeals, and whether there are more; PERSON_UNKNOWN, INSTITUTION_UNKNOWN.

    Those of a person who was merged into another stand with the other.
    """
    async with database.transaction() as connection:
        if sanctioned.psn_no is not None:
            if not await people.is_known(connection, sanctioned.psn_no):
                raise person_unknown()
            await lookups.record(connection, _named(sanctioned), purpose=SANCTION, asked_by=asked_by, now=now)
        else:
            await _locked(connection, sanctioned)
        found = await store.records(
            connection,
            psn_no=sanctioned.psn_no,
            fixmedins_code=sanctioned.fixmedins_code,
            standing_at=None if past else now,
            after=after,
            limit=size + 1,
        )
        return found[:size], len(found) > size


async def list_appeals(*, database: Database, after: UUID | None, size: int) -> tuple[list[Appeal], bool]:
    """So many appeals that wait for a decision, the oldest first, and whether there are more."""
    async with database.transaction() as connection:
        found = await store.waiting_appeals(connection, after=after, limit=size + 1)
        return found[:size], len(found) > size


async def _locked(connection: AsyncConnection, sanctioned: Sanctioned) -> Person | Institution:
    """Whom something new is written of: PERSON_UNKNOWN, PERSON_MERGED, INSTITUTION_UNKNOWN."""
    if sanctioned.psn_no is not None:
        return writable(await people.load_person(connection, sanctioned.psn_no, lock=True))
    return await _locked_institution(connection, sanctioned)


async def _locked_institution(connection: AsyncConnection, sanctioned: Sanctioned) -> Institution:
    code = sanctioned.fixmedins_code
    institution = None if code is None else await institutions.load_institution(connection, code, lock=True)
    if institution is None:
        raise Failure(Kind.NOT_FOUND, "INSTITUTION_UNKNOWN", field="fixmedins_code")
    return institution


async def _locked_record(connection: AsyncConnection, sanction_id: UUID) -> tuple[SanctionRecord, Person | Institution]:
    """A sanction, and whom it is imposed on with the lock; SANCTION_UNKNOWN (NOT_FOUND)."""
    before = await _record(connection, sanction_id)
    while True:
        sanctioned = before.sanctioned
        subject: Person | Institution
        if sanctioned.psn_no is not None:
            subject = known(await people.load_person(connection, sanctioned.psn_no, lock=True))
        else:
            subject = await _locked_institution(connection, sanctioned)
        # Whoever held the lock before may have changed the sanction, or moved it to the person his double was.
        record = await _record(connection, sanction_id)
        if record.sanctioned == sanctioned:
            return record, subject
        before = record


async def _record(connection: AsyncConnection, sanction_id: UUID) -> SanctionRecord:
    record = await store.record_of(connection, sanction_id)
    if record is None:
        raise Failure(Kind.NOT_FOUND, "SANCTION_UNKNOWN", field="sanction_id")
    return record


def _with(sanctions: tuple[Sanction, ...], changed: Sanction) -> tuple[Sanction, ...]:
    return tuple(changed if each.sanction_id == changed.sanction_id else each for each in sanctions)


async def _change(
    connection: AsyncConnection,
    before: Person | Institution,
    sanctions: tuple[Sanction, ...],
    now: datetime,
    randomness: Randomness,
) -> Person | Institution:
    """Tells of somebody's sanctions as they are now; he counts one change more."""
    if isinstance(before, Institution):
        institution = replace(before, sanctions=sanctions, version=before.version + 1)
        await institutions.save_institution(connection, institution, now=now)
        await tell(connection, [institution_changed(institution, now=now)], now=now, randomness=randomness)
        return institution
    person = with_sanctions(before, sanctions)
    await people.save_person(connection, before, person, now=now)
    await tell(connection, [person_changed(person, now=now)], now=now, randomness=randomness)
    return person


def _named(sanctioned: Sanctioned) -> set[PsnNo]:
    return set() if sanctioned.psn_no is None else {sanctioned.psn_no}
