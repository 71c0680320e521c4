"""近亲属: eight relations derived from three kinds of facts, each with the chain of facts that proves it (domain §1).

Only facts are kept: parent-of, married from…to, sibling as a household register proves it. A relation is worked out
anew from the facts verified at the moment of asking, so what rested on a divorced marriage or a withdrawn document is
gone by itself. A chain holds two facts at most and never a marriage beside another fact: parents-in-law,
children-in-law, siblings-in-law and step-relatives are not 近亲属.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Final, TypeAlias
from uuid import UUID

from kernel.failures import Failure, Kind
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

    SUBMITTED = "SUBMITTED"  # An officer reviews it.
    VERIFIED = "VERIFIED"  # Nobody; relations rest on it.
    REJECTED = "REJECTED"  # Nobody; final.
    REVOKED = "REVOKED"  # Nobody; final.


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
    ENDED = "ENDED"  # A marriage that is over.
    IN_LAW_ONLY = "IN_LAW_ONLY"  # A spouse's relative or a relative's spouse.
    NO_CHAIN = "NO_CHAIN"


@dataclass(frozen=True, slots=True)
class Fact:
    """One statement about two people. Dates stand with marriages only; ``to_date`` is the first day it is over."""

    fact_id: UUID
    kind: FactKind
    psn_no: PsnNo
    other_psn_no: PsnNo
    evidence: Evidence
    from_date: date | None = None
    to_date: date | None = None
    state: FactState = FactState.SUBMITTED

    @property
    def pair(self) -> frozenset[PsnNo]:
        """The two people, whoever was named first."""
        return frozenset({self.psn_no, self.other_psn_no})


@dataclass(frozen=True, slots=True)
class Relative:
    """Someone a fact speaks of, as far as the rules need to know him."""

    psn_no: PsnNo
    brdy: date
    sex: Sex


@dataclass(frozen=True, slots=True)
class Kinship:
    """The answer to "what is a to b": a relation and the facts that prove it from a to b, or why there is none."""

    relation: Relation | None
    chain: tuple[UUID, ...] = ()
    reason: NoRelation | None = None


_PROVES: Final = {
    FactKind.PARENT_OF: frozenset(Evidence) - {Evidence.MARRIAGE_CERTIFICATE},
    FactKind.MARRIED_TO: frozenset(Evidence) - {Evidence.BIRTH_CERTIFICATE},
    FactKind.SIBLING_OF: frozenset(Evidence) - {Evidence.MARRIAGE_CERTIFICATE, Evidence.BIRTH_CERTIFICATE},
}
_REVIEWS: Final = frozenset(
    {
        (FactState.SUBMITTED, FactState.VERIFIED),
        (FactState.SUBMITTED, FactState.REJECTED),
        (FactState.VERIFIED, FactState.REVOKED),
    }
)
_Step: TypeAlias = tuple[PsnNo, Fact]
_Found: TypeAlias = tuple[Relation, tuple[UUID, ...]]


class Facts:
    """Verified facts, found by person; facts in another state are left out.

    ``kinship`` needs those that touch either person or a spouse of either; ``check_new`` those that touch either
    person and, for a parent, all that lie above the parent.
    """

    def __init__(self, facts: Iterable[Fact]) -> None:
        self._parents: dict[PsnNo, list[Fact]] = {}
        self._children: dict[PsnNo, list[Fact]] = {}
        self._marriages: dict[PsnNo, list[Fact]] = {}
        self._siblings: dict[PsnNo, list[Fact]] = {}
        for fact in sorted(facts, key=lambda each: each.fact_id):
            if fact.state is not FactState.VERIFIED:
                continue
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

    def parents(self, psn_no: PsnNo) -> Iterator[_Step]:
        """Each parent with the fact that says so, oldest fact first; so in all that follow."""
        return ((fact.psn_no, fact) for fact in self._parents.get(psn_no, ()))

    def children(self, psn_no: PsnNo) -> Iterator[_Step]:
        """Each child with the fact that says so."""
        return ((fact.other_psn_no, fact) for fact in self._children.get(psn_no, ()))

    def registered_siblings(self, psn_no: PsnNo) -> Iterator[_Step]:
        """Each sibling whom a fact names as such."""
        return ((_other(fact, psn_no), fact) for fact in self._siblings.get(psn_no, ()))

    def marriages(self, psn_no: PsnNo) -> Iterator[_Step]:
        """Each spouse of any time."""
        return ((_other(fact, psn_no), fact) for fact in self._marriages.get(psn_no, ()))

    def spouses(self, psn_no: PsnNo, on_date: date) -> Iterator[_Step]:
        """The spouse on a date; the rules leave room for one only, the type does not."""
        return ((spouse, fact) for spouse, fact in self.marriages(psn_no) if _lasts_on(fact, on_date))


def kinship(a: PsnNo, b: PsnNo, *, on_date: date, facts: Facts, sexes: dict[PsnNo, Sex]) -> Kinship:
    """What ``a`` is to ``b`` on a date, with the shortest chain that proves it, or why they are not 近亲属.

    ``sexes`` must know the parents of both: a grandparent is paternal or maternal by the parent in between.
    """
    if a == b:
        return Kinship(None, reason=NoRelation.SAME_PERSON)
    spouse = next((fact for other, fact in facts.spouses(a, on_date) if other == b), None)
    if spouse is not None:
        return Kinship(Relation.SPOUSE, (spouse.fact_id,))
    found = next(_by_blood(a, b, facts, sexes), None)
    if found is not None:
        return Kinship(*found)
    if any(other == b and _is_over(fact, on_date) for other, fact in facts.marriages(a)):
        return Kinship(None, reason=NoRelation.ENDED)
    if _in_law(a, b, on_date=on_date, facts=facts, sexes=sexes):
        return Kinship(None, reason=NoRelation.IN_LAW_ONLY)
    return Kinship(None, reason=NoRelation.NO_CHAIN)


def _by_blood(a: PsnNo, b: PsnNo, facts: Facts, sexes: dict[PsnNo, Sex]) -> Iterator[_Found]:
    """Every relation without a marriage, in the order in which the first one is the answer."""
    one_step = (
        (Relation.PARENT, facts.children(a)),
        (Relation.CHILD, facts.parents(a)),
        (Relation.SIBLING, facts.registered_siblings(a)),
    )
    for relation, relatives in one_step:
        yield from ((relation, (fact.fact_id,)) for relative, fact in relatives if relative == b)
    # One common parent is enough: half-siblings are siblings.
    yield from ((Relation.SIBLING, chain) for _, chain in _through(facts.parents(a), facts.parents(b)))
    two_steps = (
        (Relation.PATERNAL_GRANDPARENT, Relation.MATERNAL_GRANDPARENT, facts.children(a), facts.parents(b)),
        (Relation.GRANDCHILD, Relation.DAUGHTERS_CHILD, facts.parents(a), facts.children(b)),
    )
    for through_father, through_mother, first, last in two_steps:
        found = list(_through(first, last))
        yield from ((through_father, chain) for parent, chain in found if sexes[parent] is Sex.MALE)
        yield from ((through_mother, chain) for parent, chain in found if sexes[parent] is Sex.FEMALE)


def _through(first: Iterator[_Step], last: Iterator[_Step]) -> Iterator[tuple[PsnNo, tuple[UUID, UUID]]]:
    """Each person to whom both lead, with the chain over that person."""
    lasts = dict(last)
    return ((psn_no, (fact.fact_id, lasts[psn_no].fact_id)) for psn_no, fact in first if psn_no in lasts)


def _in_law(a: PsnNo, b: PsnNo, *, on_date: date, facts: Facts, sexes: dict[PsnNo, Sex]) -> bool:
    """Whether one of them is married to a relative of the other."""
    pairs = [(spouse, b) for spouse, _ in facts.spouses(a, on_date)] + [
        (a, spouse) for spouse, _ in facts.spouses(b, on_date)
    ]
    return any(one != other and next(_by_blood(one, other, facts, sexes), None) for one, other in pairs)


def check_new(fact: Fact, *, person: Relative, other: Relative, facts: Facts, today: date) -> None:
    """Whether this fact can be true beside the verified ones; asked when it is submitted and again when verified.

    The first that applies: INVALID KINSHIP_WITH_SELF, KINSHIP_DATES_UNEXPECTED, MARRIAGE_DATE_MISSING,
    MARRIAGE_DATES_WRONG, EVIDENCE_DOES_NOT_PROVE; PRECONDITION KINSHIP_CYCLE, PARENT_NOT_OLDER, SPOUSE_ALREADY.
    """
    check_form(fact, today=today)
    match fact.kind:
        case FactKind.PARENT_OF:
            if fact.other_psn_no in _ancestors(fact.psn_no, facts):
                raise Failure(Kind.PRECONDITION, "KINSHIP_CYCLE", field="other_psn_no")
            if person.brdy >= other.brdy:
                raise Failure(Kind.PRECONDITION, "PARENT_NOT_OLDER", field="psn_no")
        case FactKind.MARRIED_TO:
            married = (each for psn_no in sorted(fact.pair) for _, each in facts.marriages(psn_no))
            if any(not replaces(fact, each) and _overlap(fact, each) for each in married):
                raise Failure(Kind.PRECONDITION, "SPOUSE_ALREADY", field="from_date")
        case FactKind.SIBLING_OF:
            pass


def check_form(fact: Fact, *, today: date) -> None:
    """The part of ``check_new`` that needs no other fact: what is INVALID whatever the world is like."""
    if fact.psn_no == fact.other_psn_no:
        raise Failure(Kind.INVALID, "KINSHIP_WITH_SELF", field="other_psn_no")
    if fact.kind is not FactKind.MARRIED_TO:
        if fact.from_date is not None or fact.to_date is not None:
            raise Failure(Kind.INVALID, "KINSHIP_DATES_UNEXPECTED", field="from_date")
    elif fact.from_date is None:
        raise Failure(Kind.INVALID, "MARRIAGE_DATE_MISSING", field="from_date")
    elif fact.from_date > today:
        raise Failure(Kind.INVALID, "MARRIAGE_DATES_WRONG", field="from_date")
    elif fact.to_date is not None and not fact.from_date < fact.to_date <= today:
        raise Failure(Kind.INVALID, "MARRIAGE_DATES_WRONG", field="to_date")
    if fact.evidence not in _PROVES[fact.kind]:
        raise Failure(Kind.INVALID, "EVIDENCE_DOES_NOT_PROVE", field="evidence", kind=fact.kind.value)


def same_statement(one: Fact, other: Fact) -> bool:
    """Whether two facts say the same, whatever proves them: a second submission then is the first."""
    if one.kind is not other.kind or (one.from_date, one.to_date) != (other.from_date, other.to_date):
        return False
    if one.kind is FactKind.PARENT_OF:
        return (one.psn_no, one.other_psn_no) == (other.psn_no, other.other_psn_no)
    return one.pair == other.pair


def replaces(fact: Fact, other: Fact) -> bool:
    """Whether this is the same marriage with another end: verified, it takes the other's place (a divorce)."""
    return (
        fact.kind is other.kind is FactKind.MARRIED_TO and fact.pair == other.pair and fact.from_date == other.from_date
    )


