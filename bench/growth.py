"""How the cost of a settlement grows: ``python -m bench.growth [--only data bindings hot recovery memory] [--small]``.

- data: 10⁴ accounts an area and 10⁴ past settlements, against 10⁶ and 10⁶;
- bindings: 1,000 against 100,000 in one area;
- hot: fifty payments at once on one funder's account, against fifty on fifty;
- recovery: 10,000 payments that recovery alone must finish (``bench.recovery``);
- memory: each process's over 100,000 visits (``bench.memory``).
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

from bench.contenders import Gongji
from bench.contest import Violated, order_of, say
from bench.document import PERFORMANCE, fill, keep, kept, machine
from bench.growth_report import markdown
from bench.measure import assert_durable, until_entries_sealed
from bench.memory import memory
from bench.pace import Report
from bench.past import database_bytes, write_idle_accounts, write_past
from bench.place import Servers, gongji_on, ledger_urls, servers_in
from bench.population import FUNDERS, Population, Signer
from bench.recovery import recovery
from bench.report import spread
from bench.verified import verified

COMMAND: Final = "make bench-growth"
ACCOUNTS_A_FAMILY: Final = FUNDERS
"""In the patient's own area: he and two of his relatives."""
HOT: Final = 50
BURSTS: Final = 10
IN_FLIGHT: Final = 64
GROWTH_MAX: Final = 1.2
HOT_MIN: Final = 0.3


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    accounts: tuple[int, int] = (10_000, 1_000_000)
    """In each area, small and large."""
    past: tuple[int, int] = (10_000, 1_000_000)
    """Settlements."""
    bindings: tuple[int, int] = (1_000, 100_000)
    """In one area."""
    each: int = 3_000
    """Settlements of one reading."""
    open: int = 10_000
    """Payments under way at once, for recovery."""
    visits: int = 100_000
    """For memory."""
    rounds: int = 5


SMALL: Final = Sizes(
    accounts=(3_000, 30_000),
    past=(3_000, 30_000),
    bindings=(1_000, 5_000),
    each=500,
    open=1_000,
    visits=4_000,
    rounds=2,
)


@dataclass(frozen=True, slots=True)
class Size:
    """One world's."""

    name: str
    families: int
    accounts: int = 0
    """In each area, those of nobody's family added; 0 adds none."""
    past: int = 0


