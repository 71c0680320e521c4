"""Kinship facts: submitted, reviewed, and asked for a relation."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.clock import business_date
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import kinship as rules
from services.identity.domain.kinship import Fact, FactKind, Facts, FactState, Kinship, Relative
from services.identity.operations.drawn import new_id
from services.identity.store import events
from services.identity.store import kinship as store
from services.identity.wire import kinship as wire

REPLACED: Final = "REPLACED"
"""The cause of a marriage fact that fell because the same marriage was verified with another end."""


async def submit_fact(*, database: Database, fact: Fact, now: datetime) -> Fact:
    """The submitted fact, or the live one that says the same already.

    Refusals in this order: what ``check_form`` lists, PERSON_UNKNOWN (NOT_FOUND, with the field), the rest of
    ``check_new``.
    """
    today = business_date(now)
    rules.check_form(fact, today=today)
    async with database.transaction() as connection:
        person, other = await _pair(connection, fact, lock=True)
        near = await store.live_facts(connection, fact.pair)
        earlier = next((each for each in near if rules.same_statement(each, fact)), None)
        if earlier is not None:
            return earlier
        await _check_new(connection, fact, person, other, near, today=today)
        await store.insert_fact(connection, fact, now=now)
        return fact


async def review_fact(
    *, database: Database, fact_id: UUID, state: FactState, cause: str, now: datetime, randomness: Randomness
) -> FactState:
    """The fact's state after an officer's decision; the same decision again changes nothing.

    FACT_UNKNOWN (NOT_FOUND), then as ``check_review``, then, to verify, as ``check_new``. Verifying and revoking are
    told; a marriage verified with another end takes the place of the fact it corrects, which falls.
    """
    async with database.transaction() as connection:
        known = await store.load_fact(connection, fact_id)
        if known is None:
            raise Failure(Kind.NOT_FOUND, "FACT_UNKNOWN", field="fact_id")
        # People before facts, in the order of their numbers: whoever judges facts about the same two waits here.
        person, other = await _pair(connection, known[0], lock=True)
        locked = await store.load_fact(connection, fact_id, lock=True)
        if locked is None:
            raise Failure(Kind.NOT_FOUND, "FACT_UNKNOWN", field="fact_id")
        fact, version = locked
        if fact.state is state:
            return state
        rules.check_review(fact.state, state, cause=cause)
        if state is FactState.VERIFIED:
            near = await store.live_facts(connection, fact.pair)
            await _check_new(connection, fact, person, other, near, today=business_date(now))
            for corrected in near:
                if corrected.state is FactState.VERIFIED and rules.replaces(fact, corrected):
                    await _revoke_replaced(connection, corrected.fact_id, now=now, randomness=randomness)
        decided = replace(fact, state=state)
        await _write(connection, decided, version, cause=cause, now=now, randomness=randomness)
        return state


async def verify_kinship(*, database: Database, psn_no: PsnNo, other_psn_no: PsnNo, on_date: date) -> Kinship:
    """What the one is to the other on a date; PERSON_UNKNOWN (NOT_FOUND, with the field)."""
    async with database.transaction() as connection:
        found = await store.relatives(connection, {psn_no, other_psn_no})
        _known(found, psn_no, "psn_no")
        _known(found, other_psn_no, "other_psn_no")
        near = await store.facts_around(connection, psn_no, other_psn_no)
        parents = {fact.psn_no for fact in near if fact.kind is FactKind.PARENT_OF}
        sexes = {each.psn_no: each.sex for each in (await store.relatives(connection, parents)).values()}
    return rules.kinship(psn_no, other_psn_no, on_date=on_date, facts=Facts(near), sexes=sexes)


async def _check_new(
    connection: AsyncConnection, fact: Fact, person: Relative, other: Relative, near: list[Fact], *, today: date
) -> None:
    above = await store.facts_above(connection, fact.psn_no) if fact.kind is FactKind.PARENT_OF else []
    facts = {each.fact_id: each for each in (*near, *above)}
    rules.check_new(fact, person=person, other=other, facts=Facts(facts.values()), today=today)


async def _revoke_replaced(
    connection: AsyncConnection, fact_id: UUID, *, now: datetime, randomness: Randomness
) -> None:
    locked = await store.load_fact(connection, fact_id, lock=True)
    if locked is not None and locked[0].state is FactState.VERIFIED:
        fallen = replace(locked[0], state=FactState.REVOKED)
        await _write(connection, fallen, locked[1], cause=REPLACED, now=now, randomness=randomness)


async def _write(
    connection: AsyncConnection, fact: Fact, version: int, *, cause: str, now: datetime, randomness: Randomness
) -> None:
    """Writes a decided fact; tells of it unless it was rejected, since nothing ever rested on it then."""
    told = fact.state is not FactState.REJECTED
    version += told
    await store.review_fact(connection, fact.fact_id, fact.state, cause=cause, version=version, now=now)
    if told:
        event_id = new_id(now, randomness)
        await events.tell(connection, [wire.kinship_changed(fact, version=version, event_id=event_id, now=now)])


async def _pair(connection: AsyncConnection, fact: Fact, *, lock: bool) -> tuple[Relative, Relative]:
    found = await store.relatives(connection, fact.pair, lock=lock)
    return _known(found, fact.psn_no, "psn_no"), _known(found, fact.other_psn_no, "other_psn_no")


def _known(found: dict[PsnNo, Relative], psn_no: PsnNo, field: str) -> Relative:
    if psn_no not in found:
        raise Failure(Kind.NOT_FOUND, "PERSON_UNKNOWN", field=field)
    return found[psn_no]
