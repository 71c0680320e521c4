"""Processes that are to die: armed with a fault point, watched until they are dead, started again."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Final

from ops.embedded.world import World
from tests.e2e.town import HAMI, URUMQI

LEDGER: Final = "ledger"
"""Keeps Ürümqi, where most patients are insured."""
FAR_LEDGER: Final = "far_ledger"
"""Keeps Hami, where every second funder is insured."""
COORDINATOR: Final = "settlement"
SECOND: Final = "second"
"""Another coordinator on the same database; started by the tests that want it."""
DEATH_MAX_S: Final = 20.0


def starts_of(world: World, name: str) -> dict[str, str]:
    """What this process is told at every start beside the world's settings."""
    told: dict[str, dict[str, str]] = {
        LEDGER: {"GONGJI_LEDGER_AREAS": URUMQI},
        FAR_LEDGER: {"GONGJI_LEDGER_AREAS": HAMI},
        SECOND: {"GONGJI_DATABASE_URL": world.database_url("settlement")},
    }
    return told.get(name, {})


async def arm(world: World, name: str, point: str) -> None:
    """Starts the process anew, so that it dies at this point."""
    await world.kill_process(name)
    await world.start_process(name, environment={**starts_of(world, name), "GONGJI_FAULT_POINT": point})


async def died(world: World, name: str) -> float:
    """Waits until the process has killed itself; when that was, by the monotonic clock."""
    end = time.monotonic() + DEATH_MAX_S
    while world.pid(name) is not None:
        assert time.monotonic() < end, f"{name} did not come to its fault point"
        await asyncio.sleep(0.005)
    child = world._processes[name].child
    assert child is not None
    assert child.exit_code == -signal.SIGKILL
    return time.monotonic()


async def revive(world: World, name: str) -> None:
    """Starts it again as it should be; kills it first if it lives."""
    await world.kill_process(name)
    await world.start_process(name, environment=starts_of(world, name))
