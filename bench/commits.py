"""What each change brought: ``python -m bench.commits``. Commits measured turn by turn, all of them in one run.

Each commit has servers and processes of its own, with the libraries that are installed now, and all but one are idle at
any time. A machine whose speed changes from minute to minute is as fast for one as for the next, a few seconds later.
How a loop is driven and read (``bench/pace.py``) is today's for all; the rest of the bench is each commit's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from statistics import median
from typing import Any, Final

from rich.console import Console
from rich.markdown import Markdown

from bench.contest import say
from bench.document import PERFORMANCE, cut_line, fill, keep, machine, reading, table

COMMAND: Final = "make bench-commits"
CHANGES: Final = (
    ("c1f61e8", "as it was proved"),
    ("bf76e7e", "each statement planned once, by key (ADR 16); one batch of each kind at a time"),
    ("44ddc6d", "a ledger's batch begins and locks in one round trip; steps wait for company (ADR 15)"),
    (
        "3120835",
        "a ledger's batch is one reading, one writing; a patient's year locked by who decides; loans are kept",
    ),
    ("e3f7f6a", "a plan judged and its payment begun in one statement, a payment decided in one; values read faster"),
    ("55237b3", "a batch's rows sent as one parameter (ADR 17); those that are to begin are company too"),
    ("a3f9531", "origins compressed with a small window; gRPC without its new engine (ADR 19)"),
    ("44e532f", "a ledger keeps its lock from batch to batch (ADR 18)"),
    ("d62b54f", "more than twice the wait for company (ADR 15)"),
)
"""Each with what was done for speed since the one above it, as the history tells."""
PEER: Final = "two_phase"
ROUNDS: Final = 6
SECONDS: Final = 2.0
FAMILIES: Final = 4_000
LEVELS: Final = (1, 64)
WIDTH: Final = 150
READY_MAX_S: Final = 300.0
TURN_MAX_S: Final = 120.0
_PROJECT: Final = Path(__file__).resolve().parents[1]
_TURNS: Final = _PROJECT / "bench" / "turns.py"
_PACE: Final = _PROJECT / "bench" / "pace.py"


@dataclass
class Runner:
    """A commit (or the peer) with its process and what it has shown so far."""

    title: str
    process: asyncio.subprocess.Process
    reports: dict[int, list[Mapping[str, float]]] = field(default_factory=dict)

    async def answered(self, max_s: float) -> dict[str, float]:
        """The next report; RuntimeError if it ended instead."""
        assert self.process.stdout is not None  # noqa: S101  For the type checker: it is a pipe, as is the other.
        line = await asyncio.wait_for(self.process.stdout.readline(), max_s)
        if not line:
            raise RuntimeError(f"{self.title}: it ended; its last words stand above")
        return dict(json.loads(line))

    async def take_turn(self, in_flight: int, seconds: float) -> None:
        """Measured once at one level."""
        assert self.process.stdin is not None  # noqa: S101  As above.
        self.process.stdin.write(json.dumps({"in_flight": in_flight, "seconds": seconds}).encode() + b"\n")
        report = await self.answered(TURN_MAX_S)
        self.reports.setdefault(in_flight, []).append(report)
        say(f"  {self.title}: {in_flight} in flight, {report['per_s']:,.0f}/s, {report['cpu_ms.all']:.2f} ms CPU each")

    async def end(self) -> None:
        """Lets it verify what it has paid; RuntimeError if that fails."""
        assert self.process.stdin is not None  # noqa: S101  As above.
        self.process.stdin.close()
        if await self.process.wait():
            raise RuntimeError(f"{self.title}: it failed or `gongji verify` found something; see above")


@asynccontextmanager
async def running(title: str, sources: Path, contender: str) -> AsyncIterator[Runner]:
    """One that is measured, in a process of its own before these sources."""
    places = (sources, sources / "protos" / "gen", sources / "terminal")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", str(_TURNS), contender, str(FAMILIES), *map(str, LEVELS)),
        cwd=sources,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, places))},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    runner = Runner(title, process)
    try:
        await runner.answered(READY_MAX_S)
        yield runner
    finally:
        if process.returncode is None:
            process.terminate()
            await process.wait()


async def _checked_out(revision: str, folder: Path) -> Path:
    """The sources of one commit; RuntimeError if it is not in this clone."""
    clone = ("git", "clone", "--quiet", "--shared", "--no-checkout", str(_PROJECT), str(folder))
    checkout = ("git", "-C", str(folder), "checkout", "--quiet", revision)
    for command in (clone, checkout):
        process = await asyncio.create_subprocess_exec(*command)
        if await process.wait():
            raise RuntimeError(f"commit {revision} is not to be had here (is this a shallow clone?)")
    shutil.copyfile(_PACE, folder / _PACE.relative_to(_PROJECT))
    return folder


async def _short(revision: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *("git", "-C", str(_PROJECT), "rev-parse", "--short=7", revision), stdout=asyncio.subprocess.PIPE
    )
    told, _ = await process.communicate()
    return told.decode().strip()


async def compared(changes: Sequence[tuple[str, str]], *, rounds: int, seconds: float) -> dict[str, Any]:
    """All of them and the peer, in turns whose order is reversed in every second round."""
    with tempfile.TemporaryDirectory(prefix="gongji-bench-") as made:
        async with AsyncExitStack() as stack:
            runners = []
            for number, (revision, title) in enumerate(changes):
                say(f"{revision}: {title} ...")
                sources = await _checked_out(revision, Path(made) / str(number))
                runners.append(await stack.enter_async_context(running(title, sources, "settle")))
            runners.append(await stack.enter_async_context(running("two-phase commit, beside them", _PROJECT, PEER)))
            for number in range(rounds):
                for runner in runners if number % 2 == 0 else runners[::-1]:
                    for in_flight in LEVELS:
                        await runner.take_turn(in_flight, seconds)
            for runner in runners:
                await runner.end()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "rounds": rounds,
        "seconds": seconds,
        "commits": [await _short(revision) for revision, _ in changes],
        "rows": [
            {"title": runner.title, "levels": {str(level): _figures(runner.reports[level]) for level in LEVELS}}
            for runner in runners
        ],
    }


def _figures(reports: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    found = {}
    for name in ("per_s", "p50_ms", "p99_ms", "cpu_ms.all", "cut_short"):
        values = [report[name] for report in reports]
        found[name] = {"median": median(values), "min": min(values), "max": max(values)}
    return found


def markdown(found: Mapping[str, Any]) -> str:
    """For a person, and for docs/performance.md."""
    alone, many = (str(level) for level in LEVELS)
    rows = [
        [
            f"`{commit}` {row['title']}" if commit else row["title"],
            reading(row["levels"][many], "per_s"),
            reading(row["levels"][many], "cpu_ms.all", 2),
            reading(row["levels"][alone], "p50_ms", 1),
            reading(row["levels"][alone], "cpu_ms.all", 1),
        ]
        for commit, row in zip_longest(found["commits"], found["rows"])
    ]
    head = [
        "with",
        f"settlements/s at {many}",
        f"CPU ms each at {many}",
        "p50 alone, ms",
        "CPU ms each alone",
    ]
    return "\n".join(
        [
            (
                f"Measured {found['date']} on {found['machine']['processors']} processors: {found['rounds']} turns of"
                f" {found['seconds']:g} s each; median (least–most).\n"
            ),
            table(head, rows),
            cut_line(cell for row in found["rows"] for cell in row["levels"].values()),
        ]
    )


def main() -> int:
    """Writes bench/results/commits.json and the section of docs/performance.md."""
    parser = argparse.ArgumentParser(prog="bench.commits", description="What each change brought.")
    parser.add_argument("commits", nargs="*", help="these instead of the usual ones; no document is changed then")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"fewer than {ROUNDS} change no document")
    given = parser.parse_args()
    changes = [(commit, commit) for commit in given.commits] or CHANGES
    found = asyncio.run(compared(changes, rounds=given.rounds, seconds=SECONDS))
    Console(width=WIDTH).print(Markdown(markdown(found)))
    if given.commits or given.rounds < ROUNDS:
        return 0
    path = keep(found, "commits")
    fill(PERFORMANCE, COMMAND, markdown(found))
    sys.stderr.write(f"written: bench/results/{path.name} and docs/performance.md\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
