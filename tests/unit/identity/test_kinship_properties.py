"""Kinship over families that hypothesis makes, against the oracle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import pairwise, product
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
    FactState,
    Family,
    Kinship,
    NoRelation,
    Relative,
    kinship,
)
from services.identity.domain.kinship_rules import check_new, takes_place_of
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
class Household:
    """People born ten years apart, the eldest first, and facts that passed the checks one after another."""

    people: tuple[Relative, ...]
    facts: tuple[Fact, ...]

    @property
    def by_number(self) -> dict[PsnNo, Relative]:
        """The people, found by number."""
        return {person.psn_no: person for person in self.people}

    def kinship(self, a: int, b: int, on_date: date) -> Kinship:
        """What the production code says."""
        family = Family(self.facts, self.by_number)
        return kinship(self.people[a].psn_no, self.people[b].psn_no, on_date=on_date, family=family)

    def expected(self, a: int, b: int, on_date: date) -> list[Relation]:
        """What the oracle says."""
        return relations(
            self.people[a].psn_no, self.people[b].psn_no, people=self.by_number, facts=self.facts, on_date=on_date
        )


SIZE = 7
INDEX = st.integers(0, SIZE - 1)
PAIRS = tuple(product(range(SIZE), repeat=2))
DAYS = st.dates(date(2000, 1, 1), TODAY)


@st.composite
def households(draw: st.DrawFn) -> Household:
    """A family whose facts were each checked against those before, as the room does it; some of its people died."""
    people = tuple(
        Relative(
            PsnNo(f"65010000000000{place}"),
            date(1920 + 10 * place, 1, 1),
            draw(st.sampled_from(Sex)),
            death_date=draw(st.none() | st.none() | DAYS),
        )
        for place in range(SIZE)
    )
    by_number = {person.psn_no: person for person in people}
    facts: list[Fact] = []
    for number in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(FactKind))
        person, other = people[draw(INDEX)], people[draw(INDEX)]
        begin = draw(DAYS) if kind is FactKind.MARRIED_TO else None
        end = begin + timedelta(days=draw(st.integers(1, 4000))) if begin and draw(st.booleans()) else None
        fact = Fact(UUID(int=number), kind, person.psn_no, other.psn_no, Evidence.HOUSEHOLD_REGISTER, begin, end)
        try:
            check_new(fact, family=Family(facts, by_number), today=TODAY)
        except Failure:
            continue
        if draw(st.integers(0, 2)):
            facts = [each for each in facts if not takes_place_of(fact, each)]
            facts.append(replace(fact, state=FactState.VERIFIED))
        else:
            facts.append(replace(fact, state=FactState.REVOKED))
    return Household(people, tuple(facts))


@given(households(), DAYS)
def test_the_relation_is_the_oracles(household: Household, on_date: date) -> None:
    """The relation found is the first that the definitions give, and there is none where they give none."""
    for a, b in PAIRS:
        expected = household.expected(a, b, on_date)
        assert household.kinship(a, b, on_date).relation == (expected[0] if expected else None)


@given(households(), INDEX, INDEX, DAYS)
def test_every_relation_has_its_inverse(household: Household, a: int, b: int, on_date: date) -> None:
    """Spouse and sibling are symmetrical, parent and child, grandparent and grandchild invert each other."""
    relation = household.kinship(a, b, on_date).relation
    back = household.kinship(b, a, on_date).relation
    assert (back in INVERSE[relation]) if relation else back is None


@given(households(), INDEX, INDEX, DAYS)
def test_the_chain_alone_proves_the_relation(household: Household, a: int, b: int, on_date: date) -> None:
    """The facts of the chain and no others give the same relation; one fewer does not."""
    found = household.kinship(a, b, on_date)
    chain = found.chain
    assert Household(household.people, chain).kinship(a, b, on_date).relation == found.relation
    for left_out in chain:
        rest = tuple(fact for fact in chain if fact is not left_out)
        assert Household(household.people, rest).kinship(a, b, on_date).relation is None


@given(households(), INDEX, INDEX, DAYS)
def test_the_chain_leads_from_one_to_the_other(household: Household, a: int, b: int, on_date: date) -> None:
    """The first fact of a chain speaks of the first person, the last of the other, neighbours share a person."""
    chain = [fact.pair for fact in household.kinship(a, b, on_date).chain]
    if chain:
        assert household.people[a].psn_no in chain[0]
        assert household.people[b].psn_no in chain[-1]
        assert all(one & other for one, other in pairwise(chain))


@given(households(), DAYS)
def test_a_marriage_gives_a_spouse_and_nothing_else(household: Household, on_date: date) -> None:
    """Without its marriages a family has the same relations, spouses apart: no in-law is ever a relation."""
    unmarried = Household(household.people, tuple(f for f in household.facts if f.kind is not FactKind.MARRIED_TO))
    for a, b in PAIRS:
        found = household.kinship(a, b, on_date).relation
        if found is not Relation.SPOUSE:
            assert found == unmarried.kinship(a, b, on_date).relation
            assert Relation.SPOUSE not in household.expected(a, b, on_date)


@given(households(), INDEX, INDEX, DAYS, st.sampled_from(FactKind))
def test_an_unrelated_fact_changes_nothing(household: Household, a: int, b: int, on_date: date, kind: FactKind) -> None:
    """A fact about two other people who are nobody's relatives leaves every answer as it was."""
    begin = date(2001, 1, 1) if kind is FactKind.MARRIED_TO else None
    one, other = PsnNo("6501000000001"), PsnNo("6501000000002")
    fact = Fact(UUID(int=99), kind, one, other, Evidence.COMMITMENT, begin, None, FactState.VERIFIED)
    strangers = tuple(Relative(psn_no, TODAY, Sex.MALE) for psn_no in sorted(fact.pair))
    more = Household((*household.people, *strangers), (*household.facts, fact))
    assert more.kinship(a, b, on_date) == household.kinship(a, b, on_date)


