"""One world for all contract tests: the five real processes, with what every case presupposes in place."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from chassis.bus import Bus
from ops.embedded.databases import Databases
from ops.embedded.world import Starting, World
from tests.contract.case_files import CASES
from tests.contract.replay import Provider, Servers
from tests.contract.states import prepare
from tests.e2e.town import AREAS, town_in, written_policies
from tests.servers import NatsServer, new_folder, take_down


@pytest.fixture(scope="session")
async def provider(postgres: Databases, nats: NatsServer, starting: Starting) -> AsyncIterator[Provider]:
    """The real services in the state that the case files name."""
    name = f"w{uuid.uuid4().hex[:12]}"
    folder = new_folder("contract")
    world = World(
        folder,
        databases=postgres,
        nats_url=nats.url,
        database_prefix=name,
        bus_prefix=name,
        areas=AREAS,
        policies=written_policies(folder / "policies"),
        starting=starting,
    )
    await world.start()
    try:
        async with AsyncExitStack() as stack:
            town = await stack.enter_async_context(town_in(world))
            bus = await stack.enter_async_context(Bus(nats.url, name="contract", prefix=world.bus_prefix))
            await prepare(town, CASES)
            servers = await stack.enter_async_context(Servers.at(world.address))
            yield Provider(servers, town, bus)
            await town.check()
            assert town.personal_in_logs() == {}
    finally:
        await take_down(world, postgres)
        await nats.remove_streams(world.bus_prefix)
