"""A family group outlives its founder: a member of age takes his place, or it is ended at the counter."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from gongji.family.v1 import binding_pb2, counter_pb2, family_pb2, groups_pb2
from gongji.identity.v1 import identity_pb2, person_pb2
from tests.integration.family.house import House
from tests.integration.family.test_bindings import refused
from tests.integration.family.test_counter import counter, deeds, seen
from tests.patience import until

SIBLING, CHILD = person_pb2.RELATION_SIBLING, person_pb2.RELATION_CHILD
REGISTER = counter_pb2.DOCUMENT_KIND_HOUSEHOLD_REGISTER


async def dies(house: House, psn_no: str) -> None:
    """Reported today."""
    await house.identity.ReportDeath(
        identity_pb2.ReportDeathRequest(
            psn_no=psn_no,
            death_date=(datetime.now(UTC) - timedelta(days=2)).date().isoformat(),
            evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
            opter="zhang01",
        )
    )


async def taken(house: House, group_id: str, by: str, at: counter_pb2.Counter | None = None) -> family_pb2.Group:
    """The group as its new founder sees it."""
    request = groups_pb2.TakeOverGroupRequest(group_id=group_id, psn_no=by, counter=at)
    return (await house.groups.TakeOverGroup(request)).group


async def dissolved(house: House, group_id: str, by: str, at: counter_pb2.Counter | None = None) -> int:
    """Where the group stands."""
    request = groups_pb2.DissolveGroupRequest(group_id=group_id, founder_psn_no=by, counter=at)
    return (await house.groups.DissolveGroup(request)).state


async def test_a_member_takes_the_place_of_a_founder_who_died(house: House) -> None:
    """He invites, removes the dead and ends the group as a founder does; a second one comes too late."""
    founder, successor, group_id = await house.couple()
    third = await house.person()
    await house.siblings(successor, third)
    await house.bring_in(group_id, successor, third, SIBLING)
    await house.bind(group_id, founder, successor)
    await dies(house, founder)
    await house.sign(successor)
    await house.sign(third)
    group = await taken(house, group_id, successor)
    assert (group.founder_psn_no, len(group.members)) == (successor, 3)
    assert await taken(house, group_id, successor) == group
    assert (await refused(taken(house, group_id, third))).reason == "FOUNDER_LIVES"
    await house.groups.RemoveMember(
        groups_pb2.RemoveMemberRequest(group_id=group_id, psn_no=founder, founder_psn_no=successor)
    )

    async def gone() -> bool:
        members = (await house.see_group(group_id, successor)).members
        return {member.psn_no for member in members} == {successor, third}

    await until(gone)
    await dissolved(house, group_id, successor)


async def test_of_two_successors_at_once_one_is_founder(house: House) -> None:
    """The other one is told that the founder lives."""
    founder, one, group_id = await house.couple()
    other = await house.person()
    await house.siblings(founder, other)
    await house.bring_in(group_id, founder, other, SIBLING)
    await dies(house, founder)
    for successor in (one, other):
        await house.sign(successor)
    outcomes = await asyncio.gather(*(taken(house, group_id, by) for by in (one, other)), return_exceptions=True)
    (group,) = (outcome for outcome in outcomes if isinstance(outcome, family_pb2.Group))
    (refusal,) = (outcome for outcome in outcomes if not isinstance(outcome, family_pb2.Group))
    assert group.founder_psn_no in {one, other}
    assert getattr(refusal, "reason", "") == "FOUNDER_LIVES"


async def test_who_may_not_take_over_is_told_why(house: House) -> None:
    """While the founder lives; a stranger; without a pledge; under age; not insured."""
    founder, sibling, group_id = await house.couple()
    child = await house.person(insutype="390", born="20150501")
    await house.parent(founder, child)
    await house.invite(group_id, founder, child, CHILD)
    assert (await refused(taken(house, group_id, sibling))).reason == "FOUNDER_LIVES"
    await dies(house, founder)
    assert (await refused(taken(house, group_id, await house.person()))).reason == "NOT_A_MEMBER"
    assert (await refused(taken(house, group_id, sibling))).reason == "PLEDGE_NOT_SIGNED"
    assert (await refused(taken(house, group_id, child))).reason == "SUCCESSOR_NOT_OF_AGE"
    await house.sign(sibling)
    await house.status(sibling, "2", insutype="390")
    await house.until_projected(sibling, "2")
    assert (await refused(taken(house, group_id, sibling))).reason == "FOUNDER_NOT_INSURED"


async def test_at_the_counter_it_is_kept_whose_documents_were_seen(house: House) -> None:
    """The successor's own; the founder's may be entered beside it."""
    founder, successor, group_id = await house.couple()
    await dies(house, founder)
    await house.sign(successor)
    assert (await refused(taken(house, group_id, successor, counter(founder)))).reason == "DOCUMENT_MISSING"
    await taken(house, group_id, successor, counter(successor, founder))
    assert [deed for deed, *_ in await deeds(house, f"group:{group_id}")] == ["TAKE_OVER"]


async def test_a_group_that_nobody_may_take_over_is_ended_at_the_counter(house: House) -> None:
    """A child is left: an officer ends it with the household register; not from an app, nor while the founder lives."""
    founder = await house.person()
    child = await house.person(insutype="390", born="20150501")
    await house.parent(founder, child)
    group_id = await house.group(founder)
    await house.invite(group_id, founder, child, CHILD)
    at = counter_pb2.Counter(opter="zhang01", documents=[seen(child, REGISTER)])
    assert (await refused(dissolved(house, group_id, child, at))).reason == "FOUNDER_LIVES"
    await dies(house, founder)
    assert (await refused(dissolved(house, group_id, child))).reason == "NOT_THE_FOUNDER"
    assert await dissolved(house, group_id, child, at) == binding_pb2.GROUP_STATE_DISSOLVED
    assert await dissolved(house, group_id, child, at) == binding_pb2.GROUP_STATE_DISSOLVED
