"""What may be submitted, verified, rejected and revoked as a kinship fact, and what a person's change contradicts."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from kernel.failures import Failure, Kind
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Family
from services.identity.domain.kinship_rules import (
    COMMITMENT_DAYS,
    check_form,
    check_new,
    check_person,
    check_review,
    dated,
    is_about_the_same,
    same_statement,
    says_enough,
    takes_place_of,
)
from tests.unit.identity.refusals import NONE, reason_of
from tests.unit.identity.test_kinship import BORN_ELSEWHERE, FAMILY, NUMBERS, TODAY, fact, married, parent, people

PARENT_OF, MARRIED_TO, SIBLING_OF = FactKind.PARENT_OF, FactKind.MARRIED_TO, FactKind.SIBLING_OF
KNOWN = Family(FAMILY, people())


def submitted(
    kind: FactKind,
    one: str,
    other: str,
    *,
    begin: str = "",
    end: str = "",
    evidence: Evidence = Evidence.COMMITMENT,
    issued: str = "",
    expires: str = "",
) -> None:
    """Submits a fact to the family."""
    days = [date.fromisoformat(each) if each else None for each in (begin, end, issued, expires)]
    new = Fact(
        UUID(int=1),
        kind,
        NUMBERS[one],
        NUMBERS[other],
        evidence,
        days[0],
        days[1],
        issued_on=days[2],
        expires_on=days[3],
    )
    check_new(dated(new, today=TODAY), family=KNOWN, today=TODAY)


@pytest.mark.parametrize(
    ("kind", "one", "other", "rest", "reason"),
    [
        (PARENT_OF, "王静", "王静", {}, "KINSHIP_WITH_SELF"),
        (SIBLING_OF, "王静", "王静", {}, "KINSHIP_WITH_SELF"),
        (MARRIED_TO, "王静", "王静", {"begin": "2020-01-01"}, "KINSHIP_WITH_SELF"),
        (PARENT_OF, "孙丽", "陈雪", {"begin": "2020-01-01"}, "KINSHIP_DATES_UNEXPECTED"),
        (SIBLING_OF, "孙丽", "陈雪", {"end": "2020-01-01"}, "KINSHIP_DATES_UNEXPECTED"),
        (MARRIED_TO, "王静", "周洋", {}, "MARRIAGE_DATE_MISSING"),
        (MARRIED_TO, "王静", "周洋", {"begin": "2026-07-02"}, "MARRIAGE_DATES_WRONG"),
        (MARRIED_TO, "王静", "周洋", {"begin": "1849-12-31"}, "MARRIAGE_DATES_WRONG"),
        (MARRIED_TO, "王静", "周洋", {"begin": "2020-01-01", "end": "2020-01-01"}, "MARRIAGE_DATES_WRONG"),
        (MARRIED_TO, "王静", "周洋", {"begin": "2020-01-01", "end": "2026-07-02"}, "MARRIAGE_DATES_WRONG"),
        (PARENT_OF, "孙丽", "陈雪", {"evidence": Evidence.MARRIAGE_CERTIFICATE}, "EVIDENCE_DOES_NOT_PROVE"),
        (SIBLING_OF, "王静", "周洋", {"evidence": Evidence.BIRTH_CERTIFICATE}, "EVIDENCE_DOES_NOT_PROVE"),
        (SIBLING_OF, "王静", "刘一", {"issued": "2026-07-02"}, "EVIDENCE_DATES_WRONG"),
        (SIBLING_OF, "王静", "刘一", {"issued": "9999-12-31"}, "EVIDENCE_DATES_WRONG"),
        (SIBLING_OF, "王静", "刘一", {"issued": "2026-06-01", "expires": "2026-06-01"}, "EVIDENCE_DATES_WRONG"),
        (SIBLING_OF, "王静", "刘一", {"issued": "2026-06-01", "expires": "2027-06-02"}, "EVIDENCE_DATES_WRONG"),
        (SIBLING_OF, "王静", "刘一", {"issued": "2025-07-01"}, "EVIDENCE_EXPIRED"),
        (
            PARENT_OF,
            "孙丽",
            "刘一",
            {"evidence": Evidence.COURT_OR_NOTARY, "expires": "2026-07-01"},
            "EVIDENCE_EXPIRED",
        ),
        (PARENT_OF, "王静", "王建国", {}, "KINSHIP_CYCLE"),
        (PARENT_OF, "刘一", "王守仁", {}, "KINSHIP_CYCLE"),
        (PARENT_OF, "王小明", "周洋", {}, "PARENT_NOT_OLDER"),
        (MARRIED_TO, "王建国", "周洋", {"begin": "2020-01-01"}, "SPOUSE_ALREADY"),
        (MARRIED_TO, "周洋", "孙丽", {"begin": "2013-01-01"}, "SPOUSE_ALREADY"),
        (MARRIED_TO, "李梅", "周洋", {"begin": "2010-03-14", "end": "2011-01-01"}, "SPOUSE_ALREADY"),
        (MARRIED_TO, "王守仁", "何花", {"begin": "2020-11-02"}, "SPOUSE_ALREADY"),
        (MARRIED_TO, "赵秀兰", "郑强", {"begin": "2020-11-03"}, "MARRIAGE_AFTER_DEATH"),
        (MARRIED_TO, "赵秀兰", "周洋", {"begin": "1950-01-01"}, "MARRIAGE_BEFORE_BIRTH"),
        (MARRIED_TO, "周洋", "赵秀兰", {"begin": str(people()[NUMBERS["周洋"]].brdy)}, "MARRIAGE_BEFORE_BIRTH"),
    ],
)
def test_a_fact_that_cannot_be_true_is_refused_by_name(
    kind: FactKind, one: str, other: str, rest: dict[str, Any], reason: str
) -> None:
    """Each contradiction has its reason."""
    with pytest.raises(Failure, match=f"^{reason}"):
        submitted(kind, one, other, **rest)


def test_a_new_marriage_may_begin_on_the_day_the_old_one_is_over() -> None:
    """One marriage after another is no bigamy, after a divorce or a death."""
    assert reason_of(lambda: submitted(MARRIED_TO, "李梅", "周洋", begin="2010-03-15")) == NONE
    assert reason_of(lambda: submitted(MARRIED_TO, "王守仁", "何花", begin="2020-11-03")) == NONE


def test_a_marriage_of_somebody_who_died_may_be_proven_late() -> None:
    """It was before the death, and nobody of the two was married then."""
    assert reason_of(lambda: submitted(MARRIED_TO, "郑强", "何花", begin="1959-01-01")) == NONE


def test_the_end_of_a_marriage_may_be_submitted_while_it_lasts() -> None:
    """The same marriage with another end contradicts nothing: it takes the other's place."""
    submitted(MARRIED_TO, "王建国", "孙丽", begin="2012-02-14", end="2025-01-01")
    lasting, ended = married("王建国", "孙丽", "2012-02-14"), married("孙丽", "王建国", "2012-02-14", "2025-01-01")
    assert takes_place_of(ended, lasting)
    assert not takes_place_of(married("孙丽", "王建国", "2013-02-14"), lasting)
    assert not takes_place_of(lasting, lasting)


