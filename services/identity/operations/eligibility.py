"""2001 人员待遇享受检查: what somebody may do on a date, out of what is on record."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from chassis.db import Database
from kernel.ids import FixmedinsCode, PsnNo
from services.identity.domain import eligibility as rules
from services.identity.domain.eligibility import Eligibilities, Site, Standing
from services.identity.domain.person import enrolments_at, known
from services.identity.operations import lookups
from services.identity.store import institutions, people

CHECKED: Final = "ELIGIBILITY_CHECKED"
"""The purpose in the audit."""


async def check_eligibility(
    *,
    database: Database,
    psn_no: PsnNo,
    on_date: date,
    fixmedins_code: FixmedinsCode | None,
    asked_by: str,
    now: datetime,
) -> Eligibilities:
    """For each use the rules that say no on that day, by what is known now; PERSON_UNKNOWN (NOT_FOUND).

    The look-up is on record in the same transaction. An institution that is not registered is a hindrance, no refusal.
    """
    at = rules.judged_at(on_date, now=now)
    async with database.transaction() as connection:
        person = known(await people.load_person(connection, psn_no))
        changes = await people.enrolment_changes(connection, psn_no)
        site = None if fixmedins_code is None else Site(await institutions.load_institution(connection, fixmedins_code))
        await lookups.record(connection, [psn_no], purpose=CHECKED, asked_by=asked_by, now=now)
    standing = Standing(
        brdy=person.brdy,
        death_date=person.death_date,
        merged=person.merged_into is not None,
        enrolments=enrolments_at(changes, at),
        sanctions=person.sanctions,
    )
    return rules.eligibilities(standing, site, at=at)
