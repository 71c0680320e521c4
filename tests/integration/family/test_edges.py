"""At the edges of what somebody may: on the very birthday, after he has moved or died, at the last free place."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime
from uuid import UUID

from chassis.db import Database
from gongji.family.v1 import binding_pb2, family_pb2
from gongji.identity.v1 import person_pb2
from kernel.clock import business_date
from kernel.failures import Failure
from tests.integration.family.house import GUANGZHOU, House
from tests.integration.family.test_bindings import refused, unbind
from tests.integration.family.test_counter import counter
from tests.integration.family.test_endings import the_funder_dies
from tests.integration.family.test_guardians import household, order
from tests.integration.family.test_joining import siblings
from tests.integration.family.test_leaving import dissolve
from tests.patience import until

SIBLING, CHILD = person_pb2.RELATION_SIBLING, person_pb2.RELATION_CHILD
SHENZHEN = "440300"
"""In the province of Guangzhou, without its limits."""
PENDING, ACCEPTED = binding_pb2.INVITATION_STATE_PENDING, binding_pb2.INVITATION_STATE_ACCEPTED


_AREA = "SELECT enrolments->0->>'area' FROM persons WHERE psn_no = $1 AND enrolments->0->>'status' = '1'"

_TAKE = "SELECT FROM bindings WHERE binding_id = $1 FOR UPDATE"
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() = ANY (pg_blocking_pids(pid))"
_MOVE = """UPDATE persons SET enrolments = jsonb_set(enrolments, '{0,area}', to_jsonb($2::text)) WHERE psn_no = $1"""


async def until_insured_in(house: House, psn_no: str, area: str | None) -> None:
    """Returns once family has heard that he is normally insured there, or nowhere."""
    async with (
        Database(house.world.database_url("family"), pool_size=1) as database,
        database.driver_connection() as connection,
    ):

        async def heard() -> bool:
            return bool(await connection.fetchval(_AREA, psn_no) == area)

        await until(heard)


async def last_heard_in(house: House, psn_no: str, area: str) -> None:
    """Family takes him for insured there: that he has moved away is still on its way."""
    async with (
        Database(house.world.database_url("family"), pool_size=1) as database,
        database.driver_connection() as connection,
    ):
        await connection.execute(_MOVE, psn_no, area)


def born(years_ago: int, *, days_later: int = 0) -> str:
    """The date of birth of somebody who has this many years today, or will have them some days later."""
    today = business_date(datetime.now(UTC))
    day = today.toordinal() + days_later
    then = date.fromordinal(day)
    return f"{then.year - years_ago}{then:%m%d}"


async def test_who_is_sixteen_today_is_asked_and_who_is_so_tomorrow_joins_through_his_parent(house: House) -> None:
    """The day of birth itself counts as the age reached."""
    mother = await house.person(born="19750101")
    group_id = await house.group(mother)
    for day, state in ((0, PENDING), (1, ACCEPTED)):
        child = await house.person(born=born(16, days_later=day), insutype="390")
        await house.parent(mother, child)
        assert (await house.invite(group_id, mother, child, CHILD)).state == state


async def test_who_is_eighteen_today_is_nobodys_minor(house: House) -> None:
    """A parent orders until the day before."""
    for day, reason in ((0, "NOT_THE_GUARDIAN"), (1, "")):
        mother, brother, youth, _ = await household(house, born=born(18, days_later=day))
        say = house.family.SetDeductOrder(order(youth, [brother, mother], by=mother))
        if reason:
            assert (await refused(say)).reason == reason
        else:
            assert len((await say).bindings) == 2


async def test_a_parent_whose_fact_fell_acts_no_more(house: House) -> None:
    """What makes somebody a parent is asked about each time."""
    mother, child = await house.person(born="19750101"), await house.person(born="20180301", insutype="390")
    father = await house.person(born="19740101")
    await house.parent(mother, child)
    fact = await house.parent(father, child)
    group_id = await house.group(mother)
    await house.invite(group_id, mother, child, CHILD)
    binding = await house.bind(group_id, mother, child)
    assert len((await house.family.SetDeductOrder(order(child, [mother], by=father))).bindings) == 1
    await house.revoke(fact)
    assert (await refused(house.family.SetDeductOrder(order(child, [mother], by=father)))).reason == "NOT_THE_GUARDIAN"
    assert (await refused(unbind(house, binding, father))).reason == "NOT_A_PARTY"


async def test_a_child_founds_no_group_and_invites_nobody(house: House) -> None:
    """Below the age of consent somebody acts through a parent, also where he is a member."""
    mother, child = await house.person(born="19750101"), await house.person(born="20180301", insutype="390")
    await house.parent(mother, child)
    founding = await refused(house.group(child))
    assert founding.reason == "MINOR_ACTS_THROUGH_PARENT"
    grandmother = await house.person(born="19500101")
    await house.parent(grandmother, mother)
    group_id = await house.group(mother)
    await house.invite(group_id, mother, child, CHILD)
    inviting = await refused(house.invite(group_id, child, grandmother, person_pb2.RELATION_MATERNAL_GRANDPARENT))
    assert inviting.reason == "MINOR_ACTS_THROUGH_PARENT"


async def test_who_has_moved_to_another_province_since_he_was_invited_does_not_join(house: House) -> None:
    """What keeps somebody from being invited keeps him from accepting, too."""
    founder, sibling, group_id = await siblings(house)
    invitation = await house.invite(group_id, founder, sibling, SIBLING)
    await house.enrol(sibling, GUANGZHOU)
    await until_insured_in(house, sibling, GUANGZHOU)
    assert (await refused(house.accept(invitation))).reason == "INVITEE_IN_ANOTHER_PROVINCE"


async def test_the_dead_neither_found_nor_invite_nor_bind_and_nobody_does_it_for_them(house: House) -> None:
    """A death ends the insurance without which nothing begins."""
    founder, sibling, group_id = await siblings(house)
    await house.bring_in(group_id, founder, sibling, SIBLING)
    third = await house.person()
    await house.siblings(founder, third)
    for dead in (third, sibling):
        await the_funder_dies(house, dead, "")
        await until_insured_in(house, dead, None)
    assert (await refused(house.invite(group_id, founder, third, SIBLING))).reason == "INVITEE_NOT_INSURED"
    assert (await refused(house.group(third))).reason == "FOUNDER_NOT_INSURED"
    assert (await refused(house.bind(group_id, founder, sibling))).reason == "BENEFICIARY_NOT_INSURED"
    assert (await refused(house.bind(group_id, sibling, founder))).reason == "FUNDER_NOT_INSURED"


async def test_four_eyes_look_at_who_is_insured_no_more_as_where_he_was(house: House) -> None:
    """A paused insurance is no way around the second officer; nor is the first one's name in other letters."""
    mother, child = await house.person(GUANGZHOU, born="19750101"), await house.person(GUANGZHOU)
    await house.parent(mother, child)
    group_id = await house.group(mother)
    await house.bring_in(group_id, mother, child, CHILD)
    binding = await house.bind(group_id, mother, child)
    await house.status(child, "2")
    await house.until_projected(child, "2")
    request = family_pb2.UnbindRequest(binding_id=binding.binding_id, by_psn_no=child, counter=counter(child))
    assert (await refused(house.family.Unbind(request))).reason == "SECOND_OPTER_MISSING"
    request.counter.second_opter = "ZHANG01"
    assert (await refused(house.family.Unbind(request))).reason == "SECOND_OPTER_IS_THE_FIRST"


