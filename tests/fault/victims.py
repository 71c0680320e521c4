"""Processes that are to die: armed with a fault point, watched until they are dead, started again."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from typing import Final

from ops.embedded.world import SERVICES, Service, World
from tests.e2e.town import URUMQI

LEDGER: Final = "ledger"
"""Keeps Ürümqi, where most patients are insured."""
FAR_LEDGER: Final = "far_ledger"
"""Keeps Hami, where every second funder is insured, and what other areas the world has."""
COORDINATOR: Final = "settlement"
FAMILY: Final = "family"
"""Keeps the bindings."""
SECOND: Final = "second"
"""Another coordinator on the same database; started by the tests that want it."""
_ONE: Final = {service.name: service for service in SERVICES}
FAR_LEDGER_SERVICE: Final = Service(FAR_LEDGER, _ONE[LEDGER].module, _ONE[LEDGER].takes)
SECOND_SERVICE: Final = Service(SECOND, _ONE[COORDINATOR].module, _ONE[COORDINATOR].takes)
BYSTANDERS: Final = ("identity", "notify")
"""The processes that are not to die."""
DEATH_MAX_S: Final = 60.0
ARMED_MAX_S: Final = 5.0


def starts_of(world: World, name: str) -> dict[str, str]:
    """What this process is told at every start beside the world's settings."""
    far = ",".join(area for area in world.areas if area != URUMQI)
    told: dict[str, dict[str, str]] = {
        LEDGER: {"GONGJI_LEDGER_AREAS": URUMQI},
        FAR_LEDGER: {"GONGJI_LEDGER_AREAS": far, "GONGJI_FAULT_FILE": str(fault_file(world, FAR_LEDGER))},
        FAMILY: {"GONGJI_FAULT_FILE": str(fault_file(world, FAMILY))},
        COORDINATOR: {"GONGJI_FAULT_FILE": str(fault_file(world, COORDINATOR))},
        SECOND: {"GONGJI_DATABASE_URL": world.database_url("settlement")},
    }
    return told.get(name, {})


def fault_file(world: World, name: str) -> Path:
    """Where a running process is told its fault point."""
    return world.folder / "run" / f"{name}.fault"


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


async def arm_running(world: World, name: str, point: str) -> None:
    """Arms a process while it runs; returns once it has taken note."""
    file = fault_file(world, name)
    written = file.with_suffix(".written")
    written.write_text(point, encoding="utf-8")
    written.replace(file)
    world.send(name, signal.SIGUSR1)
    end = time.monotonic() + ARMED_MAX_S
    while file.exists():
        assert time.monotonic() < end, f"{name} did not take note of its fault point"
        await asyncio.sleep(0.005)


async def launch(world: World, name: str, point: str | None = None) -> None:
    """Starts it again, to die at the point if one is given, and does not wait until it is ready."""
    await world.kill_process(name)
    process = world._processes[name]
    process.extra = starts_of(world, name) | ({} if point is None else {"GONGJI_FAULT_POINT": point})
    world._launch(process)
    process.wanted = True
