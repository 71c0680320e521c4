"""Kinship facts: submitted, checked with the civil registry, reviewed, expired, and asked for a relation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, Protocol
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import kinship_rules as rules
from services.identity.domain.holder import person_unknown
from services.identity.domain.kinship import Fact, FactKind, FactState, Family, Kinship, kinship
from services.identity.domain.kinship_rules import Decider, Decision
from services.identity.domain.registry import Finding
from services.identity.domain.review import ShownFact
from services.identity.operations import lookups
from services.identity.operations.kinship_ground import Ground, decide, locked_ground, on_record
from services.identity.store import kinship as store
from services.identity.store import kinship_lists as lists
from services.identity.store.kinship import KeptFact

REVIEW: Final = "KINSHIP_REVIEW"
"""The purpose in the audit when an officer sees whom a fact speaks of."""
SUBMITTED: Final = "KINSHIP_SUBMITTED"
"""The purpose in the audit when a fact was submitted, which the registry or a refusal says something to."""
DECIDED: Final = "KINSHIP_DECIDED"
"""The purpose in the audit when a fact was decided about, or the registry asked again."""
KINSHIP_ASKED: Final = "KINSHIP_ASKED"
"""The purpose in the audit when somebody asks what two people are to each other."""
EXPIRED_AT_ONCE_MAX: Final = 200


class Registry(Protocol):
    """The civil registry, however it is asked: today by its batch file, tomorrow perhaps by a call."""

    async def check(self, fact: Fact) -> Finding:
        """What it says of a fact; Failure of kind UNAVAILABLE or DEADLINE if it cannot be asked just now."""
        ...


@dataclass(frozen=True, slots=True)
class Checked:
    """A fact after the registry was asked; ``obstacle`` is why it contradicts what is on record though confirmed."""

    fact: Fact
    finding: Finding | None
    obstacle: str = ""


async def submit_fact(
    *,
    database: Database,
    registry: Registry,
    fact: Fact,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> Checked:
    """The submitted fact, or the live one that says the same for at least as long; the registry is asked once.

    A registry that is away keeps nobody from submitting: the fact waits for an officer, without a finding.
    Refusals in this order: what ``check_form`` lists, PERSON_UNKNOWN (NOT_FOUND, with the field), PERSON_MERGED
    (PRECONDITION), the rest of ``check_new``.
    """
    today = business_date(now)
    fact = rules.dated(fact, today=today)
    rules.check_form(fact, today=today)
    async with lookups.on_record(database, purpose=SUBMITTED, asked_by=asked_by, now=now) as (connection, met):
        met.update(fact.pair)
        people = await store.relatives(connection, fact.pair, lock=True)
        on_record(people, fact.psn_no, field="psn_no")
        on_record(people, fact.other_psn_no, field="other_psn_no")
        live = await store.live_facts(connection, fact.pair)
        earlier = next((each for each in live if rules.says_enough(each, fact)), None)
        if earlier is None:
            spouses = {each.other_than(psn_no) for psn_no in fact.pair for each in live if psn_no in each.pair}
            people |= await store.relatives(connection, spouses - people.keys())
            await _check_new(connection, fact, Family(live, people), today=today)
            await store.insert_fact(connection, fact, asked_by=asked_by, now=now)
            earlier = fact
        kept = _kept(await store.load_fact(connection, earlier.fact_id))
    if kept.fact.state is not FactState.SUBMITTED or kept.finding is not None:
        return Checked(kept.fact, kept.finding)
    try:
        finding = await registry.check(kept.fact)
    except Failure as failure:
        if failure.kind not in {Kind.UNAVAILABLE, Kind.DEADLINE}:
            raise
        return Checked(kept.fact, None)
    return await _follow_finding(database, kept.fact.fact_id, finding, now=now, randomness=randomness)


async def check_with_registry(
    *,
    database: Database,
    registry: Registry,
    fact_id: UUID,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> Checked:
    """Asks the registry about a submitted fact: what it confirms is verified, what it denies waits with the finding.

    FACT_UNKNOWN (NOT_FOUND), FACT_NOT_REVIEWABLE (PRECONDITION) unless it is submitted. A confirmed fact that
    contradicts those on record stays for an officer, with the contradiction's reason.
    """
    async with lookups.on_record(database, purpose=DECIDED, asked_by=asked_by, now=now) as (connection, met):
        waiting = _kept(await store.load_fact(connection, fact_id)).fact
        met.update(waiting.pair)
        rules.check_review(waiting.state, FactState.VERIFIED, cause="")
    # No transaction is open while a registry is asked: it may take its time.
    finding = await registry.check(waiting)
    return await _follow_finding(database, fact_id, finding, now=now, randomness=randomness)


async def check_waiting(
    *, database: Database, registry: Registry, fact_ids: Iterable[UUID], now: datetime, randomness: Randomness
) -> None:
    """Asks the registry about facts that wait, as ``check_with_registry`` does; one decided meanwhile is left alone.

    Nobody is shown whom they speak of, so no look-up is on record.
    """
    for fact_id in fact_ids:
        async with database.transaction() as connection:
            waiting = _kept(await store.load_fact(connection, fact_id)).fact
        if waiting.state is FactState.SUBMITTED:
            finding = await registry.check(waiting)
            await _follow_finding(database, fact_id, finding, now=now, randomness=randomness)


async def review_fact(
    *,
    database: Database,
    fact_id: UUID,
    decision: Decision,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> FactState:
    """The fact's state after an officer's decision; the same decision again changes nothing.

    FACT_UNKNOWN (NOT_FOUND), then as ``check_review``, then, to verify, PERSON_MERGED and as ``check_new``. Verifying
    and revoking are told with every relation gained and lost. A marriage verified with another end, and a fact verified
    by a document that counts longer, take the place of the fact that said so before, which falls.
    """
    async with lookups.on_record(database, purpose=DECIDED, asked_by=asked_by, now=now) as (connection, met):
        ground, kept = await _grounded(connection, fact_id)
        fact = kept.fact
        met.update(fact.pair)
        if fact.state is decision.state:
            return fact.state
        rules.check_review(fact.state, decision.state, cause=decision.cause)
        if decision.state is FactState.VERIFIED:
            ground.person(fact.psn_no, field="psn_no")
            ground.person(fact.other_psn_no, field="other_psn_no")
            await _check_new(connection, fact, ground.family, today=business_date(now))
            await _verify(connection, ground, fact, decision, now=now, randomness=randomness)
        else:
            await decide(connection, ground, [(fact, decision)], now=now, randomness=randomness)
        return decision.state


async def expire_fact(*, database: Database, fact_id: UUID, now: datetime, randomness: Randomness) -> bool:
    """Ends a live fact whose document proves nothing any more, and tells what rested on it; whether it was so."""
    async with database.transaction() as connection:
        ground, kept = await _grounded(connection, fact_id)
        fact = kept.fact
        live = fact.state in {FactState.SUBMITTED, FactState.VERIFIED}
        if not live or fact.proves_on(business_date(now)):
            return False
        decision = Decision(FactState.EXPIRED, Decider.ROOM, cause=rules.EXPIRED)
        await decide(connection, ground, [(fact, decision)], now=now, randomness=randomness)
        return True


async def expire_due(*, database: Database, now: datetime, randomness: Randomness) -> int:
    """Ends all live facts whose document proves nothing any more, as ``expire_fact``; how many were so."""
    ended = 0
    while True:
        async with database.transaction() as connection:
            due = await store.expired_facts(connection, today=business_date(now), limit=EXPIRED_AT_ONCE_MAX)
        for fact_id in due:
            ended += await expire_fact(database=database, fact_id=fact_id, now=now, randomness=randomness)
        if len(due) < EXPIRED_AT_ONCE_MAX:
            return ended


async def verify_kinship(
    *,
    database: Database,
    psn_no: PsnNo,
    other_psn_no: PsnNo,
    now: datetime,
    on_date: date | None = None,
    asked_by: str | None = None,
) -> Kinship:
    """What the one is to the other on a date, today unless another is given; PERSON_UNKNOWN (NOT_FOUND).

    Marriages and deaths are judged on that date, documents as of now, and of that date if it is still to come: what is
    proven no more proves nothing of the past either. One statement, whoever is asked about; and one that puts the
    look-up of both on record before anything is told, unless the room asks itself (``asked_by`` is None).
    """
    today = business_date(now)
    asked_day = on_date or today
    async with database.driver_connection() as driver:
        facts, people = await store.family_around(driver, {psn_no, other_psn_no})
        for number, field in ((psn_no, "psn_no"), (other_psn_no, "other_psn_no")):
            if number not in people:
                raise person_unknown(field)
        if asked_by is not None:
            await lookups.record_by_driver(
                driver, (psn_no, other_psn_no), purpose=KINSHIP_ASKED, asked_by=asked_by, now=now
            )
    family = Family((fact for fact in facts if fact.proves_on(max(today, asked_day))), people)
    return kinship(psn_no, other_psn_no, on_date=asked_day, family=family)


async def get_fact(*, database: Database, fact_id: UUID, asked_by: str, now: datetime) -> ShownFact:
    """A fact with its decisions; both people's look-up is on record. FACT_UNKNOWN (NOT_FOUND)."""
    async with database.transaction() as connection:
        shown = await lists.one(connection, fact_id)
        if shown is None:
            raise _unknown()
        await _audit(connection, [shown], set(), asked_by=asked_by, now=now)
        return shown


