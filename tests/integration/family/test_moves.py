"""Bindings follow their funder's account to another area of the province, with what was used; or stop (domain §2)."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

from chassis.db import Database
from gongji.family.v1 import binding_pb2, family_pb2, uses_pb2
from gongji.identity.v1 import person_pb2
from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import events_pb2
from kernel.clock import business_year
from kernel.ids import BindingId
from services.family.clients import Ledgers
from services.family.domain.bindings import BindingState
from services.family.operations import bindings
from services.family.store import bindings as binding_store
from tests.integration.family.house import GUANGZHOU, HAMI, URUMQI, House, authorisation_bytes
from tests.integration.family.test_bindings import refused, silent_ledger, unbind
from tests.integration.family.test_uses import bill, hear, say, uses_of
from tests.patience import until

ACTIVE, CLOSING = binding_pb2.BINDING_STATE_ACTIVE, binding_pb2.BINDING_STATE_CLOSING
SUSPENDED, UNBOUND = binding_pb2.BINDING_STATE_SUSPENDED, binding_pb2.BINDING_STATE_UNBOUND
_LEFT = "SELECT count(*) FROM left_authorisations WHERE binding_id = $1"
CLOSED = ledger_pb2.AUTHORISATION_STATE_CLOSED


def moved(psn_no: str, from_area: str, to_area: str) -> events_pb2.SettlementEvent:
    """What settlement says once the money is there."""
    event = events_pb2.SettlementEvent(event_id=str(uuid4()), aggregate_id=f"ending:{uuid4()}", version=1)
    event.occurred_time.FromDatetime(datetime.now(UTC))
    event.account_moved.psn_no, event.account_moved.from_area = psn_no, from_area
    event.account_moved.to_area = to_area
    return event


async def account(house: House, psn_no: str, area: str, fen: int) -> None:
    """Money that came in."""
    year = business_year(datetime.now(UTC))
    leg = ledger_pb2.CreditLeg(
        leg_no=1, psn_no=psn_no, account_kind=ledger_pb2.ACCOUNT_KIND_PERSONAL, current_fen=fen, year=year
    )
    credit = ledger_pb2.CreditCommand(credit_id=uuid4().bytes, purpose=ledger_pb2.CREDIT_PURPOSE_MONTHLY, legs=[leg])
    await house.command(area, ledger_pb2.Command(credit_command=credit))


async def held(house: House, binding: binding_pb2.Binding, fen: int) -> bytes:
    """A payment of the beneficiary's in flight."""
    payment_id = uuid4().bytes
    assert (await tried(house, binding, fen, payment_id)).state == ledger_pb2.BRANCH_STATE_HELD
    return payment_id


async def refused_to_hold(house: House, binding: binding_pb2.Binding, fen: int) -> str:
    """Why the ledger holds no such payment."""
    return (await tried(house, binding, fen, uuid4().bytes)).refusal.reason


async def tried(house: House, binding: binding_pb2.Binding, fen: int, payment_id: bytes) -> ledger_pb2.BranchReply:
    """The ledger's vote."""
    leg = ledger_pb2.Leg(
        leg_no=1,
        psn_no=binding.funder_psn_no,
        account_kind=ledger_pb2.ACCOUNT_KIND_PERSONAL,
        role=ledger_pb2.ROLE_FUNDER,
        current_fen=fen,
        year=business_year(datetime.now(UTC)),
        authorisation_id=authorisation_bytes(binding),
    )
    command = ledger_pb2.TryCommand(payment_id=payment_id, legs=[leg], inquire_after_ms=600_000)
    reply = await house.command(binding.funder_area, ledger_pb2.Command(try_command=command))
    return reply.branch


async def confirm(house: House, area: str, payment_id: bytes) -> None:
    """It ends well."""
    command = ledger_pb2.ConfirmCommand(payment_id=payment_id)
    await house.command(area, ledger_pb2.Command(confirm_command=command))