def check_review(state: FactState, wanted: FactState, *, cause: str) -> None:
    """Whether an officer may take a fact from one state to another, first that applies.

    PRECONDITION FACT_NOT_REVIEWABLE (only submitted → verified or rejected, verified → revoked); INVALID CAUSE_MISSING
    to reject or revoke.
    """
    if (state, wanted) not in _REVIEWS:
        raise Failure(Kind.PRECONDITION, "FACT_NOT_REVIEWABLE", state=state.value)
    if wanted is not FactState.VERIFIED and not cause.strip():
        raise Failure(Kind.INVALID, "CAUSE_MISSING", field="cause")


def _ancestors(psn_no: PsnNo, facts: Facts) -> set[PsnNo]:
    found: set[PsnNo] = set()
    waiting = [psn_no]
    while waiting:
        for parent, _ in facts.parents(waiting.pop()):
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found


def _other(fact: Fact, psn_no: PsnNo) -> PsnNo:
    return fact.other_psn_no if fact.psn_no == psn_no else fact.psn_no


def _lasts_on(marriage: Fact, on_date: date) -> bool:
    begun = marriage.from_date is not None and marriage.from_date <= on_date
    return begun and not _is_over(marriage, on_date)


def _is_over(marriage: Fact, on_date: date) -> bool:
    return marriage.to_date is not None and marriage.to_date <= on_date


def _overlap(one: Fact, other: Fact) -> bool:
    first = max(one.from_date or date.min, other.from_date or date.min)
    return first < min(one.to_date or date.max, other.to_date or date.max)
