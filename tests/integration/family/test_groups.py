"""A family group is built through gRPC, with identity proving every relation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from uuid import uuid4

import pytest

from gongji.family.v1 import binding_pb2, family_pb2
from gongji.identity.v1 import person_pb2
from kernel.failures import Failure
from tests.integration.family.house import GUANGZHOU, TEXT_SHA256, TEXT_VERSION, House

SIBLING, CHILD = person_pb2.RELATION_SIBLING, person_pb2.RELATION_CHILD


async def refused(call: Awaitable[object]) -> str:
    """The reason with which the call refuses."""
    with pytest.raises(Failure) as caught:
        await call
    return caught.value.reason


async def members(house: House, group_id: str, by: str) -> list[str]:
    """The members' numbers, as one of them sees them."""
    answer = await house.family.GetGroup(family_pb2.GetGroupRequest(group_id=group_id, by_psn_no=by))
    return [member.psn_no for member in answer.group.members]


async def test_a_relative_is_invited_and_accepts(house: House) -> None:
    """The invited sibling joins by accepting; the group shows both with masked names and the accepted invitation."""
    founder, sibling = await house.person(), await house.person()
    await house.siblings(founder, sibling)
    group_id = await house.group(founder)
    invitation = await house.invite(group_id, founder, sibling, SIBLING)
    assert invitation.state == binding_pb2.INVITATION_STATE_PENDING
    group = await house.accept(invitation)
    assert [member.psn_no for member in group.members] == [founder, sibling]
    assert {member.name_masked for member in group.members} == {"王*国"}
    assert [one.state for one in group.invitations] == [binding_pb2.INVITATION_STATE_ACCEPTED]
    assert await refused(house.accept(invitation)) == "INVITATION_ALREADY_ACCEPTED"


async def test_a_young_child_joins_at_once_through_its_parent(house: House) -> None:
    """A child of eight is a member as soon as its mother invites it; an older sibling cannot bring it in."""
    mother, brother = await house.person(born="19551001"), await house.person()
    child = await house.person(born="20180301")
    await house.parent(mother, child)
    await house.parent(mother, brother)
    group_id = await house.group(mother)
    await house.bring_in(group_id, mother, brother, CHILD)
    assert await refused(house.invite(group_id, brother, child, SIBLING)) == "MINOR_JOINS_THROUGH_PARENT"
    invitation = await house.invite(group_id, mother, child, CHILD)
    assert invitation.state == binding_pb2.INVITATION_STATE_ACCEPTED
    assert child in await members(house, group_id, mother)


async def test_what_identity_cannot_prove_is_refused(house: House) -> None:
    """No chain of facts, or another relation than the stated one, is no invitation."""
    founder, sibling, stranger = await house.person(), await house.person(), await house.person()
    await house.siblings(founder, sibling)
    group_id = await house.group(founder)
    assert await refused(house.invite(group_id, founder, stranger, SIBLING)) == "KINSHIP_NOT_PROVEN"
    assert await refused(house.invite(group_id, founder, sibling, CHILD)) == "KINSHIP_OTHER_THAN_STATED"
    assert await refused(house.invite(group_id, founder, founder, SIBLING)) == "RELATIVE_IS_ONESELF"
    assert await refused(house.invite(group_id, stranger, sibling, SIBLING)) == "NOT_A_MEMBER"
    assert await refused(house.invite(str(uuid4()), founder, sibling, SIBLING)) == "GROUP_UNKNOWN"


async def test_an_area_limits_relations_and_members(house: House) -> None:
    """Where three members and no siblings are allowed, a sister is refused, and so is a third child."""
    mother, sister = [await house.person(GUANGZHOU, born="19551001") for _ in range(2)]
    children = [await house.person(GUANGZHOU) for _ in range(3)]
    await house.siblings(mother, sister)
    for child in children:
        await house.parent(mother, child)
    group_id = await house.group(mother)
    assert await refused(house.invite(group_id, mother, sister, SIBLING)) == "RELATION_NOT_ALLOWED"
    answers = await asyncio.gather(
        *(house.invite(group_id, mother, child, CHILD) for child in children), return_exceptions=True
    )
    assert [answer.reason for answer in answers if isinstance(answer, Failure)] == ["GROUP_FULL"]


async def test_a_group_needs_a_pledge_and_a_known_person(house: House) -> None:
    """Nobody founds a group without having signed, and nobody signs whom identity does not know."""
    person = await house.person()
    request = family_pb2.CreateGroupRequest(founder_psn_no=person, request_id=str(uuid4()))
    assert await refused(house.family.CreateGroup(request)) == "PLEDGE_NOT_SIGNED"
    pledge = family_pb2.SignPledgeRequest(psn_no="99999999999999", text_version=TEXT_VERSION, text_sha256=TEXT_SHA256)
    with pytest.raises(Failure) as caught:
        await house.family.SignPledge(pledge)
    assert caught.value.kind.value == "NOT_FOUND"


