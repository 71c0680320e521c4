"""Kinship told as a family's story of four generations: divorce, remarriage, adoption, half-siblings, a death."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from uuid import NAMESPACE_OID, UUID, uuid5

import pytest

from kernel.ids import PsnNo
from kernel.policy import Relation
from services.identity.domain.certificate import Sex
from services.identity.domain.kinship import (
    Evidence,
    Fact,
    FactKind,
    FactState,
    Family,
    Kinship,
    NoRelation,
    Relative,
    kinship,
)
from tests.unit.identity.family_oracle import everyones_relations

TODAY = date(2026, 7, 1)
M, F = Sex.MALE, Sex.FEMALE

# 四代: 王守仁 ⚭ 赵秀兰, until she died in 2020. Their children are 王建国, 王芳 and 王伟; 王伟 was adopted from
# 郑强 and 何花 by a notary's paper. 王建国 married 李梅, who brought 周洋 from before; they had 王静, were divorced in
# 2010; in 2012 he married 孙丽 and had 王小明. 王芳 ⚭ 陈刚, their daughter is 陈雪, and her son 刘一. An old household
# register calls 王军 a brother of 王建国 and says nothing of his parents. 何花 has another son, 郑宝.
PEOPLE = {
    "王守仁": (1930, M), "赵秀兰": (1932, F),
    "王建国": (1955, M), "王芳": (1957, F), "王伟": (1960, M),
    "李梅": (1958, F), "孙丽": (1970, F), "陈刚": (1956, M),
    "周洋": (1978, M), "王静": (1984, F), "王小明": (2013, M), "陈雪": (1983, F),
    "刘一": (2010, M), "王军": (1962, M),
    "郑强": (1938, M), "何花": (1940, F), "郑宝": (1963, M),
}  # fmt: skip
NUMBERS = {name: PsnNo(f"6501000000{place:03}") for place, name in enumerate(PEOPLE)}
DEATHS = {"赵秀兰": date(2020, 11, 3)}


def parent(older: str, younger: str) -> Fact:
    """A verified parent-of."""
    return fact(FactKind.PARENT_OF, older, younger)


def married(one: str, other: str, begin: str, end: str | None = None) -> Fact:
    """A verified marriage."""
    dates = date.fromisoformat(begin), None if end is None else date.fromisoformat(end)
    return fact(FactKind.MARRIED_TO, one, other, *dates)


def fact(
    kind: FactKind,
    one: str,
    other: str,
    begin: date | None = None,
    end: date | None = None,
    evidence: Evidence = Evidence.HOUSEHOLD_REGISTER,
) -> Fact:
    """A verified fact whose id tells what it says."""
    identifier = uuid5(NAMESPACE_OID, f"{kind.value} {one} {other}")
    return Fact(identifier, kind, NUMBERS[one], NUMBERS[other], evidence, begin, end, FactState.VERIFIED)


BORN_ELSEWHERE = (parent("郑强", "王伟"), parent("何花", "王伟"))
ADOPTED = tuple(
    fact(FactKind.PARENT_OF, older, "王伟", evidence=Evidence.COURT_OR_NOTARY) for older in ("王守仁", "赵秀兰")
)
FAMILY = (
    *(parent(older, child) for older in ("王守仁", "赵秀兰") for child in ("王建国", "王芳")),
    *ADOPTED,
    *BORN_ELSEWHERE,
    parent("何花", "郑宝"),
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


def people(deaths: dict[str, date] | None = None) -> dict[PsnNo, Relative]:
    """Everybody, as the rules know them."""
    died = DEATHS if deaths is None else deaths
    return {
        NUMBERS[name]: Relative(NUMBERS[name], date(year, 1, 1), sex, death_date=died.get(name))
        for name, (year, sex) in PEOPLE.items()
    }


def asked(
    one: str,
    other: str,
    *,
    on: date = TODAY,
    facts: tuple[Fact, ...] = FAMILY,
    deaths: dict[str, date] | None = None,
) -> Kinship:
    """What the one is to the other."""
    return kinship(NUMBERS[one], NUMBERS[other], on_date=on, family=Family(facts, people(deaths)))


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
        ("王芳", "陈刚", Relation.SPOUSE),
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
        ("赵秀兰", "王守仁", NoRelation.DECEASED),
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
        ("郑宝", "王芳", NoRelation.NO_CHAIN),
        ("何花", "王守仁", NoRelation.NO_CHAIN),
    ],
)
def test_others_are_told_why_they_are_no_relatives(one: str, other: str, reason: NoRelation) -> None:
    """In-laws, former spouses, step-relatives, cousins, uncles and great-grandparents are not 近亲属."""
    assert asked(one, other) == Kinship(None, reason=reason)


def test_the_chain_runs_from_the_one_to_the_other() -> None:
    """The grandson's chain begins with his own parent and ends at the grandmother."""
    found = asked("王静", "赵秀兰")
    assert found.chain == (parent("王建国", "王静"), parent("赵秀兰", "王建国"))


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


