"""Ten thousand payments and everything dies: how long until each is finished, by recovery alone.

Undecided: they are under way, without a vote, when the coordinator dies; its deadline for votes is made long enough for
all of them to begin. Unacknowledged: they are finished when the processes die, and a statement then sets them back to
where the coordinator has not heard of the confirmations yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import asyncpg

from bench.contest import say
from bench.measure import assert_durable, until_quiet
from bench.place import Client, gongji_on, ledger_urls, servers_in
from bench.population import Population, Signer, refill
from bench.verified import verified
from ops.embedded.world import World

OPEN_MIN_S: Final = 20
OPENED_PER_S: Final = 80
"""At least so many are accepted while the ledgers are dead; all must be under way before the votes' deadline."""
FINISHED_MAX_S: Final = 600.0
BEGUN_PER_S: Final = 400
"""How many start to pay in a second while the ledgers are dead."""
IN_FLIGHT: Final = 64
_DEADLINE_MARGIN_S: Final = 5
_POLL_S: Final = 0.02
_OPEN: Final = "SELECT count(*) FROM payments WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED')"
_UNCONFIRMED: Final = """
    UPDATE payments SET state = 'COMMITTED', finished_at = NULL, next_drive_at = clock_timestamp() WHERE state = 'DONE'
"""


async def recovery(folder: Path, *, count: int) -> dict[str, Any]:
    """Each case with ``count`` payments: what they were at the kill, and how long until the last was finished."""
    found: dict[str, Any] = {}
    async with servers_in(folder) as servers:
        await assert_durable(servers)
        population, signer = Population(), Signer.new()
        async with gongji_on(servers, folder / "world", families=count, signer=signer, population=population) as world:
            await world.stop()
            connection = await asyncpg.connect(world.database_url("settlement"))
            try:
                for name, dying in (("undecided", _undecided), ("unacknowledged", _unacknowledged)):
                    before = await _states(connection)
                    await refill(ledger_urls(world))
                    await dying(world, connection, population, signer, count)
                    found[name] = await _recovered(world, connection, before)
                    say(f"  {name}: {found[name]['at_kill']}, finished after {found[name]['seconds']:.1f} s")
            finally:
                await connection.close()
            check = await verified(world)
    return {
        "payments": count,
        "begun_per_s": BEGUN_PER_S,
        "vote_deadline_s": vote_deadline_s(count),
        "cases": found,
        "verify": check,
    }


def _open_max_s(count: int) -> int:
    return OPEN_MIN_S + count // OPENED_PER_S


def vote_deadline_s(count: int) -> int:
    """How long votes may take where so many are to be under way without any."""
    return _open_max_s(count) + _DEADLINE_MARGIN_S


async def _undecided(
    world: World, connection: asyncpg.Connection, population: Population, signer: Signer, count: int
) -> None:
    """The ledgers die; everyone pays; the coordinator dies, and the votes' deadline passes."""
    open_max_s = _open_max_s(count)
    crowd = {"GONGJI_VOTE_DEADLINE_S": str(vote_deadline_s(count)), "GONGJI_CONCURRENT_RPCS_MAX": str(2 * count)}
    await asyncio.gather(world.start_process("ledger"), world.start_process("settlement", environment=crowd))
    client = await Client.terminals(world, signer=signer, population=population, families=range(count))
    try:
        await client.order("prepare", count=count)
        await world.kill_process("ledger")
        paying = asyncio.create_task(client.order("abandoned", count=count, per_s=BEGUN_PER_S, call_max_s=open_max_s))
        end_s = time.monotonic() + open_max_s
        while (under_way := int(await connection.fetchval(_OPEN))) < count:
            if time.monotonic() > end_s or paying.done():
                say(f"  only {under_way:,} payments are under way instead of {count:,}")
                break
            await asyncio.sleep(_POLL_S)
        await world.kill_process("settlement")
        await paying
    finally:
        await client.stop()
        await world.stop()
    while await connection.fetchval(  # noqa: ASYNC110  Nothing tells of the time's passing.
        "SELECT EXISTS (SELECT FROM payments WHERE state = 'TRYING' AND deadline_at > clock_timestamp())"
    ):
        await asyncio.sleep(_POLL_S)


async def _unacknowledged(
    world: World, connection: asyncpg.Connection, population: Population, signer: Signer, count: int
) -> None:
    """Everyone has paid; then the coordinator is made to forget that the ledgers have confirmed it."""
    await asyncio.gather(world.start_process("ledger"), world.start_process("settlement"))
    client = await Client.terminals(world, signer=signer, population=population, families=range(count))
    try:
        await client.order("prepare", count=count)
        order = {"in_flight": IN_FLIGHT, "seconds": FINISHED_MAX_S, "warm": 0, "count_max": count}
        await client.order("closed", visits=False, **order)
        await until_quiet(world.database_url("settlement"))
    finally:
        await client.stop()
        await world.kill_process("settlement")
        await world.kill_process("ledger")
        await world.stop()
    await connection.execute(_UNCONFIRMED)


async def _recovered(world: World, connection: asyncpg.Connection, before: Mapping[str, int]) -> dict[str, Any]:
    """Both start again; nobody asks for anything."""
    at_kill, under_way = await _states(connection), int(await connection.fetchval(_OPEN))
    began_s = time.monotonic()
    await asyncio.gather(world.start_process("ledger"), world.start_process("settlement"))
    ready_s = time.monotonic() - began_s
    while await connection.fetchval(_OPEN):
        if time.monotonic() - began_s > FINISHED_MAX_S:
            raise RuntimeError(f"payments are still open after {FINISHED_MAX_S:.0f} s")
        await asyncio.sleep(_POLL_S)
    seconds = time.monotonic() - began_s
    await world.stop()
    return {
        "under_way": under_way,
        "at_kill": _more(at_kill, before),
        "ready_s": ready_s,
        "seconds": seconds,
        "states": _more(await _states(connection), before),
    }


async def _states(connection: asyncpg.Connection) -> dict[str, int]:
    rows = await connection.fetch("SELECT state, count(*) AS many FROM payments GROUP BY state ORDER BY state")
    return {row["state"]: row["many"] for row in rows}


def _more(after: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    return {state: many - before.get(state, 0) for state, many in after.items() if many > before.get(state, 0)}
