"""What the desk costs beside an empty RPC: 1101, PreSettle + Settle, revocation (``python -m bench.desk``).

The empty one is gRPC's own health check, answered by the same settlement process in the same run. Each kind is called
alone and with many in flight, in turns; what a visit settles, the revocation after it takes back, so every round finds
the families as the first did.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markdown import Markdown

from bench.contest import Violated, say
from bench.document import PERFORMANCE, fill, keep, machine, span, spread_of, table, verdict
from bench.measure import assert_durable, cost_of, until_quiet
from bench.place import Client, Servers, gongji_on, servers_in
from bench.population import Population, Signer
from bench.verified import verified
from ops.embedded.world import World

COMMAND: Final = "make bench-desk"
WIDTH: Final = 130
EMPTY: Final = "empty"
TITLES: Final = {
    EMPTY: "an empty RPC (health)",
    "person": "1101",
    "visit": "PreSettle + Settle",
    "revoke": "revocation",
}
"""What is called, in this order: a revocation needs the visits before it."""
ROUNDS: Final = 5
CALLS: Final = {1: 300, 64: 1_000}
"""Of each kind in each round, by how many are in flight."""
EMPTY_TIMES: Final = 6
"""So many times as many empty ones with many in flight: the kernel counts processor time in hundredths of a second."""
SMALL_ROUNDS: Final = 2
SMALL_CALLS: Final = {1: 40, 64: 200}
ALONE: Final = 1
TOGETHER: Final = 64
PROCESSES: Final = {"settlement": "settlement", "ledger": "ledger", "nats": "NATS", "postgres": "PostgreSQL"}
CPU_RATIO_MAX: Final = {"person": 10.0, "visit": 25.0, "revoke": 15.0}
"""CPU of the settlement process with many in flight, in empty RPCs."""
TAIL_MAX: Final = 4.0
"""The p99 of each kind alone, in its own p50."""
Reading = dict[str, float]
Readings = Mapping[int, Mapping[str, Sequence[Reading]]]
"""By how many were in flight and kind: one a round."""


@asynccontextmanager
async def _terminals(servers: Servers, folder: Path, families: int) -> AsyncIterator[tuple[World, Client]]:
    signer, population = Signer.new(), Population()
    async with gongji_on(
        servers, folder / "desk", families=families, signer=signer, population=population, prefix="desk"
    ) as world:
        # Anew, so that no statement was planned for an empty table.
        await world.restart_process("settlement")
        await world.restart_process("ledger")
        client = await Client.terminals(world, signer=signer, population=population, families=range(families))
        try:
            yield world, client
        finally:
            await client.stop()


async def _reading(servers: Servers, world: World, client: Client, *, kind: str, in_flight: int, calls: int) -> Reading:
    """One kind: rate, latencies, and what each call cost whom, with all that it left to be done; no terminal's work."""
    url = world.database_url("settlement")
    await until_quiet(url)
    pids = {"settlement": world.pid("settlement"), "ledger": world.pid("ledger"), "nats": servers.nats.pid}
    running = {name: pid for name, pid in pids.items() if pid is not None}
    async with cost_of(servers, running, url) as cost:
        report = await client.order("each", kind=kind, in_flight=in_flight, count=calls)
    return {**report, **cost.each(calls)}


