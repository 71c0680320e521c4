"""A death on record, and how somebody was insured at an instant."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from services.identity.domain.certificate import Sex
from services.identity.domain.person import (
    Enrolment,
    EnrolmentChange,
    InsuranceStatus,
    Insutype,
    Person,
    died,
    enrolled,
    enrolments_at,
    living,
    not_dead,
    with_status,
    writable,
)

NOW = datetime(2026, 7, 1, 4, tzinfo=UTC)
TODAY = date(2026, 7, 1)
URUMQI, HAMI = AdmDvs("650100"), AdmDvs("650500")
EMPLOYEE = enrolled(Person(PsnNo("650100000000001"), "王*国", date(1985, 3, 12), Sex.MALE), Insutype.EMPLOYEE, URUMQI)
DEAD = died(EMPLOYEE, date(2026, 6, 30), today=TODAY)


def test_a_death_ends_every_enrolment_and_counts_one_change() -> None:
    """All insutypes end where they are, and the version grows by one."""
    both = enrolled(EMPLOYEE, Insutype.RESIDENT, HAMI)
    dead = died(both, TODAY, today=TODAY)
    assert [(each.insuplc_admdvs, each.psn_insu_stas) for each in dead.enrolments] == [
        (URUMQI, InsuranceStatus.ENDED),
        (HAMI, InsuranceStatus.ENDED),
    ]
    assert (dead.death_date, dead.version) == (TODAY, both.version + 1)


def test_the_same_death_again_changes_nothing() -> None:
    """Reported twice for one day, the person is the very same object: nothing is saved or told."""
    assert died(DEAD, date(2026, 6, 30), today=TODAY) is DEAD


@pytest.mark.parametrize(
    ("person", "death_date", "refusal"),
    [
        (EMPLOYEE, date(2026, 7, 2), Failure(Kind.INVALID, "DEATH_DATE_WRONG", field="death_date")),
        (EMPLOYEE, date(1985, 3, 11), Failure(Kind.INVALID, "DEATH_DATE_WRONG", field="death_date")),
        (DEAD, date(2026, 7, 2), Failure(Kind.INVALID, "DEATH_DATE_WRONG", field="death_date")),
        (DEAD, date(2026, 6, 29), Failure(Kind.PRECONDITION, "DEATH_DATE_DIFFERS", field="death_date")),
    ],
)
def test_a_death_that_cannot_be_is_refused(person: Person, death_date: date, refusal: Failure) -> None:
    """Nobody dies tomorrow, before his birth, or on two days."""
    with pytest.raises(Failure) as refused:
        died(person, death_date, today=TODAY)
    assert refused.value == refusal


def test_who_dies_on_the_day_of_birth_is_taken() -> None:
    """The first day of a life may be its last."""
    assert died(EMPLOYEE, EMPLOYEE.brdy, today=TODAY).death_date == EMPLOYEE.brdy


def test_a_withdrawn_death_leaves_the_enrolments_ended() -> None:
    """He lives, insured nowhere, until he is enrolled anew; withdrawing again changes nothing."""
    alive = not_dead(DEAD)
    assert (alive.death_date, alive.version) == (None, DEAD.version + 1)
    assert alive.enrolments == DEAD.enrolments
    assert not_dead(alive) is alive
    assert enrolled(alive, Insutype.EMPLOYEE, URUMQI).enrolments == EMPLOYEE.enrolments


def test_nobody_dead_is_insured() -> None:
    """Enrolling is refused, taking an ended enrolment up again too; what is so already is not refused."""
    attempts: list[tuple[Callable[[], Person], str]] = [
        (lambda: enrolled(DEAD, Insutype.EMPLOYEE, URUMQI), "PERSON_DECEASED"),
        (lambda: enrolled(DEAD, Insutype.RESIDENT, URUMQI), "PERSON_DECEASED"),
        (lambda: with_status(DEAD, Insutype.EMPLOYEE, InsuranceStatus.NORMAL), "ENROLMENT_ENDED"),
    ]
    for refused_change, reason in attempts:
        with pytest.raises(Failure, match=reason):
            refused_change()
    assert with_status(DEAD, Insutype.EMPLOYEE, InsuranceStatus.ENDED) is DEAD


def test_the_living_and_the_known_are_let_through() -> None:
    """A living person on record is himself; nobody, a double and the dead are refused by name and field."""
    assert writable(EMPLOYEE) is EMPLOYEE
    assert living(EMPLOYEE) is EMPLOYEE
    double = Person(PsnNo("650100000000002"), "王*国", date(1985, 3, 12), Sex.MALE, merged_into=EMPLOYEE.psn_no)
    refusals = []
    checks: list[Callable[[], Person]] = [
        lambda: writable(None, field="a"),
        lambda: writable(double, field="b"),
        lambda: living(DEAD),
    ]
    for check in checks:
        with pytest.raises(Failure) as refused:
            check()
        refusals.append(refused.value)
    assert refusals == [
        Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field="a"),
        Failure(Kind.PRECONDITION, "PERSON_MERGED", field="b"),
        Failure(Kind.PRECONDITION, "PERSON_DECEASED", field="psn_no"),
    ]


def test_the_past_of_an_enrolment_is_read_by_its_changes() -> None:
    """At each instant the latest change of each insutype counts, from its own instant on."""
    in_urumqi = Enrolment(Insutype.EMPLOYEE, URUMQI, InsuranceStatus.NORMAL)
    in_hami = Enrolment(Insutype.EMPLOYEE, HAMI, InsuranceStatus.NORMAL)
    resident = Enrolment(Insutype.RESIDENT, HAMI, InsuranceStatus.PAUSED)
    changes = [
        EnrolmentChange(in_urumqi, NOW),
        EnrolmentChange(resident, NOW + timedelta(days=1)),
        EnrolmentChange(in_hami, NOW + timedelta(days=2)),
    ]
    assert [
        enrolments_at(changes, NOW + timedelta(days=days, seconds=seconds))
        for days, seconds in ((0, -1), (0, 0), (1, 0), (2, -1), (2, 0))
    ] == [(), (in_urumqi,), (in_urumqi, resident), (in_urumqi, resident), (in_hami, resident)]
