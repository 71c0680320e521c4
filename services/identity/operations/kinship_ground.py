"""The ground of a change in kinship: the people it may touch, locked, and what it gained and lost told in one go."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import relations
from services.identity.domain.holder import person_unknown
from services.identity.domain.kinship import Fact, FactState, Family, Relative
from services.identity.domain.kinship_merging import MergedFacts, merged_facts
from services.identity.domain.kinship_rules import (
    MERGED,
    Decider,
    Decision,
    check_new,
    check_person,
)
from services.identity.domain.relations import RelationChange
from services.identity.operations.telling import tell
from services.identity.store import kinship as store
from services.identity.wire import kinship as wire

ATTEMPTS_MAX: Final = 5
"""So often a family may grow between looking at it and locking it; each time somebody else has verified a fact."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The people whose relations a change may touch, locked until the transaction ends, and every live fact of theirs.

    ``within_reach`` holds all people whose relation to somebody may change, so two changes that touch one relation
    wait for each other, whichever facts they are about.
    """

    within_reach: frozenset[PsnNo]
    family: Family
    live: tuple[Fact, ...]

    def person(self, psn_no: PsnNo, *, field: str = "psn_no") -> Relative:
        """Someone on the ground; PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED (PRECONDITION)."""
        return on_record(self.family.people, psn_no, field=field)

    def facts_of(self, psn_no: PsnNo) -> list[Fact]:
        """The live facts that name somebody, the oldest first."""
        return sorted((fact for fact in self.live if psn_no in fact.pair), key=lambda fact: fact.fact_id)


def on_record(people: Mapping[PsnNo, Relative], psn_no: PsnNo, *, field: str) -> Relative:
    """Someone of whom a fact may be written; PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED (PRECONDITION)."""
    found = people.get(psn_no)
    if found is None:
        raise person_unknown(field)
    if found.merged_into is not None:
        raise Failure(Kind.PRECONDITION, "PERSON_MERGED", field=field)
    return found


async def locked_ground(connection: AsyncConnection, psn_nos: Iterable[PsnNo], *, steps: int = 1) -> Ground:
    """The ground of a change about these people. Call it before any other lock of the transaction is taken.

    ``steps`` is how far the change reaches: one around a fact or a person, two where all facts of a record move.
    People are locked in the order of their numbers. Who is within reach is known for certain only once they are
    locked; if the family has grown meanwhile, all locks are let go and taken anew. KINSHIP_BUSY (CONFLICT) if it grows
    ``ATTEMPTS_MAX`` times.
    """
    centre = frozenset(psn_nos)
    for _ in range(ATTEMPTS_MAX):
        wanted = centre
        for _ in range(steps):
            wanted = relations.reach(wanted, Family(await store.live_facts(connection, wanted), {}))
        savepoint = await connection.begin_nested()
        await store.relatives(connection, wanted, lock=True)
        live = await store.live_facts(connection, wanted)
        everyone = wanted.union(*(fact.pair for fact in live))
        people = await store.relatives(connection, everyone)
        family = Family(live, people)
        reached = centre
        for _ in range(steps):
            reached = relations.reach(reached, family)
        if reached <= wanted:
            await savepoint.commit()
            return Ground(wanted, family, tuple(live))
        await savepoint.rollback()
    raise Failure(Kind.CONFLICT, "KINSHIP_BUSY")


async def decide(
    connection: AsyncConnection,
    ground: Ground,
    decisions: Sequence[tuple[Fact, Decision]],
    *,
    now: datetime,
    randomness: Randomness,
) -> None:
    """Writes decisions about facts on this ground; the first one's event tells every relation gained and lost.

    A fact on which nothing ever rested (submitted, then rejected or expired) is not told of.
    """
    told = []
    after = []
    versions = await store.versions(connection, (fact.fact_id for fact, _ in decisions))
    for fact, decision in decisions:
        decided = replace(fact, state=decision.state)
        rests = FactState.VERIFIED in {fact.state, decision.state}
        version = versions[fact.fact_id] + rests
        await store.save_decision(connection, fact, decision, version=version, now=now)
        after.append(decided)
        if rests:
            told.append((decided, version))
    if told:
        about = frozenset[PsnNo]().union(*(fact.pair for fact, _ in decisions))
        lost_and_gained = _changes(ground, about, ground.family.with_facts(after), now=now)
        by_fact = {told[0][0].fact_id: lost_and_gained}
        await _tell(connection, told, by_fact, now=now, randomness=randomness)


async def follow_person(
    connection: AsyncConnection, ground: Ground, after: Relative, *, now: datetime, randomness: Randomness
) -> None:
    """Tells what a person's death, its withdrawal, or a corrected birth date or sex does to relations.

    The ground is that of this person, taken before his own row was changed. A marriage ends with the death of either,
    so a survivor's is told as lost. Refusals as ``check_person``.
    """
    family = ground.family.with_person(after)
    check_person(after.psn_no, family)
    by_fact: dict[UUID, tuple[RelationChange, ...]] = {}
    # Whose child somebody's child is to his parents hangs on his sex.
    about = {after.psn_no, *(parent for parent, _ in family.parents(after.psn_no))}
    for change in _changes(ground, about, family, now=now):
        fact = relations.told_with(change, after.psn_no, family)
        by_fact[fact.fact_id] = (*by_fact.get(fact.fact_id, ()), change)
    versions = await store.versions(connection, by_fact)
    told = [(family.facts[fact_id], versions[fact_id] + 1) for fact_id in sorted(by_fact)]
    for fact, version in told:
        await store.save_fact(connection, fact, version=version)
    await _tell(connection, told, by_fact, now=now, randomness=randomness)


async def merge_facts(
    connection: AsyncConnection, ground: Ground, *, keep: PsnNo, double: PsnNo, now: datetime, randomness: Randomness
) -> None:
    """Gives the facts of a double to the record that is kept; the same fact twice becomes one.

    The ground is that of both, two steps wide. What contradicts raises as ``check_new`` does (a fact between the two
    would name one person twice: KINSHIP_WITH_SELF), and nothing may be kept of the transaction then.
    """
    gone = ground.facts_of(double)
    sorted_out = merged_facts(ground.facts_of(keep), gone, keep=keep, double=double)
    rest = ground.family.with_facts(
        replace(fact, state=FactState.REVOKED) for fact in (*sorted_out.ended, *sorted_out.moved)
    )
    for fact in sorted_out.moved:
        rest = await _checked_beside(connection, fact, rest, now=now)
    told = await _keep_merged(connection, sorted_out, now=now)
    if told:
        about = {keep, *(psn_no for fact in (*gone, *sorted_out.ended) for psn_no in fact.pair)}
        by_fact = {told[0][0].fact_id: _changes(ground, about, rest, now=now)}
        await _tell(connection, told, by_fact, now=now, randomness=randomness)


async def _keep_merged(connection: AsyncConnection, merged: MergedFacts, *, now: datetime) -> list[tuple[Fact, int]]:
    """Writes what became of the facts; those on which relations rest or rested, each with its version."""
    both = (*merged.ended, *merged.moved)
    versions = await store.versions(connection, (fact.fact_id for fact in both))
    told: list[tuple[Fact, int]] = []
    for fact in merged.ended:
        decision = _merged(fact)
        rested = fact.state is FactState.VERIFIED
        version = versions[fact.fact_id] + rested
        await store.save_decision(connection, fact, decision, version=version, now=now)
        if rested:
            told.append((replace(fact, state=decision.state), version))
    for fact in merged.moved:
        rests = fact.state is FactState.VERIFIED
        version = versions[fact.fact_id] + rests
        await store.save_fact(connection, fact, version=version)
        if rests:
            told.append((fact, version))
    return told


async def _checked_beside(connection: AsyncConnection, fact: Fact, family: Family, *, now: datetime) -> Family:
    """The family with one more fact, if that can be true in it; one that merely waits is judged when it is verified."""
    if fact.psn_no == fact.other_psn_no:
        raise Failure(Kind.INVALID, "KINSHIP_WITH_SELF", field="psn_no")
    if fact.state is not FactState.VERIFIED:
        return family
    above = Family(await store.facts_above(connection, fact.psn_no), family.people)
    wider = Family((above.facts | family.facts).values(), family.people)
    check_new(replace(fact, expires_on=None), family=wider, today=business_date(now))
    return family.with_facts([fact])


def _merged(fact: Fact) -> Decision:
    state = FactState.REVOKED if fact.state is FactState.VERIFIED else FactState.REJECTED
    return Decision(state, Decider.ROOM, cause=MERGED)


def _changes(ground: Ground, about: Collection[PsnNo], after: Family, *, now: datetime) -> tuple[RelationChange, ...]:
    return relations.changes(about, ground.within_reach, ground.family, after, on_date=business_date(now))


async def _tell(
    connection: AsyncConnection,
    told: Sequence[tuple[Fact, int]],
    by_fact: Mapping[UUID, Sequence[RelationChange]],
    *,
    now: datetime,
    randomness: Randomness,
) -> None:
    drafts = [
        wire.kinship_changed(fact, version=version, relations=by_fact.get(fact.fact_id, ())) for fact, version in told
    ]
    await tell(connection, drafts, now=now, randomness=randomness)