async def list_reviews(
    *, database: Database, after: tuple[datetime, UUID] | None, size: int, asked_by: str, now: datetime
) -> tuple[list[ShownFact], bool]:
    """A page of the submitted facts behind this one, the one that has waited longest first, and whether more follow.

    The look-ups are on record.
    """
    async with database.transaction() as connection:
        found = await lists.waiting(connection, after=after, limit=size + 1)
        page = found[:size]
        await _audit(connection, page, set(), asked_by=asked_by, now=now)
        return page, len(found) > size


async def list_facts(
    *, database: Database, psn_no: PsnNo, after: UUID | None, size: int, asked_by: str, now: datetime
) -> tuple[list[ShownFact], bool]:
    """A page of a person's facts behind this one in any state, with their decisions, and whether more follow.

    PERSON_UNKNOWN (NOT_FOUND). The look-ups are on record.
    """
    async with database.transaction() as connection:
        if not await store.relatives(connection, {psn_no}):
            raise person_unknown()
        found = await lists.of_person(connection, psn_no, after=after, limit=size + 1)
        page = found[:size]
        await _audit(connection, page, {psn_no}, asked_by=asked_by, now=now)
        return page, len(found) > size


async def _follow_finding(
    database: Database, fact_id: UUID, finding: Finding, *, now: datetime, randomness: Randomness
) -> Checked:
    """Keeps the finding and verifies what was confirmed; whoever decided meanwhile is left alone."""
    async with database.transaction() as connection:
        ground, kept = await _grounded(connection, fact_id)
        if kept.fact.state is not FactState.SUBMITTED:
            return Checked(kept.fact, kept.finding)
        await store.save_finding(connection, fact_id, finding)
        if finding is not Finding.CONFIRMED:
            return Checked(kept.fact, finding)
        try:
            await _check_new(connection, kept.fact, ground.family, today=business_date(now))
        except Failure as failure:
            return Checked(kept.fact, finding, obstacle=failure.reason)
        decision = Decision(FactState.VERIFIED, Decider.REGISTRY)
        await _verify(connection, ground, kept.fact, decision, now=now, randomness=randomness)
        return Checked(_kept(await store.load_fact(connection, fact_id)).fact, finding)


