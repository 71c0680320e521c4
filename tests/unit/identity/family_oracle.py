"""A slow, obvious oracle for kinship: the definitions, written down one by one and tried on everybody."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from kernel.ids import PsnNo
from kernel.policy import Relation
from services.identity.domain.certificate import Sex
from services.identity.domain.kinship import Fact, FactKind, FactState

ORDER = tuple(Relation)


def relations(a: PsnNo, b: PsnNo, *, people: dict[PsnNo, Sex], facts: Sequence[Fact], on_date: date) -> list[Relation]:
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
        relation: any((old, c) in parent and (c, young) in parent and people[c] is sex for c in people)
        for relation, (old, young, sex) in between.items()
    }
    return [relation for relation in ORDER if true[relation]]
