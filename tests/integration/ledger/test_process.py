"""The real ledger process: two areas, killed with -9 under load, started again on the same databases."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from chassis.bus import Bus
from chassis.db import Database
from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.failures import Failure
from ops.embedded.databases import Databases
from tests.integration.ledger.books import everything
from tests.integration.ledger.messages import confirming, crediting, own, trying
from tests.servers import NatsServer, new_folder
from tests.unit.ledger.given import OWN, payment
from tests.unit.ledger.sequences import violations

ROOT: Final = Path(__file__).resolve().parents[3]
START_S: Final = 60.0
AREAS: Final = ("650100", "650500")
PAYMENTS: Final = 200


class Ledger:
    """The process, as it was started."""

    def __init__(self, process: asyncio.subprocess.Process, ready_file: Path) -> None:
        self.process = process
        self._ready_file = ready_file

    async def ready(self) -> dict[str, Any]:
        """What the ready file says, once it is there."""
        async with asyncio.timeout(START_S):
            while not self._ready_file.exists():
                if self.process.returncode is not None:
                    pytest.fail(f"ended with {self.process.returncode}: {await self.said()}")
                await asyncio.sleep(0.02)
        told: dict[str, Any] = json.loads(self._ready_file.read_text())
        return told

    async def said(self) -> str:
        """Its log, once it has ended."""
        async with asyncio.timeout(START_S):
            _, stderr = await self.process.communicate()
        return stderr.decode()

    async def kill(self) -> None:
        """As if the machine had lost power."""
        self.process.kill()
        await self.said()
        self._ready_file.unlink(missing_ok=True)


Start = Callable[..., Awaitable[Ledger]]
SOCKETS: Final = re.compile(r"(?<=host=)/[^&]+")


@pytest.fixture
async def databases(postgres: Databases, bus_prefix: str) -> AsyncIterator[str]:
    """The template of two areas' databases, both empty."""
    for area in AREAS:
        await postgres.create_database(f"{bus_prefix}_{area}")
    yield postgres.url(f"{bus_prefix}_{{area}}")
    for area in AREAS:
        await postgres.drop_database(f"{bus_prefix}_{area}")


