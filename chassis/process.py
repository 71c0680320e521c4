"""The life of a process: start, say ready, work, and on SIGTERM finish what runs and leave in order.

A room's ``app.py`` has the settings on top, a ``serve(process, settings)`` with its constructors, and a ``main()``::

    async def serve(process: Process, settings: Settings) -> None:
        database = await process.enter(Database(settings.database_url, application=process.name))
        bus = await process.enter(Bus(settings.nats_url, name=process.name, prefix=settings.bus_prefix))
        publisher = OutboxPublisher(database, bus, Stream(settings.bus_prefix, "family"))
        process.supervise("outbox", publisher.run())
        server = RpcServer(settings, process.health)
        server.add(add_FamilyServiceServicer_to_server, FamilyApi(...))
        await process.ready(await process.listen(server))
        await process.stopped()

    def main() -> None:
        settings = load(Settings)
        run("family", settings, serve, migrations=Migrations(MIGRATIONS, [settings.database_url]))

``python -m services.family.app migrate`` brings the databases to the newest schema and ends; with
GONGJI_MIGRATE_AT_START the process does so before it serves.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import timedelta
from typing import Any, Final, TypeVar

import uvloop

from chassis import faults, telemetry
from chassis.migrate import Migrations, migrate_all
from chassis.rpc.server import Health, ProbeServer, RpcServer
from chassis.settings import ProcessSettings
from kernel.clock import Clock, ShiftedClock, SystemClock

_log = telemetry.logger("process")

EXIT_CRASHED: Final = 1
EXIT_FORCED: Final = 130
TASK_STOP_S: Final = 5.0
CANCEL_AGAIN_S: Final = 1.0

Resource = TypeVar("Resource")
SettingsType = TypeVar("SettingsType", bound=ProcessSettings)


class Process:
    """What a running process consists of, and the order in which it stops, however it was put together.

    Health says NOT_SERVING, a pause for balancers, the servers finish their calls, background tasks are cancelled,
    the resources entered are left in reverse order (so the bus is drained before the database closes, if it was
    entered after it).
    """

    def __init__(self, name: str, settings: ProcessSettings) -> None:
        self.name = name
        self.health = Health()
        off_s = settings.clock_off_s
        self.clock: Clock = SystemClock() if off_s is None else ShiftedClock(timedelta(seconds=off_s))
        """The machine's clock; what must be right goes by a database's (``chassis.clock``)."""
        self._settings = settings
        self._resources = AsyncExitStack()
        self._servers: list[RpcServer] = []
        self._probes: ProbeServer | None = None
        self._probe_ports: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self.crashed = False

    async def enter(self, resource: AbstractAsyncContextManager[Resource]) -> Resource:
        """Opens a resource that is closed when the process stops."""
        return await self._resources.enter_async_context(resource)

    def supervise(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Runs background work. If it raises, the error is logged and the process ends with exit code 1."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_ended)
        return task

    async def answer_probes(self) -> None:
        """Says from now on that it is alive, on the health port if the settings name one; not yet that it is ready."""
        await self.health.starting()
        if self._settings.health_listen is not None:
            self._probes = ProbeServer(self._settings.health_listen, self.health)
            self._probe_ports = await self._probes.start()

    async def listen(self, server: RpcServer) -> dict[str, int]:
        """Starts a gRPC server; the ports it took, and the health port if it has one of its own."""
        self._servers.append(server)
        return {**await server.start(), **self._probe_ports}

    async def ready(self, ports: Mapping[str, int]) -> None:
        """Says so: health becomes SERVING and the ready file is written, whole or not at all."""
        told = dict(ports)
        if self._settings.metrics_listen is not None:
            host, _, port = self._settings.metrics_listen.rpartition(":")
            told["metrics"], stop_metrics = telemetry.serve_metrics(host, int(port))
            self._resources.callback(stop_metrics)
        await self.health.serving({service for server in self._servers for service in server.services})
        _log.info("ready", ports=told)
        path = self._settings.ready_file
        if path is not None:
            content = json.dumps({"name": self.name, "pid": os.getpid(), "ports": told})
            unfinished = path.with_name(f".{path.name}.{os.getpid()}")
            await asyncio.to_thread(unfinished.write_text, content, "utf-8")
            unfinished.replace(path)
            self._resources.callback(path.unlink, missing_ok=True)

    async def stopped(self) -> None:
        """Returns when the process was asked to stop, or a background task crashed."""
        await self._stop.wait()

    def stop(self) -> None:
        """Asks the process to stop, as SIGTERM does."""
        self._stop.set()

    def _task_ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        if (error := task.exception()) is not None:
            _log.error("a background task crashed", task=task.get_name(), exc_info=error)
            self.crashed = True
            self._stop.set()

    async def _leave(self) -> None:
        if self._servers:
            await self.health.leaving()
            await asyncio.sleep(self._settings.drain_notice_s)
        await asyncio.gather(*(server.stop(self._settings.drain_s) for server in self._servers))
        stubborn = await self._cancelled_tasks()
        await self._resources.aclose()
        if self._probes is not None:
            await self._probes.stop()
        if stubborn:
            # The loop cannot be closed over them, and whoever stops us must not wait for ever.
            _log.error("background tasks did not end", tasks=sorted(task.get_name() for task in stubborn))
            os._exit(EXIT_CRASHED)

    async def _cancelled_tasks(self) -> set[asyncio.Task[None]]:
        """Cancels the background work; what has not ended in time.

        nats-py loses a cancellation that meets it while it flushes, so whoever goes on is told again.
        """
        left = set(self._tasks)
        for _ in range(int(TASK_STOP_S / CANCEL_AGAIN_S)):
            for task in left:
                task.cancel()
            if left:
                _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
        return left


GARBAGE_THRESHOLD: Final = 10_000
"""How many more objects are made than freed before Python looks for cycles. What was imported is never looked at again;
with the default (700) the collector was to be seen in every profile of a busy process."""
Serve = Callable[[Process, SettingsType], Awaitable[None]]


def run(
    name: str,
    settings: SettingsType,
    serve: Serve[SettingsType],
    *,
    migrations: Migrations | None = None,
    migrate_only: bool | None = None,
) -> None:
    """Runs a process to its end and exits: 0 after a stop signal, 1 if it could not start or something crashed.

    ``migrate_only`` (by default: whether ``migrate`` is among the command's arguments) brings the databases to the
    newest schema and ends. A second stop signal ends the process at once with 130.
    """
    telemetry.configure_logging(name, settings.log_level)
    faults.arm(settings.fault_point)
    gc.freeze()
    gc.set_threshold(GARBAGE_THRESHOLD)
    if migrate_only is None:
        migrate_only = "migrate" in sys.argv[1:]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        code = runner.run(_live(Process(name, settings), settings, serve, migrations, migrate_only=migrate_only))
    sys.exit(code)


async def _live(
    process: Process,
    settings: SettingsType,
    serve: Serve[SettingsType],
    migrations: Migrations | None,
    *,
    migrate_only: bool,
) -> int:
    loop = asyncio.get_running_loop()

    async def work() -> None:
        if not migrate_only:
            await process.answer_probes()
        if migrations is not None and (migrate_only or settings.migrate_at_start):
            await migrate_all(migrations)
        if not migrate_only:
            await serve(process, settings)

    serving = loop.create_task(work(), name="serve")
    stopping = loop.create_task(process.stopped(), name="stopped")
    if settings.fault_file is not None:
        loop.add_signal_handler(signal.SIGUSR1, faults.arm_from, settings.fault_file)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _asked_to_stop, process)
    try:
        # A process that is asked to stop while it still waits for its database or NATS does not wait for them.
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await asyncio.wait({serving}, timeout=0.1)
            serving.cancel()
        await asyncio.wait({serving})
        if not serving.cancelled() and (error := serving.exception()) is not None:
            _log.error("the process cannot go on", exc_info=error)
            process.crashed = True
    finally:
        stopping.cancel()
        await process._leave()  # noqa: SLF001  The two halves of one lifecycle.
    _log.info("stopped")
    return EXIT_CRASHED if process.crashed else 0


def _asked_to_stop(process: Process) -> None:
    if process._stop.is_set():  # noqa: SLF001  As above.
        _log.warning("stopped at once: a second signal came")
        os._exit(EXIT_FORCED)
    _log.info("stopping: finishing what runs")
    process.stop()
