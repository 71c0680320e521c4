"""A running coordinator notices a restore by itself, and settlements that were put aside are let alone."""

from __future__ import annotations

import asyncio

from services.settlement.operations.inquiring import inquire
from services.settlement.operations.payments import Settled, Stopped
from services.settlement.recovery import watch_standing
from services.settlement.saga.payment import State
from services.settlement.saga.restoring import UNCLEAR
from services.settlement.wire.origin import origin_in
from tests.integration.settlement.engine.world import Driver, World, reason_of

HASTY_S = 0.3
"""How long a caller waits who is to hear that it is not decided yet."""

_BEGIN = "UPDATE coordinator SET restoring_since = now(), restore_id = gen_random_uuid()"
_FINISH = "UPDATE coordinator SET restoring_since = NULL"
_PUT_ASIDE = """
    UPDATE payments SET quarantine = $2, deadline_at = '9999-01-01', next_drive_at = '9999-01-01'
     WHERE payment_id = $1"""


async def noticed(driver: Driver, *, restoring: bool) -> None:
    """The process has seen how the coordinator stands."""
    async with asyncio.timeout(60):
        while driver.engine.standing.is_restoring is not restoring:  # noqa: ASYNC110  A look every so often is its way.
            await asyncio.sleep(0.02)


async def test_while_it_restores_nothing_is_taken_and_what_was_in_flight_goes_on_afterwards(town: World) -> None:
    """The database refuses before the process has noticed; nothing is decided, and recovery finishes it all."""
    driver = await town.driver()
    patient, other = town.patient(), town.patient()
    await town.give(driver.engine, patient, own=5_000)
    await town.give(driver.engine, other, own=5_000)
    key, plan, other_plan = town.key(), await town.plan(patient, own=1_000), await town.plan(other, own=1_000)
    for edge in town.edges.values():
        edge.is_silent("try")
    undecided = asyncio.create_task(town.settle(driver.engine, plan, key))
    await town.until(key, State.TRYING)
    await town.forget(_BEGIN)
    try:
        assert await reason_of(town.settle(driver.engine, other_plan)) == "COORDINATOR_RESTORING"
        watching = asyncio.create_task(watch_standing(driver.engine, pause_s=0.02))
        driver.tasks.append(watching)
        await noticed(driver, restoring=True)
        assert await reason_of(undecided) == "COORDINATOR_RESTORING"
        assert await reason_of(town.reverse(driver.engine, key)) == "COORDINATOR_RESTORING"
        row = await town.row(key)
        assert row is not None
        assert [
            decision.value for _, decision, _ in await inquire(driver.engine, plan.legs[0].area, [row.payment_id])
        ] == ["WAIT"]
        assert await driver.engine.sweep(limit=10) == 0
    finally:
        await town.forget(_FINISH)
    for edge in town.edges.values():
        edge.speaks_again()
    await noticed(driver, restoring=False)
    assert isinstance(await town.settle(driver.engine, plan, key), Settled)
    await town.drained()
    assert await town.money(patient) == (4_000, 0)


async def test_a_settlement_that_was_put_aside_is_decided_by_its_terminals_reversal_and_by_nothing_else(
    town: World,
) -> None:
    """No sweep and no repetition decides it, and its patient may pay meanwhile; who never saw an answer may stop it."""
    driver = await town.driver(answer_wait_s=HASTY_S)
    patient = town.patient()
    await town.give(driver.engine, patient, own=5_000)
    key, plan = town.key(), await town.plan(patient, own=1_000)
    for edge in town.edges.values():
        edge.is_silent("try")
    assert await reason_of(town.settle(driver.engine, plan, key)) == "PAYMENT_IN_PROGRESS"
    await town.until(key, State.TRYING)
    await driver.stop()  # What it has in flight is gone, as it would be after a restore.
    row = await town.row(key)
    assert row is not None
    await town.forget(_PUT_ASIDE, row.payment_id, UNCLEAR)
    for edge in town.edges.values():
        edge.speaks_again()
    hasty = await town.driver(answer_wait_s=HASTY_S)
    assert await reason_of(town.settle(hasty.engine, plan, key)) == "PAYMENT_IN_PROGRESS"
    second = await town.driver()
    assert isinstance(await town.settle(second.engine, await town.plan(patient, own=500)), Settled)
    assert await second.engine.sweep(limit=10) == 0
    assert isinstance(await town.reverse(second.engine, key), Stopped)
    await town.drained()
    assert await town.money(patient) == (4_500, 0)


async def test_a_ledger_keeps_what_makes_the_coordinators_row_anew(town: World) -> None:
    """The origin of a branch says key, content, legs of every area, and, at the first ledger, the whole plan."""
    driver = await town.driver()
    patient = town.patient()
    await town.give(driver.engine, patient, own=5_000, wallet=5_000)
    key, plan = town.key(), await town.plan(patient, own=1_000, wallet=200)
    settled = await town.settle(driver.engine, plan, key)
    assert isinstance(settled, Settled)
    kept = []
    for ledger in town.ledgers.values():
        async with ledger.driver_connection() as connection:
            packed = await connection.fetchval(
                "SELECT origin FROM branches WHERE payment_id = $1", settled.payment.payment_id
            )
        kept.append(origin_in(packed))
    for origin in kept:
        assert origin is not None
        assert (origin.key, origin.request_hash) == (key, settled.payment.request_hash)
        assert (origin.legs, origin.plan_id) == (plan.legs, plan.plan_id)
    assert [origin is not None and origin.plan == plan.document() for origin in kept] == [True, False]
