"""A binding rests on kinship: when the fact behind it falls, it stops, also when it falls while the binding is made."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from uuid import uuid4

from chassis.db import Database
from gongji.family.v1 import binding_pb2, family_pb2
from gongji.identity.v1 import person_pb2
from gongji.ledger.v1 import ledger_pb2
from kernel.failures import Failure
from tests.integration.family.house import HAMI, House
from tests.integration.family.test_bindings import absent_ledger, refused, unbind
from tests.patience import until

ACTIVE, CLOSING = binding_pb2.BINDING_STATE_ACTIVE, binding_pb2.BINDING_STATE_CLOSING
SUSPENDED, UNBOUND = binding_pb2.BINDING_STATE_SUSPENDED, binding_pb2.BINDING_STATE_UNBOUND
CLOSED, OPEN = ledger_pb2.AUTHORISATION_STATE_CLOSED, ledger_pb2.AUTHORISATION_STATE_OPEN
RACES = 12
RACE_STEP_S = 0.004
_LOCK = "SELECT pg_advisory_lock(hashtextextended($1, 0))"
_UNLOCK = "SELECT pg_advisory_unlock(hashtextextended($1, 0))"
_LOCK_AWAITED = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)"
_HEARD = "SELECT count(*) FROM inbox WHERE consumer = 'family-kinship'"


async def relatives(house: House) -> tuple[str, str, str, str]:
    """Two siblings in a group: funder, beneficiary, the group's id and the fact's."""
    funder, beneficiary = await house.person(), await house.person(insutype="390")
    fact_id = await house.siblings(funder, beneficiary)
    group_id = await house.group(funder)
    await house.bring_in(group_id, funder, beneficiary, person_pb2.RELATION_SIBLING)
    return funder, beneficiary, group_id, fact_id


async def bindings_of(house: House, group_id: str, by: str) -> list[binding_pb2.Binding]:
    """Every binding of the group as it stands."""
    answer = await house.family.GetGroup(family_pb2.GetGroupRequest(group_id=group_id, by_psn_no=by))
    return list(answer.group.bindings)


async def test_a_binding_stops_when_the_fact_behind_it_is_revoked(house: House) -> None:
    """SUSPENDED with its cause, the ledger's authorisation closed; a new fact brings nothing back without consent."""
    funder, beneficiary, group_id, fact_id = await relatives(house)
    binding = await house.bind(group_id, funder, beneficiary)
    await house.revoke(fact_id)
    await house.until(binding, SUSPENDED)
    assert (await house.binding(binding)).cause == "KINSHIP_NOT_PROVEN"
    assert (await house.authorisation(binding)).state == CLOSED
    refusal = await refused(house.bind(group_id, funder, beneficiary))
    assert refusal.reason == "KINSHIP_NOT_PROVEN"
    await house.siblings(funder, beneficiary)
    assert (await house.binding(binding)).state == SUSPENDED
    assert (await house.bind(group_id, funder, beneficiary)).state == ACTIVE


async def test_a_binding_goes_on_when_another_fact_still_proves_it(house: House) -> None:
    """Of two proofs one falls: identity is asked, and nothing stops."""
    funder, beneficiary, group_id, fact_id = await relatives(house)
    parent = await house.person(born="19500501")
    await house.parent(parent, funder)
    await house.parent(parent, beneficiary)
    binding = await house.bind(group_id, funder, beneficiary)
    await house.revoke(fact_id)
    witness = await relatives(house)
    stopped = await house.bind(witness[2], witness[0], witness[1])
    await house.revoke(witness[3])
    await house.until(stopped, SUSPENDED)  # Told later, so the first has been heard of as well.
    assert (await house.binding(binding)).state == ACTIVE
    assert (await house.authorisation(binding)).state == OPEN