def test_the_same_statement_is_known_whoever_is_named_first() -> None:
    """Marriages and siblings are symmetrical, parent-of is not, and dates matter."""
    assert same_statement(married("王建国", "孙丽", "2012-02-14"), married("孙丽", "王建国", "2012-02-14"))
    assert not same_statement(married("王建国", "孙丽", "2012-02-14"), married("王建国", "孙丽", "2012-02-15"))
    assert same_statement(fact(SIBLING_OF, "王芳", "王伟"), fact(SIBLING_OF, "王伟", "王芳"))
    assert not same_statement(parent("王芳", "王伟"), parent("王伟", "王芳"))
    assert not is_about_the_same(parent("王芳", "王伟"), fact(SIBLING_OF, "王芳", "王伟"))


def test_a_longer_proof_is_a_new_fact_and_takes_the_others_place() -> None:
    """A commitment is renewed before it runs out, and never pushes out a household register."""
    first = replace(parent("王守仁", "王建国"), fact_id=UUID(int=1), expires_on=date(2026, 9, 1))
    later = replace(first, fact_id=UUID(int=2), expires_on=date(2027, 6, 1))
    register = replace(first, fact_id=UUID(int=3), expires_on=None)
    assert not says_enough(first, later)
    assert says_enough(later, first)
    assert says_enough(register, later)
    assert takes_place_of(later, first)
    assert takes_place_of(register, later)
    assert not takes_place_of(first, later)
    assert not takes_place_of(later, register)