async def closed(house: House, binding: binding_pb2.Binding) -> bool:
    """Whether its ledger has closed it."""
    return (await house.authorisation(binding)).state == CLOSED


async def until_in(house: House, binding: binding_pb2.Binding, area: str) -> binding_pb2.Binding:
    """The binding once it is active in this area."""

    async def there() -> bool:
        now = await house.binding(binding)
        return (now.state, now.funder_area) == (ACTIVE, area)

    await until(there)
    return await house.binding(binding)


async def test_a_binding_follows_its_funders_account_with_what_was_used(house: House) -> None:
    """Suspended while a payment is in flight; then open in the new area with use carried over, closed in the old."""
    funder, beneficiary, group_id = await house.couple()
    old = await house.bind(group_id, funder, beneficiary, authorised_fen=10_000)
    await account(house, funder, HAMI, 9_000)
    await confirm(house, HAMI, await held(house, old, 3_000))
    in_flight = await held(house, old, 500)
    await hear(house, bill(beneficiary, [(old, 3_000)]))
    await house.enrol(funder, URUMQI)
    await say(house, moved(funder, HAMI, URUMQI))
    await house.until(old, CLOSING)
    stopped = await house.binding(old)
    assert (stopped.cause, stopped.funder_area) == ("ACCOUNT_MOVED", HAMI)
    await until(lambda: closed(house, old))
    await confirm(house, HAMI, in_flight)
    new = await until_in(house, old, URUMQI)
    assert (new.cause, new.authorised_fen, new.bound_time) == ("", 10_000, old.bound_time)
    kept = await house.authorisation(new)
    assert (kept.state, kept.authorised_fen, kept.used_fen) == (ledger_pb2.AUTHORISATION_STATE_OPEN, 10_000, 3_500)
    assert [
        use.group_id
        for use in (await uses_of(house).ListUses(uses_pb2.ListUsesRequest(by_psn_no=funder, group_id=group_id))).uses
    ] == [group_id]


async def test_what_the_month_has_used_counts_on_in_the_new_area(house: House) -> None:
    """100 元 a month, 70 of it used in one area: in the next the month has 30 left, and less again on the way back."""
    funder, beneficiary, group_id = await house.couple()
    first = await house.bind(group_id, funder, beneficiary)
    limits = family_pb2.AmendLimitsRequest(binding_id=first.binding_id, funder_psn_no=funder, per_month_fen=10_000)
    await house.family.AmendLimits(limits)
    await account(house, funder, HAMI, 20_000)
    await account(house, funder, URUMQI, 20_000)
    await confirm(house, HAMI, await held(house, first, 7_000))
    await house.enrol(funder, URUMQI)
    await say(house, moved(funder, HAMI, URUMQI))
    second = await until_in(house, first, URUMQI)
    assert await refused_to_hold(house, second, 3_001) == "MONTH_LIMIT_EXCEEDED"
    await confirm(house, URUMQI, await held(house, second, 2_000))
    await house.enrol(funder, HAMI)
    await say(house, moved(funder, URUMQI, HAMI))
    third = await until_in(house, first, HAMI)
    assert await refused_to_hold(house, third, 1_001) == "MONTH_LIMIT_EXCEEDED"
    await held(house, third, 1_000)


async def test_a_binding_moves_on_and_back(house: House) -> None:
    """An area to which it comes back knows the former authorisation as closed; it is another one."""
    funder, beneficiary, group_id = await house.couple()
    first = await house.bind(group_id, funder, beneficiary)
    await house.enrol(funder, URUMQI)
    await say(house, moved(funder, HAMI, URUMQI))
    second = await until_in(house, first, URUMQI)
    await house.enrol(funder, HAMI)
    await say(house, moved(funder, URUMQI, HAMI))
    third = await until_in(house, first, HAMI)
    assert len({UUID(one.authorisation_id) for one in (first, second, third)}) == 3
    assert {(await house.authorisation(one)).state for one in (first, second)} == {CLOSED}


