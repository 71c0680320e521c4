"""A world starts, watches and stops its processes by name, and a runtime leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ops.embedded.logs import Problem
from ops.embedded.processes import CannotStart, identity_of, processes_inside
from ops.embedded.runtime import Runtime, read_running
from ops.embedded.world import World
from tests.conftest import MakeWorld
from tests.integration.embedded.dummies import DUMMIES
from tests.servers import new_folder

PARENT = """
import asyncio, sys
from pathlib import Path
from ops.embedded.runtime import Runtime
from tests.integration.embedded.dummies import DUMMIES
async def main():
    runtime = Runtime(Path(sys.argv[1]), services=DUMMIES)
    await runtime.start()
    print(*(one.pid for one in runtime.running()), flush=True)
    await asyncio.sleep(3600)
asyncio.run(main())
"""


async def until(happens: Callable[[], bool], *, timeout_s: float = 15.0) -> None:
    """Waits for it; fails the test if it does not happen in time."""
    end = time.monotonic() + timeout_s
    while not happens():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.02)


def told(world: World, name: str) -> dict[str, str]:
    """The settings a stand-in last said it was given."""
    starts = [json.loads(line) for line in world.log(name).read_text(encoding="utf-8").splitlines()]
    return dict(starts[-1]["told"])


def secrets_of(world: World) -> tuple[int, str]:
    """Permission bits and content of the file that identity is told of."""
    file = Path(told(world, "identity")["GONGJI_IDENTITY_SECRETS_FILE"])
    return stat.S_IMODE(file.stat().st_mode), file.read_text(encoding="utf-8")


async def test_each_process_is_told_where_the_others_are(world: MakeWorld) -> None:
    """Every process gets its own database, the bus prefix and the addresses it calls, and no setting of another."""
    made = await world(services=DUMMIES, areas=["650100", "310000"], environment={"GONGJI_LOG_LEVEL": "debug"})
    family, ledger = told(made, "family"), told(made, "ledger")
    assert family["GONGJI_DATABASE_URL"] == made.database_url("family")
    assert family["GONGJI_IDENTITY_ADDRESS"] == made.address("identity")
    assert (family["GONGJI_BUS_PREFIX"], family["GONGJI_LOG_LEVEL"]) == (made.bus_prefix, "debug")
    assert ledger["GONGJI_LEDGER_AREAS"] == "650100,310000"
    template = ledger["GONGJI_LEDGER_DATABASE_URL_TEMPLATE"]
    assert template.replace("{area}", "310000") == made.ledger_database_url("310000")
    assert "GONGJI_DATABASE_URL" not in ledger


async def test_the_keys_of_identity_are_made_once_for_their_owner_alone(world: MakeWorld) -> None:
    """A restart keeps the keys, without which the ID numbers in the database could not be read."""
    made = await world(services=DUMMIES)
    first = secrets_of(made)
    await made.stop()
    await made.start()
    assert (secrets_of(made), first[0]) == (first, 0o600)


async def test_a_killed_process_stays_dead_until_the_test_says_otherwise(world: MakeWorld) -> None:
    """An unsupervised world gives fault tests the say; a restart takes extra environment and keeps the address."""
    made = await world(services=DUMMIES)
    address, first = made.address("ledger"), made.pid("ledger")
    await made.kill_process("ledger")
    assert made.pid("ledger") is None
    await made.start_process("ledger", environment={"GONGJI_FAULT_POINT": "before-commit"})
    assert (made.address("ledger"), made.pid("ledger") != first) == (address, True)
    assert told(made, "ledger")["GONGJI_FAULT_POINT"] == "before-commit"
    await made.restart_process("ledger")
    assert "GONGJI_FAULT_POINT" not in told(made, "ledger")


async def test_a_supervised_process_that_dies_comes_back_and_it_is_said(world: MakeWorld) -> None:
    """The death is told with its signal, then that it is ready again."""
    problems: list[Problem] = []
    made = await world(services=DUMMIES, supervised=True, on_problem=problems.append)
    first = made.pid("ledger")
    os.kill(first or 0, signal.SIGKILL)
    await until(lambda: any(problem.text.startswith("is ready again") for problem in problems))
    assert problems[0].text.startswith("was ended by SIGKILL; it starts again in 0.5 s, see ")
    assert made.pid("ledger") not in {None, first}


async def test_waiting_for_a_process_waits_over_its_restart(world: MakeWorld) -> None:
    """In a supervised world `ready` after a kill returns when the next process is ready."""
    made = await world(services=DUMMIES, supervised=True)
    first = made.pid("ledger")
    await made.kill_process("ledger")
    await made.ready("ledger")
    assert made.pid("ledger") not in {None, first}


async def test_a_process_that_cannot_start_is_shown_with_its_log(world: MakeWorld) -> None:
    """The message holds the exit code and the log's last words, and the others are stopped again."""
    with pytest.raises(CannotStart, match=r"(?s)ended with exit code 3; .*the database does not answer"):
        await world(services=DUMMIES, environment={"GONGJI_DUMMY": "fails"})


