"""The life of a real process: ready, working, leaving."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis.migrate import head_of, migrate
from chassis.rpc.client import channel
from chassis.rpc.server import LIVENESS
from gongji.identity.v1 import identity_pb2, identity_pb2_grpc
from tests.integration.chassis.conftest import MIGRATIONS
from tests.servers import NatsServer

ROOT: Final = Path(__file__).resolve().parents[3]
START_S: Final = 60.0


class Started:
    """The sample process, started."""

    def __init__(self, process: asyncio.subprocess.Process, ready_file: Path) -> None:
        self.process = process
        self.ready_file = ready_file
        self._read: list[bytes] = []

    async def said(self, event: str) -> None:
        """Returns once this event is in the log."""
        stderr = self.process.stderr
        assert stderr is not None
        async with asyncio.timeout(START_S):
            while not self._read or json.loads(self._read[-1])["event"] != event:
                line = await stderr.readline()
                assert line, f"ended without having said {event!r}"
                self._read.append(line)

    async def ready(self) -> dict[str, Any]:
        """What the ready file says, once it is there."""
        async with asyncio.timeout(START_S):
            while not self.ready_file.exists():
                if self.process.returncode is not None:
                    pytest.fail(f"ended with {await self.ended()}")
                await asyncio.sleep(0.02)
        said: dict[str, Any] = json.loads(self.ready_file.read_text())
        return said

    async def ended(self, seconds: float = START_S) -> tuple[int | None, list[dict[str, Any]]]:
        """The exit code and the log lines."""
        async with asyncio.timeout(seconds):
            _, stderr = await self.process.communicate()
        return self.process.returncode, [json.loads(line) for line in (*self._read, *stderr.splitlines())]


Start = Callable[..., Awaitable[Started]]


@pytest.fixture
async def start(database: str, nats: NatsServer, bus_prefix: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the sample process with these settings; none is left at the end."""
    started: list[Started] = []

    async def begin(*arguments: str, **variables: str) -> Started:
        ready_file = tmp_path / f"ready-{len(started)}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.chassis.sample_process",
            *arguments,
            cwd=ROOT,
            env={
                # A run over several workers names its servers in variables that no process of ours knows.
                **{name: value for name, value in os.environ.items() if not name.startswith("GONGJI_")},
                "GONGJI_DATABASE_URL": database,
                "GONGJI_NATS_URL": nats.url,
                "GONGJI_BUS_PREFIX": bus_prefix,
                "GONGJI_READY_FILE": str(ready_file),
                "GONGJI_MIGRATE_AT_START": "true",
                **variables,
            },
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(Started(process, ready_file))
        return started[-1]

    yield begin
    for each in started:
        if each.process.returncode is None:
            each.process.kill()
            await each.process.communicate()


async def test_a_process_says_that_it_is_ready_and_leaves_in_order_on_sigterm(start: Start) -> None:
    """The call that runs is answered, a new one is not taken, the ready file goes, the exit code is 0."""
    started = await start(GONGJI_METRICS_LISTEN="127.0.0.1:0")
    said = await started.ready()
    assert (said["name"], said["pid"], set(said["ports"])) == ("sample", started.process.pid, {"grpc", "metrics"})
    async with channel(f"127.0.0.1:{said['ports']['grpc']}", caller=None) as opened:
        stub: Any = identity_pb2_grpc.IdentityServiceStub(opened)
        request = identity_pb2.GetPersonRequest(psn_no="650100000000001", purpose="TEST")
        running = asyncio.ensure_future(stub.GetPerson(request))
        await asyncio.sleep(0.2)
        started.process.send_signal(signal.SIGTERM)
        assert (await running).certno_masked == "done"
        code, lines = await started.ended()
    assert code == 0
    assert not started.ready_file.exists()
    events = [line["event"] for line in lines]
    assert events.index("ready") < events.index("stopping: finishing what runs") < events.index("stopped")