async def _grounded(connection: AsyncConnection, fact_id: UUID) -> tuple[Ground, KeptFact]:
    """The locked ground of a fact, and the fact as it is once nobody else can change it."""
    before = _kept(await store.load_fact(connection, fact_id)).fact
    ground = await locked_ground(connection, before.pair)
    kept = _kept(await store.load_fact(connection, fact_id, lock=True))
    if kept.fact.pair != before.pair:
        # Two records became one while we waited, and the fact went to the other: this is not its ground.
        raise Failure(Kind.CONFLICT, "KINSHIP_BUSY")
    return ground, kept


async def _verify(
    connection: AsyncConnection,
    ground: Ground,
    fact: Fact,
    decision: Decision,
    *,
    now: datetime,
    randomness: Randomness,
) -> None:
    replaced = [
        (each, Decision(FactState.REVOKED, Decider.ROOM, cause=rules.REPLACED))
        for each in ground.family.facts.values()
        if rules.takes_place_of(fact, each)
    ]
    await decide(connection, ground, [(fact, decision), *replaced], now=now, randomness=randomness)


async def _check_new(connection: AsyncConnection, fact: Fact, family: Family, *, today: date) -> None:
    above = await store.facts_above(connection, fact.psn_no) if fact.kind is FactKind.PARENT_OF else []
    rules.check_new(fact, family=family.with_facts(above), today=today)


async def _audit(
    connection: AsyncConnection, shown: list[ShownFact], asked_about: set[PsnNo], *, asked_by: str, now: datetime
) -> None:
    seen = asked_about | {party.psn_no for each in shown for party in (each.person, each.other)}
    await lookups.record(connection, seen, purpose=REVIEW, asked_by=asked_by, now=now)


def _kept(found: KeptFact | None) -> KeptFact:
    if found is None:
        raise _unknown()
    return found


def _unknown() -> Failure:
    return Failure(Kind.NOT_FOUND, "FACT_UNKNOWN", field="fact_id")
