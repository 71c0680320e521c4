"""Whoever goes from a group has gone once the ledgers have closed his bindings in it, whoever dies in between."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import uuid4

import pytest

from chassis.db import Database
from gongji.family.v1 import binding_pb2, family_pb2, groups_pb2
from gongji.identity.v1 import person_pb2
from gongji.ledger.v1 import ledger_pb2
from kernel.failures import Failure
from tests.integration.family.house import House
from tests.integration.family.test_bindings import absent_ledger, refused
from tests.patience import until

ENDING, DONE = groups_pb2.DEPARTURE_STATE_ENDING, groups_pb2.DEPARTURE_STATE_DONE
LEFT, REMOVED = binding_pb2.DEPARTURE_CAUSE_LEFT, binding_pb2.DEPARTURE_CAUSE_REMOVED
DISSOLVED = binding_pb2.DEPARTURE_CAUSE_DISSOLVED
CLOSED, OPEN = ledger_pb2.AUTHORISATION_STATE_CLOSED, ledger_pb2.AUTHORISATION_STATE_OPEN
SIBLING, CHILD = person_pb2.RELATION_SIBLING, person_pb2.RELATION_CHILD
RACES = 8
RACE_STEP_S = 0.005
_TOLD = "SELECT version, subject FROM outbox WHERE aggregate = $1 ORDER BY version"


async def leave(house: House, group_id: str, psn_no: str, *, by: str = "") -> groups_pb2.Departure:
    """How the member goes."""
    request = groups_pb2.LeaveGroupRequest(group_id=group_id, psn_no=psn_no, by_psn_no=by)
    return (await house.groups.LeaveGroup(request)).departure


async def remove(house: House, group_id: str, psn_no: str, *, by: str) -> groups_pb2.Departure:
    """How the founder sends him away."""
    request = groups_pb2.RemoveMemberRequest(group_id=group_id, psn_no=psn_no, founder_psn_no=by)
    return (await house.groups.RemoveMember(request)).departure


async def dissolve(house: House, group_id: str, *, by: str) -> groups_pb2.DissolveGroupResponse:
    """How the founder ends the group."""
    return await house.groups.DissolveGroup(groups_pb2.DissolveGroupRequest(group_id=group_id, founder_psn_no=by))


async def members(house: House, group_id: str, by: str) -> list[str]:
    """Who is in the group."""
    return [member.psn_no for member in (await house.see_group(group_id, by)).members]


async def until_gone(house: House, group_id: str, psn_no: str, *, seen_by: str) -> None:
    """Returns once he is a member no more."""

    async def gone() -> bool:
        return psn_no not in await members(house, group_id, seen_by)

    await until(gone)


async def told(house: House, group_id: str, psn_no: str) -> list[tuple[int, str]]:
    """What was said of a membership, by version."""
    async with (
        Database(house.world.database_url("family"), pool_size=1) as database,
        database.driver_connection() as connection,
    ):
        rows = await connection.fetch(_TOLD, f"member:{group_id}:{psn_no}")
    return [(row["version"], row["subject"]) for row in rows]


async def test_who_leaves_takes_his_bindings_with_him(house: House) -> None:
    """The authorisation is closed when the answer says DONE; the same request again tells the same departure."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    gone = await leave(house, group_id, beneficiary)
    assert (gone.state, gone.cause, gone.psn_no) == (DONE, LEFT, beneficiary)
    assert (await house.authorisation(binding)).state == CLOSED
    assert (await house.binding(binding)).state == binding_pb2.BINDING_STATE_UNBOUND
    assert await members(house, group_id, funder) == [funder]
    assert await leave(house, group_id, beneficiary) == gone
    listed = await house.family.ListGroups(family_pb2.ListGroupsRequest(psn_no=beneficiary))
    assert list(listed.groups) == []


