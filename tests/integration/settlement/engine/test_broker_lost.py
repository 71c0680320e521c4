"""NATS dies in the middle of everything and comes back with an empty disk: PostgreSQL decides, NATS only carries."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from kernel.failures import Failure
from kernel.ids import AdmDvs
from ops.embedded.databases import Databases
from ops.embedded.nats import EmbeddedNats
from services.settlement.operations.payments import Settled
from services.settlement.saga.payment import State
from tests.integration.settlement.engine.conftest import new_databases
from tests.integration.settlement.engine.world import AREAS, Act, World, world
from tests.servers import new_folder


@pytest.fixture
async def own_nats() -> AsyncIterator[EmbeddedNats]:
    """A NATS that only this test kills."""
    if not EmbeddedNats.installed():
        pytest.skip("needs a NATS server that the test may kill")
    server = EmbeddedNats(new_folder("nats"))
    await server.start()
    yield server
    await server.destroy()


@pytest.fixture
async def own_town(postgres: Databases, own_nats: EmbeddedNats) -> AsyncIterator[World]:
    """A world on that NATS."""
    async with new_databases(postgres) as urls:
        ledger_urls = {AdmDvs(area): urls[area] for area in AREAS}
        prefix = f"t{uuid.uuid4().hex[:12]}"
        async with world(
            database_url=urls["settlement"], ledger_urls=ledger_urls, nats_url=own_nats.url, prefix=prefix
        ) as made:
            yield made
            await made.tidy()


async def test_payments_under_way_end_right_when_nats_is_wiped(own_town: World, own_nats: EmbeddedNats) -> None:
    """Every payment is paid whole or not at all, and each call's answer is what the row says."""
    town = own_town
    engine = (await town.driver(vote_deadline_s=3.0)).engine
    people = [town.patient() for _ in range(30)]
    for person in people:
        await town.give(engine, person, own=10_000, wallet=1_000)
    keys = [town.key() for _ in people]
    for edge in town.edges.values():
        for order in ("try", "confirm"):
            edge.will(order, *[act for _ in range(5) for act in (Act.LOSE, Act.MUTE, Act.TWICE)])

    async def pay(number: int) -> object:
        await asyncio.sleep(0.03 * number)
        return await town.settle(engine, await town.plan(people[number], own=1_000, wallet=500), keys[number])

    calls = [asyncio.create_task(pay(number)) for number in range(len(people))]
    await asyncio.sleep(0.45)
    await own_nats.wipe()
    await asyncio.sleep(0.5)
    await own_nats.start()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    for key, person, outcome in zip(keys, people, outcomes, strict=True):
        row = await town.until(key, State.DONE, State.CLOSED)
        if isinstance(outcome, Failure):
            assert outcome.reason == "PAYMENT_IN_PROGRESS"
        else:
            assert isinstance(outcome, Settled) == (row.state is State.DONE)
        assert await town.money(person) == ((9_000, 500) if row.state is State.DONE else (10_000, 1_000))