@pytest.mark.parametrize("state", [state for state in FactState if state is not FactState.VERIFIED])
def test_nothing_rests_on_a_fact_that_is_not_verified(state: FactState) -> None:
    """Only a verified fact makes a relation."""
    one = Fact(UUID(int=1), FactKind.PARENT_OF, NUMBERS["王守仁"], NUMBERS["王建国"], Evidence.COMMITMENT, state=state)
    assert asked("王守仁", "王建国", facts=(one,)).relation is None


@pytest.mark.parametrize(
    ("on", "relation", "reason"),
    [
        ("2020-11-02", Relation.SPOUSE, None),
        ("2020-11-03", None, NoRelation.DECEASED),
        ("2026-07-01", None, NoRelation.DECEASED),
    ],
)
def test_a_marriage_counts_until_the_death_of_either(on: str, relation: Relation | None, reason: NoRelation) -> None:
    """The day before it does, the day of the death it does not, whoever of the two is asked about."""
    for one, other in (("王守仁", "赵秀兰"), ("赵秀兰", "王守仁")):
        found = asked(one, other, on=date.fromisoformat(on))
        assert (found.relation, found.reason) == (relation, reason)


def test_a_death_ends_no_tie_of_blood() -> None:
    """Whoever died stays a parent, a grandparent and a child."""
    assert asked("赵秀兰", "王芳").relation is Relation.PARENT
    assert asked("王静", "赵秀兰").relation is Relation.GRANDCHILD


def test_a_widower_marries_anew() -> None:
    """The second wife is a spouse, the first is none any more, though no divorce stands on record."""
    family = (*FAMILY, married("王守仁", "何花", "2021-05-01"))
    assert asked("王守仁", "何花", facts=family).relation is Relation.SPOUSE
    assert asked("王守仁", "赵秀兰", facts=family).reason is NoRelation.DECEASED


def test_a_divorced_couple_of_whom_one_died_was_divorced() -> None:
    """Death says nothing about a marriage that was over before."""
    assert asked("王建国", "李梅", deaths={"李梅": date(2015, 1, 1)}).reason is NoRelation.ENDED


def test_a_couple_that_married_twice_is_told_of_its_last_marriage() -> None:
    """Divorced, married again, widowed: death ended the one that counted."""
    again = fact(FactKind.MARRIED_TO, "李梅", "王建国", date(2011, 5, 1))
    found = asked("王建国", "李梅", facts=(*FAMILY, again), deaths={"李梅": date(2015, 1, 1)})
    assert found.reason is NoRelation.DECEASED


def test_an_adoption_leaves_the_birth_parents_until_their_facts_are_revoked() -> None:
    """An adopted son has both pairs of parents and the siblings of both; a full adoption revokes the birth facts."""
    assert asked("何花", "王伟").relation is Relation.PARENT
    assert asked("郑宝", "王伟").relation is Relation.SIBLING
    full = tuple(replace(each, state=FactState.REVOKED) if each in BORN_ELSEWHERE else each for each in FAMILY)
    assert asked("何花", "王伟", facts=full).reason is NoRelation.NO_CHAIN
    assert asked("郑宝", "王伟", facts=full).reason is NoRelation.NO_CHAIN
    assert asked("王守仁", "王伟", facts=full).relation is Relation.PARENT
    assert asked("王伟", "王芳", facts=full).relation is Relation.SIBLING
    assert asked("王静", "王伟", facts=full).relation is None


def test_without_the_adoption_the_child_is_a_stranger_again() -> None:
    """A revoked adoption takes parents, siblings and grandparents with it."""
    left = tuple(each for each in FAMILY if each not in ADOPTED)
    assert asked("王守仁", "王伟", facts=left).relation is None
    assert asked("王伟", "王建国", facts=left).relation is None
    assert asked("何花", "王伟", facts=left).relation is Relation.PARENT


def test_the_family_agrees_with_the_oracle() -> None:
    """The readable family and the definitions give the same relations, everybody to everybody, on four days."""
    for on in ("1990-01-01", "2011-01-01", "2013-06-01", "2026-07-01"):
        day = date.fromisoformat(on)
        expected = everyones_relations(people().values(), FAMILY, on_date=day)
        found = {
            (NUMBERS[one], NUMBERS[other]): asked(one, other, on=day).relation
            for one in PEOPLE
            for other in PEOPLE
            if asked(one, other, on=day).relation is not None
        }
        assert found == expected