@given(households(), INDEX, DAYS)
def test_nobody_is_a_relative_of_himself(household: Household, a: int, on_date: date) -> None:
    """The answer about one person is SAME_PERSON."""
    assert household.kinship(a, a, on_date) == Kinship(None, reason=NoRelation.SAME_PERSON)


@given(households(), INDEX, INDEX, DAYS)
def test_there_is_a_reason_exactly_where_there_is_no_relation(
    household: Household, a: int, b: int, on_date: date
) -> None:
    """Either a relation with a chain, or a reason."""
    found = household.kinship(a, b, on_date)
    assert (found.relation is None) == (found.reason is not None) == (not found.chain)


@given(households(), DAYS)
def test_checked_facts_leave_everyone_one_spouse_and_no_cycle(household: Household, on_date: date) -> None:
    """However facts are submitted, nobody has two spouses on a day, and no one is his own ancestor."""
    verified = Family(household.facts, household.by_number)
    for person in household.people:
        assert len(list(verified.spouses(person.psn_no, on_date))) <= 1
        ancestors, waiting = set(), [person.psn_no]
        while waiting:
            for parent, _ in verified.parents(waiting.pop()):
                ancestors.add(parent)
                waiting.append(parent)
        assert person.psn_no not in ancestors


@given(households(), INDEX, INDEX, DAYS)
def test_no_chain_holds_a_marriage_beside_another_fact(household: Household, a: int, b: int, on_date: date) -> None:
    """In-laws and step-relatives are never relatives: a marriage proves the couple and stands alone in its chain."""
    found = household.kinship(a, b, on_date)
    if any(fact.kind is FactKind.MARRIED_TO for fact in found.chain):
        assert found.relation is Relation.SPOUSE
        assert len(found.chain) == 1


@given(households(), INDEX, DAYS)
def test_the_dead_are_nobodys_spouse_and_stay_parents(household: Household, a: int, on_date: date) -> None:
    """From the day of a death on the survivor is widowed; what rests on blood is untouched."""
    dead = replace(household.people[a], death_date=on_date)
    after = Household(
        tuple(dead if each is household.people[a] else each for each in household.people), household.facts
    )
    for other in range(SIZE):
        was, now = household.kinship(a, other, on_date), after.kinship(a, other, on_date)
        if was.relation is Relation.SPOUSE:
            assert now.relation is not Relation.SPOUSE
        else:
            assert now.relation is was.relation
