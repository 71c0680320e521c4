"""Kinship over families that hypothesis makes, against the oracle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from kernel.failures import Failure
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
    kinship,
)
from tests.unit.identity.family_oracle import relations

TODAY = date(2026, 7, 1)
INVERSE = {
    Relation.SPOUSE: {Relation.SPOUSE},
    Relation.PARENT: {Relation.CHILD},
    Relation.CHILD: {Relation.PARENT},
    Relation.SIBLING: {Relation.SIBLING},
    Relation.PATERNAL_GRANDPARENT: {Relation.GRANDCHILD},
    Relation.MATERNAL_GRANDPARENT: {Relation.DAUGHTERS_CHILD},
    Relation.GRANDCHILD: {Relation.PATERNAL_GRANDPARENT},
    Relation.DAUGHTERS_CHILD: {Relation.MATERNAL_GRANDPARENT},
}


@dataclass(frozen=True)
class Family:
    """People born ten years apart, the eldest first, and facts that passed the checks one after another."""

    people: tuple[Relative, ...]
    facts: tuple[Fact, ...]

    def kinship(self, a: int, b: int, on_date: date) -> Kinship:
        """What the production code says."""
        sexes = {person.psn_no: person.sex for person in self.people}
        return kinship(
            self.people[a].psn_no, self.people[b].psn_no, on_date=on_date, facts=Facts(self.facts), sexes=sexes
        )

    def expected(self, a: int, b: int, on_date: date) -> list[Relation]:
        """What the oracle says."""
        sexes = {person.psn_no: person.sex for person in self.people}
        return relations(self.people[a].psn_no, self.people[b].psn_no, people=sexes, facts=self.facts, on_date=on_date)


SIZE = 7
INDEX = st.integers(0, SIZE - 1)
DAYS = st.dates(date(2000, 1, 1), TODAY)


@st.composite
def families(draw: st.DrawFn) -> Family:
    """A family whose facts were each checked against those before, as the room does it."""
    people = tuple(
        Relative(PsnNo(f"65010000000000{place}"), date(1920 + 10 * place, 1, 1), draw(st.sampled_from(Sex)))
        for place in range(SIZE)
    )
    facts: list[Fact] = []
    for number in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(FactKind))
        person, other = people[draw(INDEX)], people[draw(INDEX)]
        begin = draw(DAYS) if kind is FactKind.MARRIED_TO else None
        end = begin + timedelta(days=draw(st.integers(1, 4000))) if begin and draw(st.booleans()) else None
        fact = Fact(UUID(int=number), kind, person.psn_no, other.psn_no, Evidence.HOUSEHOLD_REGISTER, begin, end)
        try:
            check_new(fact, person=person, other=other, facts=Facts(facts), today=TODAY)
        except Failure:
            continue
        facts.append(
            replace(fact, state=draw(st.sampled_from([FactState.VERIFIED, FactState.VERIFIED, FactState.REVOKED])))
        )
    return Family(people, tuple(facts))


@given(families(), INDEX, INDEX, DAYS)
def test_the_relation_is_the_oracles(family: Family, a: int, b: int, on_date: date) -> None:
    """The relation found is the first that the definitions give, and there is none where they give none."""
    expected = family.expected(a, b, on_date)
    assert family.kinship(a, b, on_date).relation == (expected[0] if expected else None)


@given(families(), INDEX, INDEX, DAYS)
def test_every_relation_has_its_inverse(family: Family, a: int, b: int, on_date: date) -> None:
    """Spouse and sibling are symmetrical, parent and child, grandparent and grandchild invert each other."""
    relation = family.kinship(a, b, on_date).relation
    back = family.kinship(b, a, on_date).relation
    assert (back in INVERSE[relation]) if relation else back is None


@given(families(), INDEX, INDEX, DAYS)
def test_the_chain_alone_proves_the_relation(family: Family, a: int, b: int, on_date: date) -> None:
    """The facts of the chain and no others give the same relation; one fewer does not."""
    found = family.kinship(a, b, on_date)
    chain = tuple(fact for fact in family.facts if fact.fact_id in found.chain)
    assert len(chain) == len(found.chain)
    assert Family(family.people, chain).kinship(a, b, on_date).relation == found.relation
    for left_out in chain:
        rest = tuple(fact for fact in chain if fact is not left_out)
        assert Family(family.people, rest).kinship(a, b, on_date).relation is None


@given(families(), INDEX, INDEX, DAYS)
def test_the_chain_leads_from_one_to_the_other(family: Family, a: int, b: int, on_date: date) -> None:
    """The first fact of a chain speaks of the first person, the last of the other, neighbours share a person."""
    by_id = {fact.fact_id: fact for fact in family.facts}
    chain = [by_id[fact_id].pair for fact_id in family.kinship(a, b, on_date).chain]
    if chain:
        assert family.people[a].psn_no in chain[0]
        assert family.people[b].psn_no in chain[-1]
        assert all(one & other for one, other in pairwise(chain))


@given(families(), INDEX, INDEX, DAYS)
def test_a_marriage_gives_a_spouse_and_nothing_else(family: Family, a: int, b: int, on_date: date) -> None:
    """Without its marriages a family has the same relations, spouses apart: no in-law is ever a relation."""
    unmarried = Family(family.people, tuple(f for f in family.facts if f.kind is not FactKind.MARRIED_TO))
    with_marriages = family.expected(a, b, on_date)
    found = family.kinship(a, b, on_date).relation
    if found is not Relation.SPOUSE:
        assert found == unmarried.kinship(a, b, on_date).relation
        assert Relation.SPOUSE not in with_marriages


@given(families(), INDEX, INDEX, DAYS, st.sampled_from(FactKind))
def test_an_unrelated_fact_changes_nothing(family: Family, a: int, b: int, on_date: date, kind: FactKind) -> None:
    """A fact about two other people who are nobody's relatives leaves every answer as it was."""
    begin = date(2001, 1, 1) if kind is FactKind.MARRIED_TO else None
    one, other = PsnNo("6501000000001"), PsnNo("6501000000002")
    fact = Fact(UUID(int=99), kind, one, other, Evidence.COMMITMENT, begin, None, FactState.VERIFIED)
    strangers = tuple(Relative(psn_no, TODAY, Sex.MALE) for psn_no in sorted(fact.pair))
    more = Family((*family.people, *strangers), (*family.facts, fact))
    assert more.kinship(a, b, on_date) == family.kinship(a, b, on_date)


@given(families(), INDEX, DAYS)
def test_nobody_is_a_relative_of_himself(family: Family, a: int, on_date: date) -> None:
    """The answer about one person is SAME_PERSON."""
    assert family.kinship(a, a, on_date) == Kinship(None, reason=NoRelation.SAME_PERSON)


@given(families(), INDEX, INDEX, DAYS)
def test_there_is_a_reason_exactly_where_there_is_no_relation(family: Family, a: int, b: int, on_date: date) -> None:
    """Either a relation with a chain, or a reason."""
    found = family.kinship(a, b, on_date)
    assert (found.relation is None) == (found.reason is not None) == (not found.chain)


@given(families(), DAYS)
def test_checked_facts_leave_everyone_one_spouse_and_no_cycle(family: Family, on_date: date) -> None:
    """However facts are submitted, nobody has two spouses on a day, and no one is his own ancestor."""
    verified = Facts(family.facts)
    for person in family.people:
        assert len(list(verified.spouses(person.psn_no, on_date))) <= 1
        ancestors, waiting = set(), [person.psn_no]
        while waiting:
            for parent, _ in verified.parents(waiting.pop()):
                ancestors.add(parent)
                waiting.append(parent)
        assert person.psn_no not in ancestors
