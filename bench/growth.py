"""How the cost of a settlement grows: ``python -m bench.growth [data|bindings|hot|memory] …``; without a name, all.

- data: 10⁴ accounts an area and no past, against 10⁶ and a million past settlements;
- bindings: 1,000 against 100,000;
- hot: fifty payments at once on one funder's account, against fifty on fifty;
- memory: each process's memory over a long run.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.contenders import Gongji
from bench.contest import Violated, places_of, say
from bench.measure import assert_durable, resident_bytes, until_entries_sealed
from bench.past import write_past
from bench.place import Servers, gongji_on, ledger_urls, servers_in
from bench.population import FUNDERS, Population, Signer
from bench.report import write
from ops.verify.run import verify

ACCOUNTS_A_FAMILY: Final = FUNDERS + 1
HOT: Final = 50
IN_FLIGHT: Final = 64
MEGABYTE: Final = 1024 * 1024
GROWTH_MAX: Final = 1.2
HOT_MIN: Final = 0.3


@dataclass(frozen=True, slots=True)
class Size:
    """One world's."""

    name: str
    families: int
    past: int = 0


async def compared(folder: Path, small: Size, large: Size, *, rounds: int, seconds: float) -> dict[str, Any]:
    """Both worlds in turns on one server: the medians of what a settlement costs, and large ÷ small."""
    readings: dict[str, list[dict[str, float]]] = {small.name: [], large.name: []}
    async with servers_in(folder) as servers:
        await assert_durable(servers)
        signer, population = Signer.new(), Population()
        async with (
            _world(servers, folder, small, signer, population) as first,
            _world(servers, folder, large, signer, population) as second,
        ):
            for number in range(rounds):
                for size, gongji in ((small, first), (large, second))[:: 1 if number % 2 else -1]:
                    await gongji.start()
                    await until_entries_sealed(ledger_urls(gongji.world))
                    report = await gongji.closed(in_flight=IN_FLIGHT, seconds=seconds)
                    await gongji.stop()
                    readings[size.name].append(report)
                    say(f"  {size.name}: {report['per_s']:,.0f}/s, {report['cpu_ms.all']:.2f} ms of CPU each")
            for gongji in (first, second):
                await verified(gongji)

    def middle(name: str, key: str) -> float:
        return median(reading[key] for reading in readings[name])

    return {
        "sizes": {size.name: {"families": size.families, "past": size.past} for size in (small, large)},
        "medians": {
            size.name: {key: middle(size.name, key) for key in readings[size.name][0]} for size in (small, large)
        },
        "cpu_ratio": (ratio := middle(large.name, "cpu_ms.all") / middle(small.name, "cpu_ms.all")),
        "aim": f"≤ {GROWTH_MAX}",
        "met": ratio <= GROWTH_MAX,
    }


class _world:  # noqa: N801  Used as a function: a context of its own, so that two can be open at once.
    """A Gongji over a world of this size, not running, its past written."""

    def __init__(self, servers: Servers, folder: Path, size: Size, signer: Signer, population: Population) -> None:
        self._size, self._population, self._signer, self._servers = size, population, signer, servers
        self._context = gongji_on(
            servers,
            folder / size.name,
            families=size.families,
            signer=signer,
            population=population,
            prefix=f"bench_{size.name}",
        )

    async def __aenter__(self) -> Gongji:
        say(
            f"{self._size.name}: {self._size.families:,} families, {self._size.past:,} past settlements are written ..."
        )
        world = await self._context.__aenter__()
        await world.stop()
        families = range(min(self._size.families, 20_000))
        if self._size.past:
            await write_past(
                self._population,
                settlement_url=world.database_url("settlement"),
                ledger_urls=ledger_urls(world),
                families=self._size.families,
                settlements=self._size.past,
            )
        return Gongji(self._servers, world, self._signer, self._population, families, visits=False)

    async def __aexit__(self, *exc_info: object) -> None:
        await self._context.__aexit__(*exc_info)  # type: ignore[arg-type]  # The three, as they came.


async def verified(gongji: Gongji) -> None:
    """Violated unless everything holds."""
    report = await verify(places_of(gongji.world))
    if report.violations:
        raise Violated("\n".join(report.findings))
    say(f"  gongji verify: no violation ({report.compared:,} rows compared)")


