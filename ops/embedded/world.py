"""A world: the five processes of Gongji on a PostgreSQL and a NATS server, started, watched and stopped by name.

``gongji up``, ``gongji demo`` and the tests drive the same class. Several worlds can share the servers: each has its
own databases (``database_prefix``) and its own subjects and streams (``bus_prefix``).
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from chassis.private_files import write_private
from ops.embedded.databases import Databases
from ops.embedded.logs import LogTail, Problem
from ops.embedded.nats import LOOPBACK, check_port_free
from ops.embedded.processes import CannotStart, Child, end_recorded, last_lines, together

START_MAX_S: Final = 60.0
BACK_OFF_FIRST_S: Final = 0.5
BACK_OFF_MAX_S: Final = 30.0
STEADY_AFTER_S: Final = 60.0
"""A process that has run this long starts from the first back-off again when it dies."""
DEFAULT_AREAS: Final = ("650100", "650500")
DEFAULT_POLICIES: Final = Path(__file__).resolve().parents[2] / "policies"
_POLL_S: Final = 0.01
_WATCH_S: Final = 0.2
_DRAIN: Final = (signal.SIGTERM, 15.0)
_PORTS: Final = range(20000, 32768)
"""Below the system's own range for outgoing connections, so that none of those can take a port we have chosen."""


@dataclass(frozen=True, slots=True)
class Service:
    """One of the processes: its module and what of the world it is told."""

    name: str
    module: str
    takes: frozenset[str]


def _service(name: str, module: str, *takes: str) -> Service:
    return Service(name, module, frozenset(takes))


SERVICES: Final = (
    _service("identity", "services.identity.app", "database", "secrets"),
    _service("family", "services.family.app", "database", "policies", "identity"),
    _service("settlement", "services.settlement.app", "database", "policies", "identity", "family"),
    _service("ledger", "services.settlement.ledger.app", "ledgers"),
    _service("notify", "services.notify.app", "database", "identity"),
)
TOLD_BY_THE_WORLD: Final = frozenset(
    f"GONGJI_{name}"
    for name in (
        *("ENVIRONMENT", "NATS_URL", "BUS_PREFIX", "GRPC_LISTEN", "READY_FILE", "MIGRATE_AT_START", "DATABASE_URL"),
        *("LEDGER_DATABASE_URL_TEMPLATE", "LEDGER_AREAS", "POLICIES_FOLDER", "IDENTITY_ADDRESS", "FAMILY_ADDRESS"),
        *("IDENTITY_SECRETS_FILE", "SANDBOX_VERIFIERS"),
    )
)
"""The settings that a world gives its processes by itself."""
LEDGERS: Final = "ledger"
"""Stands for the databases of all areas."""
LAST_TO_STOP: Final = "ledger"
"""The ledgers stop after their callers, so that what is on its way ends well."""


@dataclass(frozen=True, slots=True)
class Running:
    """What a person or a test wants to know of one process."""

    name: str
    pid: int | None
    address: str
    log: Path


@dataclass
class _Process:
    service: Service
    port: int
    log: Path
    extra: dict[str, str] = field(default_factory=dict)
    child: Child | None = None
    wanted: bool = False
    recovering: bool = False
    started_at: float = 0.0
    failures: int = 0
    next_start_at: float = 0.0


class Starting(Protocol):
    """How a process comes into being: the ``main`` of a module, in a folder, with this environment and no other."""

    def __call__(  # noqa: D102  Said by the class.
        self, module: str, *, name: str, log: Path, folder: Path, record: Path, environment: Mapping[str, str]
    ) -> Child: ...


def from_nothing(
    module: str, *, name: str, log: Path, folder: Path, record: Path, environment: Mapping[str, str]
) -> Child:
    """A Python interpreter of its own."""
    return Child.start(
        # -P: the data folder, where it runs, is no place to import from.
        [sys.executable, "-P", "-m", module],
        name=name,
        log=log,
        folder=folder,
        death_signal=signal.SIGKILL,
        record=record,
        environment=environment,
    )


