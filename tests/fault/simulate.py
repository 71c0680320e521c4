"""``python -m tests.fault.simulate --seed N | --seeds A:B``: runs seeds, prints what they did, shrinks what fails."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Final, TextIO

from tests.fault.simulation.decisions import BROKEN, PRODUCTION
from tests.fault.simulation.run import Result, run
from tests.fault.simulation.scenario import scenario_of
from tests.fault.simulation.shrink import shrunk, story

PAYMENTS: Final = 50
FAILURES_SHOWN_MAX: Final = 3
CHUNK: Final = 10


def one(seed: int, *, payments: int, broken: str) -> Result:
    """A seed's run, without its trace unless it failed."""
    result = run(scenario_of(seed, payments), BROKEN[broken] if broken else PRODUCTION)
    return result if result.violation else result.without_trace()


def results_of(seeds: Sequence[int], *, payments: int, broken: str, workers: int) -> Iterator[Result]:
    """Every seed's run, in the order of the seeds."""
    work = partial(one, payments=payments, broken=broken)
    if workers == 1:
        yield from map(work, seeds)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, seeds, chunksize=CHUNK)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.simulate", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seed", type=int, help="one seed; its digest is printed, and its story with --trace")
    what.add_argument("--seeds", type=_range, metavar="A:B", help="the seeds from A up to and without B")
    parser.add_argument("--payments", type=int, default=PAYMENTS, help="operations in a seed (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default %(default)s)")
    parser.add_argument("--trace", action="store_true", help="print everything that happened in --seed")
    parser.add_argument("--break", dest="broken", choices=sorted(BROKEN), default="", help="with a broken decision")
    return parser.parse_args(arguments)


def _range(text: str) -> range:
    first, _, end = text.partition(":")
    return range(int(first), int(end))


def main(arguments: Sequence[str] | None = None, out: TextIO = sys.stdout) -> int:
    """Runs; the exit code is 1 if any seed broke a rule."""
    asked = parsed(arguments)
    seeds = asked.seeds if asked.seed is None else [asked.seed]
    began, failed = time.perf_counter(), list[Result]()
    injected: Counter[str] = Counter()
    outcomes: Counter[str] = Counter()
    rows = 0
    for done, result in enumerate(
        results_of(seeds, payments=asked.payments, broken=asked.broken, workers=asked.workers), start=1
    ):
        rows += result.payments
        injected += result.injected
        outcomes += result.outcomes
        if result.violation:
            failed.append(result)
            print(f"seed {result.scenario.seed}: {result.violation}", file=out)
        if out.isatty() and done % CHUNK == 0:
            print(f"\r{done} of {len(seeds)} seeds", end="\r", file=out, flush=True)
    if asked.seed is not None:
        _show_one(run(scenario_of(asked.seed, asked.payments), BROKEN.get(asked.broken, PRODUCTION)), asked.trace, out)
    took_s = time.perf_counter() - began
    print(f"seeds {len(seeds)}, of them failed {len(failed)}; {took_s:.1f} s", file=out)
    print(f"payments {rows}: {_figures(outcomes)}", file=out)
    print(f"faults injected {sum(injected.values())}: {_figures(injected)}", file=out)
    for result in failed[:FAILURES_SHOWN_MAX]:
        print(f"\nSeed {result.scenario.seed} failed. The smallest story that still fails:", file=out)
        print(story(shrunk(result, BROKEN.get(asked.broken, PRODUCTION))), file=out)
        broken = f" --break {asked.broken}" if asked.broken else ""
        again = f"python -m tests.fault.simulate --seed {result.scenario.seed} --payments {asked.payments}{broken}"
        print(f"Again: {again}", file=out)
    return 1 if failed else 0


def _show_one(result: Result, with_trace: bool, out: TextIO) -> None:  # noqa: FBT001  The one flag of the command line.
    if with_trace:
        print(story(result), file=out)
    print(
        f"seed {result.scenario.seed}: digest {result.digest}, {result.virtual_ms / 1000:.0f} s of virtual time",
        file=out,
    )


def _figures(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in sorted(counted.items()))


if __name__ == "__main__":
    sys.exit(main())
