"""`gongji up` as a person runs it: the real processes, found, used, interrupted, killed and started again."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ops.embedded.processes import identity_of
from tests.servers import new_folder

SERVICES = ["identity", "family", "settlement", "ledger", "notify"]
START_MAX_S = 60.0


class Terminal:
    """One `gongji up --json`, as a program sees it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process

    async def line(self, event: str) -> dict[str, Any]:
        """The next line that tells of this event; the test fails if the program ends before."""
        assert self.process.stdout is not None
        while text := await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), timeout=START_MAX_S):
            said: dict[str, Any] = json.loads(text)
            if said["event"] == event:
                return said
        raise AssertionError(f"gongji up ended without saying {event}")


@asynccontextmanager
async def gongji_up(data: Path, *arguments: str) -> AsyncIterator[Terminal]:
    """Runs the command; it has ended afterwards, whatever the test did."""
    gongji = Path(sys.executable).with_name("gongji")
    command = [str(gongji), "up", "--data", str(data), "--json", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: ASYNC220, S603  Our own command.
        try:
            yield Terminal(process)
        finally:
            process.kill()


async def health_of(address: str) -> int:
    """What a process's gRPC health service says of it."""
    async with grpc.aio.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
    return int(answer.status)


def living(said: dict[str, Any]) -> list[str]:
    """The processes, by name, that still live."""
    return [one["name"] for one in said["processes"] if identity_of(one["pid"]) is not None]


async def test_everything_runs_where_it_says_until_ctrl_c() -> None:
    """Seven processes, five of which answer on their addresses; ctrl-C ends all of them with exit code 0.

    A second one on the same folder ends with exit code 1, names the first's process, and disturbs nothing.
    """
    data = new_folder("up")
    async with gongji_up(data) as terminal:
        ready = await terminal.line("ready")
        names = [one["name"] for one in ready["processes"]]
        addresses = {one["name"]: one["address"] for one in ready["processes"]}
        health = await asyncio.gather(*(health_of(addresses[name]) for name in SERVICES))
        async with gongji_up(data) as second:
            refusal = await second.line("cannot_start")
            refused = await asyncio.to_thread(second.process.wait, 30)
        undisturbed = living(ready)
        terminal.process.send_signal(signal.SIGINT)
        await terminal.line("stopped")
        code = await asyncio.to_thread(terminal.process.wait, 30)
    assert (refused, f"process {terminal.process.pid}, since" in refusal["text"], undisturbed) == (1, True, names)
    assert (names, health) == (["postgres", "nats", *SERVICES], [health_pb2.HealthCheckResponse.SERVING] * 5)
    assert (code, living(ready)) == (0, [])
    removed(data)


async def test_after_a_kill_the_same_data_starts_again() -> None:
    """SIGKILL to `gongji up` leaves nothing running that the next one would trip over."""
    data = new_folder("up")
    async with gongji_up(data, "--areas", "650100") as terminal:
        first = await terminal.line("ready")
        terminal.process.kill()
    async with gongji_up(data, "--areas", "650100") as terminal:
        second = await terminal.line("ready")
        terminal.process.send_signal(signal.SIGTERM)
        await terminal.line("stopped")
    assert (living(first), living(second)) == ([], [])
    removed(data)


def removed(data: Path) -> None:
    """Takes the data folder away, and what root had to stage outside of it."""
    pointer = data / "postgres" / "annex"
    if pointer.exists():
        shutil.rmtree(pointer.read_text(encoding="utf-8").strip())
    shutil.rmtree(data)
