"""Everything in one data folder: PostgreSQL, NATS and the world on them, with one start and one stop."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from chassis.private_files import write_private
from ops.embedded.folders import DataFolder, FolderLock, abandoned_annexes
from ops.embedded.logs import Problem
from ops.embedded.nats import EmbeddedNats
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.processes import CannotStart, together
from ops.embedded.world import (
    BACK_OFF_FIRST_S,
    BACK_OFF_MAX_S,
    DEFAULT_AREAS,
    DEFAULT_POLICIES,
    SERVICES,
    Running,
    Service,
    World,
)

RUNNING_FILE: Final = "running.json"
_WATCH_S: Final = 0.5


@dataclass(frozen=True, slots=True)
class _Server:
    name: str
    pid: Callable[[], int | None]
    start: Callable[[], Awaitable[None]]
    stop: Callable[[], Awaitable[None]]


class Runtime:
    """``gongji up`` without its words: the whole system out of one data folder, for one process at a time."""

    def __init__(
        self,
        folder: Path,
        *,
        areas: Sequence[str] = DEFAULT_AREAS,
        policies: Path = DEFAULT_POLICIES,
        ports: Mapping[str, int] | None = None,
        nats_port: int = 0,
        environment: Mapping[str, str] | None = None,
        services: Sequence[Service] = SERVICES,
        on_problem: Callable[[Problem], None] | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.postgres = EmbeddedPostgres(self.folder / "postgres")
        self.nats = EmbeddedNats(self.folder / "nats", port=nats_port)
        self._on_problem = on_problem or (lambda _: None)
        self._lock: FolderLock | None = None
        self._watch: asyncio.Task[None] | None = None
        self._world: World | None = None
        self.lost = asyncio.Event()
        """Set when somebody deletes the data folder under the running system, which then should stop."""
        self._make_world = partial(
            World,
            self.folder,
            areas=areas,
            policies=policies,
            ports=ports,
            environment=environment,
            services=services,
            supervised=True,
            on_problem=self._on_problem,
        )

    @property
    def world(self) -> World:
        """The five processes; there once the runtime has started."""
        if self._world is None:
            message = "this runtime has not been started"
            raise RuntimeError(message)
        return self._world

    async def start(self) -> None:
        """Starts it all; CannotStart says what is in the way, and then nothing is left running."""
        DataFolder.at(self.folder)
        self._lock = FolderLock(self.folder)
        self._lock.take()
        try:
            await together(self.postgres.start(), self.nats.start())
            if self.postgres.fresh:
                # Streams of databases that are gone would tell of people nobody knows.
                await self.nats.wipe()
                await self.nats.start()
            for name, notes in (("postgres", self.postgres.notes), ("nats", self.nats.notes)):
                for note in notes:
                    self._on_problem(Problem(name, note))
            for annex, folder in abandoned_annexes():
                text = f"{annex} belongs to {folder}, which is gone; if that was deleted, so may be this: rm -r {annex}"
                self._on_problem(Problem("postgres", text))
            self._world = self._make_world(databases=self.postgres, nats_url=self.nats.url)
            await self._world.start()
        except BaseException:
            await self.stop()
            raise
        self._write_running_file()
        self._watch = asyncio.create_task(self._watching(), name="runtime watch")

    async def stop(self) -> None:
        """Stops it all: the services first, then NATS, then PostgreSQL."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        if self._world is not None:
            await self._world.stop()
        await self.nats.stop()
        await self.postgres.stop()
        (self.folder / RUNNING_FILE).unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.free()
            self._lock = None

    async def destroy(self) -> None:
        """Stops it all and removes every trace of its data."""
        await self.stop()
        await self.postgres.destroy()
        shutil.rmtree(self.folder, ignore_errors=True)

    def running(self) -> list[Running]:
        """What runs where: the two servers, then the five processes."""
        servers = [
            Running("postgres", self.postgres.pid, self.postgres.address, self.postgres.log),
            Running("nats", self.nats.pid, self.nats.address, self.nats.log),
        ]
        return [*servers, *self.world.running()]

    def _write_running_file(self) -> None:
        """What other commands need to find this system; it holds NATS's password, so it is for its owner alone."""
        written = {
            "pid": os.getpid(),
            "nats_url": self.nats.url,
            "bus_prefix": self.world.bus_prefix,
            "areas": list(self.world.areas),
            "databases": {name: self.postgres.url(name) for name in self.world.database_names()},
            "addresses": {one.name: one.address for one in self.world.running()},
        }
        write_private(self.folder / RUNNING_FILE, json.dumps(written, indent=1) + "\n")

    async def _watching(self) -> None:
        """Starts a server that died again, with back-off; the services wait for it as they would anywhere."""
        servers = [
            _Server("postgres", lambda: self.postgres.pid, self.postgres.start, self.postgres.stop),
            _Server("nats", lambda: self.nats.pid, self.nats.start, self.nats.stop),
        ]
        pauses = {server.name: BACK_OFF_FIRST_S for server in servers}
        while True:
            await asyncio.sleep(_WATCH_S)
            if not self.folder.exists():
                self._on_problem(Problem("gongji", f"{self.folder} has been deleted; everything stops"))
                self.lost.set()
                return
            for server in servers:
                if server.pid() is not None:
                    continue
                pause_s = pauses[server.name]
                self._on_problem(Problem(server.name, f"has ended by itself; it starts again in {pause_s:g} s"))
                await asyncio.sleep(pause_s)
                pauses[server.name] = min(BACK_OFF_MAX_S, pause_s * 2)
                with suppress(CannotStart):
                    await server.stop()
                    began = time.monotonic()
                    await server.start()
                    self._on_problem(Problem(server.name, f"is back after {time.monotonic() - began:.1f} s"))
                    pauses[server.name] = BACK_OFF_FIRST_S


def read_running(folder: Path) -> dict[str, object]:
    """What ``gongji up`` wrote about the system that runs from this folder; CannotStart if none does."""
    try:
        written = json.loads((folder / RUNNING_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CannotStart(f"no Gongji runs from {folder.resolve()}. Start one with: gongji up") from None
    return dict(written)