async def test_a_fact_revoked_and_heard_of_before_the_binding_is_written_stops_it(house: House) -> None:
    """Identity's yes is old when the row is written, and the event found no row: still nothing is ever opened."""
    funder, beneficiary, group_id, fact_id = await relatives(house)
    await house.sign(funder)
    async with (
        Database(house.world.database_url("family"), pool_size=1) as database,
        database.driver_connection() as db,
    ):
        heard = await db.fetchval(_HEARD)
        await db.execute(_LOCK, beneficiary)
        try:
            binding = asyncio.create_task(house.bind(group_id, funder, beneficiary))
            await until(lambda: db.fetchval(_LOCK_AWAITED))
            await house.revoke(fact_id)

            async def has_heard() -> bool:
                return bool(await db.fetchval(_HEARD) > heard)

            await until(has_heard)
        finally:
            await db.execute(_UNLOCK, beneficiary)
    assert (await refused(binding)).reason == "KINSHIP_NOT_PROVEN"
    (made,) = await bindings_of(house, group_id, funder)
    await house.until(made, SUSPENDED)
    assert (await house.authorisation(made)).state == CLOSED


async def test_a_fact_revoked_while_a_binding_is_made_leaves_nothing_open(house: House) -> None:
    """Whoever comes first: refused, or bound and stopped within seconds, and never open at the ledger in the end."""

    async def race(pause_s: float) -> None:
        funder, beneficiary, group_id, fact_id = await relatives(house)
        await house.sign(funder)
        binding = asyncio.create_task(house.bind(group_id, funder, beneficiary))
        await asyncio.sleep(pause_s)
        await house.revoke(fact_id)
        with suppress(Failure):
            await binding
        for made in await bindings_of(house, group_id, funder):
            await house.until(made, SUSPENDED)
            assert (await house.authorisation(made)).state == CLOSED

    await asyncio.gather(*(race(number * RACE_STEP_S) for number in range(RACES)))


async def test_family_dead_when_the_fact_falls_hears_of_it_later(house: House) -> None:
    """The binding stops soon after family is back."""
    funder, beneficiary, group_id, fact_id = await relatives(house)
    binding = await house.bind(group_id, funder, beneficiary)
    await house.kill_family()
    try:
        await house.revoke(fact_id)
    finally:
        await house.start_family()
    await house.until(binding, SUSPENDED)


async def test_a_binding_that_family_left_unasked_is_asked_about_before_it_is_opened(house: House) -> None:
    """Killed after the row was written, with the fact fallen meanwhile, family opens nothing when it is back."""
    funder, beneficiary, group_id, fact_id = await relatives(house)
    await house.sign(funder)
    async with absent_ledger(house):
        with suppress(Failure):
            await house.bind(group_id, funder, beneficiary)
        await house.kill_family()
        try:
            await house.revoke(fact_id)
        finally:
            await house.start_family()
    (made,) = await bindings_of(house, group_id, funder)
    await house.until(made, SUSPENDED)
    assert (await house.authorisation(made)).state == CLOSED


async def test_a_binding_that_has_stopped_is_unbound_if_a_person_ends_it_meanwhile(house: House) -> None:
    """While the ledger is away it is CLOSING with its cause; ended by a person it becomes UNBOUND, without one."""
    funder, beneficiary, group_id, fact_id = await relatives(house)
    binding = await house.bind(group_id, funder, beneficiary)
    async with absent_ledger(house):
        await house.revoke(fact_id)
        await house.until(binding, CLOSING)
        assert (await house.binding(binding)).cause == "KINSHIP_NOT_PROVEN"
        ended = await unbind(house, binding, beneficiary)
        assert (ended.state, ended.cause) == (CLOSING, "")
    await house.until(binding, UNBOUND)


async def test_the_same_request_after_the_kinship_fell_is_refused_by_its_name(house: House) -> None:
    """A repeated Bind of a binding that has stopped says why, and opens nothing."""
    funder, beneficiary, group_id, fact_id = await relatives(house)
    request_id = str(uuid4())
    binding = await house.bind(group_id, funder, beneficiary, request_id=request_id)
    await house.revoke(fact_id)
    await house.until(binding, SUSPENDED)
    again = await refused(house.bind(group_id, funder, beneficiary, request_id=request_id))
    assert again.reason == "KINSHIP_NOT_PROVEN"
    assert binding.funder_area == HAMI
