"""2001 人员待遇享受检查: what somebody may do on a date, out of what is on record."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.ids import FixmedinsCode, PsnNo
from services.identity.domain import eligibility as rules
from services.identity.domain.eligibility import Eligibilities, Site, Standing
from services.identity.domain.person import known
from services.identity.operations import lookups
from services.identity.store import institutions, people
from services.identity.store.lookups import numbers_of

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
        own, *doubles = [
            await people.enrolment_changes(connection, number) for number in await numbers_of(connection, psn_no)
        ]
        site = None if fixmedins_code is None else await _site(connection, fixmedins_code, at)
        await lookups.record(connection, [psn_no], purpose=CHECKED, asked_by=asked_by, now=now)
    standing = Standing(
        brdy=person.brdy,
        death_date=person.death_date,
        merged=person.merged_into is not None,
        enrolments=rules.insured_at(own, doubles, at),
        sanctions=person.sanctions,
    )
    return rules.eligibilities(standing, site, at=at)


async def _site(connection: AsyncConnection, fixmedins_code: FixmedinsCode, at: datetime) -> Site:
    institution = await institutions.load_institution(connection, fixmedins_code)
    if institution is None:
        return Site(None)
    return Site(replace(institution, state=await institutions.state_at(connection, institution, at)))
