"""A town whose processes may be killed: two ledger processes, short deadlines, a second coordinator."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from ops.embedded.databases import Databases
from ops.embedded.nats import EmbeddedNats
from ops.embedded.world import SERVICES, Starting, World
from tests.e2e.town import AREAS, LANZHOU, Town, town_in, written_policies
from tests.fault.victims import (
    BYSTANDERS,
    COORDINATOR,
    FAMILY,
    FAR_LEDGER,
    FAR_LEDGER_SERVICE,
    LEDGER,
    SECOND_SERVICE,
    starts_of,
)
from tests.servers import new_folder, take_down

VOTE_DEADLINE_S: Final = 3
"""Long enough for a busy machine, short enough to be waited for."""
LEASE_S: Final = 0.5
"""Production leaves a payment to the coordinator that wrote it last for 3 s before recovery takes it up."""
ENVIRONMENT: Final[Mapping[str, str]] = {
    "GONGJI_ENVIRONMENT": "test",
    "GONGJI_VOTE_DEADLINE_S": str(VOTE_DEADLINE_S),
    "GONGJI_RECOVERY_LEASE_S": str(LEASE_S),
    "GONGJI_EVENT_ACK_WAIT_S": "2",
    "GONGJI_LEDGER_SWEEP_S": "0.3",
    "GONGJI_LEDGER_INQUIRE_BACKOFF_S": "0.5",
    "GONGJI_LEDGER_SEAL_AFTER_S": "0.5",
}


@asynccontextmanager
async def mortal_town(databases: Databases, broker: EmbeddedNats, starting: Starting) -> AsyncIterator[Town]:
    """A running town; nothing personal may stand in its logs when it goes."""
    folder = new_folder("fault")
    name = f"w{uuid.uuid4().hex[:12]}"
    world = World(
        folder,
        databases=databases,
        nats_url=broker.url,
        database_prefix=name,
        areas=(*AREAS, LANZHOU),
        policies=written_policies(folder / "policies", LANZHOU),
        environment=ENVIRONMENT,
        services=(*SERVICES, FAR_LEDGER_SERVICE, SECOND_SERVICE),
        starting=starting,
    )
    try:
        await world.start(BYSTANDERS)
        for victim in (FAMILY, COORDINATOR, LEDGER, FAR_LEDGER):
            await world.start_process(victim, environment=starts_of(world, victim))
        async with town_in(world) as running:
            yield running
            assert running.personal_in_logs() == {}
    finally:
        await take_down(world, databases)
