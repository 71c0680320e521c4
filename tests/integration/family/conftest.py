"""One running system for the family tests: identity, family and the ledgers of three areas, on real servers."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator
from typing import Final

import pytest

from ops.embedded.databases import Databases
from ops.embedded.world import SERVICES, Starting, World
from tests.integration.family.house import AREAS, GUANGZHOU, House, house_of
from tests.servers import NatsServer, new_folder

SERVICE_NAMES: Final = ("identity", "family", "ledger")
POLICIES: Final = {
    "xinjiang.yaml": "area: '650000'\npolicy:\n  authorized_amount_required: true\n",
    "guangzhou.yaml": (
        f"area: '{GUANGZHOU}'\npolicy:\n  max_members: 3\n  max_funders_per_beneficiary: 1\n"
        "  relations: [SPOUSE, PARENT, CHILD]\n  counter_four_eyes: true\n  rebind_per_year: 1\n"
    ),
}


@pytest.fixture(scope="session")
async def house(postgres: Databases, nats: NatsServer, starting: Starting) -> AsyncIterator[House]:
    """The system, shared by the tests of this folder; each makes people of its own and leaves every process running."""
    folder, name = new_folder("family"), f"f{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    policies = folder / "policies"
    policies.mkdir()
    for file, content in POLICIES.items():
        (policies / file).write_text(content, encoding="utf-8")
    world = World(
        folder,
        databases=postgres,
        nats_url=nats.url,
        database_prefix=name,
        bus_prefix=name,
        areas=AREAS,
        policies=policies,
        starting=starting,
        services=[service for service in SERVICES if service.name in SERVICE_NAMES],
        environment={"GONGJI_DATABASE_POOL_SIZE": "4", "GONGJI_POLICIES_POLL_S": "0.2"},
    )
    try:
        await world.start()
        async with house_of(world) as opened:
            yield opened
    finally:
        await world.stop()
        await world.drop_databases()
        await nats.remove_streams(name)
        shutil.rmtree(folder, ignore_errors=True)
