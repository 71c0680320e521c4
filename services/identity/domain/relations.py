"""What a change of facts or of people gains and loses: relations before and after, compared among those within reach.

A chain holds two facts at most. So a fact about two people can only touch relations of one of these two, and only with
whoever stands one step from either: a parent, child, spouse or registered sibling. Siblings, grandparents and
grandchildren of a person are reached by the one in between, who is among them. Two records that become one move every
fact of theirs: it is the same one step further out.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import date
from typing import TypeAlias

from kernel.ids import PsnNo
from kernel.policy import Relation
from services.identity.domain.kinship import Fact, Family, proven

Pair: TypeAlias = tuple[PsnNo, PsnNo]


@dataclass(frozen=True, slots=True)
class RelationChange:
    """What ``psn_no`` was and is to ``other_psn_no``; None is no relation that counts."""

    psn_no: PsnNo
    other_psn_no: PsnNo
    before: Relation | None
    after: Relation | None


def reach(psn_nos: Iterable[PsnNo], family: Family) -> frozenset[PsnNo]:
    """These people and everyone one step from them: a fact about them touches no relation of anybody else."""
    found = set(psn_nos)
    for psn_no in tuple(found):
        for steps in (family.parents, family.children, family.marriages, family.registered_siblings):
            found.update(other for other, _ in steps(psn_no))
    return frozenset(found)


def relations(
    about: Collection[PsnNo], psn_nos: Collection[PsnNo], family: Family, *, on_date: date
) -> dict[Pair, Relation]:
    """What ``about`` are to these people and these to them; ``family`` holds all facts that touch any of them."""
    found: dict[Pair, Relation] = {}
    for pair in {pair for a in about for b in psn_nos if a != b for pair in ((a, b), (b, a))}:
        answer = proven(*pair, on_date=on_date, family=family)
        if answer is not None:
            found[pair] = answer[0]
    return found


def changes(
    about: Collection[PsnNo], psn_nos: Collection[PsnNo], before: Family, after: Family, *, on_date: date
) -> tuple[RelationChange, ...]:
    """What differs between ``about`` and these people, in the order of their numbers.

    ``about`` are the two of a fact, and more only where more can differ: among two hundred siblings of whom one is new,
    nobody else's relations need a look.
    """
    earlier = relations(about, psn_nos, before, on_date=on_date)
    later = relations(about, psn_nos, after, on_date=on_date)
    return tuple(
        RelationChange(*pair, earlier.get(pair), later.get(pair))
        for pair in sorted(earlier.keys() | later.keys())
        if earlier.get(pair) is not later.get(pair)
    )


def told_with(change: RelationChange, psn_no: PsnNo, family: Family) -> Fact:
    """The fact about a changed person whose event tells of a change: the first that also names one of the two.

    There is one: what changed with the person leads over a fact that names him.
    """
    ends = {change.psn_no, change.other_psn_no} - {psn_no}
    return next(fact for fact in family.facts.values() if psn_no in fact.pair and fact.pair & ends)