async def test_family_that_dies_while_a_binding_moves_finishes_it(house: House) -> None:
    """Killed with the authorisation closed and a payment in flight; the money's end is heard of afterwards."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    await account(house, funder, HAMI, 100)
    in_flight = await held(house, binding, 60)
    await house.enrol(funder, URUMQI)
    await say(house, moved(funder, HAMI, URUMQI))
    await house.until(binding, CLOSING)
    await house.kill_family()
    await confirm(house, HAMI, in_flight)
    await house.start_family()
    assert (await house.authorisation(await until_in(house, binding, URUMQI))).used_fen == 60


async def test_what_ends_a_binding_ends_one_that_moves(house: House) -> None:
    """Unbound by a person, or stopped by itself: it is not opened anew."""
    funder, beneficiary, group_id = await house.couple()
    other, others_group = await house.person(), await house.group(funder)
    await house.siblings(funder, other)
    await house.bring_in(others_group, funder, other, person_pb2.RELATION_SIBLING)
    two = [await house.bind(group_id, funder, beneficiary), await house.bind(others_group, funder, other)]
    await account(house, funder, HAMI, 100)
    in_flight = [await held(house, one, 10) for one in two]
    await house.enrol(funder, URUMQI)
    await say(house, moved(funder, HAMI, URUMQI))
    for one in two:
        await house.until(one, CLOSING)
    await unbind(house, two[0], beneficiary)
    await house.enrol(other, GUANGZHOU)
    await house.until(two[1], SUSPENDED)
    for payment_id in in_flight:
        await confirm(house, HAMI, payment_id)
    unbound, stopped = [await house.binding(one) for one in two]
    assert (unbound.state, unbound.cause) == (UNBOUND, "")
    assert (stopped.state, stopped.cause) == (SUSPENDED, "OTHER_PROVINCE")


async def test_a_pair_stays_bound_while_its_binding_moves(house: House) -> None:
    """It cannot be bound a second time, nor is a move told late taken for the last one."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    await account(house, funder, HAMI, 100)
    in_flight, late = await held(house, binding, 10), moved(funder, GUANGZHOU, HAMI)
    await house.enrol(funder, URUMQI)
    await say(house, moved(funder, HAMI, URUMQI))
    late.occurred_time.FromDatetime(datetime(2020, 1, 1, tzinfo=UTC))
    await say(house, late)
    await house.until(binding, CLOSING)
    refusal = await refused(house.bind(group_id, funder, beneficiary))
    assert refusal.reason == "ALREADY_BOUND"
    await confirm(house, HAMI, in_flight)
    await until_in(house, binding, URUMQI)


async def test_a_binding_that_is_ended_as_its_old_ledger_lets_it_go_is_not_left_behind_as_well(house: House) -> None:
    """Who told the ledger to close it saw it moving; by the answer a person has ended it, and its uses count once."""
    funder, beneficiary, group_id = await house.couple()
    binding = await house.bind(group_id, funder, beneficiary)
    await account(house, funder, HAMI, 100)
    in_flight = await held(house, binding, 10)
    await house.enrol(funder, URUMQI)
    await say(house, moved(funder, HAMI, URUMQI))
    await house.until(binding, CLOSING)
    async with Database(house.world.database_url("family"), pool_size=2) as database:
        async with database.transaction() as connection:
            moving = await binding_store.load(connection, BindingId(UUID(binding.binding_id)))
        assert moving is not None
        assert moving.moving_to == URUMQI
        async with silent_ledger(house):
            await unbind(house, binding, beneficiary)
            await house.kill_family()
        try:
            await confirm(house, HAMI, in_flight)
            ledgers = Ledgers(house.bus, wait_s=10)
            driven = await bindings.drive(database=database, ledgers=ledgers, binding=moving, now=datetime.now(UTC))
            assert driven.binding.state is BindingState.UNBOUND
            async with database.driver_connection() as connection:
                assert await connection.fetchval(_LEFT, moving.binding_id) == 0
        finally:
            await house.start_family()
