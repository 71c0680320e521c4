"""Enrolments and sanctions of a person."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import SHANGHAI
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import Sex
from services.identity.domain.person import (
    Enrolment,
    InsuranceStatus,
    Insutype,
    Person,
    Sanction,
    check_term,
    drawn_number,
    enrolled,
    lifted,
    months_after,
    same_decision,
    sanctioned,
    with_status,
)

NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
URUMQI, HAMI = AdmDvs("650100"), AdmDvs("650500")
STRANGER = Person(PsnNo("650100000000001"), "王*国", date(1985, 3, 12), Sex.MALE)
EMPLOYEE = enrolled(STRANGER, Insutype.EMPLOYEE, URUMQI)
SANCTION = Sanction(UUID(int=1), NOW, NOW + timedelta(days=120), "第41条", "疆医保罚〔2026〕3号", "乌鲁木齐市医保局")


def civil(text: str) -> datetime:
    """An instant told in civil time."""
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI)


def test_enrolling_begins_normally_and_counts_one_change() -> None:
    """A first enrolment is normal and makes version 2."""
    assert EMPLOYEE.enrolments == (Enrolment(Insutype.EMPLOYEE, URUMQI, InsuranceStatus.NORMAL),)
    assert EMPLOYEE.version == 2


def test_enrolling_again_changes_nothing() -> None:
    """The same enrolment twice is one: the very same person comes back."""
    assert enrolled(EMPLOYEE, Insutype.EMPLOYEE, URUMQI) is EMPLOYEE


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


@pytest.mark.parametrize(
    ("begin", "end", "allowed"),
    [
        ("2026-01-15T00:00", "2026-04-15T00:00", True),
        ("2026-01-15T00:00", "2026-04-14T23:59", False),
        ("2026-01-15T00:00", "2027-01-15T00:00", True),
        ("2026-01-15T00:00", "2027-01-15T00:01", False),
        ("2025-11-30T00:00", "2026-02-28T00:00", True),
        ("2025-11-30T00:00", "2026-02-27T00:00", False),
        ("2024-02-29T00:00", "2025-02-28T00:00", True),
        ("2024-02-29T00:00", "2025-03-01T00:00", False),
        ("2026-01-15T00:00", "2026-01-15T00:00", False),
        ("2026-01-15T00:00", "2025-06-15T00:00", False),
    ],
)
def test_a_sanction_lasts_three_to_twelve_months(begin: str, end: str, *, allowed: bool) -> None:
    """Months are counted by the calendar in civil time, both ends allowed (条例 art. 41)."""
    try:
        check_term(civil(begin), civil(end))
    except Failure as failure:
        assert failure.reason == "SANCTION_TERM_OUT_OF_RANGE"  # noqa: PT017  Either outcome may be the right one.
        assert not allowed
    else:
        assert allowed


def test_months_are_counted_in_civil_time() -> None:
    """The last evening of a month in UTC is the first morning of the next in Shanghai."""
    assert months_after(datetime(2026, 1, 31, 17, tzinfo=UTC), 1) == civil("2026-03-01T01:00")


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(0, 24))  # noqa: DTZ001  Given its zone below.
def test_months_after_lands_in_the_month_that_is_meant(instant: datetime, months: int) -> None:
    """So many months on, it is that month, and the day is the same or the month's last."""
    begin = instant.replace(tzinfo=SHANGHAI)
    end = months_after(begin, months)
    assert (end.year * 12 + end.month) - (begin.year * 12 + begin.month) == months
    assert end.day == begin.day or (end + timedelta(days=1)).day == 1
    assert end.timetz() == begin.timetz()


def test_a_lifted_sanction_stands_no_more() -> None:
    """Lifting ends a sanction and counts one change; lifting again changes nothing."""
    person = sanctioned(EMPLOYEE, SANCTION)
    assert [each.stands(NOW) for each in person.sanctions] == [True]
    freed = lifted(person, SANCTION.sanction_id, now=NOW)
    assert [each.stands(NOW) for each in freed.sanctions] == [False]
    assert freed.version == person.version + 1
    assert lifted(freed, SANCTION.sanction_id, now=NOW) is freed


def test_a_sanction_that_ran_out_cannot_be_lifted() -> None:
    """From its last instant on, a sanction is over by itself."""
    person = sanctioned(EMPLOYEE, SANCTION)
    with pytest.raises(Failure) as refused:
        lifted(person, SANCTION.sanction_id, now=SANCTION.to_at)
    assert refused.value == Failure(Kind.PRECONDITION, "SANCTION_OVER")


def test_a_decision_told_twice_is_one() -> None:
    """The id does not matter, everything else does."""
    again = Sanction(UUID(int=2), SANCTION.from_at, SANCTION.to_at, "第41条", SANCTION.decision_no, SANCTION.organ)
    other = Sanction(UUID(int=2), SANCTION.from_at, SANCTION.to_at, "第40条", SANCTION.decision_no, SANCTION.organ)
    assert same_decision(SANCTION, again)
    assert not same_decision(SANCTION, other)


@given(st.integers(0, 2**128 - 1))
def test_a_drawn_number_looks_like_no_certificate(randomness: int) -> None:
    """A drawn number has 22 digits, the first not 0."""
    number = drawn_number(randomness)
    assert number.isdigit()
    assert (len(number), number[0] != "0") == (22, True)
