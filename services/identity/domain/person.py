"""A person as other rooms may know him: enrolments (参保) and sanctions (暂停联网结算); every change is a new value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import Enum
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import BIRTH_YEAR_MIN, Certificate, Sex, looks_like_id_number
from services.identity.domain.holder import person_unknown
from services.identity.domain.sanction import Sanction

PSN_NO_DRAWN_DIGITS: Final = 22
"""Unlike any certificate in length, so that a drawn number is never mistaken for one."""


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
    psn_type: str = ""
    """人员类别 in the national values; empty = nobody has told it."""


PSN_TYPES_OF: Final = {Insutype.EMPLOYEE: ("11", "12", "13"), Insutype.RESIDENT: ("14", "15", "16")}
"""How the codes begin that each insutype has: 在职, 退休, 离休; 未成年, 成年, 老年居民."""


class DeathEvidence(Enum):
    """On which document a death rests; the value is what the database keeps."""

    MEDICAL_CERTIFICATE = "MEDICAL_CERTIFICATE"  # 居民死亡医学证明.
    CREMATION_CERTIFICATE = "CREMATION_CERTIFICATE"  # 火化证明.
    HOUSEHOLD_CANCELLATION = "HOUSEHOLD_CANCELLATION"  # 户口注销证明.
    COURT_DECLARATION = "COURT_DECLARATION"  # 法院宣告死亡判决.


class PersonChange(Enum):
    """What an officer changed of a record; the value is what the database keeps."""

    PARTICULARS = "PARTICULARS"
    CERTIFICATE = "CERTIFICATE"
    DEATH = "DEATH"
    DEATH_WITHDRAWN = "DEATH_WITHDRAWN"
    MERGED = "MERGED"  # This record is the double.
    DOUBLE_TAKEN_IN = "DOUBLE_TAKEN_IN"  # This record is kept.


@dataclass(frozen=True, slots=True)
class EnrolmentChange:
    """How an insutype of a person was from this instant on, until its next change."""

    enrolment: Enrolment
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Person:
    """What others may know; ``version`` counts the changes told to them, from 1.

    ``merged_into`` is the number that stands for him since this record was found to be another's double.
    """

    psn_no: PsnNo
    name_masked: str
    brdy: date
    sex: Sex
    enrolments: tuple[Enrolment, ...] = ()
    sanctions: tuple[Sanction, ...] = ()
    version: int = 1
    death_date: date | None = None
    merged_into: PsnNo | None = None
    real_name_at: datetime | None = None

    def enrolment(self, insutype: Insutype) -> Enrolment | None:
        """The enrolment of this insutype, if there is one."""
        return next((enrolment for enrolment in self.enrolments if enrolment.insutype is insutype), None)


def known(person: Person | None, *, field: str = "psn_no") -> Person:
    """The person; PERSON_UNKNOWN (NOT_FOUND) if there is none."""
    if person is None:
        raise person_unknown(field)
    return person


def writable(person: Person | None, *, field: str = "psn_no") -> Person:
    """The person, of whom something may be written: known, and no double of somebody else.

    PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED (PRECONDITION); the number that stands for him is told by GetPerson alone.
    """
    person = known(person, field=field)
    if person.merged_into is not None:
        raise Failure(Kind.PRECONDITION, "PERSON_MERGED", field=field)
    return person


def living(person: Person, *, field: str = "psn_no") -> Person:
    """The person; PERSON_DECEASED (PRECONDITION) once his death is on record."""
    if person.death_date is not None:
        raise Failure(Kind.PRECONDITION, "PERSON_DECEASED", field=field)
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


def check_psn_type(insutype: Insutype, psn_type: str) -> None:
    """Whether a kind of person can be insured so; PSN_TYPE_NOT_OF_INSUTYPE (INVALID). Empty is not judged."""
    if psn_type and not psn_type.startswith(PSN_TYPES_OF[insutype]):
        raise Failure(
            Kind.INVALID, "PSN_TYPE_NOT_OF_INSUTYPE", field="psn_type", insutype=insutype.value, psn_type=psn_type
        )


def enrolled(person: Person, insutype: Insutype, area: AdmDvs, psn_type: str = "") -> Person:
    """The person insured in this area, normally; the same person if he is so already.

    Another area is a move, an ended or paused enrolment is taken up again; an empty ``psn_type`` leaves what is known.
    PSN_TYPE_NOT_OF_INSUTYPE (INVALID), PERSON_DECEASED.
    """
    check_psn_type(insutype, psn_type)
    before = person.enrolment(insutype)
    if not psn_type and before is not None:
        psn_type = before.psn_type
    return _with_enrolment(person, Enrolment(insutype, area, InsuranceStatus.NORMAL, psn_type))


def with_status(person: Person, insutype: Insutype, status: InsuranceStatus) -> Person:
    """The person with this status; the same person if he has it already.

    PRECONDITION, first that applies: NOT_ENROLLED, ENROLMENT_ENDED (only enrolling begins anew), PERSON_DECEASED.
    """
    enrolment = person.enrolment(insutype)
    if enrolment is None:
        raise Failure(Kind.PRECONDITION, "NOT_ENROLLED", insutype=insutype.value)
    if enrolment.psn_insu_stas is InsuranceStatus.ENDED and status is not InsuranceStatus.ENDED:
        raise Failure(Kind.PRECONDITION, "ENROLMENT_ENDED", insutype=insutype.value)
    return _with_enrolment(person, replace(enrolment, psn_insu_stas=status))


def with_sanctions(person: Person, sanctions: tuple[Sanction, ...]) -> Person:
    """The person with these sanctions; the same person if they are his already."""
    if sanctions == person.sanctions:
        return person
    return replace(person, sanctions=sanctions, version=person.version + 1)


def with_real_name(person: Person, *, now: datetime) -> Person:
    """The person whose face was verified to be his now (实名)."""
    return replace(person, real_name_at=now, version=person.version + 1)


def died(person: Person, death_date: date, *, today: date) -> Person:
    """The person with his death on record and every enrolment ended; the same person if that is so already.

    First that applies: INVALID DEATH_DATE_WRONG (to come, or before the birth); PRECONDITION DEATH_DATE_DIFFERS: the
    date on record is another, which is withdrawn first.
    """
    if not person.brdy <= death_date <= today:
        raise Failure(Kind.INVALID, "DEATH_DATE_WRONG", field="death_date")
    if person.death_date == death_date:
        return person
    if person.death_date is not None:
        raise Failure(Kind.PRECONDITION, "DEATH_DATE_DIFFERS", field="death_date")
    return replace(person, enrolments=ended(person.enrolments), death_date=death_date, version=person.version + 1)


def not_dead(person: Person) -> Person:
    """The person without a death on record; the same person if there is none. His enrolments stay ended."""
    if person.death_date is None:
        return person
    return replace(person, death_date=None, version=person.version + 1)


def ended(enrolments: Iterable[Enrolment]) -> tuple[Enrolment, ...]:
    """The enrolments, every one ended."""
    return tuple(replace(each, psn_insu_stas=InsuranceStatus.ENDED) for each in enrolments)


def enrolments_at(changes: Iterable[EnrolmentChange], instant: datetime) -> tuple[Enrolment, ...]:
    """How somebody was insured at an instant, by insutype, out of his changes in the order in which they were made."""
    found = {each.enrolment.insutype: each.enrolment for each in changes if each.changed_at <= instant}
    return tuple(sorted(found.values(), key=lambda each: each.insutype.value))


def _with_enrolment(person: Person, enrolment: Enrolment) -> Person:
    if enrolment in person.enrolments:
        return person
    living(person)
    others = [each for each in person.enrolments if each.insutype is not enrolment.insutype]
    enrolments = tuple(sorted([*others, enrolment], key=lambda each: each.insutype.value))
    return replace(person, enrolments=enrolments, version=person.version + 1)
