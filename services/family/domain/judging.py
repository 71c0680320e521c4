"""What becomes of a binding when what it rests on changes: it stands, stops, or follows its funder's account."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, province_of
from kernel.policy import RegionPolicy
from services.family.domain.bindings import (
    ACCOUNT_MOVED,
    Binding,
    BindingState,
    Change,
    Step,
    refuse_missing_amount,
    said,
    stopping,
)
from services.family.domain.groups import Kinship, refuse_relation
from services.family.domain.people import EMPLOYEE, Person, insured_area


@dataclass(frozen=True, slots=True)
class Standing:
    """What a live binding rests on, as identity tells it now.

    ``account_at`` is the area to which the funder's account was last moved, as settlement has told it; None if it never
    was.
    """

    funder: Person
    beneficiary: Person
    proven: Kinship
    account_at: AdmDvs | None = None


def area_of(binding: Binding, standing: Standing) -> AdmDvs:
    """Where its authorisation belongs: a move inside the province counts once the account has followed its person."""
    funding = standing.funder.normal_enrolment(EMPLOYEE)
    if funding is None or standing.account_at != funding.area:
        return binding.moving_to or binding.funder_area
    return funding.area


def judged(binding: Binding, standing: Standing, policy: RegionPolicy, *, now: datetime) -> Step | None:
    """What has become of those it rests on makes of a live binding; None if that leaves it as it is.

    Stopped for new bills, with the first cause that applies (domain §2): MERGED (a number that counts no more), DIED,
    NOT_INSURED (the funder, as an employee), OTHER_PROVINCE, SANCTIONED (the funder), KINSHIP_NOT_PROVEN,
    RELATION_NOT_ALLOWED, and of one that moves AUTHORISED_AMOUNT_REQUIRED. Another relation that counts takes the place
    of the former. Where the funder's account has moved to another area of the province, the binding follows it
    (protocol, "Closing, moving"). A beneficiary who is sanctioned or whose insurance is paused keeps it: his bills are
    refused meanwhile. ``policy`` is that of ``area_of``.
    """
    if not binding.is_live:
        return None
    area = area_of(binding, standing)
    follows = area != (binding.moving_to or binding.funder_area)
    try:
        _refuse_fallen(binding, standing, now=now)
        relation = refuse_relation(standing.proven, policy)
        if follows:
            refuse_missing_amount(binding.authorised_fen, required=policy.authorized_amount_required)
    except Failure as fallen:
        return said(stopping(replace(binding, judge_at=None), cause=fallen.reason), Change.SUSPENDED)
    stands = replace(binding, relation=relation, judge_at=judged_next(standing, now=now), vouched=True)
    if follows:
        moving = replace(stands, state=BindingState.CLOSING, cause=ACCOUNT_MOVED, moving_to=area)
        return said(moving, Change.MOVING)
    return None if relation is binding.relation else said(stands, Change.RELATION)


def judged_next(standing: Standing, *, now: datetime) -> datetime | None:
    """When a binding that stands is judged without an event: as the funder's next sanction begins."""
    return standing.funder.next_sanction(now)


def _refuse_fallen(binding: Binding, standing: Standing, *, now: datetime) -> None:
    funder, beneficiary = standing.funder, standing.beneficiary
    if funder.merged_into is not None or beneficiary.merged_into is not None:
        raise Failure(Kind.PRECONDITION, "MERGED")
    if funder.died_on is not None or beneficiary.died_on is not None:
        raise Failure(Kind.PRECONDITION, "DIED")
    funding = funder.normal_enrolment(EMPLOYEE)
    if funding is None:
        raise Failure(Kind.PRECONDITION, "NOT_INSURED")
    provinces = {province_of(area) for area in (insured_area(beneficiary), binding.funder_area) if area is not None}
    if provinces != {province_of(funding.area)}:
        raise Failure(Kind.PRECONDITION, "OTHER_PROVINCE")
    if funder.is_sanctioned(now):
        raise Failure(Kind.PRECONDITION, "SANCTIONED")
