"""2001: who may fund, benefit and settle online on a day, and every rule that says no."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from kernel.clock import SHANGHAI
from kernel.ids import AdmDvs, FixmedinsCode
from services.identity.domain.eligibility import (
    RULES,
    Hindrance,
    HindranceReason,
    Site,
    Standing,
    Use,
    eligibilities,
    judged_at,
)
from services.identity.domain.institution import Institution, InstitutionState
from services.identity.domain.person import Enrolment, InsuranceStatus, Insutype
from services.identity.domain.sanction import Sanction

AREA = AdmDvs("650100")
NOON = datetime(2026, 7, 1, 4, 0, tzinfo=UTC)
DAY = date(2026, 7, 1)


def enrolment(insutype: str, status: str) -> Enrolment:
    """An enrolment in the one area."""
    return Enrolment(Insutype(insutype), AREA, InsuranceStatus(status))


def sanction(
    from_at: datetime, to_at: datetime, *, lifted_at: datetime | None = None, clause: str = "第四十一条第一款"
) -> Sanction:
    """A decision for these months."""
    return Sanction(UUID(int=7), from_at, to_at, clause, "2026-3", "医保局", lifted_at)


EMPLOYEE = Standing(
    brdy=date(1985, 3, 12), death_date=None, merged=False, enrolments=(enrolment("310", "1"),), sanctions=()
)
IN_FORCE = sanction(NOON - timedelta(days=10), datetime(2026, 10, 1, tzinfo=SHANGHAI))
HOSPITAL = Institution(
    fixmedins_code=FixmedinsCode("H65010000001"),
    fixmedins_name="共济医院",
    state=InstitutionState.DESIGNATED,
    wallet_capable=True,
)


def reasons(standing: Standing, site: Site | None = None, *, at: datetime = NOON) -> dict[str, list[str]]:
    """The reasons of each use that is not allowed."""
    found = eligibilities(standing, site, at=at)
    return {use.value: [each.reason.value for each in found[use]] for use in Use if found[use]}


def all_of(*names: str) -> dict[str, list[str]]:
    """The same reasons against every use."""
    return {use.value: list(names) for use in Use}


@pytest.mark.parametrize(
    ("standing", "expected"),
    [
        (EMPLOYEE, {}),
        (replace(EMPLOYEE, enrolments=(enrolment("390", "1"),)), {"FUND": ["NOT_ENROLLED"]}),
        (replace(EMPLOYEE, enrolments=()), all_of("NOT_ENROLLED")),
        (replace(EMPLOYEE, enrolments=(enrolment("310", "2"),)), all_of("INSURANCE_PAUSED")),
        (replace(EMPLOYEE, enrolments=(enrolment("310", "4"),)), all_of("INSURANCE_ENDED")),
        (
            replace(EMPLOYEE, enrolments=(enrolment("310", "4"), enrolment("390", "1"))),
            {"FUND": ["INSURANCE_ENDED"]},
        ),
        (
            replace(EMPLOYEE, enrolments=(enrolment("310", "2"), enrolment("390", "4"))),
            {
                "FUND": ["INSURANCE_PAUSED"],
                "BENEFIT": ["INSURANCE_PAUSED", "INSURANCE_ENDED"],
                "NETWORKED_SETTLEMENT": ["INSURANCE_PAUSED", "INSURANCE_ENDED"],
            },
        ),
        (replace(EMPLOYEE, death_date=DAY), all_of("DECEASED")),
        (replace(EMPLOYEE, death_date=DAY + timedelta(days=1)), {}),
        (replace(EMPLOYEE, merged=True), all_of("MERGED")),
        (replace(EMPLOYEE, brdy=DAY + timedelta(days=1)), all_of("NOT_BORN")),
        (replace(EMPLOYEE, brdy=DAY), {}),
        (replace(EMPLOYEE, sanctions=(IN_FORCE,)), all_of("SANCTIONED")),
        (
            replace(EMPLOYEE, death_date=DAY, sanctions=(IN_FORCE,), enrolments=(enrolment("310", "4"),)),
            all_of("DECEASED", "SANCTIONED", "INSURANCE_ENDED"),
        ),
    ],
    ids=[
        "an employee",
        "a resident",
        "nobody's insured",
        "paused",
        "ended",
        "an employee once, a resident now",
        "paused and ended",
        "dead since today",
        "dead tomorrow",
        "a double",
        "born tomorrow",
        "born today",
        "sanctioned",
        "everything at once",
    ],
)
def test_every_rule_that_says_no_is_told(standing: Standing, expected: dict[str, list[str]]) -> None:
    """Each use has exactly the reasons that speak against it, in one order."""
    assert reasons(standing) == expected


@pytest.mark.parametrize(
    ("at", "counts"),
    [
        (IN_FORCE.from_at - timedelta(microseconds=1), False),
        (IN_FORCE.from_at, True),
        (IN_FORCE.to_at - timedelta(microseconds=1), True),
        (IN_FORCE.to_at, False),
    ],
)
def test_a_sanction_counts_from_its_beginning_until_just_before_its_end(at: datetime, *, counts: bool) -> None:
    """It counts from its first instant on, and no more at its end."""
    assert bool(reasons(replace(EMPLOYEE, sanctions=(IN_FORCE,)), at=at)) is counts


def test_a_lifted_sanction_counted_until_it_was_lifted() -> None:
    """Asked about the days before, it still stands in the way; from the lifting on it does not."""
    lifted = replace(EMPLOYEE, sanctions=(replace(IN_FORCE, lifted_at=NOON),))
    assert reasons(lifted, at=NOON - timedelta(microseconds=1)) == all_of("SANCTIONED")
    assert reasons(lifted, at=NOON) == {}


def test_a_lifted_sanction_is_told_with_the_day_of_its_lifting() -> None:
    """Asked afterwards about a day before it was lifted, the decision's own end would be a day on which he was free."""
    lifted = replace(EMPLOYEE, sanctions=(replace(IN_FORCE, lifted_at=NOON + timedelta(days=3)),))
    (hindrance,) = eligibilities(lifted, None, at=NOON)[Use.FUND]
    assert hindrance.until == DAY + timedelta(days=3)


