"""A person as family knows him from identity's events, and what can be told from that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import PolicySet, RegionPolicy

EMPLOYEE: Final = "310"
RESIDENT: Final = "390"
NORMAL: Final = "1"


@dataclass(frozen=True, slots=True)
class Enrolment:
    """参保: the kind of insurance, the insured area, ``psn_insu_stas`` (1 normal, 2 paused, 4 ended)."""

    insutype: str
    area: AdmDvs
    status: str


@dataclass(frozen=True, slots=True)
class Sanction:
    """暂停联网结算, from one instant until before another (domain §8)."""

    from_at: datetime
    to_at: datetime


@dataclass(frozen=True, slots=True)
class Person:
    """What other rooms may know of a person; ``birth_date`` is None where identity does not tell it."""

    psn_no: PsnNo
    name_masked: str
    birth_date: date | None
    enrolments: tuple[Enrolment, ...] = ()
    sanctions: tuple[Sanction, ...] = ()
    died_on: date | None = None
    merged_into: PsnNo | None = None
    """The number that counts, where this one was found to be a double."""

    def normal_enrolment(self, *insutypes: str) -> Enrolment | None:
        """The enrolment under which he is normally insured; of several, the one of the kind named first."""
        for insutype in insutypes:
            for enrolment in self.enrolments:
                if enrolment.insutype == insutype and enrolment.status == NORMAL:
                    return enrolment
        return None

    def is_sanctioned(self, now: datetime) -> bool:
        """Whether a sanction is in force at this instant."""
        return any(sanction.from_at <= now < sanction.to_at for sanction in self.sanctions)

    def rests_differently_from(self, former: Person) -> bool:
        """Whether a binding of his may stand or fall by what has changed."""
        return (self.enrolments, self.sanctions, self.died_on, self.merged_into) != (
            former.enrolments,
            former.sanctions,
            former.died_on,
            former.merged_into,
        )

    def next_sanction(self, now: datetime) -> datetime | None:
        """When the next sanction begins that has been decided already; None if there is none to come."""
        return min((sanction.from_at for sanction in self.sanctions if sanction.from_at > now), default=None)

    def is_younger_than(self, years: int, *, today: date) -> bool:
        """Whether his birthday of that age is still to come. Of someone whose birth is unknown nothing is presumed."""
        birth = self.birth_date
        if birth is None:
            return False
        age = today.year - birth.year - ((today.month, today.day) < (birth.month, birth.day))
        return age < years


def refuse_oneself(one: PsnNo, other: PsnNo) -> None:
    """RELATIVE_IS_ONESELF: nobody is a relative of himself."""
    if one == other:
        raise Failure(Kind.INVALID, "RELATIVE_IS_ONESELF")


def insured_area(person: Person) -> AdmDvs | None:
    """The area where he is normally insured, as an employee first; None if he is not."""
    enrolment = person.normal_enrolment(EMPLOYEE, RESIDENT)
    return None if enrolment is None else enrolment.area


def ruling_area(person: Person) -> AdmDvs | None:
    """The area by whose rules he is served: where he is normally insured, else where he last was; None if nowhere.

    An insurance that is paused or ended takes nobody out of the rules under which he has come.
    """
    former = min(person.enrolments, key=lambda enrolment: enrolment.status, default=None)
    return insured_area(person) or (None if former is None else former.area)


def policy_of(person: Person, policies: PolicySet) -> RegionPolicy:
    """The policy of his ``ruling_area``; the nation's if he was never insured."""
    area = ruling_area(person)
    return policies.nation() if area is None else policies.for_area(area)


def refuse_child(person: Person, policy: RegionPolicy, *, today: date) -> None:
    """MINOR_ACTS_THROUGH_PARENT: who is below ``consent_age`` of his area says nothing himself (domain §1)."""
    if person.is_younger_than(policy.consent_age, today=today):
        raise Failure(Kind.PRECONDITION, "MINOR_ACTS_THROUGH_PARENT")
