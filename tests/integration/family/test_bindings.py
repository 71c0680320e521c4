"""A binding follows its authorisation in the funder's real ledger, whoever dies or falls silent in between."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import pytest

from gongji.family.v1 import binding_pb2, events_pb2, family_pb2
from gongji.identity.v1 import person_pb2
from gongji.ledger.v1 import ledger_pb2
from kernel.failures import Failure
from kernel.money import AMOUNT_MAX_FEN
from tests.integration.family.house import GUANGZHOU, HAMI, URUMQI, House, authorisation_bytes
from tests.patience import until

OPENING, ACTIVE = binding_pb2.BINDING_STATE_OPENING, binding_pb2.BINDING_STATE_ACTIVE
CLOSING, UNBOUND = binding_pb2.BINDING_STATE_CLOSING, binding_pb2.BINDING_STATE_UNBOUND
SUSPENDED = binding_pb2.BINDING_STATE_SUSPENDED
OPEN, CLOSED = ledger_pb2.AUTHORISATION_STATE_OPEN, ledger_pb2.AUTHORISATION_STATE_CLOSED
CHILD = person_pb2.RELATION_CHILD


async def refused(call: Awaitable[object]) -> Failure:
    """How the call refuses."""
    with pytest.raises(Failure) as caught:
        await call
    return caught.value


async def unbind(house: House, binding: binding_pb2.Binding, by: str) -> binding_pb2.Binding:
    """The binding as Unbind answers it."""
    answer = await house.family.Unbind(family_pb2.UnbindRequest(binding_id=binding.binding_id, by_psn_no=by))
    return answer.binding


async def amend(house: House, binding: binding_pb2.Binding, authorised_fen: int | None) -> binding_pb2.Binding:
    """The binding as AmendAuthorisedAmount answers it."""
    answer = await house.family.AmendAuthorisedAmount(
        family_pb2.AmendAuthorisedAmountRequest(
            binding_id=binding.binding_id, funder_psn_no=binding.funder_psn_no, authorised_fen=authorised_fen
        )
    )
    return answer.binding


@asynccontextmanager
async def silent_ledger(house: House) -> AsyncIterator[None]:
    """The ledger takes commands and answers none, until the block ends: then it does what it was told."""
    house.world.send("ledger", signal.SIGSTOP)
    try:
        yield
    finally:
        house.world.send("ledger", signal.SIGCONT)


@asynccontextmanager
async def absent_ledger(house: House) -> AsyncIterator[None]:
    """Nobody hears the commands, until the block ends."""
    await house.world.kill_process("ledger")
    try:
        yield
    finally:
        await house.world.start_process("ledger")


async def test_a_binding_is_active_once_the_ledger_has_opened_it(house: House) -> None:
    """The answer is ACTIVE and the ledger keeps an open authorisation of that amount."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary, authorised_fen=300_000)
    assert (binding.state, binding.relation, binding.funder_area) == (ACTIVE, person_pb2.RELATION_SIBLING, HAMI)
    kept = await house.authorisation(binding)
    assert (kept.state, kept.authorised_fen) == (OPEN, 300_000)


async def test_people_of_two_cities_of_one_province_are_bound(house: House) -> None:
    """A funder in Ürümqi pays for a relative in Hami out of Ürümqi's ledger."""
    funder, beneficiary, group_id = await house.couple(area=URUMQI, other_area=HAMI)
    assert (await house.bind(group_id, funder, beneficiary)).funder_area == URUMQI


async def test_what_must_not_be_bound_is_refused(house: House) -> None:
    """Provinces, insurance, membership, amount: each has its refusal, and no binding is left behind."""
    funder, beneficiary, group_id = await house.couple()
    await house.enrol(beneficiary, GUANGZHOU, insutype="390")
    reasons = {
        "BINDING_ACROSS_PROVINCES": house.bind(group_id, funder, beneficiary),
        "FUNDER_NOT_INSURED": house.bind(group_id, beneficiary, funder),
        "RELATIVE_IS_ONESELF": house.bind(group_id, funder, funder),
        "NOT_A_MEMBER": house.bind(group_id, funder, await house.person()),
        "GROUP_UNKNOWN": house.bind(str(uuid4()), funder, beneficiary),
    }
    assert {reason: (await refused(call)).reason for reason, call in reasons.items()} == {
        reason: reason for reason in reasons
    }
    for amount_fen in (-1, AMOUNT_MAX_FEN + 1):
        beyond = await refused(house.bind(group_id, funder, beneficiary, authorised_fen=amount_fen))
        assert beyond.reason == "REQUEST_INVALID"
    answer = await house.family.GetGroup(family_pb2.GetGroupRequest(group_id=group_id, by_psn_no=funder))
    assert list(answer.group.bindings) == []


async def test_xinjiang_asks_for_an_amount(house: House) -> None:
    """Where policy asks for an authorised amount, "no limit" is refused at binding and at amending."""
    funder, beneficiary, group_id = await house.couple()
    missing = await refused(house.bind(group_id, funder, beneficiary, authorised_fen=None))
    assert missing.reason == "AUTHORISED_AMOUNT_REQUIRED"
    binding = await house.bind(group_id, funder, beneficiary)
    assert (await refused(amend(house, binding, None))).reason == "AUTHORISED_AMOUNT_REQUIRED"


