"""Two numbers of one person become one: what somebody acts by goes over to the number that counts (ADR 26).

That is membership, what a group is founded under, and open invitations. Bindings do not go over: a promise names two
numbers, it stops (``bindings.judge``) and is given anew. What is only shown is read by all numbers of a person.
"""

from __future__ import annotations

from datetime import datetime
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from kernel.ids import GroupId, PsnNo
from services.family import wire
from services.family.domain.groups import Group, GroupState, Member
from services.family.domain.leaving import Cause, Departure
from services.family.domain.merging import readdressed
from services.family.operations.groups import known_group
from services.family.store import departures as departure_store
from services.family.store import groups as store

_IDS = uuid5(NAMESPACE_URL, "urn:gongji:family:merging")


async def follow(connection: AsyncConnection, *, double: PsnNo, keep: PsnNo) -> None:
    """The number that counts takes the double's place in every group; done before, it changes nothing.

    Who is leaving a group leaves it under the double, and nobody takes his place there. Who founded it under the double
    stays in it, also where he was leaving it under the number that counts.
    """
    now = (await connection.execute(select(func.now()))).scalar_one()
    for group_id in await store.all_groups_of(connection, double):
        group = await known_group(connection, group_id, lock=True)
        if group.state is GroupState.ACTIVE:
            await _take_place(connection, group, double, keep, now)
            await _readdress(connection, group_id, double, keep, now)


async def _take_place(connection: AsyncConnection, group: Group, double: PsnNo, keep: PsnNo, now: datetime) -> None:
    member = next((member for member in group.members if member.psn_no == double), None)
    if member is None or member.leaving:
        return
    departure = Departure(
        departure_id=uuid5(_IDS, f"{group.group_id}:{double}:{member.version}"),
        group_id=group.group_id,
        psn_no=double,
        cause=Cause.MERGED,
        by=keep,
        began_at=now,
        member_version=member.version + 1,
        done_at=now,
    )
    await departure_store.add(connection, departure)
    await departure_store.finish(connection, departure, now=now)
    events = [wire.outgoing(wire.departure_event(departure))]
    if not group.has(keep):
        version = await departure_store.former_version(connection, group.group_id, keep) + 1
        joined = Member(keep, member.joined_at, version)
        await store.insert_member(connection, group_id=group.group_id, member=joined)
        events.append(wire.outgoing(wire.member_event(group.group_id, joined, instead_of=double)))
    if group.founder == double:
        # A founder does not leave: had he begun to under this number, nobody of the group would be its founder.
        await departure_store.take_back(connection, group.group_id, keep)
        await store.set_founder(connection, group.group_id, keep)
    await outbox.put(connection, events)


async def _readdress(connection: AsyncConnection, group_id: GroupId, double: PsnNo, keep: PsnNo, now: datetime) -> None:
    group = await known_group(connection, group_id)
    for invitation in readdressed(group, double=double, keep=keep, now=now):
        await store.readdress(connection, invitation, now=now)
        await outbox.put(connection, [wire.outgoing(wire.invitation_event(invitation, at=now))])
