"""Corrections of a record, and another certificate."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.certificate import CertificateKind, Sex, parsed_certificate
from services.identity.domain.particulars import Record, Wanted, updated, with_certificate
from services.identity.domain.person import Person
from tests.unit.identity.strategies import TODAY, with_check_character

BIRTH = parsed_certificate(CertificateKind.BIRTH_CERTIFICATE, "S650123456", today=TODAY)
RESIDENT = parsed_certificate(CertificateKind.RESIDENT_ID, with_check_character("65010320260601002"), today=TODAY)
BOYS_NUMBER = parsed_certificate(CertificateKind.RESIDENT_ID, with_check_character("65010320260601001"), today=TODAY)
OTHER_DAY = parsed_certificate(CertificateKind.RESIDENT_ID, with_check_character("65010320260602002"), today=TODAY)
NEWBORN = Person(PsnNo("650100000000001"), "王*宝", date(2026, 6, 1), Sex.FEMALE, version=3)
RECORD = Record(NEWBORN, BIRTH, "王小宝")
WITH_NUMBER = replace(RECORD, certificate=RESIDENT)


def test_a_new_name_is_told_if_others_see_another() -> None:
    """A name that looks as before under its mask is no change for others; one that looks different is."""
    hidden = updated(RECORD, Wanted(name="王大宝"), today=TODAY)
    assert (hidden.name, hidden.fields, hidden.person) == ("王大宝", ("psn_name",), NEWBORN)
    seen = updated(RECORD, Wanted(name="李小宝"), today=TODAY)
    assert (seen.person.name_masked, seen.person.version, seen.fields) == ("李*宝", 4, ("psn_name",))


def test_birth_date_and_sex_are_corrected_where_the_certificate_is_silent() -> None:
    """A birth certificate's number tells neither; others see the birth date, not the sex."""
    born = updated(RECORD, Wanted(brdy=date(2026, 5, 31)), today=TODAY)
    assert (born.person.brdy, born.person.version, born.fields) == (date(2026, 5, 31), 4, ("brdy",))
    sex = updated(RECORD, Wanted(sex=Sex.MALE), today=TODAY)
    assert (sex.person.sex, sex.person.version, sex.fields) == (Sex.MALE, 3, ("gend",))


def test_what_is_so_already_is_no_change() -> None:
    """Saying all that is on record changes no field and no version."""
    same = updated(WITH_NUMBER, Wanted("王小宝", date(2026, 6, 1), Sex.FEMALE), today=TODAY)
    assert (same.person, same.name, same.fields) == (NEWBORN, "王小宝", ())


@pytest.mark.parametrize(
    ("record", "wanted", "refusal"),
    [
        (RECORD, Wanted(), Failure(Kind.INVALID, "UPDATE_EMPTY")),
        (WITH_NUMBER, Wanted(brdy=date(2026, 5, 31)), Failure(Kind.INVALID, "BIRTH_DATE_DIFFERS", field="brdy")),
        (WITH_NUMBER, Wanted(sex=Sex.MALE), Failure(Kind.INVALID, "SEX_DIFFERS", field="gend")),
        (RECORD, Wanted(brdy=date(2026, 7, 2)), Failure(Kind.INVALID, "BIRTH_DATE_WRONG", field="brdy")),
        (RECORD, Wanted(brdy=date(1800, 1, 1)), Failure(Kind.INVALID, "BIRTH_DATE_WRONG", field="brdy")),
        (
            replace(RECORD, person=replace(NEWBORN, death_date=date(2026, 6, 3))),
            Wanted(brdy=date(2026, 6, 4)),
            Failure(Kind.PRECONDITION, "BIRTH_DATE_AFTER_DEATH", field="brdy"),
        ),
    ],
)
def test_a_correction_that_cannot_be_is_refused(record: Record, wanted: Wanted, refusal: Failure) -> None:
    """Nothing said, against the certificate, to come, too long ago, after the death."""
    with pytest.raises(Failure) as refused:
        updated(record, wanted, today=TODAY)
    assert refused.value == refusal


def test_a_newborn_gets_a_number_and_a_name() -> None:
    """The ID number takes the birth certificate's place; a name that comes with it is taken too."""
    numbered = with_certificate(RECORD, RESIDENT, Wanted(), today=TODAY)
    assert (numbered.fields, numbered.person, numbered.name) == (("certno",), NEWBORN, "王小宝")
    named = with_certificate(RECORD, RESIDENT, Wanted(name="李小宝"), today=TODAY)
    assert (named.fields, named.person.name_masked, named.person.version) == (("certno", "psn_name"), "李*宝", 4)


def test_the_same_certificate_is_no_change() -> None:
    """The certificate that stands there already changes nothing."""
    assert with_certificate(RECORD, BIRTH, Wanted(name="王小宝"), today=TODAY).fields == ()


def test_a_certificate_of_another_day_or_sex_is_somebody_elses() -> None:
    """Birth date and sex of an 18-character number must be those on record."""
    for certificate, field in ((OTHER_DAY, "brdy"), (BOYS_NUMBER, "gend")):
        with pytest.raises(Failure) as refused:
            with_certificate(RECORD, certificate, Wanted(), today=TODAY)
        assert refused.value == Failure(Kind.EXISTS, "PERSON_DIFFERS", field=field)


def test_a_number_made_anew_corrects_what_the_old_one_told() -> None:
    """An officer who says so takes over the new number's birth date and sex; nothing else than what it tells."""
    record = Record(replace(NEWBORN, sex=Sex.MALE), RESIDENT, "王小宝")
    assert OTHER_DAY.brdy is not None
    corrected = with_certificate(record, OTHER_DAY, Wanted(brdy=OTHER_DAY.brdy, sex=OTHER_DAY.sex), today=TODAY)
    assert corrected.fields == ("certno", "brdy", "gend")
    assert (corrected.person.brdy, corrected.person.sex) == (OTHER_DAY.brdy, OTHER_DAY.sex)
    for wanted, reason in (
        (Wanted(brdy=OTHER_DAY.brdy), "PERSON_DIFFERS"),
        (Wanted(brdy=date(2026, 5, 5), sex=OTHER_DAY.sex), "BIRTH_DATE_DIFFERS"),
        (Wanted(brdy=OTHER_DAY.brdy, sex=Sex.MALE), "SEX_DIFFERS"),
    ):
        with pytest.raises(Failure, match=reason):
            with_certificate(record, OTHER_DAY, wanted, today=TODAY)
    dead = replace(record, person=replace(record.person, death_date=NEWBORN.brdy))
    with pytest.raises(Failure, match="BIRTH_DATE_AFTER_DEATH"):
        with_certificate(dead, OTHER_DAY, Wanted(brdy=OTHER_DAY.brdy, sex=OTHER_DAY.sex), today=TODAY)


def test_nothing_of_a_record_shows_in_its_representation() -> None:
    """Names and numbers stay out of what ends up in tracebacks."""
    shown = repr((RECORD, Wanted(name="王大宝"), updated(RECORD, Wanted(name="王大宝"), today=TODAY)))
    assert not any(secret in shown for secret in ("小宝", "大宝", "S650123456"))
