"""One town for all fault tests: a ledger process for each area, short deadlines, and a second coordinator on call."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest

from ops.embedded.databases import Databases
from ops.embedded.world import SERVICES, Service, World
from tests.e2e.town import AREAS, Town, town_in, written_policies
from tests.fault.victims import FAR_LEDGER, LEDGER, SECOND, starts_of
from tests.servers import NatsServer, new_folder

VOTE_DEADLINE_S: Final = 3
"""Long enough for a busy machine, short enough to be waited for."""
DRAINED: Final = "drained_s"
"""The property under which a test records how long its fault took to drain."""
ENVIRONMENT: Final[Mapping[str, str]] = {
    "GONGJI_ENVIRONMENT": "test",
    "GONGJI_VOTE_DEADLINE_S": str(VOTE_DEADLINE_S),
    "GONGJI_LEDGER_SWEEP_S": "0.3",
    "GONGJI_LEDGER_INQUIRE_BACKOFF_S": "0.5",
}
_ONE: Final = {service.name: service for service in SERVICES}
_FAULT_SERVICES: Final = (
    *SERVICES,
    Service(FAR_LEDGER, _ONE[LEDGER].module, _ONE[LEDGER].takes),
    Service(SECOND, _ONE["settlement"].module, _ONE["settlement"].takes),
)


async def started_world(name: str, *, databases: Databases, nats_url: str) -> World:
    """A world for faults, everything running but the second coordinator."""
    folder = new_folder("fault")
    world = World(
        folder,
        databases=databases,
        nats_url=nats_url,
        database_prefix=name,
        bus_prefix=name,
        areas=AREAS,
        policies=written_policies(folder / "policies"),
        environment=ENVIRONMENT,
        services=_FAULT_SERVICES,
    )
    await world.start([service.name for service in SERVICES if service.name != LEDGER])
    for ledger in (LEDGER, FAR_LEDGER):
        await world.start_process(ledger, environment=starts_of(world, ledger))
    return world


async def ended(world: World) -> None:
    """Nothing of the world is left."""
    for one in world.running():
        await world.kill_process(one.name)
    await world.stop()
    await world.drop_databases()
    shutil.rmtree(world.folder, ignore_errors=True)


@pytest.fixture(scope="session")
async def town(postgres: Databases, nats: NatsServer) -> AsyncIterator[Town]:
    """A running town; nothing personal may stand in its logs when it goes."""
    world = await started_world(f"w{uuid.uuid4().hex[:12]}", databases=postgres, nats_url=nats.url)
    try:
        async with town_in(world) as running:
            yield running
            assert running.personal_in_logs() == {}
    finally:
        await ended(world)
        await nats.remove_streams(world.bus_prefix)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each fault took to drain, in seconds."""
    drained = [
        (report.nodeid.rpartition("::")[2], value)
        for report in terminalreporter.getreports("passed")
        for name, value in report.user_properties
        if name == DRAINED
    ]
    if drained:
        terminalreporter.section("seconds from the fault until everything was at rest")
        for cell, value in drained:
            terminalreporter.write_line(f"{value:>6}  {cell}")
