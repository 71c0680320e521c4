"""Kinship told as a family's story, and every refusal of a fact."""

from __future__ import annotations

from datetime import date
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.policy import Relation
from services.identity.domain.certificate import Sex
from services.identity.domain.kinship import (
    Evidence,
    Fact,
    FactKind,
    Facts,
    FactState,
    Kinship,
    NoRelation,
    Relative,
    check_new,
    check_review,
    kinship,
    replaces,
    same_statement,
)

TODAY = date(2026, 7, 1)
M, F = Sex.MALE, Sex.FEMALE

# 四代: 王守仁 ⚭ 赵秀兰. Their children are 王建国, 王芳 and 王伟 (adopted). 王建国 married 李梅, who brought 周洋 from
# before; they had 王静, were divorced in 2010; in 2012 he married 孙丽 and had 王小明. 王芳 ⚭ 陈刚, their daughter is
# 陈雪, and her son 刘一. An old household register calls 王军 a brother of 王建国 and says nothing of his parents.
PEOPLE = {
    "王守仁": (1930, M), "赵秀兰": (1932, F),
    "王建国": (1955, M), "王芳": (1957, F), "王伟": (1960, M),
    "李梅": (1958, F), "孙丽": (1970, F), "陈刚": (1956, M),
    "周洋": (1978, M), "王静": (1984, F), "王小明": (2013, M), "陈雪": (1983, F),
    "刘一": (2010, M), "王军": (1962, M),
}  # fmt: skip
NUMBERS = {name: PsnNo(f"6501000000{place:03}") for place, name in enumerate(PEOPLE)}


def parent(older: str, younger: str) -> Fact:
    """A verified parent-of."""
    return fact(FactKind.PARENT_OF, older, younger)


def married(one: str, other: str, begin: str, end: str | None = None) -> Fact:
    """A verified marriage."""
    dates = date.fromisoformat(begin), None if end is None else date.fromisoformat(end)
    return fact(FactKind.MARRIED_TO, one, other, *dates)


def fact(kind: FactKind, one: str, other: str, begin: date | None = None, end: date | None = None) -> Fact:
    """A verified fact whose id tells what it says."""
    identifier = uuid5(NAMESPACE_OID, f"{kind.value} {one} {other}")
    evidence = Evidence.HOUSEHOLD_REGISTER
    return Fact(identifier, kind, NUMBERS[one], NUMBERS[other], evidence, begin, end, FactState.VERIFIED)


FAMILY = (
    *(parent(older, child) for older in ("王守仁", "赵秀兰") for child in ("王建国", "王芳", "王伟")),
    married("王守仁", "赵秀兰", "1954-05-01"),
    married("王建国", "李梅", "1982-10-01", "2010-03-15"),
    married("孙丽", "王建国", "2012-02-14"),
    married("王芳", "陈刚", "1981-01-01"),
    parent("李梅", "周洋"),
    parent("李梅", "王静"), parent("王建国", "王静"),
    parent("孙丽", "王小明"), parent("王建国", "王小明"),
    parent("王芳", "陈雪"), parent("陈刚", "陈雪"),
    parent("陈雪", "刘一"),
    fact(FactKind.SIBLING_OF, "王军", "王建国"),
)  # fmt: skip


def asked(one: str, other: str, *, on: date = TODAY, facts: tuple[Fact, ...] = FAMILY) -> Kinship:
    """What the one is to the other."""
    sexes = {NUMBERS[name]: sex for name, (_, sex) in PEOPLE.items()}
    return kinship(NUMBERS[one], NUMBERS[other], on_date=on, facts=Facts(facts), sexes=sexes)


