"""What more processes and more areas bring: ``python -m bench.scale``. On one machine: it shows what limits."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.contenders import Gongji
from bench.contest import Violated, say
from bench.document import SCALE, cut_line, fill, keep, machine, reading, table
from bench.measure import assert_durable, cost_of, until_entries_sealed, until_quiet
from bench.place import Servers, gongji_on, ledger_urls, servers_in, start_processes
from bench.population import AREAS, Population, Signer
from bench.report import spread
from bench.verified import verified

COMMAND: Final = "make bench-scale"
CASES: Final = ((1, 2), (2, 2), (4, 2), (1, 4), (1, 8))
"""Settlement replicas and areas."""
IN_FLIGHT: Final = 64
FAMILIES: Final = 8_000
ROUNDS: Final = 3
SECONDS: Final = 3.0
REST_S: Final = 5.0


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
            rest_busy = await _at_rest(servers, gongji)
            check = await verified(world)
    found = {key: spread(reports, key) for key in sorted(reports[0])}
    say(f"  {replicas} replicas, {areas} areas: {found['per_s']['median']:,.0f}/s")
    return {
        "replicas": replicas,
        "areas": areas,
        "verify": check,
        "cost": found,
        "busy": busy(found),
        "at_rest": rest_busy,
    }


async def _at_rest(servers: Servers, gongji: Gongji) -> float:
    """How many processors are taken when nothing is left to be done and no terminal is there."""
    await start_processes(gongji.world, replicas=gongji.replicas)
    await until_quiet(gongji.settlement_url)
    await until_entries_sealed(ledger_urls(gongji.world))
    await asyncio.sleep(REST_S)
    async with cost_of(servers, gongji.processes(), None) as rest:
        await asyncio.sleep(REST_S)
    await gongji.stop()
    return sum(rest.cpu_s.values()) / REST_S


def busy(cost: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """How many processors each kind of process took, settlement's replicas together."""
    taken: dict[str, float] = {}
    for key, figures in cost.items():
        if key.startswith("cpu_ms."):
            kind = key.removeprefix("cpu_ms.").partition("_")[0]
            taken[kind] = taken.get(kind, 0.0) + figures["median"] * cost["per_s"]["median"] / 1_000
    return taken


def markdown(found: Mapping[str, Any]) -> str:
    """For a person, and for docs/scale.md."""
    cases: Sequence[Mapping[str, Any]] = found["cases"]
    kinds = [kind for kind in cases[0]["busy"] if kind != "all"]
    rows = [
        [
            f"{it['replicas']} / {it['areas']}",
            reading(it["cost"], "per_s"),
            reading(it["cost"], "p50_ms"),
            reading(it["cost"], "cpu_ms.all", 2),
            f"{it['cost']['commits']['median']:.2f}",
            *(f"{it['busy'][kind]:.2f}" for kind in kinds),
            f"{it['busy']['all']:.2f}",
            f"{it['at_rest']:.3f}",
        ]
        for it in cases
    ]
    head = ["settlement replicas / areas", "a second", "p50, ms", "CPU, ms", "commits", *kinds, "all", "at rest"]
    rows_compared = sum(it["verify"]["rows_compared"] for it in cases)
    return "\n".join(
        [
            (
                f"Measured {found['date']} on {found['machine']['processors']} processors: {found['rounds']} rounds of"
                f" {found['seconds']:g} s, {IN_FLIGHT} in flight; median (least–most). The last columns are processors"
                f" taken, at the end those taken at rest, without terminals and"
                " with nothing left to be done. `gongji verify`: 0 violations in"
                f" {rows_compared:,} rows compared.\n"
            ),
            table(head, rows),
            cut_line(it["cost"] for it in cases),
        ]
    )


async def _all(rounds: int, seconds: float) -> list[dict[str, Any]]:
    found = []
    for replicas, areas in CASES:
        with tempfile.TemporaryDirectory(prefix="gongji-bench-") as folder:
            found.append(await case(Path(folder), replicas, areas, rounds=rounds, seconds=seconds))
    return found


def main() -> int:
    """Writes bench/results/scale.json and docs/scale.md; exit code 1 if anything does not hold afterwards."""
    parser = argparse.ArgumentParser(prog="bench.scale", description="What more processes and more areas bring.")
    parser.add_argument("--small", action="store_true", help="one short round, to see whether it works")
    given = parser.parse_args()
    rounds, seconds = (1, 1.0) if given.small else (ROUNDS, SECONDS)
    try:
        cases = asyncio.run(_all(rounds, seconds))
    except Violated as violated:
        sys.stderr.write(f"gongji verify has found violations; the figures are worth nothing.\n{violated}\n")
        return 1
    date = datetime.now(UTC).date().isoformat()
    found = {"date": date, "machine": machine(), "rounds": rounds, "seconds": seconds, "cases": cases}
    sys.stdout.write(markdown(found))
    path = keep(found, "scale-small" if given.small else "scale")
    if not given.small:
        fill(SCALE, COMMAND, markdown(found))
    sys.stderr.write(f"written: bench/results/{path.name}{'' if given.small else ' and docs/scale.md'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
