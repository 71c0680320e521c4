"""近亲属: eight relations derived from three kinds of facts, each with the chain of facts that proves it (domain §1).

Only facts are kept: parent-of, married from…to, sibling as a household register proves it. A relation is worked out
anew from the facts verified at the moment of asking, so what rested on a divorced marriage or a withdrawn document is
gone by itself. A chain holds two facts at most and never a marriage beside another fact: parents-in-law,
children-in-law, siblings-in-law and step-relatives are not 近亲属.

An adoption is a parent-of like any other, by a court's or notary's paper. It ends the relation to the birth parents
only once an officer has revoked those facts: an open adoption within a family, say, leaves them as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import TypeAlias
from uuid import UUID

from kernel.ids import PsnNo
from kernel.policy import Relation
from services.identity.domain.certificate import Sex


class FactKind(Enum):
    """What a fact says of ``psn_no`` and ``other``; the value is what the database keeps."""

    PARENT_OF = "PARENT_OF"
    MARRIED_TO = "MARRIED_TO"  # Symmetrical, with dates.
    SIBLING_OF = "SIBLING_OF"  # Symmetrical, proven by a household register; says nothing about the parents.


class FactState(Enum):
    """Where a fact stands; the comment says who acts next."""

    SUBMITTED = "SUBMITTED"  # An officer reviews it, unless the registry confirms it.
    VERIFIED = "VERIFIED"  # Nobody; relations rest on it.
    REJECTED = "REJECTED"  # Nobody; final.
    REVOKED = "REVOKED"  # Nobody; final.
    EXPIRED = "EXPIRED"  # Nobody; final. Its evidence ran out; a newer document is a new fact.


class Evidence(Enum):
    """证明材料; the value is what the database keeps."""

    HOUSEHOLD_REGISTER = "HOUSEHOLD_REGISTER"
    MARRIAGE_CERTIFICATE = "MARRIAGE_CERTIFICATE"
    BIRTH_CERTIFICATE = "BIRTH_CERTIFICATE"
    COURT_OR_NOTARY = "COURT_OR_NOTARY"
    COMMITMENT = "COMMITMENT"


class NoRelation(Enum):
    """Why there is no relation that counts; the first that applies."""

    SAME_PERSON = "SAME_PERSON"
    ENDED = "ENDED"  # A marriage that was divorced.
    DECEASED = "DECEASED"  # A marriage that death ended.
    IN_LAW_ONLY = "IN_LAW_ONLY"  # A spouse's relative or a relative's spouse.
    NO_CHAIN = "NO_CHAIN"


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement about two people and the document that proves it.

    ``from_date`` and ``to_date`` stand with marriages only; ``to_date`` is the first day it is over, ``expires_on`` the
    first on which the document proves nothing any more.
    """

    fact_id: UUID
    kind: FactKind
    psn_no: PsnNo
    other_psn_no: PsnNo
    evidence: Evidence
    from_date: date | None = None
    to_date: date | None = None
    state: FactState = FactState.SUBMITTED
    issued_on: date | None = None
    expires_on: date | None = None

    @property
    def pair(self) -> frozenset[PsnNo]:
        """The two people, whoever was named first."""
        return frozenset({self.psn_no, self.other_psn_no})

    def other_than(self, psn_no: PsnNo) -> PsnNo:
        """The one of the two who is not this one."""
        return self.other_psn_no if self.psn_no == psn_no else self.psn_no

    def proves_on(self, today: date) -> bool:
        """Whether its document still counts."""
        return self.expires_on is None or today < self.expires_on


@dataclass(frozen=True, slots=True)
class Relative:
    """Someone a fact speaks of, as far as the rules need to know him; ``merged_into`` as ``Person`` has it."""

    psn_no: PsnNo
    brdy: date
    sex: Sex
    death_date: date | None = None
    merged_into: PsnNo | None = None


@dataclass(frozen=True, slots=True)
class Kinship:
    """The answer to "what is a to b": a relation and the facts that prove it from a to b, or why there is none."""

    relation: Relation | None
    chain: tuple[Fact, ...] = ()
    reason: NoRelation | None = None


_Step: TypeAlias = tuple[PsnNo, Fact]
_Found: TypeAlias = tuple[Relation, tuple[Fact, ...]]