async def test_ending_what_has_stopped_by_itself_is_no_change_of_the_year(house: House) -> None:
    """Guangzhou allows one; a binding that was suspended, and then called ended by its funder, does not use it up."""
    mother, child = await house.person(GUANGZHOU, born="19750101"), await house.person(GUANGZHOU, born="20000101")
    await house.parent(mother, child)
    group_id = await house.group(mother)
    await house.bring_in(group_id, mother, child, CHILD)
    for _ in range(2):
        binding = await house.bind(group_id, mother, child)
        await house.status(mother, "2")
        await house.until(binding, binding_pb2.BINDING_STATE_SUSPENDED)
        await house.status(mother, "1")
        await house.until_projected(mother, "1")
        await unbind(house, binding, mother)
    for _ in range(2):
        binding = await house.bind(group_id, mother, child)
        await unbind(house, binding, mother)
    assert (await refused(house.bind(group_id, mother, child))).reason == "REBINDS_TOO_MANY"


async def test_a_limit_of_the_area_that_somebody_has_left_keeps_nobody_out(house: House) -> None:
    """Identity is asked before a group is called full by what family has heard last."""
    founder = await house.person(SHENZHEN, born="19750101")
    group_id = await house.group(founder)
    children = [await house.person(SHENZHEN, insutype="390", born=born(8 + each)) for each in range(3)]
    for child in children:
        await house.parent(founder, child)
        await last_heard_in(house, founder, GUANGZHOU)
        assert (await house.invite(group_id, founder, child, CHILD)).state == ACCEPTED
    assert len((await house.see_group(group_id, founder)).members) == 4


async def test_dissolving_and_ordering_do_not_wait_for_each_other_crosswise(house: House) -> None:
    """Whoever ends a group takes its bindings in the order of their ids, as who changes an order of deduction does."""
    founder, member, child = [await house.person() for _ in range(3)]
    group_id = await house.group(founder)
    await asyncio.gather(*(house.siblings(*two) for two in ((founder, member), (founder, child), (member, child))))
    for sibling in (member, child):
        await house.bring_in(group_id, founder, sibling, SIBLING)
    first, second = [UUID((await house.bind(group_id, funder, child)).binding_id) for funder in (member, founder)]
    async with (
        Database(house.world.database_url("family"), pool_size=1) as database,
        database.driver_connection() as connection,
        connection.transaction(),
    ):
        await connection.execute(_TAKE, first)
        ending = asyncio.create_task(dissolve(house, group_id, by=founder))

        async def waits() -> bool:
            return bool(await connection.fetchval(_WAITING))

        await until(waits)
        await connection.execute(f"{_TAKE} NOWAIT", second)
    assert len((await ending).departures) == 3


async def test_of_many_at_once_no_more_are_invited_than_there_is_room_for(house: House) -> None:
    """Guangzhou allows three in a group: of five invitations at once two are sent, and both who are invited join."""
    mother = await house.person(GUANGZHOU, born="19550101")
    children = [await house.person(GUANGZHOU) for _ in range(5)]
    await asyncio.gather(*(house.parent(mother, child) for child in children))
    group_id = await house.group(mother)
    answers = await asyncio.gather(
        *(house.invite(group_id, mother, child, CHILD) for child in children), return_exceptions=True
    )
    sent = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert [answer.reason for answer in answers if isinstance(answer, Failure)] == ["GROUP_FULL"] * 3
    await asyncio.gather(*(house.accept(invitation) for invitation in sent))
    assert len((await house.see_group(group_id, mother)).members) == 3