async def test_nobody_has_gone_before_the_ledger_has_closed_his_bindings(house: House) -> None:
    """While the ledger is dead he is leaving and begins nothing new; family dies as well; then he goes by itself."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    async with absent_ledger(house):
        going = await leave(house, group_id, beneficiary)
        assert going.state == ENDING
        shown = {member.psn_no: member.leaving for member in (await house.see_group(group_id, funder)).members}
        assert shown == {funder: False, beneficiary: True}
        assert (await refused(house.bind(group_id, funder, beneficiary))).reason == "MEMBER_IS_LEAVING"
        await house.kill_family()
        await house.start_family()
        assert (await leave(house, group_id, beneficiary)).began_time == going.began_time
    await until_gone(house, group_id, beneficiary, seen_by=funder)
    assert (await house.authorisation(binding)).state == CLOSED
    assert await told(house, group_id, beneficiary) == [(1, "member_joined"), (2, "member_left")]
    assert (await leave(house, group_id, beneficiary)).state == DONE


async def test_who_has_left_can_come_back_and_leave_again(house: House) -> None:
    """Each time is told under a version of its own, so that no other room takes the second for the first."""
    funder, beneficiary, group_id = await house.couple()
    for _ in range(2):
        await leave(house, group_id, beneficiary)
        await house.bring_in(group_id, funder, beneficiary, SIBLING)
        assert (await house.bind(group_id, funder, beneficiary)).state == binding_pb2.BINDING_STATE_ACTIVE
    said = [name for _, name in await told(house, group_id, beneficiary)]
    assert said == ["member_joined", "member_left"] * 2 + ["member_joined"]


async def test_a_snapshot_tells_who_has_gone(house: House) -> None:
    """Of one who left, and of one who left and came back, the latest event and no other."""
    founder, sister, brother = [await house.person() for _ in range(3)]
    group_id = await house.group(founder)
    for sibling in (sister, brother):
        await house.siblings(founder, sibling)
        await house.bring_in(group_id, founder, sibling, SIBLING)
        await leave(house, group_id, sibling)
    await house.bring_in(group_id, founder, brother, SIBLING)
    snapshot = [
        answer.event async for answer in house.family.StreamSnapshot(family_pb2.StreamSnapshotRequest(), timeout=60)
    ]
    seen = {
        event.aggregate_id.rpartition(":")[2]: (event.version, event.WhichOneof("fact"))
        for event in snapshot
        if event.aggregate_id.startswith(f"member:{group_id}")
    }
    assert seen == {founder: (1, "member_joined"), sister: (2, "member_left"), brother: (3, "member_joined")}


async def test_the_founder_removes_a_member_and_nobody_else_does(house: House) -> None:
    """The member goes as if he had left; the founder himself neither leaves nor is removed."""
    founder, brother, group_id = await house.couple()
    binding = await house.bind(group_id, founder, brother)
    assert (await refused(remove(house, group_id, founder, by=brother))).reason == "NOT_THE_FOUNDER"
    assert (await refused(remove(house, group_id, founder, by=founder))).reason == "FOUNDER_DISSOLVES"
    assert (await refused(leave(house, group_id, founder))).reason == "FOUNDER_DISSOLVES"
    assert (await refused(remove(house, group_id, await house.person(), by=founder))).reason == "NOT_A_MEMBER"
    assert (await refused(leave(house, str(uuid4()), brother))).reason == "GROUP_UNKNOWN"
    gone = await remove(house, group_id, brother, by=founder)
    assert (gone.state, gone.cause) == (DONE, REMOVED)
    assert (await house.authorisation(binding)).state == CLOSED


async def test_a_group_is_dissolved_once_the_ledgers_have_closed_everything(house: House) -> None:
    """Dead ledger, dead family: it stays DISSOLVING, takes nobody in, and is DISSOLVED by itself in the end."""
    founder, brother, group_id = await house.couple()
    sister = await house.person()
    await house.siblings(founder, sister)
    invitation = await house.invite(group_id, founder, sister, SIBLING)
    bindings = [await house.bind(group_id, founder, brother)]
    assert (await refused(dissolve(house, group_id, by=brother))).reason == "NOT_THE_FOUNDER"
    async with absent_ledger(house):
        going = await dissolve(house, group_id, by=founder)
        assert going.state == binding_pb2.GROUP_STATE_DISSOLVING
        # The founder and his brother share the binding: neither has gone.
        assert {one.psn_no: (one.state, one.cause) for one in going.departures} == {
            founder: (ENDING, DISSOLVED),
            brother: (ENDING, DISSOLVED),
        }
        assert (await refused(house.accept(invitation))).reason == "INVITATION_WITHDRAWN"
        assert (await refused(house.invite(group_id, founder, sister, SIBLING))).reason == "GROUP_DISSOLVED"
        assert (await refused(house.bind(group_id, founder, brother))).reason == "GROUP_DISSOLVED"
        await house.kill_family()
        await house.start_family()

    async def dissolved() -> bool:
        return (await dissolve(house, group_id, by=founder)).state == binding_pb2.GROUP_STATE_DISSOLVED

    await until(dissolved)
    assert {one.state for one in (await dissolve(house, group_id, by=founder)).departures} == {DONE}
    assert [(await house.authorisation(binding)).state for binding in bindings] == [CLOSED]
    assert (await refused(house.see_group(group_id, founder))).reason == "NOT_A_MEMBER"


async def test_what_a_member_has_sent_out_goes_with_him(house: House) -> None:
    """An invitation whose inviter has left can be accepted no more."""
    founder, brother, group_id = await house.couple()
    niece = await house.person(born="20050101")
    await house.parent(brother, niece)
    invitation = await house.invite(group_id, brother, niece, CHILD)
    await leave(house, group_id, brother)
    assert (await refused(house.accept(invitation))).reason == "INVITATION_WITHDRAWN"
    assert await members(house, group_id, founder) == [founder]


async def test_somebody_is_in_two_groups_and_leaves_one(house: House) -> None:
    """Only the bindings of the group that he leaves end."""
    mother, me = await house.person(born="19551001"), await house.person()
    spouse_side, other = await house.group(me), await house.person()
    await house.parent(mother, me)
    await house.siblings(me, other)
    family = await house.group(mother)
    await house.bring_in(family, mother, me, CHILD)
    await house.bring_in(spouse_side, me, other, SIBLING)
    kept = await house.bind(spouse_side, other, me)
    ended = await house.bind(family, mother, me)
    await leave(house, family, me)
    assert [(await house.authorisation(binding)).state for binding in (kept, ended)] == [OPEN, CLOSED]


@pytest.mark.parametrize("race", range(RACES))
async def test_a_binding_made_while_somebody_leaves_is_refused_or_ended(house: House, race: int) -> None:
    """Whatever comes first, once he has gone nothing of his is open in a ledger."""
    funder, beneficiary, group_id = await house.couple()
    binding, departure = await asyncio.gather(
        house.bind(group_id, funder, beneficiary),
        _after(race * RACE_STEP_S, leave(house, group_id, beneficiary)),
        return_exceptions=True,
    )
    assert isinstance(departure, groups_pb2.Departure)
    await until_gone(house, group_id, beneficiary, seen_by=funder)
    if isinstance(binding, Failure):
        assert binding.reason in {"MEMBER_IS_LEAVING", "NOT_A_MEMBER"}
    else:
        assert isinstance(binding, binding_pb2.Binding)
        assert (await house.authorisation(binding)).state == CLOSED


async def _after(pause_s: float, call: Coroutine[Any, Any, groups_pb2.Departure]) -> groups_pb2.Departure:
    await asyncio.sleep(pause_s)
    return await call


async def test_a_child_leaves_through_its_parent(house: House) -> None:
    """Neither the child itself nor its uncle, who is a member as well, takes it out; its mother does."""
    mother, uncle = await house.person(born="19850101"), await house.person()
    child = await house.person(born="20180301", insutype="390")
    await house.parent(mother, child)
    await house.siblings(mother, uncle)
    group_id = await house.group(mother)
    await house.invite(group_id, mother, child, CHILD)
    await house.bring_in(group_id, mother, uncle, SIBLING)
    assert (await refused(leave(house, group_id, child))).reason == "MINOR_ACTS_THROUGH_PARENT"
    assert (await refused(leave(house, group_id, child, by=uncle))).reason == "NOT_THE_GUARDIAN"
    assert (await refused(leave(house, group_id, uncle, by=mother))).reason == "NOT_THE_GUARDIAN"
    assert (await leave(house, group_id, child, by=mother)).state == DONE
