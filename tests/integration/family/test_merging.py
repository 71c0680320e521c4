"""Two numbers of one person become one: in the family the number that counts stands where the double stood."""

from __future__ import annotations

from uuid import uuid4

from gongji.family.v1 import binding_pb2, family_pb2, groups_pb2
from gongji.identity.v1 import person_pb2
from tests.integration.family.house import House
from tests.integration.family.test_bindings import absent_ledger, refused
from tests.integration.family.test_uses import Shared, hear
from tests.patience import until

SIBLING = person_pb2.RELATION_SIBLING
SUSPENDED, ACTIVE = binding_pb2.BINDING_STATE_SUSPENDED, binding_pb2.BINDING_STATE_ACTIVE


async def until_member(house: House, group_id: str, psn_no: str) -> family_pb2.Group:
    """The group, once this person sees it as a member of it."""

    async def stands() -> bool:
        return (await listed(house, psn_no, group_id)).members != []

    await until(stands)
    return await house.see_group(group_id, psn_no)


async def listed(house: House, psn_no: str, group_id: str) -> family_pb2.Group:
    """This group as it stands in this person's list; an empty one if it does not."""
    answer = await house.family.ListGroups(family_pb2.ListGroupsRequest(psn_no=psn_no))
    return next((group for group in answer.groups if group.group_id == group_id), family_pb2.Group())


async def family_of_a_double(house: House) -> tuple[str, str, str, str]:
    """A founder known under two numbers, the second in a group with a sibling: keep, double, sibling and group."""
    keep, double = await house.two_numbers()
    sibling = await house.person(insutype="390")
    await house.siblings(double, sibling)
    group_id = await house.group(double)
    await house.bring_in(group_id, double, sibling, SIBLING)
    return keep, double, sibling, group_id


async def test_the_number_that_counts_is_founder_and_member_in_the_doubles_place(house: House) -> None:
    """Since when the double was; its binding has stopped, and a new one rests on the pledge that was signed before."""
    keep, double, sibling, group_id = await family_of_a_double(house)
    before = await house.see_group(group_id, double)
    binding = await house.bind(group_id, double, sibling)
    await house.merge(keep, double)
    group = await until_member(house, group_id, keep)
    assert (group.founder_psn_no, {member.psn_no for member in group.members}) == (keep, {keep, sibling})
    since = {member.psn_no: member.joined_time for member in before.members}[double]
    assert {member.psn_no: member.joined_time for member in group.members}[keep] == since
    assert (await refused(house.see_group(group_id, double))).reason == "NOT_A_MEMBER"

    async def stopped() -> bool:
        (one,) = (await house.see_group(group_id, keep)).bindings
        return (one.binding_id, one.state, one.cause) == (binding.binding_id, SUSPENDED, "MERGED")

    await until(stopped)
    signed = (await house.groups.ListPledges(groups_pb2.ListPledgesRequest(psn_no=keep))).pledges
    assert len(signed) == 1
    anew = await house.family.Bind(
        family_pb2.BindRequest(
            group_id=group_id,
            funder_psn_no=keep,
            beneficiary_psn_no=sibling,
            authorised_fen=100,
            request_id=str(uuid4()),
        )
    )
    assert anew.binding.state == ACTIVE


async def test_who_was_in_a_group_under_both_numbers_is_in_it_once(house: House) -> None:
    """The double is gone; the other stays what he was."""
    keep, double, sibling, group_id = await family_of_a_double(house)
    await house.siblings(sibling, keep)
    await house.bring_in(group_id, sibling, keep, SIBLING)
    joined = {m.psn_no: m.joined_time for m in (await house.see_group(group_id, keep)).members}[keep]
    await house.merge(keep, double)

    async def once() -> bool:
        return {member.psn_no for member in (await house.see_group(group_id, keep)).members} == {keep, sibling}

    await until(once)
    group = await house.see_group(group_id, keep)
    assert group.founder_psn_no == keep
    assert {member.psn_no: member.joined_time for member in group.members}[keep] == joined


