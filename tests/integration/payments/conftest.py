"""One town for the on-call commands: a ledger process for each area, short deadlines, and the commands themselves."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from ops.embedded.databases import Databases
from ops.embedded.world import SERVICES, Starting, World
from tests.e2e.town import AREAS, Town, town_in, written_policies
from tests.fault.victims import FAR_LEDGER, FAR_LEDGER_SERVICE, LEDGER, starts_of
from tests.servers import NatsServer, new_folder, take_down

_ENVIRONMENT: Final = {
    "GONGJI_ENVIRONMENT": "test",
    "GONGJI_VOTE_DEADLINE_S": "3",
    "GONGJI_BALANCE_WAIT_S": "30",
    "GONGJI_LEDGER_SWEEP_S": "0.3",
    "GONGJI_LEDGER_INQUIRE_BACKOFF_S": "0.5",
}
GONGJI: Final = "from ops.main import main; main()"


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it printed."""

    exit_code: int
    out: str
    problem: str

    @property
    def document(self) -> Any:  # noqa: ANN401  JSON.
        """What it printed, as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class OnCall:
    """A town and the commands as the person on call types them."""

    town: Town
    data: Path

    async def says(self, *arguments: str) -> Said:
        """Runs ``gongji payments …`` against the town, with nobody at the keyboard."""
        return await run_payments(*arguments, "--data", str(self.data))

    async def hears(self, *arguments: str) -> Said:
        """Runs any other command of ``gongji`` against the town."""
        return await run_gongji(*arguments, "--data", str(self.data))

    async def answers(self, answer: str, *arguments: str) -> Said:
        """The same, with somebody at a keyboard who answers every question so."""
        keyboard, terminal = os.openpty()
        os.write(keyboard, f"{answer}\n".encode())
        try:
            return await run_payments(*arguments, "--data", str(self.data), stdin=terminal)
        finally:
            os.close(terminal)
            os.close(keyboard)

    def running(self) -> dict[str, str]:
        """The databases, as ``gongji up`` writes them down."""
        world = self.town.world
        rooms = ("settlement", "identity", "family", "notify")
        urls = {f"gongji_{room}": world.database_url(room) for room in rooms}
        return urls | {f"gongji_ledger_{area}": world.ledger_database_url(area) for area in AREAS}

    def write_running(self, folder: Path, databases: dict[str, str]) -> None:
        """Makes a folder look like the data folder of a running system."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "running.json").write_text(json.dumps({"databases": databases}), encoding="utf-8")


async def run_payments(*arguments: str, stdin: int = asyncio.subprocess.DEVNULL) -> Said:
    """Runs ``gongji payments …`` in a process of its own."""
    return await run_gongji("payments", *arguments, stdin=stdin)


async def run_gongji(*arguments: str, stdin: int = asyncio.subprocess.DEVNULL) -> Said:
    """Runs ``gongji …`` in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", GONGJI, *arguments,
        stdin=stdin, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, problem = await process.communicate()
    assert process.returncode is not None
    return Said(process.returncode, out.decode(), problem.decode())


@pytest.fixture(scope="session")
async def on_call(postgres: Databases, nats: NatsServer, starting: Starting) -> AsyncIterator[OnCall]:
    """A running town whose Hami ledger may die; nothing personal may stand in its logs when it goes."""
    name = f"w{uuid.uuid4().hex[:12]}"
    folder = new_folder("on-call")
    world = World(
        folder,
        databases=postgres,
        nats_url=nats.url,
        database_prefix=name,
        bus_prefix=name,
        areas=AREAS,
        policies=written_policies(folder / "policies"),
        starting=starting,
        environment=_ENVIRONMENT,
        services=(*SERVICES, FAR_LEDGER_SERVICE),
    )
    try:
        await world.start([service.name for service in SERVICES if service.name != LEDGER])
        for ledger in (LEDGER, FAR_LEDGER):
            await world.start_process(ledger, environment=starts_of(world, ledger))
        async with town_in(world) as town:
            on_call = OnCall(town, folder / "data")
            on_call.write_running(on_call.data, on_call.running())
            yield on_call
            assert town.personal_in_logs() == {}
    finally:
        await take_down(world, postgres)
        await nats.remove_streams(world.bus_prefix)
