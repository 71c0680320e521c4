"""Sanctions: imposed and lifted."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain.person import Person, known, with_sanctions
from services.identity.domain.sanction import Sanction, check_term, lifted, same_decision
from services.identity.operations.drawn import new_id
from services.identity.store import events, people
from services.identity.store import sanctions as store
from services.identity.wire import people as wire


async def impose_sanction(
    *, database: Database, psn_no: PsnNo, sanction: Sanction, now: datetime, randomness: Randomness
) -> tuple[UUID, Person]:
    """The sanction's id and the person. The same decision again changes nothing and gives the first id.

    SANCTION_TERM_OUT_OF_RANGE, PERSON_UNKNOWN, SANCTION_DECISION_DIFFERS (EXISTS: the decision says something else).
    """
    check_term(sanction.from_at, sanction.to_at)
    async with database.transaction() as connection:
        before = known(await people.load_person(connection, psn_no, lock=True))
        if not await store.insert_sanction(connection, psn_no, sanction, now=now):
            earlier_psn_no, earlier = await store.sanction_of_decision(connection, sanction.decision_no)
            if earlier_psn_no != psn_no or not same_decision(earlier, sanction):
                raise Failure(Kind.EXISTS, "SANCTION_DECISION_DIFFERS", field="decision_no")
            return earlier.sanction_id, before
        after = with_sanctions(before, (*before.sanctions, sanction))
        await people.save_person(connection, before, after, now=now)
        await _tell(connection, after, now=now, randomness=randomness)
        return sanction.sanction_id, after


async def lift_sanction(
    *, database: Database, sanction_id: UUID, cause: str, now: datetime, randomness: Randomness
) -> Person:
    """The person without the sanction; SANCTION_UNKNOWN (NOT_FOUND), SANCTION_OVER. Lifting again changes nothing."""
    async with database.transaction() as connection:
        psn_no = await store.sanctioned_person(connection, sanction_id)
        if psn_no is None:
            raise Failure(Kind.NOT_FOUND, "SANCTION_UNKNOWN", field="sanction_id")
        before = known(await people.load_person(connection, psn_no, lock=True))
        after = with_sanctions(
            before,
            tuple(lifted(each, now=now) if each.sanction_id == sanction_id else each for each in before.sanctions),
        )
        if after is not before:
            await store.lift_sanction(connection, sanction_id, cause=cause, now=now)
            await people.save_person(connection, before, after, now=now)
            await _tell(connection, after, now=now, randomness=randomness)
        return after


async def _tell(connection: AsyncConnection, person: Person, *, now: datetime, randomness: Randomness) -> None:
    event_id = new_id(now, randomness)
    await events.tell(connection, [wire.person_changed(person, event_id=event_id, now=now)])