async def test_a_wanted_port_in_use_is_named(world: MakeWorld, postgres: object) -> None:
    """A gRPC server would silently share the port; a world refuses it."""
    del postgres
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=f"port {port}, wanted for family, cannot be used"):
            await world(services=DUMMIES, ports={"family": port})


async def test_problems_in_the_logs_are_passed_on(world: MakeWorld) -> None:
    """Lines of level error and lines that are no JSON reach the person; info does not."""
    problems: list[Problem] = []
    made = await world(services=DUMMIES, supervised=True, on_problem=problems.append)
    with made.log("notify").open("a", encoding="utf-8") as log:
        log.write('{"level": "info", "event": "delivered"}\n{"level": "error", "event": "no gateway"}\nTraceback ...\n')
    await until(lambda: len(problems) == 2)
    assert problems == [Problem("notify", "no gateway"), Problem("notify", "Traceback ...")]


@pytest.fixture
async def runtime() -> AsyncIterator[Runtime]:
    """PostgreSQL, NATS and stand-ins in one folder of this test, not yet started."""
    one = Runtime(new_folder("up"), services=DUMMIES)
    yield one
    await one.destroy()


async def test_a_stop_leaves_nothing_running_and_a_second_start_works(runtime: Runtime) -> None:
    """All seven processes end, nothing has to be mended, and the data folder says who runs only while it does."""
    await runtime.start()
    pids = [one.pid for one in runtime.running()]
    assert read_running(runtime.folder)["areas"] == ["650100", "650500"]
    await runtime.stop()
    assert [pid for pid in pids if identity_of(pid or 0)] == []
    with pytest.raises(CannotStart, match="no Gongji runs from"):
        read_running(runtime.folder)
    await runtime.start()
    assert (len(pids), runtime.postgres.notes, runtime.nats.notes) == (7, [], [])


async def test_a_start_that_fails_leaves_nothing_running(runtime: Runtime) -> None:
    """When NATS's port is taken, the PostgreSQL that was just coming up is gone too, and the folder is free again."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        runtime.nats.port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match="wanted for nats, cannot be used"):
            await runtime.start()
    assert (runtime.postgres.pid, processes_inside(runtime.folder)) == (None, [])
    runtime.nats.port = 0
    await runtime.start()
    assert runtime.postgres.pid is not None


async def test_servers_that_die_come_back(runtime: Runtime) -> None:
    """PostgreSQL and NATS killed under a running system are started again, and it is said."""
    problems: list[Problem] = []
    runtime._on_problem = problems.append
    await runtime.start()
    os.kill(runtime.postgres.pid or 0, signal.SIGKILL)
    os.kill(runtime.nats.pid or 0, signal.SIGKILL)
    await until(lambda: sum(problem.text.startswith("is back after") for problem in problems) == 2)
    assert {problem.process for problem in problems} == {"postgres", "nats"}


async def test_a_deleted_data_folder_is_noticed(runtime: Runtime) -> None:
    """Whoever deletes the folder under a running system makes it stop rather than limp on."""
    await runtime.start()
    runtime.folder.rename(runtime.folder.with_name("gone"))
    await asyncio.wait_for(runtime.lost.wait(), timeout=60)
    runtime.folder.with_name("gone").rename(runtime.folder)


async def test_children_do_not_outlive_a_killed_parent() -> None:
    """SIGKILL to the parent ends all seven children within seconds, and the next start works on the same data."""
    folder = new_folder("up")
    with subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE) as parent:  # noqa: ASYNC220, S603  Our own program; it prints one line.
        assert parent.stdout is not None
        pids = [int(pid) for pid in (await asyncio.to_thread(parent.stdout.readline)).split()]
        with pytest.raises(CannotStart, match=rf"in use by another Gongji \(process {parent.pid},"):
            await Runtime(folder, services=DUMMIES).start()
        parent.kill()
    await until(lambda: not [pid for pid in pids if identity_of(pid)], timeout_s=10.0)
    runtime = Runtime(folder, services=DUMMIES)
    await runtime.start()
    assert (len(pids), len(runtime.running())) == (7, 7)
    await runtime.destroy()


async def test_a_stubborn_process_is_killed_in_the_end(world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that ignores SIGTERM does not keep the others, or the person, waiting for ever."""
    monkeypatch.setattr("ops.embedded.world._DRAIN", (signal.SIGTERM, 0.2))
    made = await world(services=[replace(DUMMIES[0])], environment={"GONGJI_DUMMY": "stubborn"})
    pid = made.pid("identity")
    await made.stop()
    assert identity_of(pid or 0) is None


def test_the_shipped_policies_are_the_default() -> None:
    """A world reads the region policies of this project unless it is given others."""
    assert (Path(__file__).parents[3] / "policies" / "default.yaml").exists()
