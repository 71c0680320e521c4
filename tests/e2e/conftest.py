"""One town for all end-to-end tests: five real processes, as they ship but for patience, and fresh people each."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator

import pytest

from ops.embedded.databases import Databases
from ops.embedded.world import Starting, World
from tests.e2e.town import AREAS, Town, town_in, written_policies
from tests.patience import SETTLEMENT_WAITS
from tests.servers import NatsServer, new_folder, take_down


@pytest.fixture(scope="session")
async def town(postgres: Databases, nats: NatsServer, starting: Starting) -> AsyncIterator[Town]:
    """A running town; nothing personal may stand in its logs when it goes."""
    name = f"w{uuid.uuid4().hex[:12]}"
    folder = new_folder("town")
    world = World(
        folder,
        databases=postgres,
        nats_url=nats.url,
        database_prefix=name,
        bus_prefix=name,
        areas=AREAS,
        policies=written_policies(folder / "policies"),
        starting=starting,
        environment_of={"settlement": SETTLEMENT_WAITS},
    )
    await world.start()
    try:
        async with town_in(world) as running:
            yield running
            assert running.personal_in_logs() == {}
    finally:
        await take_down(world, postgres)
        await nats.remove_streams(world.bus_prefix)
