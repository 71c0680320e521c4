"""Enrolments of a person."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import Sex
from services.identity.domain.person import (
    Enrolment,
    InsuranceStatus,
    Insutype,
    Person,
    drawn_number,
    enrolled,
    with_sanctions,
    with_status,
)
from services.identity.domain.sanction import Sanction

NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
URUMQI, HAMI = AdmDvs("650100"), AdmDvs("650500")
STRANGER = Person(PsnNo("650100000000001"), "王*国", date(1985, 3, 12), Sex.MALE)
EMPLOYEE = enrolled(STRANGER, Insutype.EMPLOYEE, URUMQI)
SANCTION = Sanction(UUID(int=1), NOW, NOW + timedelta(days=120), "第41条", "疆医保罚〔2026〕3号", "乌鲁木齐市医保局")


def test_enrolling_begins_normally_and_counts_one_change() -> None:
    """A first enrolment is normal and makes version 2."""
    assert EMPLOYEE.enrolments == (Enrolment(Insutype.EMPLOYEE, URUMQI, InsuranceStatus.NORMAL),)
    assert EMPLOYEE.version == 2


def test_enrolling_again_changes_nothing() -> None:
    """The same enrolment twice is one: the very same person comes back."""
    assert enrolled(EMPLOYEE, Insutype.EMPLOYEE, URUMQI) is EMPLOYEE


def test_the_kind_of_person_is_told_once_and_stays() -> None:
    """An enrolment that does not tell psn_type keeps what is known, in a move and after an end too."""
    retired = enrolled(EMPLOYEE, Insutype.EMPLOYEE, URUMQI, "12")
    assert retired.version == EMPLOYEE.version + 1
    ended_there = with_status(retired, Insutype.EMPLOYEE, InsuranceStatus.ENDED)
    moved = enrolled(ended_there, Insutype.EMPLOYEE, HAMI)
    assert [each.psn_type for each in moved.enrolments] == ["12"]
    assert enrolled(moved, Insutype.EMPLOYEE, HAMI, "12") is moved


@pytest.mark.parametrize(("insutype", "psn_type"), [("310", "14"), ("390", "12"), ("390", "1101")])
def test_a_kind_of_person_belongs_to_its_insutype(insutype: str, psn_type: str) -> None:
    """PSN_TYPE_NOT_OF_INSUTYPE for a resident who retires and an employee who is a child."""
    with pytest.raises(Failure) as refused:
        enrolled(STRANGER, Insutype(insutype), URUMQI, psn_type)
    assert refused.value.reason == "PSN_TYPE_NOT_OF_INSUTYPE"


def test_a_move_is_an_enrolment_in_another_area() -> None:
    """The latest area of an insutype stands, the other insutype is untouched."""
    both = enrolled(EMPLOYEE, Insutype.RESIDENT, URUMQI)
    moved = enrolled(both, Insutype.EMPLOYEE, HAMI)
    assert [(each.insutype, each.insuplc_admdvs) for each in moved.enrolments] == [
        (Insutype.EMPLOYEE, HAMI),
        (Insutype.RESIDENT, URUMQI),
    ]
    assert moved.version == 4


def test_a_pause_ends_by_status_and_an_end_by_enrolling() -> None:
    """Paused goes back to normal; ended only by a new enrolment."""
    paused = with_status(EMPLOYEE, Insutype.EMPLOYEE, InsuranceStatus.PAUSED)
    assert with_status(paused, Insutype.EMPLOYEE, InsuranceStatus.NORMAL).enrolments == EMPLOYEE.enrolments
    ended = with_status(paused, Insutype.EMPLOYEE, InsuranceStatus.ENDED)
    assert with_status(ended, Insutype.EMPLOYEE, InsuranceStatus.ENDED) is ended
    with pytest.raises(Failure) as refused:
        with_status(ended, Insutype.EMPLOYEE, InsuranceStatus.NORMAL)
    assert refused.value == Failure(Kind.PRECONDITION, "ENROLMENT_ENDED", insutype="310")
    assert enrolled(ended, Insutype.EMPLOYEE, URUMQI).enrolments == EMPLOYEE.enrolments


def test_a_status_needs_an_enrolment() -> None:
    """Somebody who is not enrolled has no status to change."""
    with pytest.raises(Failure) as refused:
        with_status(EMPLOYEE, Insutype.RESIDENT, InsuranceStatus.PAUSED)
    assert refused.value == Failure(Kind.PRECONDITION, "NOT_ENROLLED", insutype="390")


def test_a_sanction_more_or_less_is_one_change_and_none_is_none() -> None:
    """Other sanctions count one change; the same ones give back the very same person."""
    person = with_sanctions(EMPLOYEE, (SANCTION,))
    assert person.sanctions == (SANCTION,)
    assert person.version == EMPLOYEE.version + 1
    assert with_sanctions(person, (SANCTION,)) is person


@given(st.integers(0, 2**128 - 1))
def test_a_drawn_number_looks_like_no_certificate(randomness: int) -> None:
    """A drawn number has 22 digits, the first not 0."""
    number = drawn_number(randomness)
    assert number.isdigit()
    assert (len(number), number[0] != "0") == (22, True)
