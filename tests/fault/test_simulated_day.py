"""A simulated day (`gongji-terminal simulate`) while the servers are killed at random: its books balance to the fen."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from gongji_terminal.simulation.town import SimulatedTown, written
from ops.embedded.nats import EmbeddedNats
from ops.simulated_town import build_town
from tests.e2e.town import AREAS, Town
from tests.fault.victims import COORDINATOR, FAR_LEDGER, LEDGER, revive

NATS: Final = "nats"
VICTIMS: Final = (LEDGER, FAR_LEDGER, COORDINATOR, NATS)
DEAD_S: Final = (0.3, 1.5)
AT_REST_MAX_S: Final = 60.0


async def kill_at_random(
    town: Town, broker: EmbeddedNats, chance: random.Random, *, every_s: float, end_s: float
) -> Counter[str]:
    """SIGKILL to one after another in an order of chance, each once in a round; every one is started again."""
    end = asyncio.get_running_loop().time() + end_s
    killed: Counter[str] = Counter()
    while True:
        for victim in chance.sample(VICTIMS, len(VICTIMS)):
            await asyncio.sleep(chance.uniform(0.5, 1.5) * every_s)
            if asyncio.get_running_loop().time() > end:
                return killed
            killed[victim] += 1
            if victim == NATS:
                await broker.kill()
            else:
                await town.world.kill_process(victim)
            await asyncio.sleep(chance.uniform(*DEAD_S))
            await (broker.start() if victim == NATS else revive(town.world, victim))


async def simulated(file: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The real command; its exit code and its answer."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gongji_terminal", "simulate", str(file), "--json", *words),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    try:
        out, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, json.loads(out)


async def built(town: Town, file: Path, *, institutions: int, terminals: int, patients: int) -> SimulatedTown:
    """Institutions and people of the simulated day's own in this town, and the file that names them."""
    made = await build_town(
        town.desks,
        town.world.address,
        areas=AREAS,
        told=town.told,
        institutions=institutions,
        terminals=terminals,
        patients=patients,
        chance=random.Random(),
    )
    await asyncio.to_thread(file.write_text, written(made), encoding="utf-8")
    return made


async def lived_through(
    town: Town,
    broker: EmbeddedNats,
    file: Path,
    say: Callable[[str], None],
    *,
    size: tuple[int, int],
    seconds: float,
    every_s: float,
) -> None:
    """A day with kills; zero differences, nothing left open, and no invariant is violated."""
    seed = random.randrange(1_000_000)
    institutions, terminals = size
    await built(town, file, institutions=institutions, terminals=terminals, patients=2 * terminals)
    words = {"institutions": institutions, "terminals": terminals, "minutes": seconds / 60, "seed": seed}
    async with asyncio.TaskGroup() as group:
        killing = group.create_task(kill_at_random(town, broker, random.Random(seed), every_s=every_s, end_s=seconds))
        day = group.create_task(
            simulated(file, *(f"--{key}={value}" for key, value in words.items()), "--pause=0.3", "--crash-every=5")
        )
    killed, (code, answer) = killing.result(), day.result()
    say(f"killed {dict(killed)}; exit code {code}, {json.dumps(answer)}")
    town.journals |= set(file.with_name(file.name + ".journals").glob("*.sqlite"))
    assert (code, answer["differences"], answer["left_open"], answer["problems"]) == (0, 0, 0, []), answer
    assert min(answer["paid"], answer["killed"], *(killed[victim] for victim in VICTIMS)) > 0, answer
    await town.reached()
    await town.told()
    await town.at_rest(bound_s=AT_REST_MAX_S)
    await town.check()


async def test_a_simulated_day_balances_while_ledgers_settlement_and_nats_are_killed(
    town: Town, broker: EmbeddedNats, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Terminals and whole institutions die as well: no difference, nothing open, every invariant."""
    await lived_through(town, broker, tmp_path / "town.json", say, size=(2, 6), seconds=16.0, every_s=2.0)


@pytest.mark.long
async def test_two_minutes_of_twenty_terminals_balance_while_ledgers_settlement_and_nats_are_killed(
    town: Town, broker: EmbeddedNats, tmp_path: Path, say: Callable[[str], None]
) -> None:
    """Five institutions, one of them a pharmacy; each server dies some ten times."""
    await lived_through(town, broker, tmp_path / "town.json", say, size=(5, 20), seconds=120.0, every_s=3.0)