def test_a_commitment_counts_a_year() -> None:
    """Without days of its own it is of today; other documents count until they say otherwise."""
    told = replace(fact(SIBLING_OF, "王芳", "王伟"), evidence=Evidence.COMMITMENT)
    kept = dated(told, today=TODAY)
    assert (kept.issued_on, kept.expires_on) == (TODAY, TODAY + timedelta(days=COMMITMENT_DAYS))
    assert kept.proves_on(TODAY + timedelta(days=COMMITMENT_DAYS - 1))
    assert not kept.proves_on(TODAY + timedelta(days=COMMITMENT_DAYS))
    assert dated(fact(SIBLING_OF, "王芳", "王伟"), today=TODAY).expires_on is None
    check_form(kept, today=TODAY)


@pytest.mark.parametrize("state", FactState)
@pytest.mark.parametrize("wanted", [FactState.VERIFIED, FactState.REJECTED, FactState.REVOKED])
def test_only_three_decisions_are_possible(state: FactState, wanted: FactState) -> None:
    """Submitted is verified or rejected, verified is revoked; all else is refused with the present state."""
    allowed = {
        (FactState.SUBMITTED, FactState.VERIFIED),
        (FactState.SUBMITTED, FactState.REJECTED),
        (FactState.VERIFIED, FactState.REVOKED),
    }
    if (state, wanted) in allowed:
        check_review(state, wanted, cause="材料有误")
    else:
        with pytest.raises(Failure) as refused:
            check_review(state, wanted, cause="材料有误")
        assert refused.value == Failure(Kind.PRECONDITION, "FACT_NOT_REVIEWABLE", state=state.value)


def test_a_no_needs_a_cause() -> None:
    """Rejecting and revoking need a cause, verifying does not."""
    check_review(FactState.SUBMITTED, FactState.VERIFIED, cause="")
    for state, wanted in ((FactState.SUBMITTED, FactState.REJECTED), (FactState.VERIFIED, FactState.REVOKED)):
        with pytest.raises(Failure, match="CAUSE_MISSING"):
            check_review(state, wanted, cause="  ")


def changed(name: str, **fields: Any) -> None:  # noqa: ANN401  Any field of a person.
    """Corrects what is on record of somebody."""
    remarried = married("王守仁", "何花", "2021-05-01")
    facts = (*FAMILY, replace(remarried, fact_id=uuid5(UUID(int=0), "again")))
    everyone = people()
    everyone[NUMBERS[name]] = replace(everyone[NUMBERS[name]], **fields)
    check_person(NUMBERS[name], Family(facts, everyone))


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        ("王建国", {"brdy": date(1930, 1, 1)}, "PARENT_NOT_OLDER"),
        ("王建国", {"brdy": date(1984, 1, 1)}, "PARENT_NOT_OLDER"),
        ("孙丽", {"death_date": date(2012, 2, 14)}, "MARRIAGE_AFTER_DEATH"),
        ("孙丽", {"brdy": date(2012, 2, 14)}, "MARRIAGE_BEFORE_BIRTH"),
        ("赵秀兰", {"death_date": None}, "SPOUSE_ALREADY"),
        ("赵秀兰", {"death_date": date(2021, 5, 2)}, "SPOUSE_ALREADY"),
    ],
)
def test_a_person_cannot_be_changed_against_the_facts(name: str, fields: dict[str, Any], reason: str) -> None:
    """A younger parent, a wedding after a death, a death withdrawn after the widower has married anew."""
    with pytest.raises(Failure, match=f"^{reason}"):
        changed(name, **fields)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("王建国", {"brdy": date(1955, 12, 31)}),
        ("孙丽", {"death_date": date(2012, 2, 15)}),
        ("赵秀兰", {"death_date": date(2021, 5, 1)}),
        ("刘一", {"death_date": date(2025, 1, 1)}),
    ],
)
def test_a_person_may_change_where_the_facts_leave_room(name: str, fields: dict[str, Any]) -> None:
    """A corrected birth date, and a death that no wedding follows."""
    assert reason_of(lambda: changed(name, **fields)) == NONE


def test_revoked_birth_facts_leave_an_adopted_child_free_of_their_rules() -> None:
    """An adoptive parent may be younger than a birth parent; only verified facts are judged."""
    full = [replace(each, state=FactState.REVOKED) if each in BORN_ELSEWHERE else each for each in FAMILY]
    everyone = people()
    everyone[NUMBERS["何花"]] = replace(everyone[NUMBERS["何花"]], brdy=date(1962, 1, 1))
    assert reason_of(lambda: check_person(NUMBERS["王伟"], Family(full, everyone))) == NONE