async def test_a_background_task_that_crashes_ends_the_process_loudly(start: Start) -> None:
    """Exit code 1, and the log says which task and why."""
    started = await start(WHAT="crash")
    code, lines = await started.ended()
    (crash,) = [line for line in lines if line["event"] == "a background task crashed"]
    assert (code, crash["task"]) == (1, "crash")
    assert "the task has a fault" in crash["exception"]


async def test_a_process_that_cannot_be_built_says_why(start: Start) -> None:
    """An exception before ready is exit code 1 with its traceback, and no ready file was ever there."""
    started = await start(WHAT="broken")
    code, lines = await started.ended()
    assert code == 1
    assert any("cannot be built" in line.get("exception", "") for line in lines)
    assert not started.ready_file.exists()


async def test_a_second_signal_ends_the_process_at_once(start: Start) -> None:
    """While a task does not want to end, the second SIGTERM does not wait for it."""
    started = await start(WHAT="linger")
    await started.ready()
    started.process.send_signal(signal.SIGTERM)
    await asyncio.sleep(0.3)
    assert started.process.returncode is None
    started.process.send_signal(signal.SIGTERM)
    assert (await started.ended(3))[0] == 130


async def test_a_task_that_does_not_end_is_left_behind(start: Start) -> None:
    """After a bounded wait the process ends without it, with 1, and names it."""
    started = await start(WHAT="linger")
    await started.ready()
    started.process.send_signal(signal.SIGTERM)
    code, lines = await started.ended(10)
    assert (code, lines[-1]["event"], lines[-1]["tasks"]) == (1, "background tasks did not end", ["linger"])


async def test_a_process_that_waits_for_its_database_can_be_stopped(start: Start, unused_port: int) -> None:
    """Nothing to connect to: it waits and says so, and SIGTERM ends it with 0."""
    started = await start(GONGJI_DATABASE_URL=f"postgresql://x@127.0.0.1:{unused_port}/x")
    await started.said("the database is not reachable yet")
    started.process.send_signal(signal.SIGTERM)
    code, _ = await started.ended(5)
    assert code == 0


async def test_a_process_that_waits_is_alive_and_not_ready(start: Start, unused_port: int) -> None:
    """While NATS is away the health port already answers, so that no probe kills a process for what another lacks."""
    address = f"127.0.0.1:{unused_port}"
    await start(GONGJI_NATS_URL="nats://127.0.0.1:1", GONGJI_HEALTH_LISTEN=address)
    async with grpc.aio.insecure_channel(address) as bare:
        stub: Any = health_pb2_grpc.HealthStub(bare)
        answers = [
            await stub.Check(health_pb2.HealthCheckRequest(service=name), wait_for_ready=True, timeout=START_S)
            for name in (LIVENESS, "")
        ]
    told = health_pb2.HealthCheckResponse
    assert [answer.status for answer in answers] == [told.SERVING, told.NOT_SERVING]


async def test_migrate_brings_the_database_to_the_head_and_ends(start: Start, database: str) -> None:
    """With the word ``migrate`` the process migrates, serves nothing and ends with 0."""
    started = await start("migrate", GONGJI_MIGRATE_AT_START="false")
    code, _ = await started.ended()
    connection = await asyncpg.connect(database)
    assert code == 0
    assert await connection.fetchval("SELECT version_num FROM alembic_version") == head_of(MIGRATIONS)
    await connection.close()
    assert await migrate(database, MIGRATIONS) is False


async def test_a_port_in_use_is_told(start: Start) -> None:
    """The second process on the same port ends with 1 and names the address."""
    said = await (await start()).ready()
    address = f"127.0.0.1:{said['ports']['grpc']}"
    code, lines = await (await start(GONGJI_GRPC_LISTEN=address)).ended()
    assert code == 1
    assert any(f"cannot listen on {address}" in line.get("exception", "") for line in lines)


async def test_a_wrong_setting_ends_the_process_before_it_begins(start: Start) -> None:
    """Exit code 2 and the variable's name, in plain words instead of a traceback."""
    started = await start(GONGJI_DRAIN_S="soon")
    _, stderr = await started.process.communicate()
    assert started.process.returncode == 2
    assert b"GONGJI_DRAIN_S" in stderr
    assert b"Traceback" not in stderr
