"""The command of `make bench`: ``python -m bench [--quick] [--rounds N] …``."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markdown import Markdown

from bench.capacity import LATEST, refill
from bench.chart import line_chart
from bench.contest import LEVELS, NAMES, Plan, Violated, contest, is_whole
from bench.document import FOLDER, keep
from bench.report import markdown, publish, summary

EXIT_VIOLATED: Final = 1
QUICK: Final = Plan(rounds=2, seconds=1.5, families=6_000)
WIDTH_MIN: Final = 120
CHARTS: Final = (
    ("per_s", "rate.svg", "settlements a second", False),
    ("p50_ms", "latency.svg", "median latency, ms", True),  # From two milliseconds to several seconds.
)


def main() -> int:
    """Runs the contest and writes everything; exit code 1 if anything does not hold afterwards."""
    plan = _plan()
    with tempfile.TemporaryDirectory(prefix="gongji-bench-") as folder:
        try:
            results = asyncio.run(contest(Path(folder), plan))
        except Violated as violated:
            sys.stderr.write(f"gongji verify has found violations; the figures are worth nothing.\n{violated}\n")
            return EXIT_VIOLATED
    found = summary(plan, results, datetime.now(UTC).date())
    name = f"{found['date']}-contest-{found['machine']['processors']}cpu"
    path = keep(found, name if is_whole(plan) else f"{name}-partial")
    text = markdown(found)
    if is_whole(plan):
        publish(found, text)
        refill(LATEST)
        _draw(found)
    console = Console()
    console.print(Markdown(text), width=max(WIDTH_MIN, console.width))
    others = (
        "latest.json, the charts, docs/performance.md and docs/scale.md"
        if is_whole(plan)
        else "and nothing else: it is not a whole run"
    )
    sys.stderr.write(f"written: bench/results/{path.name}, {others}\n")
    return 0


def _draw(found: dict[str, Any]) -> None:
    levels = list(dict.fromkeys(level for cells in found["closed"].values() for level in cells))
    for key, file, label, by_powers in CHARTS:
        series = {
            found["titles"][name]: [cells[level][key] if level in cells else None for level in levels]
            for name, cells in found["closed"].items()
        }
        title = f"A settlement over three funders in two areas: {label}"
        drawn = line_chart(
            title=title, x_label="calls in flight", y_label=label, xs=levels, series=series, by_powers=by_powers
        )
        (FOLDER / file).write_text(drawn, encoding="utf-8")


def _plan() -> Plan:
    parser = argparse.ArgumentParser(prog="bench", description="What a settlement costs, beside others.")
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--rounds", type=int, help="how often everyone takes a turn")
    parser.add_argument("--seconds", type=float, help="how long each cell is measured")
    parser.add_argument("--families", type=int, help="how many families there are")
    parser.add_argument("--levels", type=int, nargs="+", help="calls in flight")
    parser.add_argument("--only", nargs="+", default=(), choices=NAMES, help="these; else all")
    given = parser.parse_args()
    base = QUICK if given.quick else Plan()
    return Plan(
        rounds=given.rounds or base.rounds,
        seconds=given.seconds or base.seconds,
        families=given.families or base.families,
        levels=tuple(given.levels or LEVELS),
        contenders=tuple(given.only),
    )


if __name__ == "__main__":
    sys.exit(main())
