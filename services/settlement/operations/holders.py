"""Whose account may stand where: asked before money comes into an account for the first time."""

from __future__ import annotations

from datetime import datetime

from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import Part, PolicySet
from services.settlement.domain.split import INSUTYPE_EMPLOYEE, Role
from services.settlement.domain.visit import KnownPerson
from services.settlement.store import projections as projected


async def check_holder(
    database: Database,
    policies: PolicySet,
    *,
    psn_no: PsnNo,
    role: Role,
    part: Part,
    area: AdmDvs,
    now: datetime,
) -> None:
    """This person may have such an account in this area, and it has such a part.

    Refusals in this order: POLICY_AREA_UNKNOWN; WALLET_HAS_ONE_PART; PERSON_UNKNOWN; NOT_INSURED_IN_AREA (a personal
    account is an employee's, in the area that insures him; a paused or ended insurance keeps it).
    """
    policies.for_area(area)
    if role is Role.WALLET and part is not Part.PAST:
        raise Failure(Kind.INVALID, "WALLET_HAS_ONE_PART", field="part")
    async with database.driver_connection() as connection:
        known = await projected.people(connection, [psn_no], now=now)
    if psn_no not in known:
        raise Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field="psn_no")
    if role is Role.OWN and not _insured_as_employee(known[psn_no], area):
        raise Failure(Kind.PRECONDITION, "NOT_INSURED_IN_AREA", area=area)


def _insured_as_employee(person: KnownPerson, area: AdmDvs) -> bool:
    return any(
        (enrolment.insutype, enrolment.insuplc_admdvs) == (INSUTYPE_EMPLOYEE, area) for enrolment in person.enrolments
    )