async def test_who_leaves_under_one_number_and_is_founder_under_the_other_stays(house: House) -> None:
    """His ledger is silent while he goes: a group is not left with a founder who is no member of it."""
    keep, double, sibling, group_id = await family_of_a_double(house)
    await house.siblings(sibling, keep)
    await house.bring_in(group_id, sibling, keep, SIBLING)
    binding = await house.bind(group_id, keep, sibling)
    async with absent_ledger(house):
        leaving = groups_pb2.LeaveGroupRequest(group_id=group_id, psn_no=keep)
        assert (await house.groups.LeaveGroup(leaving)).departure.state == groups_pb2.DEPARTURE_STATE_ENDING
        await house.merge(keep, double)

        async def founded() -> bool:
            return (await house.see_group(group_id, sibling)).founder_psn_no == keep

        await until(founded)
    await house.until(binding, binding_pb2.BINDING_STATE_UNBOUND)
    group = await house.see_group(group_id, keep)
    assert {member.psn_no: member.leaving for member in group.members} == {keep: False, sibling: False}
    again = await refused(house.groups.LeaveGroup(leaving))
    assert again.reason == "FOUNDER_DISSOLVES"


async def test_an_open_invitation_of_the_double_is_accepted_under_the_number_that_counts(house: House) -> None:
    """And one that it had sent is taken back under it."""
    keep, double, _, group_id = await family_of_a_double(house)
    other = await house.person()
    await house.siblings(double, other)
    sent = await house.invite(group_id, double, other, SIBLING)
    others_group = await house.group(other)
    received = await house.invite(others_group, other, double, SIBLING)
    await house.merge(keep, double)
    await until_member(house, group_id, keep)

    async def readdressed() -> bool:
        invitations = (await listed(house, keep, others_group)).invitations
        return [one.invitee_psn_no for one in invitations] == [keep]

    await until(readdressed)
    received.invitee_psn_no = keep
    assert keep in {member.psn_no for member in (await house.accept(received)).members}
    withdrawn = await house.groups.WithdrawInvitation(
        groups_pb2.WithdrawInvitationRequest(invitation_id=sent.invitation_id, inviter_psn_no=keep)
    )
    assert withdrawn.invitation.state == binding_pb2.INVITATION_STATE_WITHDRAWN


async def test_uses_of_the_double_are_those_of_the_number_that_counts(house: House) -> None:
    """In his own list and in the group's, under the number that counts, with their sums and filters."""
    keep, double, sibling, group_id = await family_of_a_double(house)
    shared = Shared(house, double, sibling, await house.bind(group_id, double, sibling))
    await hear(house, shared.bill(3_000))
    await house.merge(keep, double)
    await until_member(house, group_id, keep)
    mine = await shared.list(keep)
    assert [(use.funder_psn_no, use.amount_fen, use.setl_id != "") for use in mine.uses] == [(keep, 3_000, True)]
    assert (mine.sums.given_fen, mine.uses[0].group_id) == (3_000, group_id)
    assert (await shared.list(keep, group_id=group_id)).uses == mine.uses
    (seen,) = (await shared.list(sibling, other_psn_no=keep)).uses
    assert (seen.funder_psn_no, seen.funder_name_masked) == (keep, mine.uses[0].funder_name_masked)
    assert mine.uses[0].funder_name_masked


async def records(house: House, psn_no: str) -> list[groups_pb2.StreamRecordsResponse]:
    """Everything that names this person."""
    return [each async for each in house.groups.StreamRecords(groups_pb2.StreamRecordsRequest(psn_no=psn_no))]


async def test_records_name_a_person_under_every_number_of_his_also_where_he_has_left(house: House) -> None:
    """Invitation, binding and departure of the double; nobody else's, and nothing of who was never named."""
    keep, double, sibling, group_id = await family_of_a_double(house)
    binding = await house.bind(group_id, double, sibling)
    await house.groups.LeaveGroup(groups_pb2.LeaveGroupRequest(group_id=group_id, psn_no=sibling))
    await house.merge(keep, double)
    await until_member(house, group_id, keep)
    kinds = [str(each.WhichOneof("record")) for each in await records(house, keep)]
    assert kinds == ["invitation", "binding", "departure"]
    theirs = await records(house, sibling)
    assert [each.binding.binding_id for each in theirs if each.HasField("binding")] == [binding.binding_id]
    (left,) = (each.departure for each in theirs if each.HasField("departure"))
    assert (left.psn_no, left.cause) == (sibling, binding_pb2.DEPARTURE_CAUSE_LEFT)
    assert await records(house, await house.person()) == []


async def test_a_funders_sanction_is_not_told_by_the_beneficiarys_records(house: House) -> None:
    """Each reads of himself alone why the funder may pay no more."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    await house.status(funder, "2")
    await house.until(binding, SUSPENDED)
    causes = [
        [each.binding.cause for each in await records(house, person) if each.HasField("binding")]
        for person in (funder, beneficiary)
    ]
    assert causes == [["NOT_INSURED"], ["FUNDER_NOT_ELIGIBLE"]]