@pytest.mark.parametrize(
    ("one", "other", "relation"),
    [
        ("王守仁", "王建国", Relation.PARENT),
        ("王建国", "赵秀兰", Relation.CHILD),
        ("王守仁", "王伟", Relation.PARENT),
        ("王伟", "王芳", Relation.SIBLING),
        ("王静", "王小明", Relation.SIBLING),
        ("周洋", "王静", Relation.SIBLING),
        ("王军", "王建国", Relation.SIBLING),
        ("王建国", "王军", Relation.SIBLING),
        ("王守仁", "王小明", Relation.PATERNAL_GRANDPARENT),
        ("王静", "赵秀兰", Relation.GRANDCHILD),
        ("赵秀兰", "陈雪", Relation.MATERNAL_GRANDPARENT),
        ("陈雪", "王守仁", Relation.DAUGHTERS_CHILD),
        ("刘一", "陈刚", Relation.DAUGHTERS_CHILD),
        ("陈刚", "刘一", Relation.MATERNAL_GRANDPARENT),
        ("王建国", "孙丽", Relation.SPOUSE),
        ("赵秀兰", "王守仁", Relation.SPOUSE),
    ],
)
def test_a_relative_is_known_as_what_he_is(one: str, other: str, relation: Relation) -> None:
    """Adopted children, half-siblings, grandchildren through daughters and registered siblings all count."""
    found = asked(one, other)
    assert found.relation is relation
    assert found.chain


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        ("王建国", "王建国", NoRelation.SAME_PERSON),
        ("王建国", "李梅", NoRelation.ENDED),
        ("陈刚", "王守仁", NoRelation.IN_LAW_ONLY),
        ("赵秀兰", "孙丽", NoRelation.IN_LAW_ONLY),
        ("陈刚", "王建国", NoRelation.IN_LAW_ONLY),
        ("孙丽", "王静", NoRelation.IN_LAW_ONLY),
        ("孙丽", "陈刚", NoRelation.NO_CHAIN),
        ("李梅", "王守仁", NoRelation.NO_CHAIN),
        ("周洋", "王小明", NoRelation.NO_CHAIN),
        ("王建国", "周洋", NoRelation.NO_CHAIN),
        ("王静", "陈雪", NoRelation.NO_CHAIN),
        ("王建国", "陈雪", NoRelation.NO_CHAIN),
        ("王守仁", "刘一", NoRelation.NO_CHAIN),
        ("王军", "王芳", NoRelation.NO_CHAIN),
        ("王军", "王守仁", NoRelation.NO_CHAIN),
    ],
)
def test_others_are_told_why_they_are_no_relatives(one: str, other: str, reason: NoRelation) -> None:
    """In-laws, former spouses, step-relatives, cousins, uncles and great-grandparents are not 近亲属."""
    assert asked(one, other) == Kinship(None, reason=reason)


def test_the_chain_runs_from_the_one_to_the_other() -> None:
    """The grandson's chain begins with his own parent and ends at the grandmother."""
    found = asked("王静", "赵秀兰")
    assert found.chain == (parent("王建国", "王静").fact_id, parent("赵秀兰", "王建国").fact_id)


@pytest.mark.parametrize(
    ("on", "relation"),
    [
        ("1982-09-30", None),
        ("1982-10-01", Relation.SPOUSE),
        ("2010-03-14", Relation.SPOUSE),
        ("2010-03-15", None),
    ],
)
def test_a_marriage_counts_from_its_first_day_until_the_day_it_is_over(on: str, relation: Relation | None) -> None:
    """The day of the wedding counts, the day of the divorce does not."""
    assert asked("王建国", "李梅", on=date.fromisoformat(on)).relation is relation


def test_what_rested_on_a_fact_falls_with_it() -> None:
    """Without the fact that he is her father's father, a grandfather is none."""
    left = tuple(each for each in FAMILY if each != parent("王守仁", "王建国"))
    assert asked("王守仁", "王静", facts=left).relation is None
    assert asked("赵秀兰", "王静", facts=left).relation is Relation.PATERNAL_GRANDPARENT


@pytest.mark.parametrize("state", [FactState.SUBMITTED, FactState.REJECTED, FactState.REVOKED])
def test_nothing_rests_on_a_fact_that_is_not_verified(state: FactState) -> None:
    """Only a verified fact makes a relation."""
    one = Fact(UUID(int=1), FactKind.PARENT_OF, NUMBERS["王守仁"], NUMBERS["王建国"], Evidence.COMMITMENT, state=state)
    assert asked("王守仁", "王建国", facts=(one,)).relation is None


