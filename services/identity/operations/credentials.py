"""Dynamic codes: issued to the person's own phone, decoded once at a terminal."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from chassis import telemetry
from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode, PsnNo
from services.identity.domain.credential import Code, code_already_used
from services.identity.domain.institution import check_designated
from services.identity.domain.person import Person, known
from services.identity.store import institutions, people

DECODED: Final = "CREDENTIAL_DECODED"
"""The purpose in the audit when a terminal decodes a code."""


async def check_person_known(*, database: Database, psn_no: PsnNo) -> None:
    """PERSON_UNKNOWN (NOT_FOUND) if nobody has this number."""
    async with database.transaction() as connection:
        if not await people.is_known(connection, psn_no):
            raise Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field="psn_no")


async def use_code(
    *, database: Database, code: Code, fixmedins_code: FixmedinsCode, terminal_no: str, now: datetime
) -> Person:
    """Whose code it is, for the terminal that comes first; the look-up is on record in the same transaction.

    Refusals in this order: INSTITUTION_UNKNOWN, INSTITUTION_NOT_DESIGNATED (both leave the code unused),
    CODE_ALREADY_USED. The code's signature and time have been checked before.
    """
    async with database.transaction() as connection:
        check_designated(await institutions.load_institution(connection, fixmedins_code), now=now)
        first = await institutions.use_code(
            connection, code, fixmedins_code=fixmedins_code, terminal_no=terminal_no, now=now
        )
        if not first:
            raise code_already_used()
        person = known(await people.load_person(connection, code.psn_no))
        await people.insert_lookup(
            connection,
            code.psn_no,
            purpose=DECODED,
            asked_by=f"institution:{fixmedins_code}/{terminal_no}",
            trace_id=telemetry.trace_id(),
            now=now,
        )
        return person
