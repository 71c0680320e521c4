"""What more processes and more areas bring: ``python -m bench.scale``. On one machine: it shows what limits."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.contenders import Gongji
from bench.contest import Violated, say
from bench.growth import verified
from bench.measure import assert_durable
from bench.place import gongji_on, servers_in
from bench.population import AREAS, Population, Signer
from bench.report import write

CASES: Final = ((1, 2), (2, 2), (4, 2), (1, 4), (1, 8))
"""Settlement replicas and areas."""
IN_FLIGHT: Final = 64
FAMILIES: Final = 8_000


async def case(folder: Path, replicas: int, areas: int, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Rate, CPU by process per settlement, and how much of one processor each process took."""
    population, signer = Population(AREAS[:areas]), Signer.new()
    reports = []
    async with servers_in(folder) as servers:
        await assert_durable(servers)
        async with gongji_on(
            servers, folder / "world", families=FAMILIES, signer=signer, population=population, replicas=replicas
        ) as world:
            await world.stop()
            gongji = Gongji(servers, world, signer, population, range(FAMILIES), visits=False, replicas=replicas)
            for _ in range(rounds):
                await gongji.start()
                reports.append(await gongji.closed(in_flight=IN_FLIGHT, seconds=seconds))
                await gongji.stop()
            await verified(gongji)
    middle = {key: median(report[key] for report in reports) for key in reports[0]}
    busy = {
        key.removeprefix("cpu_ms."): value * middle["per_s"] / 1000
        for key, value in middle.items()
        if key.startswith("cpu_ms.")
    }
    say(
        f"  {replicas} replicas, {areas} areas: {middle['per_s']:,.0f}/s; processors busy: "
        + ", ".join(f"{name} {share:.2f}" for name, share in busy.items())
    )
    return {"replicas": replicas, "areas": areas, **middle, "busy": busy}


async def _all(rounds: int, seconds: float) -> list[dict[str, Any]]:
    found = []
    for replicas, areas in CASES:
        with tempfile.TemporaryDirectory(prefix="gongji-bench-") as folder:
            found.append(await case(Path(folder), replicas, areas, rounds=rounds, seconds=seconds))
    return found


def main() -> int:
    """Writes bench/results/<date>-scale.json; exit code 1 if anything does not hold afterwards."""
    parser = argparse.ArgumentParser(prog="bench.scale", description="What more processes and more areas bring.")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    try:
        cases = asyncio.run(_all(given.rounds, given.seconds))
    except Violated as violated:
        sys.stderr.write(f"gongji verify has found violations; the figures are worth nothing.\n{violated}\n")
        return 1
    processors = len(os.sched_getaffinity(0))
    path = write({"date": datetime.now(UTC).date().isoformat(), "processors": processors, "cases": cases}, "scale")
    sys.stderr.write(f"written: bench/results/{path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