async def test_in_laws_in_one_group_are_not_bound(house: House) -> None:
    """A group may hold a child's two parents; they are no relatives of each other and cannot pay for each other."""
    father, mother = [await house.person(born="19551001") for _ in range(2)]
    child = await house.person()
    await house.parent(father, child)
    await house.parent(mother, child)
    group_id = await house.group(father)
    await house.bring_in(group_id, father, child, CHILD)
    await house.bring_in(group_id, child, mother, person_pb2.RELATION_PARENT)
    assert (await refused(house.bind(group_id, father, mother))).reason == "KINSHIP_NOT_PROVEN"
    assert (await house.bind(group_id, father, child)).state == ACTIVE


async def test_one_live_binding_for_a_pair_however_many_ask(house: House) -> None:
    """The same request many times is one binding; other requests for the pair are refused."""
    funder, beneficiary, group_id = await house.couple()
    request_id = str(uuid4())
    same = await asyncio.gather(*(house.bind(group_id, funder, beneficiary, request_id=request_id) for _ in range(5)))
    assert {binding.binding_id for binding in same} == {same[0].binding_id}
    others = await asyncio.gather(
        *(house.bind(group_id, funder, beneficiary) for _ in range(3)), return_exceptions=True
    )
    assert [answer.reason for answer in others if isinstance(answer, Failure)] == ["ALREADY_BOUND"] * 3
    reused = await refused(house.bind(group_id, funder, beneficiary, authorised_fen=1, request_id=request_id))
    assert reused.reason == "REQUEST_ID_REUSED"


async def test_the_area_limits_how_many_pay_for_one(house: House) -> None:
    """Of two parents who bind at once for a child in Guangzhou, one is refused."""
    parents = [await house.person(GUANGZHOU, born="19551001") for _ in range(2)]
    child = await house.person(GUANGZHOU)
    for parent in parents:
        await house.parent(parent, child)
    group_id = await house.group(parents[0])
    await house.bring_in(group_id, parents[0], child, CHILD)
    await house.bring_in(group_id, child, parents[1], person_pb2.RELATION_PARENT)
    answers = await asyncio.gather(
        *(house.bind(group_id, parent, child, authorised_fen=None) for parent in parents), return_exceptions=True
    )
    assert [answer.reason for answer in answers if isinstance(answer, Failure)] == ["FUNDERS_TOO_MANY"]


async def test_a_binding_ends_at_once_and_can_be_made_again(house: House) -> None:
    """Unbinding closes the authorisation; twice is once; a new binding has an authorisation of its own."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    assert (await refused(unbind(house, binding, await house.person()))).reason == "NOT_A_PARTY"
    assert (await unbind(house, binding, beneficiary)).state == UNBOUND
    assert (await unbind(house, binding, funder)).state == UNBOUND
    assert (await house.authorisation(binding)).state == CLOSED
    again = await house.bind(group_id, funder, beneficiary)
    assert again.authorisation_id != binding.authorisation_id
    assert (await house.authorisation(again)).state == OPEN


async def test_an_amount_is_raised_and_lowered_as_the_ledger_keeps_it(house: House) -> None:
    """Each amendment reaches the ledger under a version of its own; the same amount again changes nothing."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary, authorised_fen=100)
    for amount_fen, version in ((500, 2), (50, 3), (50, 3)):
        amended, kept = await amend(house, binding, amount_fen), await house.authorisation(binding)
        assert (amended.authorised_fen, amended.authorisation_version) == (amount_fen, version)
        assert (kept.authorised_fen, kept.version) == (amount_fen, version)


async def test_the_beneficiary_orders_several_funders(house: House) -> None:
    """The order given is the order answered; someone not bound is refused."""
    beneficiary = await house.person()
    parents = [await house.person(born="19551001") for _ in range(2)]
    for parent in parents:
        await house.parent(parent, beneficiary)
    group_id = await house.group(beneficiary)
    for parent in parents:
        await house.bring_in(group_id, beneficiary, parent, person_pb2.RELATION_PARENT)
        await house.bind(group_id, parent, beneficiary)
    request = family_pb2.SetDeductOrderRequest(beneficiary_psn_no=beneficiary, funder_psn_nos=parents[::-1])
    ordered = (await house.family.SetDeductOrder(request)).bindings
    assert [(one.funder_psn_no, one.deduct_order) for one in ordered] == [(parents[1], 1), (parents[0], 2)]
    request.funder_psn_nos.append(beneficiary)
    assert (await refused(house.family.SetDeductOrder(request))).reason == "FUNDER_NOT_BOUND"


async def test_a_silent_ledger_leaves_opening_and_it_opens_by_itself(house: House) -> None:
    """While the ledger says nothing the answer is OPENING; when it speaks again the binding becomes ACTIVE."""
    funder, beneficiary, group_id = await house.couple()
    async with silent_ledger(house):
        binding = await house.bind(group_id, funder, beneficiary)
        assert binding.state == OPENING
    await house.until(binding, ACTIVE)