def submitted(
    kind: FactKind, one: str, other: str, *, begin: str = "", end: str = "", evidence: Evidence = Evidence.COMMITMENT
) -> None:
    """Submits a fact to the family."""
    dates = [date.fromisoformat(each) if each else None for each in (begin, end)]
    new = Fact(UUID(int=1), kind, NUMBERS[one], NUMBERS[other], evidence, dates[0], dates[1])
    born = {name: Relative(NUMBERS[name], date(year, 1, 1), sex) for name, (year, sex) in PEOPLE.items()}
    check_new(new, person=born[one], other=born[other], facts=Facts(FAMILY), today=TODAY)


PARENT_OF, MARRIED_TO, SIBLING_OF = FactKind.PARENT_OF, FactKind.MARRIED_TO, FactKind.SIBLING_OF


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
        (MARRIED_TO, "王静", "周洋", {"begin": "2020-01-01", "end": "2020-01-01"}, "MARRIAGE_DATES_WRONG"),
        (MARRIED_TO, "王静", "周洋", {"begin": "2020-01-01", "end": "2026-07-02"}, "MARRIAGE_DATES_WRONG"),
        (PARENT_OF, "孙丽", "陈雪", {"evidence": Evidence.MARRIAGE_CERTIFICATE}, "EVIDENCE_DOES_NOT_PROVE"),
        (SIBLING_OF, "王静", "周洋", {"evidence": Evidence.BIRTH_CERTIFICATE}, "EVIDENCE_DOES_NOT_PROVE"),
        (PARENT_OF, "王静", "王建国", {}, "KINSHIP_CYCLE"),
        (PARENT_OF, "刘一", "王守仁", {}, "KINSHIP_CYCLE"),
        (PARENT_OF, "王小明", "周洋", {}, "PARENT_NOT_OLDER"),
        (MARRIED_TO, "王建国", "周洋", {"begin": "2020-01-01"}, "SPOUSE_ALREADY"),
        (MARRIED_TO, "周洋", "孙丽", {"begin": "2011-01-01"}, "SPOUSE_ALREADY"),
        (MARRIED_TO, "李梅", "周洋", {"begin": "2010-03-14", "end": "2011-01-01"}, "SPOUSE_ALREADY"),
    ],
)
def test_a_fact_that_cannot_be_true_is_refused_by_name(
    kind: FactKind, one: str, other: str, rest: dict[str, Any], reason: str
) -> None:
    """Each contradiction has its reason."""
    with pytest.raises(Failure, match=f"^{reason}"):
        submitted(kind, one, other, **rest)


def test_a_new_marriage_may_begin_on_the_day_the_old_one_is_over() -> None:
    """One marriage after another is no bigamy."""
    submitted(MARRIED_TO, "李梅", "周洋", begin="2010-03-15")


def test_the_end_of_a_marriage_may_be_submitted_while_it_lasts() -> None:
    """The same marriage with another end contradicts nothing: it takes the other's place."""
    submitted(MARRIED_TO, "王建国", "孙丽", begin="2012-02-14", end="2025-01-01")
    lasting, ended = married("王建国", "孙丽", "2012-02-14"), married("孙丽", "王建国", "2012-02-14", "2025-01-01")
    assert replaces(ended, lasting)
    assert not replaces(married("王建国", "孙丽", "2013-02-14"), lasting)


def test_the_same_statement_is_known_whoever_is_named_first() -> None:
    """Marriages and siblings are symmetrical, parent-of is not, and dates matter."""
    assert same_statement(married("王建国", "孙丽", "2012-02-14"), married("孙丽", "王建国", "2012-02-14"))
    assert not same_statement(married("王建国", "孙丽", "2012-02-14"), married("王建国", "孙丽", "2012-02-15"))
    assert same_statement(fact(SIBLING_OF, "王芳", "王伟"), fact(SIBLING_OF, "王伟", "王芳"))
    assert not same_statement(parent("王芳", "王伟"), parent("王伟", "王芳"))


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
