"""One world for all contract tests: the five real processes, with what every case presupposes in place."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import pytest

from chassis.bus import Bus
from kernel.ids import AdmDvs
from ops.embedded.databases import Databases
from ops.embedded.world import Starting, World
from tests.contract.case_files import CASES
from tests.contract.replay import Provider, Servers
from tests.contract.states import prepare
from tests.e2e.town import AREAS, town_in, written_policies
from tests.patience import SETTLEMENT_WAITS
from tests.servers import NatsServer, new_folder, take_down

OF_TABLE: Final = AdmDvs("653100")
"""The area of the cases whose pooled part is computed (待遇表)."""
TABLE: Final = """
area: '653100'
policy:
  benefit: table
  benefit_table:
  - {insutype: '310', med_types: ['11'], levels: [TWO], retired: false,
      deductible_fen: 10000, ratio: '0.5', ceiling_fen: 30000, large: {ratio: '0.8', ceiling_fen: 5000}}
  - {insutype: '310', med_types: ['11'], levels: [TWO], retired: true,
      deductible_fen: 5000, ratio: '0.6', ceiling_fen: 40000}
"""


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
        areas=(*AREAS, OF_TABLE),
        policies=_policies(folder / "policies"),
        starting=starting,
        environment_of={"settlement": SETTLEMENT_WAITS},
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


def _policies(folder: Path) -> Path:
    """The town's, and one area of the same province that computes by a table."""
    written_policies(folder)
    (folder / f"{OF_TABLE}.yaml").write_text(TABLE, encoding="utf-8")
    return folder
