"""While ledgers or the database keep an engine waiting, it asks no more than it must and lets nobody else wait."""

from __future__ import annotations

import asyncio

import pytest

from kernel.policy import Part
from services.settlement.domain.split import Role
from services.settlement.operations import engine as engine_module
from services.settlement.operations.crediting import CreditRow, credit_unchecked
from services.settlement.operations.payments import Settled
from services.settlement.saga.payment import State
from tests.integration.settlement.engine.world import COMMAND_TIMEOUT_S, DRAIN_S, URUMQI, World


async def test_many_without_an_answer_are_sent_again_no_more_often_than_few(
    town: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a ledger is silent, what is sent again and again is bounded for all of them together."""
    monkeypatch.setattr(engine_module, "LOOKED_AFTER_PER_S", 10)
    crowd, resend_pause_s, watched_s = 40, 0.05, 1.0
    driver = await town.driver(recovers=False, vote_deadline_s=60, resend_pause_s=resend_pause_s)
    plans = [await town.plan(town.patient(), wallet=10) for _ in range(crowd)]
    edge = town.edges[URUMQI]
    edge.is_silent("try")
    calls = [asyncio.create_task(town.settle(driver.engine, plan)) for plan in plans]
    before = edge.seen["try_command"]
    async with asyncio.timeout(DRAIN_S):
        while edge.seen["try_command"] < before + crowd:  # noqa: ASYNC110  The edge tells nobody.
            await asyncio.sleep(0.01)
    await asyncio.sleep(watched_s + COMMAND_TIMEOUT_S)
    sent = edge.seen["try_command"] - before
    assert sent <= 2 * crowd  # Each for itself would be sent three times by then.
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_many_credits_without_an_answer_are_sent_again_no_more_often_than_few(
    town: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a whole file that somebody waits for are bounded together as well."""
    monkeypatch.setattr(engine_module, "LOOKED_AFTER_PER_S", 10)
    crowd, resend_pause_s, watched_s = 40, 0.05, 1.0
    engine = (await town.driver(recovers=False, resend_pause_s=resend_pause_s)).engine
    edge = town.edges[URUMQI]
    edge.is_silent("credit")
    before = edge.seen["credit_command"]
    rows = [CreditRow(URUMQI, f"row.{n}", town.patient(), Role.OWN, Part.CURRENT, 10) for n in range(crowd)]
    calls = [asyncio.create_task(credit_unchecked(engine, row)) for row in rows]
    async with asyncio.timeout(DRAIN_S):
        while edge.seen["credit_command"] < before + crowd:  # noqa: ASYNC110  The edge tells nobody.
            await asyncio.sleep(0.01)
    await asyncio.sleep(watched_s + COMMAND_TIMEOUT_S)
    sent = edge.seen["credit_command"] - before
    assert sent <= 2 * crowd  # Each for itself would be sent three times by then.
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_a_decision_that_the_database_keeps_waiting_is_asked_for_once(
    town: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads go on meanwhile, and none of them asks for the decision again."""
    monkeypatch.setattr(engine_module, "WATCH_S", 0.02)
    engine = (await town.driver(recovers=False, vote_deadline_s=60, resend_pause_s=0.05)).engine
    person, key = town.patient(), town.key()
    await town.give(engine, person, wallet=1_000)
    town.edges[URUMQI].is_silent("try")
    call = asyncio.create_task(town.settle(engine, await town.plan(person, wallet=500), key))
    await town.until(key, State.TRYING)
    async with town.database.driver_transaction() as other:
        await other.execute("SELECT FROM patient_years WHERE psn_no = $1 FOR UPDATE", person)
        town.edges[URUMQI].speaks_again()
        (flight,) = engine._flights.values()
        async with asyncio.timeout(DRAIN_S):
            while not flight.drive.is_writing:  # noqa: ASYNC110  The engine tells nobody.
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert engine._decide.waiting == 0
    assert isinstance(await call, Settled)


async def test_the_payments_of_a_silent_ledger_are_nobodys_company(town: World) -> None:
    """Once they had to be sent again, no step of another payment waits for them."""
    engine = (await town.driver(recovers=False, vote_deadline_s=60)).engine
    town.edges[URUMQI].is_silent("try")
    plan = await town.plan(town.patient(), wallet=10)
    call = asyncio.create_task(town.settle(engine, plan))
    async with asyncio.timeout(DRAIN_S):
        while engine._company_s() == 0:  # noqa: ASYNC110  The engine tells nobody.
            await asyncio.sleep(0.001)
        while engine._company_s() > 0:  # noqa: ASYNC110  As above.
            await asyncio.sleep(0.01)
    assert len(engine._voting) == 1
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
