"""Groups: founded, joined, seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import GroupId, PsnNo
from kernel.policy import PolicySet
from services.family import wire
from services.family.domain.bindings import Binding
from services.family.domain.counter import Counter, Deed, refuse_unseen
from services.family.domain.endings import shown_to
from services.family.domain.groups import Group, Member, refuse_founding, refuse_outsider, seen_by
from services.family.domain.people import Person
from services.family.operations.people import People
from services.family.store import bindings as binding_store
from services.family.store import counter as counter_store
from services.family.store import departures as departure_store
from services.family.store import groups as store
from services.family.store import people as people_store
from services.family.store import pledges as pledge_store


async def create_group(
    *,
    database: Database,
    people: People,
    policies: PolicySet,
    founder: PsnNo,
    counter: Counter | None,
    request_id: UUID,
    group_id: GroupId,
    now: datetime,
) -> GroupId:
    """A new group with its founder as first member; the same request again gives the same group.

    Those of ``refuse_founding``, at a counter of ``refuse_unseen``; REQUEST_ID_REUSED (by another founder).
    """

    async def decide(known: Mapping[PsnNo, Person]) -> GroupId:
        async with database.transaction() as connection:
            await store.lock_person(connection, founder)
            if (made := await store.group_of_request(connection, request_id)) is not None:
                return await _same_founder(connection, made, founder)
            refuse_founding(
                known[founder],
                await pledge_store.count_of(connection, founder),
                groups=await store.count_groups_of(connection, founder),
                policies=policies,
                now=now,
            )
            refuse_unseen(counter, [known[founder]], policies=policies, now=now)
            if not await store.insert_group(
                connection, group_id=group_id, founder=founder, request_id=request_id, now=now
            ):
                made = await store.group_of_request(connection, request_id)
                return await _same_founder(connection, made or group_id, founder)
            await join(connection, Group(group_id, founder, ()), Member(founder, now))
            await counter_store.record(connection, counter, Deed.CREATE_GROUP, f"group:{group_id}", now=now)
            return group_id

    return await people.decide([founder], decide)


async def _same_founder(connection: AsyncConnection, group_id: GroupId, founder: PsnNo) -> GroupId:
    group = await store.load_group(connection, group_id)
    if group is None or group.founder != founder:
        raise Failure(Kind.INVALID, "REQUEST_ID_REUSED")
    return group_id


@dataclass(frozen=True, slots=True)
class GroupView:
    """A group as its members see it."""

    group: Group
    names: dict[PsnNo, str]
    bindings: Sequence[Binding]


async def view_group(*, database: Database, group_id: GroupId, by: PsnNo) -> GroupView:
    """The group with its bindings and invitations, for a member. GROUP_UNKNOWN, NOT_A_MEMBER."""
    async with database.transaction() as connection:
        group = await known_group(connection, group_id)
        refuse_outsider(group, by)
        return await _view(connection, group, by)


async def list_groups(
    *, database: Database, psn_no: PsnNo, after: GroupId | None, size: int
) -> tuple[list[GroupView], bool]:
    """So many groups of a person behind this one, as much of each as he sees, and whether more follow."""
    async with database.transaction() as connection:
        found = await store.groups_of(connection, psn_no, after=after, rows_max=size + 1)
        page = [seen_by(await known_group(connection, group_id), psn_no) for group_id in found[:size]]
        return [await _view(connection, group, psn_no) for group in page], len(found) > size


async def _view(connection: AsyncConnection, group: Group, by: PsnNo) -> GroupView:
    """The group as it may be seen: without members there are no bindings either."""
    bindings = await binding_store.of_group(connection, group.group_id) if group.members else []
    known = await people_store.load(connection, [member.psn_no for member in group.members])
    return GroupView(
        group=group,
        names={psn_no: person.name_masked for psn_no, (person, _) in known.items()},
        bindings=[shown_to(binding, by) for binding in bindings],
    )


async def join(connection: AsyncConnection, group: Group, member: Member) -> None:
    """A new member, or one who comes back; said to all. The caller holds the group's lock."""
    former = await departure_store.former_version(connection, group.group_id, member.psn_no)
    joined = replace(member, version=former + 1)
    others = [other.psn_no for other in group.members]
    await store.insert_member(connection, group_id=group.group_id, member=joined)
    await outbox.put(connection, [wire.outgoing(wire.member_event(group.group_id, joined, others))])


async def known_group(connection: AsyncConnection, group_id: GroupId, *, lock: bool = False) -> Group:
    """The group; GROUP_UNKNOWN."""
    group = await store.load_group(connection, group_id, lock=lock)
    if group is None:
        raise Failure(Kind.NOT_FOUND, "GROUP_UNKNOWN")
    return group
