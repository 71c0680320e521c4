"""One town for all fault tests: a ledger process for each area, short deadlines, and a second coordinator on call."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Final

import pytest

from ops.embedded.databases import Databases, NamedServer
from ops.embedded.nats import EmbeddedNats
from ops.embedded.world import SERVICES, Service, World
from tests.e2e.town import AREAS, Town, town_in, written_policies
from tests.fault.victims import FAR_LEDGER, LEDGER, SECOND, starts_of
from tests.servers import new_folder

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


@pytest.fixture(scope="session")
async def broker() -> AsyncIterator[EmbeddedNats]:
    """A NATS server of these tests alone, because it will die."""
    if not EmbeddedNats.installed():
        pytest.skip("the embedded NATS server is not installed, and no other may be killed")
    server = EmbeddedNats(new_folder("nats"))
    await server.start()
    yield server
    await server.destroy()


@pytest.fixture(scope="session")
async def town(postgres: Databases, broker: EmbeddedNats) -> AsyncIterator[Town]:
    """A running town; nothing personal may stand in its logs when it goes."""
    folder = new_folder("fault")
    world = World(
        folder,
        databases=postgres,
        nats_url=broker.url,
        database_prefix=f"w{uuid.uuid4().hex[:12]}",
        areas=AREAS,
        policies=written_policies(folder / "policies"),
        environment=ENVIRONMENT,
        services=_FAULT_SERVICES,
    )
    try:
        await world.start([service.name for service in SERVICES if service.name != LEDGER])
        for ledger in (LEDGER, FAR_LEDGER):
            await world.start_process(ledger, environment=starts_of(world, ledger))
        async with town_in(world) as running:
            yield running
            assert running.personal_in_logs() == {}
    finally:
        for one in world.running():
            await world.kill_process(one.name)
        await world.stop()
        if isinstance(postgres, NamedServer):  # An embedded one goes at the end of the run, with all it holds.
            await world.drop_databases()
        shutil.rmtree(folder, ignore_errors=True)


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