async def test_a_ledger_that_never_heard_is_told_again(house: House) -> None:
    """Commands lost while the ledger was dead are said again: open, amend and close each come through."""
    funder, beneficiary, group_id = await house.couple()
    async with absent_ledger(house):
        binding = await house.bind(group_id, funder, beneficiary)
        assert binding.state == OPENING
    await house.until(binding, ACTIVE)
    async with absent_ledger(house):
        assert (await refused(amend(house, binding, 77))).reason == "AMENDMENT_PENDING"

    async def is_amended() -> bool:
        return (await house.binding(binding)).authorised_fen == 77

    await until(is_amended)
    async with absent_ledger(house):
        assert (await unbind(house, binding, funder)).state == CLOSING
    await house.until(binding, UNBOUND)
    assert (await house.authorisation(binding)).state == CLOSED


async def test_ending_before_the_ledger_has_opened_leaves_nothing_open(house: House) -> None:
    """OPEN and CLOSE that the ledger hears late, in whatever order, leave a closed authorisation."""
    funder, beneficiary, group_id = await house.couple()
    async with silent_ledger(house):
        binding = await house.bind(group_id, funder, beneficiary)
        assert (await unbind(house, binding, beneficiary)).state == CLOSING
    await house.until(binding, UNBOUND)
    assert (await house.authorisation(binding)).state == CLOSED


async def test_a_refused_opening_ends_the_binding_with_its_reason(house: House) -> None:
    """If the ledger refuses, the binding is SUSPENDED with that reason, and the same request is refused with it."""
    funder, beneficiary, group_id = await house.couple()
    request_id = str(uuid4())
    async with absent_ledger(house):
        binding = await house.bind(group_id, funder, beneficiary, request_id=request_id)
        await house.kill_family()
    close = ledger_pb2.CloseAuthorisationCommand(authorisation_id=authorisation_bytes(binding))
    await house.command(HAMI, ledger_pb2.Command(close_authorisation_command=close))
    await house.start_family()
    await house.until(binding, SUSPENDED)
    assert (await house.binding(binding)).cause == "AUTHORISATION_CLOSED"
    again = await refused(house.bind(group_id, funder, beneficiary, request_id=request_id))
    assert again.reason == "AUTHORISATION_CLOSED"
    assert (await house.bind(group_id, funder, beneficiary)).state == ACTIVE


async def test_family_killed_in_the_middle_finishes_what_it_began(house: House) -> None:
    """Family dies while the ledger is being asked; started again, it opens the binding and has told each step once."""
    funder, beneficiary, group_id = await house.couple()
    async with silent_ledger(house):
        asking = asyncio.create_task(house.bind(group_id, funder, beneficiary))
        await asyncio.sleep(0.5)
        await house.kill_family()
        with suppress(Failure):
            await asking
    await house.start_family()
    answer = await house.family.GetGroup(family_pb2.GetGroupRequest(group_id=group_id, by_psn_no=funder))
    assert len(answer.group.bindings) == 1
    binding = answer.group.bindings[0]
    await house.until(binding, ACTIVE)
    assert (await house.authorisation(binding)).state == OPEN
    told = await told_of(house, binding)
    assert [(event.version, event.binding_changed.change) for event in told] == [
        (1, events_pb2.BINDING_CHANGE_OPENING),
        (2, events_pb2.BINDING_CHANGE_BOUND),
    ]


async def test_a_snapshot_tells_the_latest_event_of_each_aggregate(house: House) -> None:
    """StreamSnapshot's event of a binding has the id and version of the last one in the stream."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    snapshot = [
        answer.event async for answer in house.family.StreamSnapshot(family_pb2.StreamSnapshotRequest(), timeout=60)
    ]
    told = await told_of(house, binding)
    mine = [event for event in snapshot if event.binding_changed.binding.binding_id == binding.binding_id]
    assert [(event.event_id, event.version) for event in mine] == [(told[-1].event_id, told[-1].version)]
    joined = {event.member_joined.psn_no for event in snapshot if event.member_joined.group_id == group_id}
    assert joined == {funder, beneficiary}


async def told_of(house: House, binding: binding_pb2.Binding) -> list[events_pb2.FamilyEvent]:
    """The binding's events in the stream, as they were published."""
    subject = f"{house.bus.prefix}.event.family.binding_changed"
    subscription = await house.bus.client.jetstream().subscribe(subject, ordered_consumer=True)
    told: list[events_pb2.FamilyEvent] = []
    try:
        async with asyncio.timeout(60):
            while not told or told[-1].binding_changed.binding.state != binding_pb2.BINDING_STATE_ACTIVE:
                event = events_pb2.FamilyEvent.FromString((await subscription.next_msg(timeout=60)).data)
                if event.binding_changed.binding.binding_id == binding.binding_id:
                    told.append(event)
    finally:
        await subscription.unsubscribe()
    return told
