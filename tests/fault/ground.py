"""A town on servers of its own, which may die: one PostgreSQL for the coordinator, one for the ledgers, one NATS.

The ledgers' PostgreSQL lies on a small disk where this machine lets us mount one. The coordinator and the ledger of
Ürümqi reach their PostgreSQL and NATS through proxies, one for each of the four lines.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops.embedded.databases import Databases
from ops.embedded.nats import EmbeddedNats
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.processes import CannotStart
from ops.embedded.world import SERVICES, Starting, World
from tests.e2e.town import AREAS, Family, Town, looked_into, town_in, written_policies
from tests.fault.load import load_families
from tests.fault.tcp_proxy import TcpProxy, proxy_before, url_through
from tests.fault.victims import BYSTANDERS, COORDINATOR, FAMILY, FAR_LEDGER, FAR_LEDGER_SERVICE, LEDGER, starts_of
from tests.servers import new_folder, take_down

DISK_BYTES: Final = 320 << 20
START_AGAIN_S: Final = 0.5
_MODEST: Final = {"max_wal_size": "96MB", "min_wal_size": "32MB", "shared_buffers": "64MB"}
"""What fits on the small disk."""


@dataclass
class SmallDisk:
    """A file system of our own in memory, of DISK_BYTES; it can be filled to the last byte."""

    folder: Path

    @property
    def _ballast(self) -> Path:
        return self.folder / "ballast"

    def fill(self) -> None:
        """Leaves no byte free: from now on every write that needs room ends with ENOSPC."""
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(64 << 10))
        with self._ballast.open("ab", buffering=0) as file, suppress(OSError):
            while True:
                file.write(bytes(512))

    def free(self) -> None:
        """Gives the room back."""
        self._ballast.unlink(missing_ok=True)


@dataclass
class Ground:
    """The town with the servers and lines it stands on."""

    town: Town
    families: list[Family]
    coordinators: EmbeddedPostgres
    ledgers: EmbeddedPostgres
    broker: EmbeddedNats
    lines: Mapping[tuple[str, str], TcpProxy]
    """By process and server: ``(COORDINATOR, "postgres")`` and so on."""
    disk: SmallDisk | None
    starts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What each process is told at every start."""

    @property
    def world(self) -> World:
        """The processes."""
        return self.town.world

    async def started_again(self, server: EmbeddedPostgres) -> None:
        """As whoever watches over a server does: it is started until it stays."""
        while server.pid is None:
            with suppress(CannotStart):
                await server.start()
                return
            await server.stop()
            await asyncio.sleep(START_AGAIN_S)

    async def reconnected(self) -> None:
        """Our own connections anew, those by which the tests look into the databases."""
        for connection in (self.town.settlement, *self.town.ledgers.values()):
            connection.terminate()
        self.town.settlement, self.town.ledgers = await looked_into(self.world)

    async def restarted(self, name: str, **more: str) -> None:
        """Kills a process and starts it with its environment and more."""
        await self.world.kill_process(name)
        await self.world.start_process(name, environment={**self.starts.get(name, {}), **more})


@asynccontextmanager
async def small_disk() -> AsyncIterator[SmallDisk | None]:
    """A small file system, or None where nobody may mount one."""
    folder = new_folder("disk")
    folder.mkdir(mode=0o711)
    mounted = await _ran("mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0711", "gongji-test", str(folder))
    if not mounted:
        folder.rmdir()
        yield None
        return
    try:
        yield SmallDisk(folder)
    finally:
        await _ran("umount", "--lazy", str(folder))
        folder.rmdir()


async def _ran(*command: str) -> bool:
    if os.geteuid() != 0 or shutil.which(command[0]) is None:
        return False
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
    return done.returncode == 0


@asynccontextmanager
async def ground_in(postgres: Databases, starting: Starting, environment: Mapping[str, str]) -> AsyncIterator[Ground]:
    """Servers, lines, processes, a town and the families of the load; nothing of it is left afterwards."""
    async with AsyncExitStack() as stack:
        disk = await stack.enter_async_context(small_disk())
        coordinators = EmbeddedPostgres(new_folder("pgc"), settings=_MODEST)
        ledgers = EmbeddedPostgres(new_folder("pgl") if disk is None else disk.folder / "pg", settings=_MODEST)
        broker = EmbeddedNats(new_folder("nats"))
        for server in (coordinators, ledgers, broker):
            stack.push_async_callback(server.destroy)
        await asyncio.gather(coordinators.start(), ledgers.start(), broker.start())
        folder = new_folder("ground")
        world = World(
            folder,
            databases=postgres,
            databases_of={"settlement": coordinators, "ledger": ledgers},
            nats_url=broker.url,
            database_prefix=f"w{uuid.uuid4().hex[:12]}",
            areas=AREAS,
            policies=written_policies(folder / "policies"),
            starting=starting,
            environment=environment,
            services=(*SERVICES, FAR_LEDGER_SERVICE),
        )
        stack.push_async_callback(take_down, world, postgres)
        lines = {
            (COORDINATOR, "postgres"): await stack.enter_async_context(proxy_before(coordinators.url("postgres"))),
            (LEDGER, "postgres"): await stack.enter_async_context(proxy_before(ledgers.url("postgres"))),
            (COORDINATOR, "nats"): await stack.enter_async_context(proxy_before(broker.url)),
            (LEDGER, "nats"): await stack.enter_async_context(proxy_before(broker.url)),
        }
        starts = _starts(world, lines)
        await world.start(BYSTANDERS)
        async with asyncio.TaskGroup() as group:
            for name, told in starts.items():
                group.create_task(world.start_process(name, environment=told))
        town = await stack.enter_async_context(town_in(world))
        families = await load_families(town)
        yield Ground(town, families, coordinators, ledgers, broker, lines, disk, starts)
        assert town.personal_in_logs() == {}


def _starts(world: World, lines: Mapping[tuple[str, str], TcpProxy]) -> dict[str, dict[str, str]]:
    ledger_url = url_through(lines[LEDGER, "postgres"], world.ledger_database_url("{area}"))
    return {
        COORDINATOR: {
            "GONGJI_DATABASE_URL": url_through(lines[COORDINATOR, "postgres"], world.database_url("settlement")),
            "GONGJI_NATS_URL": url_through(lines[COORDINATOR, "nats"], world.nats_url),
        },
        LEDGER: {
            **starts_of(world, LEDGER),
            "GONGJI_LEDGER_DATABASE_URL_TEMPLATE": ledger_url,
            "GONGJI_NATS_URL": url_through(lines[LEDGER, "nats"], world.nats_url),
        },
        FAR_LEDGER: starts_of(world, FAR_LEDGER),
        FAMILY: starts_of(world, FAMILY),
    }