def test_each_sanction_is_told_with_its_own_clause_and_end() -> None:
    """Two decisions in force are two hindrances, the one that ends first first."""
    later = replace(
        IN_FORCE, sanction_id=UUID(int=8), to_at=datetime(2026, 12, 1, tzinfo=SHANGHAI), basis_clause="细则第九条"
    )
    found = eligibilities(replace(EMPLOYEE, sanctions=(later, IN_FORCE)), None, at=NOON)[Use.FUND]
    assert found == (
        Hindrance(HindranceReason.SANCTIONED, "第四十一条第一款", date(2026, 10, 1)),
        Hindrance(HindranceReason.SANCTIONED, "细则第九条", date(2026, 12, 1)),
    )


@pytest.mark.parametrize(
    ("institution", "expected"),
    [
        (HOSPITAL, None),
        (None, (HindranceReason.INSTITUTION_UNKNOWN, None)),
        (replace(HOSPITAL, state=InstitutionState.SUSPENDED), (HindranceReason.INSTITUTION_NOT_DESIGNATED, None)),
        (replace(HOSPITAL, state=InstitutionState.ENDED), (HindranceReason.INSTITUTION_NOT_DESIGNATED, None)),
        (replace(HOSPITAL, agreement_to=DAY), None),
        (replace(HOSPITAL, agreement_to=DAY - timedelta(days=1)), (HindranceReason.INSTITUTION_NOT_DESIGNATED, None)),
        (replace(HOSPITAL, agreement_from=DAY), None),
        (
            replace(HOSPITAL, agreement_from=DAY + timedelta(days=1)),
            (HindranceReason.INSTITUTION_NOT_DESIGNATED, DAY + timedelta(days=1)),
        ),
        (
            replace(HOSPITAL, sanctions=(IN_FORCE,)),
            (HindranceReason.INSTITUTION_SANCTIONED, date(2026, 10, 1)),
        ),
    ],
)
def test_an_institution_stands_in_the_way_of_networked_settlement_alone(
    institution: Institution | None, expected: tuple[HindranceReason, date | None] | None
) -> None:
    """Who may fund and who may benefit does not depend on where a bill is settled."""
    found = eligibilities(EMPLOYEE, Site(institution), at=NOON)
    assert [(each.reason, each.until) for each in found[Use.NETWORKED_SETTLEMENT]] == ([expected] if expected else [])
    assert (found[Use.FUND], found[Use.BENEFIT]) == ((), ())


def test_today_is_judged_now_and_any_other_day_at_its_end() -> None:
    """Of today the present instant counts, of another day its last one in Shanghai."""
    midnight = datetime(2026, 7, 2, tzinfo=SHANGHAI)
    assert judged_at(DAY, now=NOON) == NOON
    assert judged_at(DAY, now=midnight) == midnight - timedelta(microseconds=1)
    assert judged_at(date(2026, 7, 2), now=NOON) == midnight + timedelta(days=1) - timedelta(microseconds=1)


@pytest.mark.parametrize("day", [date.min, date.max])
def test_the_first_and_the_last_day_there_is_can_be_asked_about(day: date) -> None:
    """The edges of the calendar are answered like any other day."""
    assert reasons(EMPLOYEE, at=judged_at(day, now=NOON)) == (all_of("NOT_BORN") if day == date.min else {})


def test_every_reason_has_its_rule_and_its_texts() -> None:
    """No reason is told without the text that says so, in both languages."""
    assert RULES.keys() == set(HindranceReason)
    assert all(rule.source and rule.zh and rule.en for rule in RULES.values())
