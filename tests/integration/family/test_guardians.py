"""A parent acts for a minor, and the area limits how often the same two bind anew."""

from __future__ import annotations

from gongji.family.v1 import binding_pb2, family_pb2
from gongji.identity.v1 import person_pb2
from tests.integration.family.house import GUANGZHOU, House
from tests.integration.family.test_bindings import refused, unbind

CHILD = person_pb2.RELATION_CHILD
UNBOUND, ACTIVE = binding_pb2.BINDING_STATE_UNBOUND, binding_pb2.BINDING_STATE_ACTIVE


async def household(house: House, *, born: str) -> tuple[str, str, str, list[binding_pb2.Binding]]:
    """A child for whom its mother and its grown-up brother pay: mother, brother, child, the bindings."""
    mother, brother = await house.person(born="19750101"), await house.person(born="20000101")
    child = await house.person(born=born, insutype="390")
    await house.parent(mother, child)
    await house.parent(mother, brother)
    group_id = await house.group(mother)
    invitation = await house.invite(group_id, mother, child, CHILD)
    if invitation.state == binding_pb2.INVITATION_STATE_PENDING:
        await house.accept(invitation)
    await house.bring_in(group_id, mother, brother, CHILD)
    await house.siblings(brother, child)
    return mother, brother, child, [await house.bind(group_id, funder, child) for funder in (mother, brother)]


def order(child: str, funders: list[str], *, by: str = "") -> family_pb2.SetDeductOrderRequest:
    """The order of deduction for the child, said by somebody."""
    return family_pb2.SetDeductOrderRequest(beneficiary_psn_no=child, funder_psn_nos=funders, by_psn_no=by)


async def test_a_parent_orders_for_a_child(house: House) -> None:
    """A child of eight neither signs nor orders for itself, its brother not for it; its mother orders and unbinds."""
    mother, brother, child, bindings = await household(house, born="20180301")
    assert (await refused(house.sign(child))).reason == "MINOR_ACTS_THROUGH_PARENT"
    say = house.family.SetDeductOrder
    assert (await refused(say(order(child, [brother, mother])))).reason == "MINOR_ACTS_THROUGH_PARENT"
    assert (await refused(say(order(child, [brother, mother], by=brother)))).reason == "NOT_THE_GUARDIAN"
    ordered = (await say(order(child, [brother, mother], by=mother))).bindings
    assert [(one.funder_psn_no, one.deduct_order) for one in ordered] == [(brother, 1), (mother, 2)]
    stranger = await house.person()
    assert (await refused(say(order(child, [stranger], by=mother)))).reason == "FUNDER_NOT_BOUND"
    assert (await refused(unbind(house, bindings[1], stranger))).reason == "NOT_A_PARTY"
    assert (await unbind(house, bindings[1], mother)).state == UNBOUND


async def test_from_sixteen_on_somebody_orders_for_himself_and_up_to_eighteen_his_parent_may(house: House) -> None:
    """At seventeen both do; for a grown-up nobody else does."""
    mother, brother, youth, _ = await household(house, born="20090301")
    say = house.family.SetDeductOrder
    for by, first, second in (("", mother, brother), (mother, brother, mother)):
        ordered = (await say(order(youth, [first, second], by=by))).bindings
        assert [one.funder_psn_no for one in ordered] == [first, second]
    mother, brother, adult, bindings = await household(house, born="20010301")
    assert (await refused(say(order(adult, [mother, brother], by=mother)))).reason == "NOT_THE_GUARDIAN"
    assert (await refused(unbind(house, bindings[1], mother))).reason == "NOT_A_PARTY"


async def test_the_same_two_bind_anew_as_often_as_the_area_allows(house: House) -> None:
    """Guangzhou allows one change in a year: bound, ended, bound again, ended, and no third time; others are free."""
    mother, child = await house.person(GUANGZHOU, born="19750101"), await house.person(GUANGZHOU, born="20000101")
    await house.parent(mother, child)
    group_id = await house.group(mother)
    await house.bring_in(group_id, mother, child, CHILD)
    for _ in range(2):
        binding = await house.bind(group_id, mother, child)
        assert binding.state == ACTIVE
        await unbind(house, binding, mother)
    third = await refused(house.bind(group_id, mother, child))
    assert third.reason == "REBINDS_TOO_MANY"
    assert (await house.bind(group_id, child, mother)).state == ACTIVE