async def compared(folder: Path, small: Size, large: Size, *, rounds: int, each: int) -> dict[str, Any]:
    """Both worlds in turns on one server: what a settlement costs in each, and large ÷ small.

    As many families are measured in both. In the larger world they stand far from one another, over all its pages.
    """
    readings: dict[str, list[Report]] = {small.name: [], large.name: []}
    families = small.families
    async with servers_in(folder) as servers:
        await assert_durable(servers)
        signer, population = Signer.new(), Population()
        first = Grown(servers, folder, small, signer, population, range(families))
        far = range(0, families * (large.families // families), large.families // families)
        second = Grown(servers, folder, large, signer, population, far)
        async with first, second:
            for number in range(rounds):
                for world in order_of((first, second), number):
                    report = await reading(world.gongji, each)
                    readings[world.size.name].append(report)
                    say(
                        f"  {world.size.name}: {report['per_s']:,.0f}/s, {report['cpu_ms.all']:.2f} ms of CPU and"
                        f" {report['wal_bytes']:,.0f} bytes of WAL each"
                    )
            checks = {world.size.name: await verified(world.gongji.world) for world in (first, second)}
    ratios = [
        after["cpu_ms.all"] / before["cpu_ms.all"]
        for before, after in zip(readings[small.name], readings[large.name], strict=True)
    ]
    return {
        "rounds": rounds,
        "each": each,
        "worlds": {
            world.size.name: {
                "families": world.size.families,
                "accounts_an_area": world.size.accounts,
                "past": world.size.past,
                **world.written,
                "verify": checks[world.size.name],
                "cost": {key: spread(readings[world.size.name], key) for key in sorted(readings[world.size.name][0])},
            }
            for world in (first, second)
        },
        "ratio": (ratio := median(ratios)),
        "ratios": ratios,
        "aim": f"≤ {GROWTH_MAX:g}",
        "met": ratio <= GROWTH_MAX,
    }


async def reading(gongji: Gongji, settlements: int) -> Report:
    """What so many settlements cost, in as many runs as the families need, each process started anew before."""
    await gongji.start()
    await until_entries_sealed(ledger_urls(gongji.world))
    reports: list[Report] = []
    while sum(report["done"] for report in reports) < settlements:
        reports.append(await gongji.closed(in_flight=IN_FLIGHT, seconds=600.0, count_max=settlements))
    await gongji.stop()
    done = sum(report["done"] for report in reports)
    costs = [key for key in reports[0] if key.startswith("cpu_ms.") or key in {"commits", "wal_bytes"}]
    mean = {key: sum(report[key] * report["done"] for report in reports) / done for key in costs}
    return {**mean, **{key: median(report[key] for report in reports) for key in ("per_s", "p50_ms", "p99_ms")}}


class Grown:
    """A Gongji over a world of this size, its past written, not running; a context, so that two can be open at once."""

    def __init__(
        self,
        servers: Servers,
        folder: Path,
        size: Size,
        signer: Signer,
        population: Population,
        measured: range,
    ) -> None:
        self.size = size
        self.written: dict[str, Any] = {}
        """How long it took to write it, and how many bytes a past settlement takes by database."""
        self._population, self._signer, self._servers, self._measured = population, signer, servers, measured
        self._context = gongji_on(
            servers,
            folder / size.name,
            families=size.families,
            signer=signer,
            population=population,
            prefix=f"bench_{size.name}",
        )
        self.gongji: Gongji

    async def __aenter__(self) -> Self:
        began_s = time.monotonic()
        say(f"{self.size.name}: {self.size.families:,} families, {self.size.past:,} past settlements are written ...")
        world = await self._context.__aenter__()
        await world.stop()
        urls = ledger_urls(world)
        if self.size.accounts:
            await write_idle_accounts(urls, accounts=self.size.accounts)
        if self.size.past:
            databases = {"settlement": world.database_url("settlement"), **urls}
            before = {name: await database_bytes(url) for name, url in databases.items()}
            await write_past(
                self._population,
                settlement_url=databases["settlement"],
                ledger_urls=urls,
                families=self.size.families,
                settlements=self.size.past,
            )
            self.written["bytes_a_settlement"] = {
                name: (await database_bytes(url) - before[name]) / self.size.past for name, url in databases.items()
            }
        self.written["seconds"] = time.monotonic() - began_s
        self.gongji = Gongji(self._servers, world, self._signer, self._population, self._measured, visits=False)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._context.__aexit__(*exc_info)  # type: ignore[arg-type]  # The three, as they came.


async def hot(folder: Path, *, rounds: int) -> dict[str, Any]:
    """Fifty at once on one funder, and fifty at once on fifty, in turns; settlements a second."""
    population, signer = Population(sharing=HOT), Signer.new()
    rates: dict[str, list[Report]] = {"hot": [], "spread": []}
    async with servers_in(folder) as servers:
        await assert_durable(servers)
        async with gongji_on(
            servers, folder / "world", families=HOT * HOT, signer=signer, population=population
        ) as world:
            await world.stop()
            one = Gongji(servers, world, signer, population, range(HOT), visits=False)
            many = Gongji(servers, world, signer, population, range(0, HOT * HOT, HOT), visits=False)
            for number in range(rounds):
                for name, gongji in order_of((("hot", one), ("spread", many)), number):
                    await gongji.start()
                    readings = [await gongji.burst(in_flight=HOT) for _ in range(BURSTS)]
                    rates[name].append({"per_s": median(readings[1:])})
                    await gongji.stop()
                    say(f"  {name}: {rates[name][-1]['per_s']:,.0f}/s")
            check = await verified(world)
    found = {name: spread(reports, "per_s") for name, reports in rates.items()}
    ratio = found["hot"]["median"] / found["spread"]["median"]
    return {
        "at_once": HOT,
        "rounds": rounds,
        "per_s": found,
        "ratio": ratio,
        "aim": f"≥ {HOT_MIN:g}",
        "met": ratio >= HOT_MIN,
        "verify": check,
    }


def parts(sizes: Sizes) -> Mapping[str, Callable[[Path], Awaitable[dict[str, Any]]]]:
    """By name; each is given a folder of its own."""

    def world(name: str, place: int) -> Size:
        return Size(
            name,
            families=-(-sizes.accounts[place] // ACCOUNTS_A_FAMILY),
            accounts=sizes.accounts[place],
            past=sizes.past[place],
        )

    few, many = (count // FUNDERS for count in sizes.bindings)
    return {
        "data": lambda folder: compared(
            folder, world("small", 0), world("large", 1), rounds=sizes.rounds, each=sizes.each
        ),
        "bindings": lambda folder: compared(
            folder, Size("few", few), Size("many", many), rounds=sizes.rounds, each=sizes.each
        ),
        "hot": lambda folder: hot(folder, rounds=sizes.rounds),
        "recovery": lambda folder: recovery(folder, count=sizes.open),
        "memory": lambda folder: memory(folder, visits=sizes.visits),
    }


async def _all(names: list[str], sizes: Sizes) -> dict[str, Any]:
    """What is asked for, each on servers of its own."""
    found: dict[str, Any] = {}
    for name, part in parts(sizes).items():
        if not names or name in names:
            say(name)
            began_s = time.monotonic()
            with tempfile.TemporaryDirectory(prefix="gongji-bench-") as folder:
                figures = await part(Path(folder))
            date = datetime.now(UTC).date().isoformat()
            found[name] = {"date": date, "machine": machine(), "took_s": time.monotonic() - began_s, **figures}
    return found


def main() -> int:
    """Writes bench/results/growth.json and docs/performance.md, part by part; exit code 1 if anything does not hold.

    At small sizes it writes bench/results/growth-small.json and no document.
    """
    parser = argparse.ArgumentParser(prog="bench.growth", description="How the cost of a settlement grows.")
    parser.add_argument("--only", nargs="+", default=[], choices=list(parts(SMALL)), help="these parts; else all")
    parser.add_argument("--small", action="store_true", help="small sizes, to see whether it works")
    parser.add_argument("--rounds", type=int)
    given = parser.parse_args()
    sizes = SMALL if given.small else Sizes()
    if given.rounds:
        sizes = Sizes(**{name: getattr(sizes, name) for name in Sizes.__slots__} | {"rounds": given.rounds})
    try:
        found = asyncio.run(_all(given.only, sizes))
    except Violated as violated:
        sys.stderr.write(f"gongji verify has found violations; the figures are worth nothing.\n{violated}\n")
        return 1
    sys.stdout.write(markdown(found))
    if given.small:
        path = keep(found, "growth-small")
    else:
        path = keep(whole := kept("growth") | found, "growth")
        fill(PERFORMANCE, COMMAND, markdown(whole))
    sys.stderr.write(f"written: bench/results/{path.name}{'' if given.small else ' and docs/performance.md'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