@pytest.fixture
async def start(databases: str, nats: NatsServer, bus_prefix: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the process with these arguments and settings; none is left at the end."""
    started: list[Ledger] = []

    async def begin(*arguments: str, **variables: str) -> Ledger:
        ready_file = tmp_path / f"ready-{len(started)}"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "services.settlement.ledger.app", *(arguments or ("--areas", ",".join(AREAS)))),
            cwd=ROOT,
            env={
                **os.environ,
                "GONGJI_LEDGER_DATABASE_URL_TEMPLATE": databases,
                "GONGJI_NATS_URL": nats.url,
                "GONGJI_BUS_PREFIX": bus_prefix,
                "GONGJI_READY_FILE": str(ready_file),
                "GONGJI_MIGRATE_AT_START": "true",
                **variables,
            },
            stderr=asyncio.subprocess.PIPE,
        )
        started.append(Ledger(process, ready_file))
        return started[-1]

    yield begin
    for ledger in started:
        if ledger.process.returncode is None:
            await ledger.kill()


@pytest.fixture
async def bus(nats: NatsServer, bus_prefix: str) -> AsyncIterator[Bus]:
    """The coordinator's connection."""
    async with Bus(nats.url, name="coordinator", prefix=bus_prefix) as opened:
        yield opened


async def ask(bus: Bus, *commands: pb.Command, area: str = AREAS[0], wait_s: float = 60.0) -> list[pb.Reply]:
    """One batch to one area."""
    payload = pb.CommandBatch(commands=commands).SerializeToString()
    answer = await bus.request(f"{bus.prefix}.ledger.{area}.command", payload, wait_s=wait_s)
    return list(pb.ReplyBatch.FromString(answer).replies)


async def until_answered(bus: Bus, command: pb.Command) -> pb.Reply:
    """Repeats a command until it is answered, as a coordinator does."""
    while True:
        try:
            return (await ask(bus, command, wait_s=0.5))[0]
        except Failure:
            await asyncio.sleep(0.05)


async def test_each_area_has_its_own_ledger(start: Start, bus: Bus) -> None:
    """One process serves both areas, and money put into one is not in the other."""
    told = await (await start()).ready()
    assert told["ports"]["grpc"] > 0
    await ask(bus, crediting(1, OWN.psn_no, 100))
    first = (await ask(bus, trying(1, own(60))))[0].branch
    other = (await ask(bus, trying(1, own(60)), area=AREAS[1]))[0].branch
    assert (first.state, other.state) == (pb.BRANCH_STATE_HELD, pb.BRANCH_STATE_REFUSED)


async def test_a_ledger_killed_under_load_loses_and_doubles_nothing(start: Start, bus: Bus, databases: str) -> None:
    """Kill -9, twice, while payments run: whatever was answered stands, whatever was not is done once when repeated."""
    ledger = await start()
    await ledger.ready()
    await ask(bus, crediting(1, OWN.psn_no, 10 * PAYMENTS))
    votes: dict[int, pb.Reply] = {}

    async def pay(number: int) -> None:
        await asyncio.sleep(number * 0.004)
        votes[number] = await until_answered(bus, trying(number, own(10)))
        assert (await until_answered(bus, confirming(number))).branch.state == pb.BRANCH_STATE_CONFIRMED

    paying = asyncio.gather(*(pay(number) for number in range(PAYMENTS)))
    for _ in range(2):
        await asyncio.sleep(0.4)
        await ledger.kill()
        ledger = await start()
        await ledger.ready()
    async with asyncio.timeout(60):
        await paying
    again = [await until_answered(bus, trying(number, own(10))) for number in range(PAYMENTS)]
    assert again == [votes[number] for number in range(PAYMENTS)]
    async with Database(databases.replace("{area}", AREAS[0]), pool_size=2) as database:
        state, entries = await everything(database)
    assert violations(state, entries) == []
    assert {it.state.value for it in state.branches.values()} == {"CONFIRMED"}
    assert state.accounts[OWN].balance.total == 0


async def test_a_hold_outlives_the_process_and_its_deadline(start: Start, bus: Bus, databases: str) -> None:
    """Killed while it holds, started again: the hold is still there, and the coordinator is asked about it."""
    ledger = await start()
    await ledger.ready()
    await ask(bus, crediting(1, OWN.psn_no, 100), trying(1, own(60), inquire_after_ms=1))
    await ledger.kill()
    asked = asyncio.Event()

    async def decide(_request: object) -> bytes:
        asked.set()
        answer = pb.InquireAnswer(payment_id=payment(1).bytes, decision=pb.DECISION_CONFIRM)
        return pb.InquireResponse(answers=[answer]).SerializeToString()

    await bus.serve(f"{bus.prefix}.settlement.inquire", decide)
    await (await start(GONGJI_LEDGER_SWEEP_S="0.1")).ready()
    connection = await asyncpg.connect(databases.replace("{area}", AREAS[0]))
    try:
        async with asyncio.timeout(60):
            await asked.wait()
            while await connection.fetchval("SELECT state FROM branches") != "CONFIRMED":  # noqa: ASYNC110  Only rows tell.
                await asyncio.sleep(0.02)
        assert await connection.fetchval("SELECT past_fen FROM accounts") == 40
    finally:
        await connection.close()


async def test_it_stops_in_order_when_asked(start: Start, bus: Bus) -> None:
    """SIGTERM: exit code 0, and nobody answers any more."""
    ledger = await start()
    await ledger.ready()
    ledger.process.send_signal(signal.SIGTERM)
    await ledger.said()
    assert ledger.process.returncode == 0
    with pytest.raises(Failure) as gone:
        await ask(bus, trying(1, own(1)))
    assert gone.value.reason == "NO_RESPONDER"


async def test_another_areas_database_is_refused(start: Start, databases: str, bus: Bus) -> None:
    """A template that leads an area to another area's ledger stops the start, with the reason in the log."""
    ledger = await start()
    await ledger.ready()
    await ledger.kill()
    url = databases.replace("{area}", AREAS[1])
    template = url + ("&" if "?" in url else "?") + "application_name={area}"
    wrong = await start("--areas", AREAS[0], GONGJI_LEDGER_DATABASE_URL_TEMPLATE=template)
    assert bus.is_connected
    said = await wrong.said()
    assert wrong.process.returncode == 1
    assert f"the ledger of area {AREAS[1]}, not of {AREAS[0]}" in said


@pytest.mark.parametrize(
    ("areas", "variables", "told"),
    [
        ("6501", {}, "GONGJI_LEDGER_AREAS"),
        ("650100", {"GONGJI_LEDGER_DATABASE_URL_TEMPLATE": "postgresql://x@/one"}, "{area}"),
        ("650100", {"GONGJI_LEDGER_SWEEP_S": "0"}, "GONGJI_LEDGER_SWEEP_S"),
    ],
)
async def test_wrong_settings_are_told_by_name(start: Start, areas: str, variables: dict[str, str], told: str) -> None:
    """The process ends with 2 and says which setting is wrong."""
    ledger = await start("--areas", areas, **variables)
    said = await ledger.said()
    assert (ledger.process.returncode, told in said) == (2, True)


async def test_an_area_whose_database_is_away_at_the_start_keeps_no_other_area_waiting(
    start: Start, bus: Bus, databases: str
) -> None:
    """Each area's socket lies in a folder of its own, and one of them is not there yet."""
    sockets = SOCKETS.search(databases)
    if sockets is None:
        pytest.skip("this PostgreSQL is not reached through a socket")
    hosts = new_folder("hosts")
    hosts.mkdir()
    (hosts / AREAS[0]).symlink_to(sockets[0])
    try:
        migrating = await start("migrate", "--areas", ",".join(AREAS))
        await migrating.said()
        template = SOCKETS.sub(f"{hosts}/{{area}}", databases)
        ledger = await start(GONGJI_LEDGER_DATABASE_URL_TEMPLATE=template, GONGJI_MIGRATE_AT_START="false")
        command = crediting(1, OWN.psn_no, 100)
        async with asyncio.timeout(START_S):
            while not await answered(bus, command, AREAS[0]):  # noqa: ASYNC110  The process is another one.
                await asyncio.sleep(0.05)
        assert not await answered(bus, command, AREAS[1])
        (hosts / AREAS[1]).symlink_to(sockets[0])
        await ledger.ready()
        assert await answered(bus, command, AREAS[1])
    finally:
        shutil.rmtree(hosts)


async def answered(bus: Bus, command: pb.Command, area: str) -> bool:
    """Whether somebody keeps the area's ledger."""
    try:
        return bool(await ask(bus, command, area=area))
    except Failure as failure:
        if failure.reason != "NO_RESPONDER":
            raise
        return False
