"""What may be submitted, verified, rejected and revoked as a kinship fact, and what a person's change may contradict.

Each rule is asked when a fact is submitted and again when it is verified: the world may have changed in between.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import Enum
from itertools import combinations
from typing import Final

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.certificate import BIRTH_YEAR_MIN
from services.identity.domain.kinship import Evidence, Fact, FactKind, FactState, Family

COMMITMENT_DAYS: Final = 365
"""How long a 承诺书 counts at most: a promise is not a document, so it is asked for anew each year."""

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
REPLACED: Final = "REPLACED"
"""The cause of a fact's fall because the same was verified with another end, or by a document that counts longer."""
EXPIRED: Final = "EXPIRED"
"""The cause of a fact's end because its document proves nothing any more."""
MERGED: Final = "MERGED"
"""The cause of a fact's fall because two records became one and the other's fact says the same."""


class Decider(Enum):
    """Who decides about a fact; the value is what the database keeps."""

    OFFICER = "OFFICER"  # Named by ``opter``.
    REGISTRY = "REGISTRY"  # The civil registry confirmed it.
    ROOM = "ROOM"  # A rule; its name is the cause.


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a fact, by whom and why."""

    state: FactState
    decider: Decider
    opter: str = ""
    cause: str = ""


def dated(fact: Fact, *, today: date) -> Fact:
    """The fact with the days its document counts: a 承诺书 without any is of today and counts ``COMMITMENT_DAYS``.

    EVIDENCE_DATES_WRONG (INVALID) if it is of a day to come.
    """
    if fact.evidence is not Evidence.COMMITMENT:
        return fact
    issued_on = fact.issued_on or today
    _check_issued(issued_on, today=today)
    latest = issued_on + timedelta(days=COMMITMENT_DAYS)
    return replace(fact, issued_on=issued_on, expires_on=fact.expires_on or latest)


def check_new(fact: Fact, *, family: Family, today: date) -> None:
    """Whether this fact can be true beside the verified ones; asked when it is submitted and again when verified.

    The first that applies: what ``check_form`` lists; PRECONDITION KINSHIP_CYCLE, PARENT_NOT_OLDER,
    MARRIAGE_BEFORE_BIRTH, MARRIAGE_AFTER_DEATH, SPOUSE_ALREADY. ``family`` knows both people, the facts that touch them
    and, for a parent, all that lie above the parent.
    """
    check_form(fact, today=today)
    match fact.kind:
        case FactKind.PARENT_OF:
            if fact.other_psn_no in _ancestors(fact.psn_no, family):
                raise Failure(Kind.PRECONDITION, "KINSHIP_CYCLE", field="other_psn_no")
            _check_ages(fact, family)
        case FactKind.MARRIED_TO:
            _check_lived(fact, family)
            married = (each for psn_no in sorted(fact.pair) for _, each in family.marriages(psn_no))
            if any(not is_about_the_same(fact, each) and _overlap(fact, each, family) for each in married):
                raise Failure(Kind.PRECONDITION, "SPOUSE_ALREADY", field="from_date")
        case FactKind.SIBLING_OF:
            pass


def check_form(fact: Fact, *, today: date) -> None:
    """The part of ``check_new`` that needs no other fact, first that applies.

    INVALID KINSHIP_WITH_SELF, KINSHIP_DATES_UNEXPECTED, MARRIAGE_DATE_MISSING, MARRIAGE_DATES_WRONG,
    EVIDENCE_DOES_NOT_PROVE, EVIDENCE_DATES_WRONG; PRECONDITION EVIDENCE_EXPIRED.
    """
    if fact.psn_no == fact.other_psn_no:
        raise Failure(Kind.INVALID, "KINSHIP_WITH_SELF", field="other_psn_no")
    check_marriage_dates(fact.kind, fact.from_date, fact.to_date, today=today)
    if fact.evidence not in _PROVES[fact.kind]:
        raise Failure(Kind.INVALID, "EVIDENCE_DOES_NOT_PROVE", field="evidence", kind=fact.kind.value)
    _check_issued(fact.issued_on, today=today)
    if not _expires_rightly(fact):
        raise Failure(Kind.INVALID, "EVIDENCE_DATES_WRONG", field="expires_on")
    if not fact.proves_on(today):
        raise Failure(Kind.PRECONDITION, "EVIDENCE_EXPIRED", field="expires_on")


def check_marriage_dates(kind: FactKind, from_date: date | None, to_date: date | None, *, today: date) -> None:
    """A marriage has begun and may be over, nothing else has dates.

    INVALID KINSHIP_DATES_UNEXPECTED, MARRIAGE_DATE_MISSING, MARRIAGE_DATES_WRONG.
    """
    if kind is not FactKind.MARRIED_TO:
        if from_date is not None or to_date is not None:
            raise Failure(Kind.INVALID, "KINSHIP_DATES_UNEXPECTED", field="from_date")
    elif from_date is None:
        raise Failure(Kind.INVALID, "MARRIAGE_DATE_MISSING", field="from_date")
    elif from_date > today or from_date.year < BIRTH_YEAR_MIN:
        raise Failure(Kind.INVALID, "MARRIAGE_DATES_WRONG", field="from_date")
    elif to_date is not None and not from_date < to_date <= today:
        raise Failure(Kind.INVALID, "MARRIAGE_DATES_WRONG", field="to_date")


def check_person(psn_no: PsnNo, family: Family) -> None:
    """Whether a person as he is now, his birth date or death corrected, still fits the verified facts about him.

    PRECONDITION, first that applies: PARENT_NOT_OLDER, MARRIAGE_BEFORE_BIRTH or MARRIAGE_AFTER_DEATH (the day itself
    counts), SPOUSE_ALREADY (a death withdrawn after the survivor has married anew).
    """
    for _, fact in (*family.parents(psn_no), *family.children(psn_no)):
        _check_ages(fact, family)
    spouses = [spouse for spouse, _ in family.marriages(psn_no)]
    for _, fact in family.marriages(psn_no):
        _check_lived(fact, family)
    for person in (psn_no, *spouses):
        for (_, one), (_, other) in combinations(family.marriages(person), 2):
            if not is_about_the_same(one, other) and _overlap(one, other, family):
                raise Failure(Kind.PRECONDITION, "SPOUSE_ALREADY", field="psn_no")


def is_about_the_same(one: Fact, other: Fact) -> bool:
    """Whether both speak of the same parent and child, the same siblings or the same wedding."""
    if one.kind is not other.kind or one.from_date != other.from_date:
        return False
    if one.kind is FactKind.PARENT_OF:
        return (one.psn_no, one.other_psn_no) == (other.psn_no, other.other_psn_no)
    return one.pair == other.pair


def same_statement(one: Fact, other: Fact) -> bool:
    """Whether two facts say the same, whatever proves them."""
    return is_about_the_same(one, other) and one.to_date == other.to_date


def says_enough(earlier: Fact, fact: Fact) -> bool:
    """Whether a live fact says the same for at least as long: a second submission then is the first."""
    return same_statement(earlier, fact) and _outlasts(earlier, fact)


def stands_for(one: Fact, other: Fact) -> bool:
    """Whether, of two live facts that say the same, this one makes the other needless: it counts as much, and as long.

    What is verified counts, what waits does not yet.
    """
    counts = one.state is FactState.VERIFIED or other.state is FactState.SUBMITTED
    return counts and says_enough(one, other)


def takes_place_of(fact: Fact, earlier: Fact) -> bool:
    """Whether this one, verified, ends the earlier one: the same wedding with another end, or a longer proof."""
    if fact.fact_id == earlier.fact_id or not is_about_the_same(fact, earlier):
        return False
    return fact.to_date != earlier.to_date or _outlasts(fact, earlier)


def check_review(state: FactState, wanted: FactState, *, cause: str) -> None:
    """Whether an officer may take a fact from one state to another, first that applies.

    PRECONDITION FACT_NOT_REVIEWABLE (only submitted → verified or rejected, verified → revoked); INVALID CAUSE_MISSING
    to reject or revoke.
    """
    if (state, wanted) not in _REVIEWS:
        raise Failure(Kind.PRECONDITION, "FACT_NOT_REVIEWABLE", state=state.value)
    if wanted is not FactState.VERIFIED and not cause.strip():
        raise Failure(Kind.INVALID, "CAUSE_MISSING", field="cause")


def _check_issued(issued_on: date | None, *, today: date) -> None:
    if issued_on is not None and issued_on > today:
        raise Failure(Kind.INVALID, "EVIDENCE_DATES_WRONG", field="issued_on")


def _expires_rightly(fact: Fact) -> bool:
    if fact.expires_on is None:
        return True
    if fact.issued_on is not None and fact.expires_on <= fact.issued_on:
        return False
    if fact.evidence is not Evidence.COMMITMENT or fact.issued_on is None:
        return True
    return fact.expires_on <= fact.issued_on + timedelta(days=COMMITMENT_DAYS)


def _check_ages(parent_of: Fact, family: Family) -> None:
    if family.people[parent_of.psn_no].brdy >= family.people[parent_of.other_psn_no].brdy:
        raise Failure(Kind.PRECONDITION, "PARENT_NOT_OLDER", field="psn_no")


def _check_lived(marriage: Fact, family: Family) -> None:
    begin, death = marriage.from_date or date.min, family.death_of(marriage)
    if any(begin <= family.people[psn_no].brdy for psn_no in marriage.pair):
        raise Failure(Kind.PRECONDITION, "MARRIAGE_BEFORE_BIRTH", field="from_date")
    if death is not None and begin >= death:
        raise Failure(Kind.PRECONDITION, "MARRIAGE_AFTER_DEATH", field="from_date")


def _ancestors(psn_no: PsnNo, family: Family) -> set[PsnNo]:
    found: set[PsnNo] = set()
    waiting = [psn_no]
    while waiting:
        for parent, _ in family.parents(waiting.pop()):
            if parent not in found:
                found.add(parent)
                waiting.append(parent)
    return found


def _outlasts(one: Fact, other: Fact) -> bool:
    """Whether the one proves at least as long as the other."""
    return (one.expires_on or date.max) >= (other.expires_on or date.max)


def _overlap(one: Fact, other: Fact, family: Family) -> bool:
    first = max(one.from_date or date.min, other.from_date or date.min)
    return first < min(family.end_of(one) or date.max, family.end_of(other) or date.max)