class World:
    """Five processes with databases, bus, policies and areas of their own. ``folder`` holds logs and secrets."""

    def __init__(
        self,
        folder: Path,
        *,
        databases: Databases,
        databases_of: Mapping[str, Databases] | None = None,
        nats_url: str,
        database_prefix: str = "gongji",
        bus_prefix: str = "gongji",
        areas: Sequence[str] = DEFAULT_AREAS,
        policies: Path = DEFAULT_POLICIES,
        ports: Mapping[str, int] | None = None,
        environment: Mapping[str, str] | None = None,
        environment_of: Mapping[str, Mapping[str, str]] | None = None,
        services: Sequence[Service] = SERVICES,
        supervised: bool = False,
        starting: Starting = from_nothing,
        on_problem: Callable[[Problem], None] | None = None,
    ) -> None:
        """``ports`` names gRPC ports by process (any free one otherwise); ``environment`` is given to every process.

        ``environment_of`` names, by process, what that one is given besides.

        ``databases_of`` names, by service (``ledger`` for all areas), the servers of those that have one of their own.

        A supervised world starts a process that died again, with back-off, and tells ``on_problem``, as it tells every
        error in the logs. An unsupervised one leaves that to the test.
        """
        self.folder = folder.resolve()
        self.areas = tuple(areas)
        self.policies = policies.resolve()
        self.bus_prefix = bus_prefix
        self.nats_url = nats_url
        self.databases = databases
        self._databases_of = dict(databases_of or {})
        self._database_prefix = database_prefix
        self._environment = dict(environment or {})
        self._environment_of_each = dict(environment_of or {})
        self._wanted_ports = {name: port for name, port in (ports or {}).items() if port}
        self._supervised = supervised
        self._starting = starting
        self._on_problem = on_problem or (lambda _: None)
        self._watch: asyncio.Task[None] | None = None
        taken = set(self._wanted_ports.values())
        self._processes = {
            service.name: _Process(
                service,
                port=self._wanted_ports.get(service.name) or free_port(taken),
                log=self.folder / "logs" / f"{service.name}.log",
            )
            for service in services
        }

    # What runs where -------------------------------------------------------------------------------------------------

    def address(self, name: str) -> str:
        """``127.0.0.1:port`` of a process's gRPC server; the same over its restarts."""
        return f"{LOOPBACK}:{self._processes[name].port}"

    def running(self) -> list[Running]:
        """Every process, in the order of SERVICES."""
        return [Running(name, self.pid(name), self.address(name), self.log(name)) for name in self._processes]

    def pid(self, name: str) -> int | None:
        """The process's pid, None while it does not run."""
        child = self._processes[name].child
        return child.pid if child is not None and child.exit_code is None else None

    def log(self, name: str) -> Path:
        """Where the process's standard output and error go."""
        return self._processes[name].log

    def database_url(self, name: str) -> str:
        """The database of a service (not of the ledger, which has one for each area)."""
        return self._server_of(name).url(f"{self._database_prefix}_{name}")

    def ledger_database_url(self, area: str) -> str:
        """The database of an area's ledger; ``{area}`` gives the template."""
        return self._server_of(LEDGERS).url(f"{self._database_prefix}_ledger_{area}")

    def database_names(self) -> list[str]:
        """Every database of this world."""
        return [name for name, _ in self._all_databases()]

    def _all_databases(self) -> list[tuple[str, Databases]]:
        """Every database with the server it is on."""
        names = [p.service.name for p in self._processes.values() if "database" in p.service.takes]
        areas = self.areas if any("ledgers" in p.service.takes for p in self._processes.values()) else ()
        found = [(name, self._server_of(name)) for name in names]
        found += [(f"ledger_{area}", self._server_of(LEDGERS)) for area in areas]
        return [(f"{self._database_prefix}_{name}", server) for name, server in found]

    def _server_of(self, name: str) -> Databases:
        return self._databases_of.get(name, self.databases)

    # Start and stop --------------------------------------------------------------------------------------------------

    async def start(self, names: Iterable[str] | None = None) -> None:
        """Makes the databases and starts all processes (or those named) at once, until each says it is ready.

        CannotStart tells which one did not and what its log says; everything is stopped again then.
        """
        for part in ("logs", "run", "secrets"):
            _own_subfolder(self.folder / part)
        for name in self._processes:
            if (said := await end_recorded(self._record(name), _DRAIN)) is not None:
                self._on_problem(Problem(name, said))
        self._make_secrets()
        for name, port in self._wanted_ports.items():
            check_port_free(port, name=name)
        await together(*(server.create_database(name) for name, server in self._all_databases()))
        tails = [LogTail(process.service.name, process.log) for process in self._processes.values()]
        try:
            await together(*(self.start_process(name) for name in names or self._processes))
        except BaseException:
            await self.stop()
            raise
        if self._supervised and self._watch is None:
            self._watch = asyncio.create_task(self._watching(tails), name="world watch")

    async def stop(self) -> None:
        """Drains and stops every process, the ledgers last; nothing of it is left running."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        await asyncio.gather(*(self.stop_process(name) for name in self._processes if name != LAST_TO_STOP))
        if LAST_TO_STOP in self._processes:
            await self.stop_process(LAST_TO_STOP)

    async def start_process(self, name: str, *, environment: Mapping[str, str] | None = None) -> None:
        """Starts one process and waits until it is ready; ``environment`` is added for this start alone."""
        process = self._processes[name]
        if self.pid(name) is not None:
            return
        process.extra = dict(environment or {})
        self._launch(process)
        await self.ready(name)
        process.wanted = True

    async def stop_process(self, name: str) -> None:
        """Lets one process drain and end."""
        process = self._processes[name]
        process.wanted = False
        if process.child is not None:
            await process.child.stop(_DRAIN)
            process.child = None

    async def kill_process(self, name: str) -> None:
        """What a crash does: SIGKILL. A supervised world starts it again by itself."""
        process = self._processes[name]
        if process.child is not None:
            await process.child.stop()

    async def restart_process(self, name: str, *, environment: Mapping[str, str] | None = None) -> None:
        """Stops the process if it runs, and starts it with this environment added."""
        await self.stop_process(name)
        await self.start_process(name, environment=environment)

    def send(self, name: str, number: signal.Signals) -> None:
        """Sends a signal to a process, such as SIGSTOP and SIGCONT."""
        child = self._processes[name].child
        if child is not None:
            child.send(number)

    async def ready(self, name: str, *, timeout_s: float = START_MAX_S) -> None:
        """Waits until the process has said it is ready, in a supervised world also over its restarts.

        CannotStart if it takes too long, or has ended and nobody will start it again.
        """
        process = self._processes[name]
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            child = process.child
            if child is not None and child.exit_code is None and _says_ready(self._ready_file(name), child.pid):
                return
            comes_back = self._supervised and process.wanted
            if not comes_back and (child is None or child.exit_code is not None):
                ended = "does not run" if child is None else how_it_ended(child.exit_code or 0)
                raise CannotStart(f"{name} {ended}; its log {process.log} says:\n{last_lines(process.log)}")
            await asyncio.sleep(_POLL_S)
        raise CannotStart(f"{name} is not ready after {timeout_s:.0f} s; see its log {process.log}")

    async def drop_databases(self) -> None:
        """Drops every database of this world, which must be stopped."""
        for name, server in self._all_databases():
            await server.drop_database(name)

    # Inside ----------------------------------------------------------------------------------------------------------

    def _launch(self, process: _Process) -> None:
        name = process.service.name
        self._ready_file(name).unlink(missing_ok=True)
        process.started_at = time.monotonic()
        process.child = self._starting(
            process.service.module,
            name=name,
            log=process.log,
            folder=self.folder,
            record=self._record(name),
            environment=self._environment_of(process),
        )

    def _environment_of(self, process: _Process) -> dict[str, str]:
        told = {
            "ENVIRONMENT": "development",
            "NATS_URL": self.nats_url,
            "BUS_PREFIX": self.bus_prefix,
            "GRPC_LISTEN": self.address(process.service.name),
            "READY_FILE": str(self._ready_file(process.service.name)),
            "MIGRATE_AT_START": "true",
        }
        for part in process.service.takes:
            told |= self._told(part, process.service.name)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("GONGJI_")}
        named = {f"GONGJI_{key}": value for key, value in told.items()}
        told_alone = self._environment_of_each.get(process.service.name, {})
        return {**inherited, "PYTHONUNBUFFERED": "1", **named, **self._environment, **told_alone, **process.extra}

    def _told(self, part: str, name: str) -> dict[str, str]:
        match part:
            case "database":
                return {"DATABASE_URL": self.database_url(name)}
            case "ledgers":
                template = self.ledger_database_url("{area}")
                return {"LEDGER_DATABASE_URL_TEMPLATE": template, "LEDGER_AREAS": ",".join(self.areas)}
            case "policies":
                return {"POLICIES_FOLDER": str(self.policies)}
            case "identity" | "family":
                return {f"{part.upper()}_ADDRESS": self.address(part)}
            case "secrets":
                # Nobody real lives in a world of this machine, so a sandbox may vouch for faces.
                return {"IDENTITY_SECRETS_FILE": str(self._secrets_file), "SANDBOX_VERIFIERS": "true"}
            case _:
                message = f"a world has no {part!r} to tell of"
                raise ValueError(message)

    @property
    def _secrets_file(self) -> Path:
        return self.folder / "secrets" / "identity.json"

    def _make_secrets(self) -> None:
        """The keys that seal ID numbers, once for a data folder: without them its databases cannot be read."""
        takes_them = any("secrets" in process.service.takes for process in self._processes.values())
        if takes_them and not self._secrets_file.exists():
            from services.identity.domain.sealing import new_secrets  # noqa: PLC0415  Once in a data folder's life.

            write_private(self._secrets_file, new_secrets("k1", secrets.token_bytes))

    def _record(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.process.json"

    def _ready_file(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.ready.json"

    async def _watching(self, tails: Sequence[LogTail]) -> None:
        while True:
            await asyncio.sleep(_WATCH_S)
            for process in self._processes.values():
                if process.wanted:
                    self._look_after(process)
            for tail in tails:
                for problem in tail.new_problems():
                    self._on_problem(problem)

    def _look_after(self, process: _Process) -> None:
        """Notices an end that nobody asked for, and starts the process again when its back-off is over."""
        now, name = time.monotonic(), process.service.name
        if process.child is not None and process.child.exit_code is not None:
            process.failures = 0 if now - process.started_at > STEADY_AFTER_S else process.failures
            pause_s = min(BACK_OFF_MAX_S, BACK_OFF_FIRST_S * 2**process.failures)
            ended = how_it_ended(process.child.exit_code)
            self._on_problem(Problem(name, f"{ended}; it starts again in {pause_s:g} s, see {process.log}"))
            process.child, process.recovering = None, True
            process.failures += 1
            process.next_start_at = now + pause_s
        elif process.child is None and now >= process.next_start_at:
            self._launch(process)
        elif (
            process.recovering and process.child is not None and _says_ready(self._ready_file(name), process.child.pid)
        ):
            process.recovering = False
            self._on_problem(Problem(name, f"is ready again (pid {process.child.pid})"))


def how_it_ended(exit_code: int) -> str:
    """An exit code in words."""
    if exit_code < 0:
        return f"was ended by {signal.Signals(-exit_code).name}"
    return f"ended with exit code {exit_code}"


def free_port(taken: set[int]) -> int:
    """A loopback port that nobody listens on and that is not among ``taken``, to which it is added."""
    while True:
        port = random.choice(_PORTS)  # noqa: S311  No secret.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe, suppress(OSError):
            if port not in taken:
                probe.bind((LOOPBACK, port))
                taken.add(port)
                return port


def _says_ready(ready_file: Path, pid: int) -> bool:
    try:
        return bool(json.loads(ready_file.read_text(encoding="utf-8")).get("pid") == pid)
    except (OSError, ValueError, AttributeError):
        return False


def _own_subfolder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