class Family:
    """Verified facts, found by person, and the people they speak of; facts in another state are left out.

    ``kinship`` needs the facts that touch either person or a spouse of either, and the people these speak of.
    """

    def __init__(self, facts: Iterable[Fact], people: Mapping[PsnNo, Relative]) -> None:
        self.people = people
        self.facts = {
            fact.fact_id: fact
            for fact in sorted(facts, key=lambda each: each.fact_id)
            if fact.state is FactState.VERIFIED
        }
        self._parents: dict[PsnNo, list[Fact]] = {}
        self._children: dict[PsnNo, list[Fact]] = {}
        self._marriages: dict[PsnNo, list[Fact]] = {}
        self._siblings: dict[PsnNo, list[Fact]] = {}
        for fact in self.facts.values():
            match fact.kind:
                case FactKind.PARENT_OF:
                    self._parents.setdefault(fact.other_psn_no, []).append(fact)
                    self._children.setdefault(fact.psn_no, []).append(fact)
                case FactKind.MARRIED_TO:
                    for psn_no in fact.pair:
                        self._marriages.setdefault(psn_no, []).append(fact)
                case FactKind.SIBLING_OF:
                    for psn_no in fact.pair:
                        self._siblings.setdefault(psn_no, []).append(fact)

    def with_facts(self, changed: Iterable[Fact]) -> Family:
        """The family with these facts as they are now, in place of what they were."""
        return Family((self.facts | {fact.fact_id: fact for fact in changed}).values(), self.people)

    def with_person(self, changed: Relative) -> Family:
        """The family with this person as he is now."""
        return Family(self.facts.values(), {**self.people, changed.psn_no: changed})

    def parents(self, psn_no: PsnNo) -> Iterator[_Step]:
        """Each parent with the fact that says so, oldest fact first; so in all that follow."""
        return ((fact.psn_no, fact) for fact in self._parents.get(psn_no, ()))

    def children(self, psn_no: PsnNo) -> Iterator[_Step]:
        """Each child with the fact that says so."""
        return ((fact.other_psn_no, fact) for fact in self._children.get(psn_no, ()))

    def registered_siblings(self, psn_no: PsnNo) -> Iterator[_Step]:
        """Each sibling whom a fact names as such."""
        return ((fact.other_than(psn_no), fact) for fact in self._siblings.get(psn_no, ()))

    def marriages(self, psn_no: PsnNo) -> Iterator[_Step]:
        """Each spouse of any time."""
        return ((fact.other_than(psn_no), fact) for fact in self._marriages.get(psn_no, ()))

    def spouses(self, psn_no: PsnNo, on_date: date) -> Iterator[_Step]:
        """The spouse on a date; the rules leave room for one only, the type does not."""
        return ((spouse, fact) for spouse, fact in self.marriages(psn_no) if self._lasts_on(fact, on_date))

    def death_of(self, marriage: Fact) -> date | None:
        """When the first of the two died; from that day on the survivor is widowed."""
        found = (self.people.get(psn_no) for psn_no in marriage.pair)
        return min((each.death_date for each in found if each and each.death_date), default=None)

    def end_of(self, marriage: Fact) -> date | None:
        """The first day on which a marriage is over, by divorce or by death; None while it lasts."""
        ends = (marriage.to_date, self.death_of(marriage))
        return min((end for end in ends if end is not None), default=None)

    def is_son(self, psn_no: PsnNo) -> bool:
        """Whether grandchildren through him are 孙子女, and his parents paternal grandparents."""
        return self.people[psn_no].sex is Sex.MALE

    def _lasts_on(self, marriage: Fact, on_date: date) -> bool:
        end = self.end_of(marriage)
        return marriage.from_date is not None and marriage.from_date <= on_date and (end is None or on_date < end)


def kinship(a: PsnNo, b: PsnNo, *, on_date: date, family: Family) -> Kinship:
    """What ``a`` is to ``b`` on a date, with the shortest chain that proves it, or why they are not 近亲属."""
    if a == b:
        return Kinship(None, reason=NoRelation.SAME_PERSON)
    found = proven(a, b, on_date=on_date, family=family)
    if found is not None:
        return Kinship(*found)
    over = [fact for other, fact in family.marriages(a) if other == b and _is_over(family.end_of(fact), on_date)]
    if over:
        divorced = all(_is_over(fact.to_date, on_date) for fact in over)
        return Kinship(None, reason=NoRelation.ENDED if divorced else NoRelation.DECEASED)
    if _in_law(a, b, on_date=on_date, family=family):
        return Kinship(None, reason=NoRelation.IN_LAW_ONLY)
    return Kinship(None, reason=NoRelation.NO_CHAIN)


def proven(a: PsnNo, b: PsnNo, *, on_date: date, family: Family) -> _Found | None:
    """The relation of ``a`` to ``b`` with its chain; None if there is none, without the reason."""
    spouse = next((fact for other, fact in family.spouses(a, on_date) if other == b), None)
    if spouse is not None:
        return Relation.SPOUSE, (spouse,)
    return next(_by_blood(a, b, family), None)


def _by_blood(a: PsnNo, b: PsnNo, family: Family) -> Iterator[_Found]:
    """Every relation without a marriage, in the order in which the first one is the answer."""
    one_step = (
        (Relation.PARENT, family.children(a)),
        (Relation.CHILD, family.parents(a)),
        (Relation.SIBLING, family.registered_siblings(a)),
    )
    for relation, relatives in one_step:
        yield from ((relation, (fact,)) for relative, fact in relatives if relative == b)
    # One common parent is enough: half-siblings are siblings.
    yield from ((Relation.SIBLING, chain) for _, chain in _through(family.parents(a), family.parents(b)))
    two_steps = (
        (Relation.PATERNAL_GRANDPARENT, Relation.MATERNAL_GRANDPARENT, family.children(a), family.parents(b)),
        (Relation.GRANDCHILD, Relation.DAUGHTERS_CHILD, family.parents(a), family.children(b)),
    )
    for through_father, through_mother, first, last in two_steps:
        found = list(_through(first, last))
        yield from ((through_father, chain) for parent, chain in found if family.is_son(parent))
        yield from ((through_mother, chain) for parent, chain in found if not family.is_son(parent))


def _through(first: Iterator[_Step], last: Iterator[_Step]) -> Iterator[tuple[PsnNo, tuple[Fact, Fact]]]:
    """Each person to whom both lead, with the chain over that person."""
    lasts = dict(last)
    return ((psn_no, (fact, lasts[psn_no])) for psn_no, fact in first if psn_no in lasts)


def _in_law(a: PsnNo, b: PsnNo, *, on_date: date, family: Family) -> bool:
    """Whether one of them is married to a relative of the other."""
    pairs = [(spouse, b) for spouse, _ in family.spouses(a, on_date)] + [
        (a, spouse) for spouse, _ in family.spouses(b, on_date)
    ]
    return any(one != other and next(_by_blood(one, other, family), None) for one, other in pairs)


def _is_over(end: date | None, on_date: date) -> bool:
    return end is not None and end <= on_date
