"""How people go from a group: a small saga over all their bindings in it.

One transaction says that somebody goes and ends his bindings for new bills; the ledgers are told; and whoever finds
that they have closed them all, the request or the sweep in ``recovery.py``, lets him go. Each step follows from the
rows, so whoever dies in between loses nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from chassis.db import Database
from kernel.ids import BindingId, GroupId, PsnNo, time_ordered_uuid
from kernel.policy import PolicySet
from kernel.randomness import Randomness
from services.family import wire
from services.family.clients import Identity, Ledgers
from services.family.domain.bindings import Binding, ended
from services.family.domain.counter import Counter, Deed, refuse_unseen
from services.family.domain.groups import Group, GroupState
from services.family.domain.leaving import (
    Cause,
    Departure,
    bindings_of,
    refuse_dissolving,
    refuse_leaving,
    refuse_removing,
)
from services.family.domain.people import Person
from services.family.domain.succession import refuse_ending
from services.family.operations import bindings
from services.family.operations.acting import refuse_stranger
from services.family.operations.groups import known_group
from services.family.operations.invitations import withdraw_of
from services.family.operations.people import People
from services.family.store import bindings as binding_store
from services.family.store import counter as counter_store
from services.family.store import departures as store

FINISHED_MAX: Final = 50
"""From how many groups one sweep lets people go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What leaving works with: the room's database, whom it asks and tells, the policies of the day."""

    database: Database
    people: People
    identity: Identity
    ledgers: Ledgers
    policies: PolicySet
    randomness: Randomness


@dataclass(frozen=True, slots=True)
class LeaveAsked:
    """Who goes, LEFT or REMOVED, who says so, and before which officer."""

    group_id: GroupId
    psn_no: PsnNo
    cause: Cause
    by: PsnNo
    counter: Counter | None


async def leave(desk: Desk, *, asked: LeaveAsked, now: datetime) -> Departure:
    """A member's departure: done, or going on while a ledger is silent. The same again gives the same departure.

    GROUP_UNKNOWN; of who leaves MINOR_ACTS_THROUGH_PARENT, NOT_THE_GUARDIAN, then as ``refuse_leaving``; of who is
    removed as ``refuse_removing``; at a counter those of ``refuse_unseen``.
    """
    leaves = asked.cause is Cause.LEFT
    if leaves:
        await refuse_stranger(
            people=desk.people,
            identity=desk.identity,
            policies=desk.policies,
            person=asked.psn_no,
            by=asked.by,
            now=now,
        )

    async def decide(known: Mapping[PsnNo, Person]) -> tuple[Departure, list[Binding]]:
        async with desk.database.transaction() as connection:
            group = await known_group(connection, asked.group_id, lock=True)
            if not leaves:
                refuse_dissolving(group, by=asked.by)
            former = await store.latest_of(connection, asked.group_id, asked.psn_no)
            if former is not None and (former.done_at is None or not group.has(asked.psn_no)):
                return former, []
            if leaves:
                refuse_leaving(group, asked.psn_no)
            else:
                refuse_removing(group, asked.psn_no, by=asked.by)
            refuse_unseen(asked.counter, [known[asked.by]], beside={asked.psn_no}, policies=desk.policies, now=now)
            departure = _departure(desk, group, asked.psn_no, asked.cause, asked.by, now=now)
            deed = Deed.LEAVE if leaves else Deed.REMOVE
            await counter_store.record(connection, asked.counter, deed, f"departure:{departure.departure_id}", now=now)
            await withdraw_of(connection, group, asked.psn_no, now=now)
            return departure, await _begin(connection, departure, now=now)

    departure, closing = await desk.people.decide([asked.by], decide)
    done = await _close_and_finish(desk, asked.group_id, closing, now=now)
    return done.get(departure.departure_id, departure)


