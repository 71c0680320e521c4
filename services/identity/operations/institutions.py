"""Registering institutions, deciding about them, and showing them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.ids import AdmDvs, FixmedinsCode
from kernel.randomness import Randomness
from services.identity.domain import institution as rules
from services.identity.domain.institution import Decision, Institution, InstitutionState
from services.identity.operations.telling import tell
from services.identity.store import institutions
from services.identity.wire.institutions import institution_changed

DECISIONS_SHOWN_MAX: Final = 50


async def register_institution(
    *, database: Database, institution: Institution, opter: str, now: datetime, randomness: Randomness
) -> Institution:
    """The institution as it is now; what is so already is not told again. As ``check_described``, then ``changed``."""
    rules.check_described(institution)
    async with database.transaction() as connection:
        if not await institutions.insert_institution(connection, institution, now=now):
            before = await _locked(connection, institution.fixmedins_code)
            institution = rules.changed(before, institution)
            if institution is before:
                return before
            await institutions.save_institution(connection, institution, now=now)
        await _note_and_tell(connection, institution, opter=opter, cause="", now=now, randomness=randomness)
        return institution


async def decide_institution(
    *,
    database: Database,
    fixmedins_code: FixmedinsCode,
    state: InstitutionState,
    opter: str,
    cause: str,
    now: datetime,
    randomness: Randomness,
) -> Institution:
    """The institution in this state; INSTITUTION_UNKNOWN, INSTITUTION_ENDED. The same again changes nothing."""
    async with database.transaction() as connection:
        before = await _locked(connection, fixmedins_code)
        after = rules.decided(before, state)
        if after is not before:
            await institutions.save_institution(connection, after, now=now)
            await _note_and_tell(connection, after, opter=opter, cause=cause, now=now, randomness=randomness)
        return after


async def show_institution(
    *, database: Database, fixmedins_code: FixmedinsCode
) -> tuple[Institution, Sequence[Decision]]:
    """An institution and the latest decisions about it, the newest first; INSTITUTION_UNKNOWN."""
    async with database.transaction() as connection:
        found = rules.known(await institutions.load_institution(connection, fixmedins_code))
        decisions = await institutions.latest_decisions(connection, fixmedins_code, limit=DECISIONS_SHOWN_MAX)
        return found, decisions


async def list_institutions(
    *, database: Database, area: AdmDvs, state: InstitutionState | None, after: FixmedinsCode | None, size: int
) -> tuple[Sequence[Institution], bool]:
    """A page of an area's institutions by code, and whether there are more."""
    async with database.transaction() as connection:
        page = await institutions.page_of_area(connection, area, state=state, after=after, limit=size + 1)
    return page[:size], len(page) > size


async def _locked(connection: AsyncConnection, fixmedins_code: FixmedinsCode) -> Institution:
    return rules.known(await institutions.load_institution(connection, fixmedins_code, lock=True))


async def _note_and_tell(
    connection: AsyncConnection,
    institution: Institution,
    *,
    opter: str,
    cause: str,
    now: datetime,
    randomness: Randomness,
) -> None:
    decision = Decision(institution.state, opter, cause, now)
    await institutions.insert_decision(connection, institution.fixmedins_code, decision)
    await tell(connection, [institution_changed(institution, now=now)], now=now, randomness=randomness)
