"""Relations gained and lost: whoever replays what was told knows what the oracle derives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.failures import Failure
from kernel.ids import PsnNo
from kernel.policy import Relation
from services.identity.domain.certificate import Sex
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Family, Relative
from services.identity.domain.kinship_rules import check_new, check_person, takes_place_of
from services.identity.domain.relations import RelationChange, changes, reach, told_with
from tests.unit.identity.family_oracle import everyones_relations
from tests.unit.identity.test_kinship import FAMILY, NUMBERS, TODAY, fact, parent, people

SIZE = 8
PLACE = st.integers(0, SIZE - 1)
DAYS = st.dates(date(2000, 1, 1), TODAY)


def changed(psn_no: PsnNo, before: Family, after: Family) -> tuple[RelationChange, ...]:
    """As the room follows what happened to a person: what he and his parents are to those within reach."""
    about = {psn_no, *(parent for parent, _ in before.parents(psn_no))}
    return changes(about, reach({psn_no}, before), before, after, on_date=TODAY)


@dataclass
class Town:
    """People and their facts as they change, and what somebody outside knows by replaying what he was told."""

    people: dict[PsnNo, Relative]
    facts: dict[UUID, Fact] = field(default_factory=dict)
    replayed: dict[tuple[PsnNo, PsnNo], Relation] = field(default_factory=dict)

    def family(self) -> Family:
        """The verified facts."""
        return Family(self.facts.values(), self.people)

    def tell(self, told: Sequence[RelationChange]) -> None:
        """Replays; each change must start from what was known."""
        for change in told:
            pair = change.psn_no, change.other_psn_no
            assert self.replayed.pop(pair, None) is change.before
            assert change.before is not change.after
            if change.after is not None:
                self.replayed[pair] = change.after

    def verify(self, new: Fact) -> None:
        """As the room verifies: judged, told among those within reach, what it takes the place of falls."""
        before = self.family()
        try:
            check_new(new, family=before, today=TODAY)
        except Failure:
            return
        fallen = [replace(each, state=FactState.REVOKED) for each in before.facts.values() if takes_place_of(new, each)]
        self._become([replace(new, state=FactState.VERIFIED), *fallen], new)

    def fall(self, place: int, state: FactState) -> None:
        """As the room revokes or expires one of the verified facts."""
        verified = list(self.family().facts.values())
        if verified:
            fallen = verified[place % len(verified)]
            self._become([replace(fallen, state=state)], fallen)

    def change(self, person: Relative) -> None:
        """As the room follows a death, its withdrawal, or a corrected sex."""
        before = self.family()
        after = before.with_person(person)
        try:
            check_person(person.psn_no, after)
        except Failure:
            return
        told = changed(person.psn_no, before, after)
        for each in told:
            assert person.psn_no in told_with(each, person.psn_no, after).pair
        self.people[person.psn_no] = person
        self.tell(told)

    def _become(self, decided: Sequence[Fact], about: Fact) -> None:
        before = self.family()
        told = changes(about.pair, reach(about.pair, before), before, before.with_facts(decided), on_date=TODAY)
        self.facts |= {each.fact_id: each for each in decided}
        self.tell(told)


def step(draw: st.DrawFn, town: Town, number: int) -> None:
    """One change of any kind."""
    numbers = sorted(town.people)
    person = town.people[numbers[draw(PLACE)]]
    match draw(st.sampled_from(["verify", "verify", "verify", "revoke", "expire", "death", "life", "sex"])):
        case "verify":
            kind = draw(st.sampled_from(FactKind))
            begin = draw(DAYS) if kind is FactKind.MARRIED_TO else None
            end = draw(DAYS) if begin and draw(st.booleans()) else None
            other = numbers[draw(PLACE)]
            town.verify(Fact(UUID(int=number), kind, person.psn_no, other, Evidence.HOUSEHOLD_REGISTER, begin, end))
        case "revoke":
            town.fall(draw(st.integers(0, 20)), FactState.REVOKED)
        case "expire":
            town.fall(draw(st.integers(0, 20)), FactState.EXPIRED)
        case "death":
            town.change(replace(person, death_date=draw(DAYS)))
        case "life":
            town.change(replace(person, death_date=None))
        case _:
            town.change(replace(person, sex=Sex.MALE if person.sex is Sex.FEMALE else Sex.FEMALE))


@st.composite
def towns(draw: st.DrawFn) -> Town:
    """A town after some twenty changes, each told among those within reach alone."""
    everyone = [
        Relative(PsnNo(f"65010000000000{place}"), date(1920 + 10 * place, 1, 1), draw(st.sampled_from(Sex)))
        for place in range(SIZE)
    ]
    town = Town({person.psn_no: person for person in everyone})
    for number in range(draw(st.integers(1, 24))):
        step(draw, town, number)
    return town


@settings(max_examples=300)
@given(towns())
def test_replaying_what_was_told_gives_what_the_oracle_derives(town: Town) -> None:
    """Whatever was verified, revoked, expired, or happened to people: nothing gained or lost was left untold."""
    assert town.replayed == everyones_relations(town.people.values(), list(town.facts.values()), on_date=TODAY)


def test_one_fact_tells_every_relation_that_rests_on_it() -> None:
    """That 王守仁 is 王建国's father makes him a grandfather twice over, and tells 王建国 nothing new of his sister."""
    new = parent("王守仁", "王建国")
    before = Family([each for each in FAMILY if each != new], people())
    told = changes(new.pair, reach(new.pair, before), before, before.with_facts([new]), on_date=TODAY)
    names = {number: name for name, number in NUMBERS.items()}
    assert {
        (names[each.psn_no], names[each.other_psn_no], each.after) for each in told if each.psn_no < each.other_psn_no
    } == {
        ("王守仁", "王建国", Relation.PARENT),
        ("王守仁", "王静", Relation.PATERNAL_GRANDPARENT),
        ("王守仁", "王小明", Relation.PATERNAL_GRANDPARENT),
    }
    assert len(told) == 6
    assert {each.before for each in told} == {None}