async def measured(servers: Servers, folder: Path, *, rounds: int, calls: Mapping[int, int]) -> dict[str, Any]:
    """Every kind in turns, alone and together; a first round warms up and is not counted. Violated if it is void."""
    readings: dict[int, dict[str, list[Reading]]] = {}
    async with _terminals(servers, folder, max(calls.values())) as (world, client):
        for number in range(rounds + 1):
            for in_flight, count in calls.items():
                for kind, title in TITLES.items():
                    times = EMPTY_TIMES if kind == EMPTY and in_flight == TOGETHER else 1
                    some = times * count if number > 0 else max(count // 10, in_flight)
                    report = await _reading(servers, world, client, kind=kind, in_flight=in_flight, calls=some)
                    if number == 0:
                        continue
                    readings.setdefault(in_flight, {}).setdefault(kind, []).append(report)
                    say(
                        f"  {title}: {in_flight} in flight, {report['per_s']:,.0f}/s, p50 {report['p50_ms']:.1f} ms,"
                        f" p99 {report['p99_ms']:.1f} ms, {report['cpu_ms.settlement']:.2f} ms of CPU in settlement"
                    )
        checked = await verified(world)
    return {"rounds": rounds, "calls": dict(calls), **summary(readings), "verify": checked}


def summary(readings: Readings) -> dict[str, Any]:
    """The spread of each figure, the ratios of each round, and whether the aims were met by their medians."""
    cost = {
        str(in_flight): {
            kind: {key: spread_of([report[key] for report in reports]) for key in reports[0]}
            for kind, reports in by_kind.items()
        }
        for in_flight, by_kind in readings.items()
    }
    together, alone = readings[TOGETHER], readings[ALONE]
    cpu = {
        key: {kind: _over_empty(together, kind, key) for kind in TITLES if kind != EMPTY}
        for key in ("cpu_ms.settlement", "cpu_ms.all")
    }
    tails = {kind: spread_of([each["p99_ms"] / each["p50_ms"] for each in alone[kind]]) for kind in TITLES}
    time_alone = {kind: _over_empty(alone, kind, "p50_ms") for kind in TITLES if kind != EMPTY}
    what = f"CPU of settlement ÷ an empty RPC's, {TOGETHER} in flight"
    aims = [
        *(
            _aim(f"{TITLES[kind]}: {what}", most, cpu["cpu_ms.settlement"][kind])
            for kind, most in CPU_RATIO_MAX.items()
        ),
        *(_aim(f"{TITLES[kind]}: p99 ÷ p50, alone", TAIL_MAX, tails[kind]) for kind in CPU_RATIO_MAX),
    ]
    return {
        "cost": cost,
        "cpu_ratios": cpu,
        "tails": tails,
        "time_ratios": time_alone,
        "aims": aims,
        "met": all(aim["met"] for aim in aims),
    }


def _aim(title: str, most: float, found: dict[str, float]) -> dict[str, Any]:
    return {"aim": title, "max": most, "found": found, "met": found["median"] <= most}


def _over_empty(by_kind: Mapping[str, Sequence[Reading]], kind: str, key: str) -> dict[str, float]:
    pairs = zip(by_kind[kind], by_kind[EMPTY], strict=True)
    return spread_of([report[key] / empty[key] for report, empty in pairs])


def markdown(found: Mapping[str, Any]) -> str:
    """For a person, and for docs/performance.md."""
    calls, together, alone = found["calls"], found["cost"][str(TOGETHER)], found["cost"][str(ALONE)]
    counts = ", ".join(f"{count:,} of each kind with {in_flight} in flight" for in_flight, count in calls.items())
    counts += f" ({EMPTY_TIMES} times as many empty ones)"

    def row(label: str, cells: Mapping[str, Mapping[str, Any]], key: str, digits: int) -> list[str]:
        return [label, *(span(cells[kind][key], digits) for kind in TITLES)]

    def ratios(label: str, by_kind: Mapping[str, Any], digits: int) -> list[str]:
        return [label, *("1" if kind == EMPTY else span(by_kind[kind], digits) for kind in TITLES)]

    costs = [
        *(row(f"CPU of {name}, ms", together, f"cpu_ms.{key}", 3) for key, name in PROCESSES.items()),
        ratios("CPU of settlement, in empty RPCs", found["cpu_ratios"]["cpu_ms.settlement"], 1),
        ratios("CPU of all four, in empty RPCs", found["cpu_ratios"]["cpu_ms.all"], 1),
        row("commits", together, "commits", 2),
        row("a second", together, "per_s", 0),
        row("p50, ms", together, "p50_ms", 1),
        row("p99, ms", together, "p99_ms", 1),
    ]
    times = [
        row("p50, ms", alone, "p50_ms", 2),
        row("p99, ms", alone, "p99_ms", 2),
        ratios("p50, in empty RPCs", found["time_ratios"], 1),
        ["p99 ÷ p50", *(span(found["tails"][kind], 1) for kind in TITLES)],
    ]
    aims = [
        [aim["aim"], f"≤ {aim['max']:g}", span(aim["found"], 1), verdict(is_met=aim["met"])] for aim in found["aims"]
    ]
    return "\n".join(
        [
            (
                f"Measured {found['date']} on {found['machine']['processors']} processors, CPython"
                f" {found['machine']['python']}: {counts}, {found['rounds']} rounds in turns; median (least–most)."
                f" `gongji verify`: {found['verify']['violations']} violations in"
                f" {found['verify']['rows_compared']:,} rows compared.\n"
            ),
            table([f"each, {TOGETHER} in flight", *TITLES.values()], costs),
            table(["one at a time", *TITLES.values()], times),
            table(["", "aim", "found", ""], aims),
        ]
    )


async def _measured(*, small: bool, rounds: int | None) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="gongji-bench-") as folder:
        async with servers_in(Path(folder)) as servers:
            await assert_durable(servers)
            return {
                "date": datetime.now(UTC).date().isoformat(),
                "machine": machine(),
                **await measured(
                    servers,
                    Path(folder),
                    rounds=rounds or (SMALL_ROUNDS if small else ROUNDS),
                    calls=SMALL_CALLS if small else CALLS,
                ),
            }


def main() -> int:
    """Writes bench/results/desk.json and a section of docs/performance.md; exit code 1 if void or an aim is missed."""
    parser = argparse.ArgumentParser(prog="bench.desk", description="What 1101, a visit and a revocation cost.")
    parser.add_argument("--small", action="store_true", help="few calls, to see whether it works; writes nothing")
    parser.add_argument("--rounds", type=int, help="how often everything is called")
    given = parser.parse_args()
    try:
        found = asyncio.run(_measured(small=given.small, rounds=given.rounds))
    except Violated as violated:
        sys.stderr.write(f"gongji verify has found violations; the figures are worth nothing.\n{violated}\n")
        return 1
    Console(width=WIDTH).print(Markdown(markdown(found)))
    if not given.small:
        path = keep(found, "desk")
        fill(PERFORMANCE, COMMAND, markdown(found))
        sys.stderr.write(f"written: bench/results/{path.name} and docs/performance.md\n")
    return 0 if found["met"] else 1


if __name__ == "__main__":
    sys.exit(main())
