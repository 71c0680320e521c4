"""Correcting what is on record of a person, and another certificate in place of the present one (domain §1, §10)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date

from kernel.failures import Failure, Kind
from services.identity.domain.certificate import Certificate, Sex
from services.identity.domain.name import masked_name
from services.identity.domain.person import Person, birth_date_of, sex_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What shall be on record from now on; None leaves a part as it is. The name is in its kept form."""

    name: str | None = field(default=None, repr=False)
    brdy: date | None = None
    sex: Sex | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """A person with what only a key holder can read of him."""

    person: Person
    certificate: Certificate
    name: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Updated:
    """A record as it is to be, and the names of the fields that differ; none if nothing does."""

    person: Person
    name: str = field(repr=False)
    fields: tuple[str, ...] = ()


def updated(record: Record, wanted: Wanted, *, today: date) -> Updated:
    """The record corrected; its version grows only if something that others see is another.

    First that applies: INVALID UPDATE_EMPTY, BIRTH_DATE_DIFFERS or BIRTH_DATE_WRONG, SEX_DIFFERS (an 18-character
    certificate tells both); PRECONDITION BIRTH_DATE_AFTER_DEATH.
    """
    if wanted == Wanted():
        raise Failure(Kind.INVALID, "UPDATE_EMPTY")
    before = record.person
    name = record.name if wanted.name is None else wanted.name
    brdy = before.brdy if wanted.brdy is None else birth_date_of(record.certificate, wanted.brdy, today=today)
    sex = before.sex if wanted.sex is None else sex_of(record.certificate, wanted.sex)
    _check_lived(before, brdy)
    return _updated(record, name, brdy, sex)


def with_certificate(record: Record, certificate: Certificate, wanted: Wanted, *, today: date) -> Updated:
    """The record under another certificate, with what stands on it if that is another and the officer says so.

    A number is made anew when a birth date or a sex was registered wrongly. First that applies: INVALID
    BIRTH_DATE_DIFFERS or BIRTH_DATE_WRONG, SEX_DIFFERS (what is said is not what the certificate tells); PRECONDITION
    BIRTH_DATE_AFTER_DEATH; EXISTS PERSON_DIFFERS, with the field, if the certificate tells another birth date or sex
    than the record and nobody said so: then one of them is wrong, or it is somebody else's. The caller sees to it that
    the certificate is nobody else's.
    """
    before = record.person
    name = record.name if wanted.name is None else wanted.name
    brdy = before.brdy if wanted.brdy is None else birth_date_of(certificate, wanted.brdy, today=today)
    sex = before.sex if wanted.sex is None else sex_of(certificate, wanted.sex)
    _check_lived(before, brdy)
    if certificate.brdy not in {None, brdy}:
        raise Failure(Kind.EXISTS, "PERSON_DIFFERS", field="brdy")
    if certificate.sex not in {None, sex}:
        raise Failure(Kind.EXISTS, "PERSON_DIFFERS", field="gend")
    same = (certificate.kind, certificate.number) == (record.certificate.kind, record.certificate.number)
    return _updated(record, name, brdy, sex, certno=not same)


def _check_lived(person: Person, brdy: date) -> None:
    if person.death_date is not None and brdy > person.death_date:
        raise Failure(Kind.PRECONDITION, "BIRTH_DATE_AFTER_DEATH", field="brdy")


def _updated(record: Record, name: str, brdy: date, sex: Sex, *, certno: bool = False) -> Updated:
    before = record.person
    differs = {
        "certno": certno,
        "psn_name": name != record.name,
        "brdy": brdy != before.brdy,
        "gend": sex is not before.sex,
    }
    return Updated(_seen(before, name, brdy, sex), name, tuple(each for each, other in differs.items() if other))


def _seen(before: Person, name: str, brdy: date, sex: Sex) -> Person:
    after = replace(before, name_masked=masked_name(name), brdy=brdy, sex=sex)
    others_see = (after.name_masked, after.brdy) != (before.name_masked, before.brdy)
    return replace(after, version=before.version + others_see)
