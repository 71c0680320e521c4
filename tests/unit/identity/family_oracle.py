"""A slow, obvious oracle for kinship: the definitions, written down one by one and tried on everybody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from kernel.ids import PsnNo
from kernel.policy import Relation
from services.identity.domain.certificate import Sex
from services.identity.domain.kinship import Fact, FactKind, FactState, Relative

ORDER = tuple(Relation)


def relations(
    a: PsnNo, b: PsnNo, *, people: Mapping[PsnNo, Relative], facts: Sequence[Fact], on_date: date
) -> list[Relation]:
    """Every relation of ``a`` to ``b``, in the order in which the first is the answer."""
    if a == b:
        return []
    verified = [fact for fact in facts if fact.state is FactState.VERIFIED]
    parent = {(fact.psn_no, fact.other_psn_no) for fact in verified if fact.kind is FactKind.PARENT_OF}
    named_siblings = {
        pair
        for fact in verified
        if fact.kind is FactKind.SIBLING_OF
        for pair in ((fact.psn_no, fact.other_psn_no), (fact.other_psn_no, fact.psn_no))
    }
    married = {
        pair
        for fact in verified
        if fact.kind is FactKind.MARRIED_TO
        and fact.from_date is not None
        and fact.from_date <= on_date
        and (fact.to_date is None or on_date < fact.to_date)
        and all(not is_dead(people[each], on_date) for each in (fact.psn_no, fact.other_psn_no))
        for pair in ((fact.psn_no, fact.other_psn_no), (fact.other_psn_no, fact.psn_no))
    }
    between = {
        Relation.PATERNAL_GRANDPARENT: (a, b, Sex.MALE),
        Relation.MATERNAL_GRANDPARENT: (a, b, Sex.FEMALE),
        Relation.GRANDCHILD: (b, a, Sex.MALE),
        Relation.DAUGHTERS_CHILD: (b, a, Sex.FEMALE),
    }
    true = {
        Relation.SPOUSE: (a, b) in married,
        Relation.PARENT: (a, b) in parent,
        Relation.CHILD: (b, a) in parent,
        Relation.SIBLING: (a, b) in named_siblings or any((c, a) in parent and (c, b) in parent for c in people),
    } | {
        relation: any((old, c) in parent and (c, young) in parent and people[c].sex is sex for c in people)
        for relation, (old, young, sex) in between.items()
    }
    return [relation for relation in ORDER if true[relation]]


def everyones_relations(
    people: Iterable[Relative], facts: Sequence[Fact], *, on_date: date
) -> dict[tuple[PsnNo, PsnNo], Relation]:
    """What everybody is to everybody, where that counts."""
    known = {person.psn_no: person for person in people}
    found = {
        (a, b): relations(a, b, people=known, facts=facts, on_date=on_date) for a in known for b in known if a != b
    }
    return {pair: each[0] for pair, each in found.items() if each}


def is_dead(person: Relative, on_date: date) -> bool:
    """From the day of death on."""
    return person.death_date is not None and person.death_date <= on_date