def test_a_death_tells_the_spouse_alone() -> None:
    """The widower has lost his wife and she him; nobody else is told anything."""
    before = Family(FAMILY, people(deaths={}))
    dead = replace(before.people[NUMBERS["赵秀兰"]], death_date=date(2020, 11, 3))
    told = changed(dead.psn_no, before, before.with_person(dead))
    couple = NUMBERS["王守仁"], NUMBERS["赵秀兰"]
    assert set(told) == {RelationChange(one, other, Relation.SPOUSE, None) for one, other in (couple, couple[::-1])}
    assert {told_with(each, dead.psn_no, before).kind for each in told} == {FactKind.MARRIED_TO}


def test_a_second_proof_tells_nothing() -> None:
    """Siblings by a common parent are siblings; a household register that says so as well changes nothing."""
    before = Family(FAMILY, people())
    register = fact(FactKind.SIBLING_OF, "王芳", "王建国")
    told = changes(register.pair, reach(register.pair, before), before, before.with_facts([register]), on_date=TODAY)
    assert told == ()


def test_a_corrected_sex_turns_grandparents_around() -> None:
    """Whoever was a father is a mother: her parents are maternal grandparents now."""
    before = Family(FAMILY, people())
    corrected = replace(before.people[NUMBERS["王建国"]], sex=Sex.FEMALE)
    after = before.with_person(corrected)
    told = changed(corrected.psn_no, before, after)
    assert {(each.before, each.after) for each in told} == {
        (Relation.PATERNAL_GRANDPARENT, Relation.MATERNAL_GRANDPARENT),
        (Relation.GRANDCHILD, Relation.DAUGHTERS_CHILD),
    }
    assert len(told) == 8
    assert all(corrected.psn_no in told_with(each, corrected.psn_no, after).pair for each in told)
