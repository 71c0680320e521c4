"""A person as family knows him from identity's events, and what can be told from that."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo

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
