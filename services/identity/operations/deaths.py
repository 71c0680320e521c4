"""A death goes on record and ends every enrolment, card and ward; a report made by mistake is withdrawn."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from chassis.db import Database
from kernel.clock import business_date
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import person as rules
from services.identity.domain.person import DeathEvidence, Person, PersonChange, writable
from services.identity.operations import lookups
from services.identity.operations.kinship_ground import follow_person, locked_ground
from services.identity.operations.people import relative_of
from services.identity.operations.telling import tell
from services.identity.store import people
from services.identity.store.endings import end_credentials
from services.identity.wire.people import person_changed

REPORTED: Final = "DEATH_REPORTED"
WITHDRAWN: Final = "DEATH_WITHDRAWN"
"""Purposes in the audit."""
ENDED_BY_DEATH: Final = "DECEASED"
"""Why a dead person's cards end."""


async def report_death(
    *,
    database: Database,
    psn_no: PsnNo,
    death_date: date,
    evidence: DeathEvidence,
    opter: str,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> Person:
    """The person with his death on record; the same date again changes nothing.

    PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED (PRECONDITION), then as ``died``, then as ``check_person``: no wedding may
    follow the death. The survivor's marriage ends, which is told with every other relation that is lost. His cards end,
    and nobody is his ward or he anybody's.
    """
    async with lookups.on_record(database, purpose=REPORTED, asked_by=asked_by, now=now) as (connection, met):
        met.add(psn_no)
        ground = await locked_ground(connection, {psn_no})
        before = writable(await people.load_person(connection, psn_no, lock=True))
        after = rules.died(before, death_date, today=business_date(now))
        if after is not before:
            await people.save_person(connection, before, after, now=now)
            await people.save_death(connection, after, evidence)
            await end_credentials(connection, psn_no, opter=opter, cause=ENDED_BY_DEATH, asked_by=asked_by, now=now)
            await people.insert_change(
                connection,
                psn_no,
                PersonChange.DEATH,
                fields=["death_date"],
                opter=opter,
                cause=evidence.value,
                now=now,
            )
            await tell(connection, [person_changed(after, now=now)], now=now, randomness=randomness)
            await follow_person(connection, ground, relative_of(after), now=now, randomness=randomness)
        return after


async def withdraw_death(
    *,
    database: Database,
    psn_no: PsnNo,
    opter: str,
    cause: str,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> Person:
    """The person alive again, insured nowhere; nothing changes if no death is on record.

    PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED (PRECONDITION), then as ``check_person``: SPOUSE_ALREADY (PRECONDITION) if
    the survivor has married anew. A marriage that the report ended lasts again, which is told. Cards and wards do not
    come back: whoever has held his card meanwhile is unknown, so he is issued another and wards are added anew.
    """
    async with lookups.on_record(database, purpose=WITHDRAWN, asked_by=asked_by, now=now) as (connection, met):
        met.add(psn_no)
        ground = await locked_ground(connection, {psn_no})
        before = writable(await people.load_person(connection, psn_no, lock=True))
        after = rules.not_dead(before)
        if after is not before:
            await people.save_person(connection, before, after, now=now)
            await people.save_death(connection, after, None)
            await people.insert_change(
                connection,
                psn_no,
                PersonChange.DEATH_WITHDRAWN,
                fields=["death_date"],
                opter=opter,
                cause=cause,
                now=now,
            )
            await tell(connection, [person_changed(after, now=now)], now=now, randomness=randomness)
            await follow_person(connection, ground, relative_of(after), now=now, randomness=randomness)
        return after