async def dissolve(
    desk: Desk, *, group_id: GroupId, by: PsnNo, counter: Counter | None, now: datetime
) -> tuple[GroupState, Sequence[Departure]]:
    """Where the group stands and how its members go; the same again begins nothing anew.

    GROUP_UNKNOWN, as ``refuse_ending``, at a counter those of ``refuse_unseen``.
    """
    async with desk.database.transaction() as connection:
        founder = (await known_group(connection, group_id)).founder

    async def decide(known: Mapping[PsnNo, Person]) -> list[Binding]:
        async with desk.database.transaction() as connection:
            group = await known_group(connection, group_id, lock=True)
            former = await store.latest_of(connection, group_id, by)
            was_member = former is not None and former.cause is Cause.DISSOLVED
            refuse_ending(group, known, by=by, was_member=was_member, counter=counter)
            if group.state is not GroupState.ACTIVE:
                return []
            refuse_unseen(counter, [known[by]], beside={group.founder}, policies=desk.policies, now=now)
            await counter_store.record(connection, counter, Deed.DISSOLVE, f"group:{group_id}", now=now)
            await store.begin_dissolving(connection, group_id, now=now)
            await withdraw_of(connection, group, None, now=now)
            await binding_store.lock_group(connection, group_id)
            closing: dict[BindingId, Binding] = {}
            for member in group.members:
                if not member.leaving:
                    departure = _departure(desk, group, member.psn_no, Cause.DISSOLVED, by, now=now)
                    begun = await _begin(connection, departure, now=now)
                    closing |= {binding.binding_id: binding for binding in begun}
            return list(closing.values())

    closing = await desk.people.decide([by, founder], decide)
    await _close_and_finish(desk, group_id, closing, now=now)
    async with desk.database.transaction() as connection:
        group = await known_group(connection, group_id)
        return group.state, await store.dissolved_of(connection, group_id)


def _departure(desk: Desk, group: Group, psn_no: PsnNo, cause: Cause, by: PsnNo, *, now: datetime) -> Departure:
    member = next(member for member in group.members if member.psn_no == psn_no)
    departure_id = time_ordered_uuid(now, desk.randomness)
    return Departure(departure_id, group.group_id, psn_no, cause, by, now, member.version + 1)


async def _begin(connection: AsyncConnection, departure: Departure, *, now: datetime) -> list[Binding]:
    """Says that he is going and ends his bindings for new bills; those that a ledger has still to close."""
    await store.add(connection, departure)
    kept = bindings_of(
        departure.psn_no, await binding_store.lock_in_group(connection, departure.group_id, departure.psn_no)
    )
    return [
        await bindings.save(connection, ended(binding, now=now), now=now) if binding.is_live else binding
        for binding in kept
    ]


async def _close_and_finish(
    desk: Desk, group_id: GroupId, closing: Sequence[Binding], *, now: datetime
) -> dict[UUID, Departure]:
    # All at once: a silent ledger keeps only its own waiting.
    await asyncio.gather(
        *(bindings.drive(database=desk.database, ledgers=desk.ledgers, binding=binding, now=now) for binding in closing)
    )
    return {one.departure_id: one for one in await finish(database=desk.database, group_id=group_id, now=now)}


async def finish(*, database: Database, group_id: GroupId, now: datetime) -> list[Departure]:
    """Lets those go from the group whose bindings in it the ledgers have closed, and says so; who they were."""
    done = []
    async with database.transaction() as connection:
        group = await known_group(connection, group_id, lock=True)
        remaining = [member.psn_no for member in group.members]
        for departure in await store.let_go(connection, group_id):
            await store.finish(connection, departure, now=now)
            remaining.remove(departure.psn_no)
            others = [] if departure.cause is Cause.DISSOLVED else list(remaining)
            done.append(replace(departure, done_at=now))
            await outbox.put(connection, [wire.outgoing(wire.departure_event(done[-1], others))])
        await store.finish_dissolving(connection, group_id, now=now)
    return done


async def finish_all(*, database: Database, now: datetime) -> int:
    """Lets everybody go whom the ledgers have let go; how many. Finds what a request left when it died."""
    async with database.transaction() as connection:
        group_ids = await store.groups_to_finish(connection, rows_max=FINISHED_MAX)
    return sum([len(await finish(database=database, group_id=group_id, now=now)) for group_id in group_ids])
