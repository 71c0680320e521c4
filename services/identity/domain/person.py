"""A person as other rooms may know him: enrolments (参保) and sanctions (暂停联网结算); every change is a new value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from typing import Final
from uuid import UUID

from kernel.clock import SHANGHAI
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import BIRTH_YEAR_MIN, Certificate, Sex, looks_like_id_number

PSN_NO_DRAWN_DIGITS: Final = 22
"""Unlike any certificate in length, so that a drawn number is never mistaken for one."""
SANCTION_MONTHS_MIN: Final = 3
SANCTION_MONTHS_MAX: Final = 12
_MONTHS_PER_YEAR: Final = 12


class Insutype(Enum):
    """险种类型 in the national values."""

    EMPLOYEE = "310"
    RESIDENT = "390"


class InsuranceStatus(Enum):
    """人员参保状态 psn_insu_stas in the national values."""

    NORMAL = "1"
    PAUSED = "2"
    ENDED = "4"  # Final for this enrolment; enrolling again begins anew.


@dataclass(frozen=True, slots=True)
class Enrolment:
    """参保: one insutype of one person, in the area where he is insured."""

    insutype: Insutype
    insuplc_admdvs: AdmDvs
    psn_insu_stas: InsuranceStatus


@dataclass(frozen=True, slots=True)
class Sanction:
    """A decision under 条例 art. 41. In force from ``from_at`` until just before ``to_at``, unless lifted before."""

    sanction_id: UUID
    from_at: datetime
    to_at: datetime
    basis_clause: str
    decision_no: str
    organ: str
    lifted_at: datetime | None = None

    def stands(self, now: datetime) -> bool:
        """In force or to come."""
        return self.lifted_at is None and now < self.to_at


@dataclass(frozen=True, slots=True)
class Person:
    """What others may know; ``version`` counts the changes told to them, from 1."""

    psn_no: PsnNo
    name_masked: str
    brdy: date
    sex: Sex
    enrolments: tuple[Enrolment, ...] = ()
    sanctions: tuple[Sanction, ...] = ()
    version: int = 1

    def enrolment(self, insutype: Insutype) -> Enrolment | None:
        """The enrolment of this insutype, if there is one."""
        return next((enrolment for enrolment in self.enrolments if enrolment.insutype is insutype), None)


def known(person: Person | None) -> Person:
    """The person; PERSON_UNKNOWN (NOT_FOUND) if there is none."""
    if person is None:
        raise Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field="psn_no")
    return person


def birth_date_of(certificate: Certificate, given: date | None, *, today: date) -> date:
    """The certificate's birth date, or the one given beside a certificate that tells none.

    INVALID, first that applies: BIRTH_DATE_MISSING, BIRTH_DATE_DIFFERS (from the certificate's), BIRTH_DATE_WRONG
    (to come, or before anyone alive).
    """
    if certificate.brdy is not None:
        if given is not None and given != certificate.brdy:
            raise Failure(Kind.INVALID, "BIRTH_DATE_DIFFERS", field="brdy")
        return certificate.brdy
    if given is None:
        raise Failure(Kind.INVALID, "BIRTH_DATE_MISSING", field="brdy")
    if given > today or given.year < BIRTH_YEAR_MIN:
        raise Failure(Kind.INVALID, "BIRTH_DATE_WRONG", field="brdy")
    return given


def sex_of(certificate: Certificate, given: Sex | None) -> Sex:
    """The sex that the certificate tells, or the one given beside it; INVALID SEX_MISSING or SEX_DIFFERS."""
    if certificate.sex is not None:
        if given is not None and given is not certificate.sex:
            raise Failure(Kind.INVALID, "SEX_DIFFERS", field="gend")
        return certificate.sex
    if given is None:
        raise Failure(Kind.INVALID, "SEX_MISSING", field="gend")
    return given


def checked_given_number(psn_no: PsnNo, *, today: date) -> PsnNo:
    """A national number as it is given; PERSON_NUMBER_IS_CERTIFICATE (INVALID) if it is an ID number.

    psn_no stands in events, logs of others and tables; an ID number used in its place would end up in all of them.
    """
    if looks_like_id_number(psn_no, today=today):
        raise Failure(Kind.INVALID, "PERSON_NUMBER_IS_CERTIFICATE", field="psn_no")
    return psn_no


def drawn_number(randomness: int) -> PsnNo:
    """A number for a person whom the national platform has not numbered: 22 digits, none of them a leading zero."""
    low = 10 ** (PSN_NO_DRAWN_DIGITS - 1)
    return PsnNo(str(low + randomness % (9 * low)))


def enrolled(person: Person, insutype: Insutype, area: AdmDvs) -> Person:
    """The person insured in this area, normally; the same person if he is so already.

    Another area is a move, an ended or paused enrolment is taken up again.
    """
    return _with_enrolment(person, Enrolment(insutype, area, InsuranceStatus.NORMAL))


def with_status(person: Person, insutype: Insutype, status: InsuranceStatus) -> Person:
    """The person with this status; the same person if he has it already.

    PRECONDITION, first that applies: NOT_ENROLLED, ENROLMENT_ENDED (only enrolling begins anew).
    """
    enrolment = person.enrolment(insutype)
    if enrolment is None:
        raise Failure(Kind.PRECONDITION, "NOT_ENROLLED", insutype=insutype.value)
    if enrolment.psn_insu_stas is InsuranceStatus.ENDED and status is not InsuranceStatus.ENDED:
        raise Failure(Kind.PRECONDITION, "ENROLMENT_ENDED", insutype=insutype.value)
    return _with_enrolment(person, replace(enrolment, psn_insu_stas=status))


def check_term(from_at: datetime, to_at: datetime) -> None:
    """A sanction lasts 3 to 12 calendar months (条例 art. 41); SANCTION_TERM_OUT_OF_RANGE (INVALID) otherwise."""
    shortest = months_after(from_at, SANCTION_MONTHS_MIN)
    longest = months_after(from_at, SANCTION_MONTHS_MAX)
    if not shortest <= to_at <= longest:
        raise Failure(
            Kind.INVALID,
            "SANCTION_TERM_OUT_OF_RANGE",
            field="to_time",
            months_min=SANCTION_MONTHS_MIN,
            months_max=SANCTION_MONTHS_MAX,
        )


def sanctioned(person: Person, sanction: Sanction) -> Person:
    """The person with one more sanction."""
    return replace(person, sanctions=(*person.sanctions, sanction), version=person.version + 1)


def same_decision(one: Sanction, other: Sanction) -> bool:
    """Whether two sanctions are one decision told twice."""
    return replace(one, sanction_id=other.sanction_id, lifted_at=other.lifted_at) == other


def lifted(person: Person, sanction_id: UUID, *, now: datetime) -> Person:
    """The person with this sanction ended at ``now``; the same person if it was lifted before.

    SANCTION_OVER (PRECONDITION) if it has run out by itself.
    """
    sanction = next(sanction for sanction in person.sanctions if sanction.sanction_id == sanction_id)
    if sanction.lifted_at is not None:
        return person
    if not sanction.stands(now):
        raise Failure(Kind.PRECONDITION, "SANCTION_OVER")
    others = tuple(replace(each, lifted_at=now) if each is sanction else each for each in person.sanctions)
    return replace(person, sanctions=others, version=person.version + 1)


def months_after(instant: datetime, months: int) -> datetime:
    """The same civil time so many calendar months later; the month's last day where it has no such day."""
    civil = instant.astimezone(SHANGHAI)
    years, month0 = divmod(civil.month - 1 + months, _MONTHS_PER_YEAR)
    year, month = civil.year + years, month0 + 1
    first_of_next = date(year + month // _MONTHS_PER_YEAR, month % _MONTHS_PER_YEAR + 1, 1)
    last_day = (first_of_next - date(year, month, 1)).days
    return civil.replace(year=year, month=month, day=min(civil.day, last_day))


def _with_enrolment(person: Person, enrolment: Enrolment) -> Person:
    if enrolment in person.enrolments:
        return person
    others = [each for each in person.enrolments if each.insutype is not enrolment.insutype]
    enrolments = tuple(sorted([*others, enrolment], key=lambda each: each.insutype.value))
    return replace(person, enrolments=enrolments, version=person.version + 1)