async def hot(folder: Path, *, rounds: int) -> dict[str, Any]:
    """Fifty at once on one funder, and fifty at once on fifty, in turns; settlements a second."""
    population, signer = Population(sharing=HOT), Signer.new()
    rates: dict[str, list[float]] = {"hot": [], "spread": []}
    async with servers_in(folder) as servers:
        await assert_durable(servers)
        async with gongji_on(
            servers, folder / "world", families=HOT * HOT, signer=signer, population=population
        ) as world:
            await world.stop()
            one = Gongji(servers, world, signer, population, range(HOT), visits=False)
            many = Gongji(servers, world, signer, population, range(0, HOT * HOT, HOT), visits=False)
            for _ in range(rounds):
                for name, gongji in (("hot", one), ("spread", many)):
                    await gongji.start()
                    readings = [await gongji.burst(in_flight=HOT) for _ in range(10)]
                    rates[name].append(median(readings[1:]))
                    await gongji.stop()
                    say(f"  {name}: {rates[name][-1]:,.0f}/s")
            await verified(one)
    ratio = median(rates["hot"]) / median(rates["spread"])
    return {"per_s": rates, "ratio": ratio, "aim": f"≥ {HOT_MIN}", "met": ratio >= HOT_MIN}


async def memory(folder: Path, *, settlements: int) -> dict[str, Any]:
    """Megabytes of each process, every tenth of the way."""
    population, signer, families = Population(), Signer.new(), range(20_000)
    samples: list[dict[str, float]] = []
    async with servers_in(folder) as servers:
        await assert_durable(servers)
        async with gongji_on(
            servers, folder / "world", families=len(families), signer=signer, population=population
        ) as world:
            await world.stop()
            gongji = Gongji(servers, world, signer, population, families, visits=True)
            await gongji.start()
            done = 0
            while done < settlements:
                report = await gongji.closed(in_flight=IN_FLIGHT, seconds=600.0, count_max=settlements // 10)
                done += report["done"]
                used = {name: resident_bytes(pid) / MEGABYTE for name, pid in gongji.processes().items()}
                samples.append({"settlements": done, **used})
                say(f"  {done:,}: " + ", ".join(f"{name} {value:.0f} MB" for name, value in used.items()))
            await gongji.stop()
            await verified(gongji)
    return {"samples": samples}


async def _all(names: list[str], rounds: int, scale: float, settlements: int) -> dict[str, Any]:
    """What is asked for, each on servers of its own."""

    def scaled(name: str, accounts_an_area: int, past: int = 0) -> Size:
        return Size(name, max(500, round(scale * 2 * accounts_an_area / ACCOUNTS_A_FAMILY)), round(scale * past))

    parts: dict[str, Callable[[Path], Awaitable[dict[str, Any]]]] = {
        "data": lambda folder: compared(
            folder, scaled("small", 10_000, 10_000), scaled("large", 1_000_000, 1_000_000), rounds=rounds, seconds=3.0
        ),
        "bindings": lambda folder: compared(
            folder, Size("few", 1_000 // FUNDERS), Size("many", 100_000 // FUNDERS), rounds=rounds, seconds=3.0
        ),
        "hot": lambda folder: hot(folder, rounds=rounds),
        "memory": lambda folder: memory(folder, settlements=settlements),
    }
    found: dict[str, Any] = {}
    for name, part in parts.items():
        if not names or name in names:
            say(name)
            with tempfile.TemporaryDirectory(prefix="gongji-bench-") as folder:
                found[name] = await part(Path(folder))
    return found


def main() -> int:
    """Writes bench/results/<date>-growth.json; exit code 1 if anything does not hold afterwards."""
    parser = argparse.ArgumentParser(prog="bench.growth", description="How the cost of a settlement grows.")
    parser.add_argument("names", nargs="*", help="data, bindings, hot, memory; all without a name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="of data's sizes: 0.01 to try it")
    parser.add_argument("--settlements", type=int, default=100_000, help="of memory")
    given = parser.parse_args()
    try:
        found = asyncio.run(_all(given.names, given.rounds, given.scale, given.settlements))
    except Violated as violated:
        sys.stderr.write(f"gongji verify has found violations; the figures are worth nothing.\n{violated}\n")
        return 1
    path = write({"date": datetime.now(UTC).date().isoformat(), **found}, "growth")
    sys.stderr.write(f"written: bench/results/{path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