async def test_the_same_request_gives_the_same_thing_and_another_is_refused(house: House) -> None:
    """Pledge, group and invitation are made once, also when the same request comes many times at once."""
    founder, sibling = await house.person(), await house.person()
    await house.siblings(founder, sibling)
    pledge = family_pb2.SignPledgeRequest(psn_no=founder, text_version=TEXT_VERSION, text_sha256=TEXT_SHA256)
    signed = await asyncio.gather(*(house.family.SignPledge(pledge) for _ in range(5)))
    assert len({answer.pledge_id for answer in signed}) == 1
    request = family_pb2.CreateGroupRequest(founder_psn_no=founder, request_id=str(uuid4()))
    groups = await asyncio.gather(*(house.family.CreateGroup(request) for _ in range(5)))
    assert len({answer.group.group_id for answer in groups}) == 1
    group_id = groups[0].group.group_id
    invite = family_pb2.InviteMemberRequest(
        group_id=group_id,
        inviter_psn_no=founder,
        invitee_psn_no=sibling,
        relation=SIBLING,
        request_id=str(uuid4()),
    )
    invited = await asyncio.gather(*(house.family.InviteMember(invite) for _ in range(5)))
    assert len({answer.invitation.invitation_id for answer in invited}) == 1
    assert await refused(house.invite(group_id, founder, sibling, SIBLING)) == "ALREADY_INVITED"
    invite.relation = CHILD
    assert await refused(house.family.InviteMember(invite)) == "REQUEST_ID_REUSED"
    request.founder_psn_no = sibling
    assert await refused(house.family.CreateGroup(request)) == "REQUEST_ID_REUSED"


async def test_a_group_is_seen_by_its_members_alone(house: House) -> None:
    """Somebody else learns nothing about a group, nor accepts another's invitation."""
    founder, sibling, stranger = await house.person(), await house.person(), await house.person()
    await house.siblings(founder, sibling)
    group_id = await house.group(founder)
    invitation = await house.invite(group_id, founder, sibling, SIBLING)
    assert await refused(members(house, group_id, sibling)) == "NOT_A_MEMBER"
    request = family_pb2.AcceptInvitationRequest(invitation_id=invitation.invitation_id, invitee_psn_no=stranger)
    assert await refused(house.family.AcceptInvitation(request)) == "NOT_THE_INVITEE"


async def test_identity_is_asked_before_someone_is_refused(house: House) -> None:
    """A pause that has ended a moment ago does not stand in the way, even if its event is still on its way."""
    founder, sibling = await house.person(), await house.person()
    await house.siblings(founder, sibling)
    group_id = await house.group(founder)
    await house.status(sibling, "2")
    await house.until_projected(sibling, "2")
    assert await refused(house.invite(group_id, founder, sibling, SIBLING)) == "INVITEE_NOT_INSURED"
    await house.status(sibling, "1")
    assert (await house.invite(group_id, founder, sibling, SIBLING)).invitee_psn_no == sibling


async def listed(house: House, psn_no: str, page_size: int = 0) -> list[family_pb2.Group]:
    """All groups of a person, page by page."""
    found: list[family_pb2.Group] = []
    token = ""
    while True:
        page = await house.family.ListGroups(
            family_pb2.ListGroupsRequest(psn_no=psn_no, page_size=page_size, page_token=token)
        )
        assert len(page.groups) <= (page_size or 20)
        found += page.groups
        token = page.next_page_token
        if not token:
            return found


async def test_a_person_finds_his_groups_page_by_page(house: House) -> None:
    """Founded by him or joined, each once and as GetGroup shows it; of groups without him not a word."""
    me, sibling, stranger = await house.person(), await house.person(), await house.person()
    await house.siblings(me, sibling)
    founded = [await house.group(me) for _ in range(4)]
    joined = await house.group(sibling)
    await house.bring_in(joined, sibling, me, SIBLING)
    await house.group(stranger)
    found = await listed(house, me, page_size=2)
    assert [group.group_id for group in found] == sorted([*founded, joined])
    for group in found:
        asked = family_pb2.GetGroupRequest(group_id=group.group_id, by_psn_no=me)
        assert (await house.family.GetGroup(asked)).group == group
    assert {member.name_masked for group in found for member in group.members} == {"王*国"}
    assert await listed(house, me) == found
    assert await listed(house, "999900000000001") == []


async def test_who_is_invited_sees_his_invitation_and_nothing_of_the_group(house: House) -> None:
    """Members, bindings and the invitations of others are shown once he has joined."""
    founder, sibling, other = [await house.person() for _ in range(3)]
    for relative in (sibling, other):
        await house.siblings(founder, relative)
    group_id = await house.group(founder)
    invitation = await house.invite(group_id, founder, sibling, SIBLING)
    await house.bring_in(group_id, founder, other, SIBLING)
    await house.bind(group_id, founder, other)
    (group,) = await listed(house, sibling)
    assert [each.invitation_id for each in group.invitations] == [invitation.invitation_id]
    assert (list(group.members), list(group.bindings), group.group_id) == ([], [], group_id)
    await house.accept(invitation)
    (group,) = await listed(house, sibling)
    assert (len(group.members), len(group.bindings), len(group.invitations)) == (3, 1, 2)


async def test_a_wrong_page_is_refused(house: House) -> None:
    """Numbers that are none, pages that are too long, tokens that we never gave."""
    me = await house.person()
    for request in (
        family_pb2.ListGroupsRequest(psn_no="me"),
        family_pb2.ListGroupsRequest(psn_no=me, page_size=51),
        family_pb2.ListGroupsRequest(psn_no=me, page_token="nonsense"),  # noqa: S106  A page's, no password.
    ):
        assert await refused(house.family.ListGroups(request)) == "REQUEST_INVALID"
