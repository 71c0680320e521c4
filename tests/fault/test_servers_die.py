"""Servers die, hang, are cut off, run full and lose the time under steady load: nothing is lost, nothing is double.

After each fault service resumes without a human, and how long it paused is printed.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias

import pytest

from ops.embedded.databases import Databases
from ops.embedded.nats import EmbeddedNats
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.world import Starting
from tests.e2e.town import HAMI, URUMQI
from tests.fault.ground import Ground, ground_in
from tests.fault.load import Load, check_load, load_on
from tests.fault.tcp_proxy import Line
from tests.fault.victims import COORDINATOR, LEDGER
from tests.fault.worlds import ENVIRONMENT

pytestmark = pytest.mark.long

FROZEN_S: Final = 30.0
REST_MAX_S: Final = 40.0
DOWN_S: Final = 2.0
CUTS: Final = 5
BETWEEN_CUTS_S: Final = 0.6
SWALLOWED_S: Final = {"postgres": 16.0, "nats": 8.0}
"""Longer than it takes to notice."""
SLOW_BILLS: Final = 2
FULL_S: Final = 5.0


@pytest.fixture(scope="module")
async def ground(postgres: Databases, starting: Starting) -> AsyncIterator[Ground]:
    """One town on servers of its own for all these tests."""
    if not (EmbeddedPostgres.installed() and EmbeddedNats.installed()):
        pytest.skip("the embedded servers are not installed, and no others may be killed")
    async with ground_in(postgres, starting, ENVIRONMENT) as ground:
        yield ground


Fault: TypeAlias = Callable[[Load], Awaitable[None]]
"""Strikes, and ends again; it may look at how the load fares meanwhile."""


async def lived_through(ground: Ground, what: str, fault: Fault, say: Callable[[str], None]) -> Load:
    """Load before, the fault with its end, load after; then the check of everything, and the figures."""
    async with load_on(ground.town, ground.families) as load:
        await load.steady()
        struck_at = time.monotonic()
        await fault(load)
        healed_at = time.monotonic()
        resumed_s = await load.resumes(since=healed_at)
        await load.steady(2)
    await ground.reconnected()
    await ground.town.reached()
    drained_s = await ground.town.at_rest(bound_s=REST_MAX_S)
    await check_load(ground.town, load)
    say(
        f"{what}: {len(load.settled)} bills; longest pause {load.pause_s(since=struck_at):.1f} s "
        f"(Ürümqi {load.pause_s(URUMQI, since=struck_at):.1f}, Hami {load.pause_s(HAMI, since=struck_at):.1f}), "
        f"{healed_at - struck_at:.1f} s of it the fault; all served again {resumed_s:.1f} s after its end, "
        f"at rest {drained_s:.1f} s after the load; hindered: {dict(load.hindered)}"
    )
    return load


@pytest.mark.parametrize("whose", ["ledgers", "coordinators"])
async def test_a_postgresql_killed_under_load_and_started_again_costs_time_and_nothing_else(
    ground: Ground, say: Callable[[str], None], whose: str
) -> None:
    """SIGKILL to the server and all its workers; two seconds later it is started."""
    server = getattr(ground, whose)

    async def fault(_load: Load) -> None:
        await server.kill()
        await asyncio.sleep(DOWN_S)
        await ground.started_again(server)

    await lived_through(ground, f"PostgreSQL of the {whose} killed", fault, say)


@pytest.mark.parametrize("who", [LEDGER, COORDINATOR, "nats"])
async def test_whoever_stands_still_for_half_a_minute_and_goes_on_harms_nobody(
    ground: Ground, say: Callable[[str], None], who: str
) -> None:
    """SIGSTOP, half a minute, SIGCONT: what it wakes up with is old, and the rest of the world has gone on."""

    def send(number: signal.Signals) -> None:
        if who == "nats":
            assert ground.broker.pid is not None
            os.kill(ground.broker.pid, number)
        else:
            ground.world.send(who, number)

    async def fault(_load: Load) -> None:
        send(signal.SIGSTOP)
        try:
            await asyncio.sleep(FROZEN_S)
        finally:
            send(signal.SIGCONT)

    await lived_through(ground, f"{who} stopped for {FROZEN_S:.0f} s", fault, say)


LINES: Final = [(COORDINATOR, "postgres"), (LEDGER, "postgres"), (COORDINATOR, "nats"), (LEDGER, "nats")]


@pytest.mark.parametrize("ends", LINES, ids=" to ".join)
async def test_connections_that_are_reset_again_and_again_are_made_anew(
    ground: Ground, say: Callable[[str], None], ends: tuple[str, str]
) -> None:
    """Every connection of a line gets RST, five times within three seconds, in the middle of whatever it carries."""

    async def fault(_load: Load) -> None:
        for _ in range(CUTS):
            ground.lines[ends].cut()
            await asyncio.sleep(BETWEEN_CUTS_S)

    await lived_through(ground, f"{' to '.join(ends)} reset {CUTS} times", fault, say)


@pytest.mark.parametrize("ends", LINES, ids=" to ".join)
async def test_a_line_that_swallows_everything_without_a_word_is_noticed_and_left(
    ground: Ground, say: Callable[[str], None], ends: tuple[str, str]
) -> None:
    """No byte arrives and no end is told for a while; the connections of that time stay dead for good."""

    async def fault(_load: Load) -> None:
        ground.lines[ends].becomes(Line.SWALLOWS)
        await asyncio.sleep(SWALLOWED_S[ends[1]])
        ground.lines[ends].becomes(Line.SOUND)

    await lived_through(ground, f"{' to '.join(ends)} swallowed for {SWALLOWED_S[ends[1]]:.0f} s", fault, say)


async def test_slow_lines_make_service_slow_and_nothing_else(ground: Ground, say: Callable[[str], None]) -> None:
    """Each piece on every line waits in each direction, until service has come through it."""

    async def fault(load: Load) -> None:
        for line in ground.lines.values():
            line.becomes(Line.SLOW)
        await load.resumes(since=time.monotonic(), bills=SLOW_BILLS)
        for line in ground.lines.values():
            line.becomes(Line.SOUND)

    await lived_through(ground, "all lines slow", fault, say)


async def test_a_full_disk_under_the_ledgers_refuses_and_never_forgets(
    ground: Ground, say: Callable[[str], None]
) -> None:
    """Not a byte is left on the ledgers' disk for some seconds; whatever PostgreSQL does then, it is started again."""
    disk = ground.disk
    if disk is None:
        pytest.skip("NOT TESTED: a full disk. Nobody may mount a small file system here (it takes root)")

    async def fault(_load: Load) -> None:
        disk.fill()
        try:
            await asyncio.sleep(FULL_S)
        finally:
            disk.free()
        await ground.started_again(ground.ledgers)

    await lived_through(ground, f"the ledgers' disk full for {FULL_S:.0f} s", fault, say)
    text = ground.ledgers.log.read_text(encoding="utf-8", errors="replace")
    assert "No space left on device" in text


@pytest.mark.parametrize(
    ("who", "off_s"),
    [(COORDINATOR, -600), (COORDINATOR, 600), ("identity", -600), ("identity", 600), (LEDGER, -600)],
)
async def test_a_process_whose_clock_is_ten_minutes_wrong_serves_as_the_others_do(
    ground: Ground, say: Callable[[str], None], who: str, off_s: int
) -> None:
    """Tokens, keys, deadlines and windows are judged by the databases' clocks, which are right."""

    async def fault(load: Load) -> None:
        await ground.restarted(who, GONGJI_CLOCK_OFF_S=str(off_s))
        wrong_at = time.monotonic()
        await load.resumes(since=wrong_at, bills=3)
        await ground.restarted(who)

    await lived_through(ground, f"the clock of {who} {off_s:+d} s", fault, say)
