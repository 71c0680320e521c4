"""How every contender's client is driven: closed loop, open loop, orders as lines of JSON, and what is told of them."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

Once: TypeAlias = Callable[[], Awaitable[None]]
Report: TypeAlias = dict[str, Any]

COUNT_MAX: Final = 1_000_000
"""More than any reading has: where nothing but the time ends it."""
OPEN_IN_FLIGHT_MAX: Final = 2_000
"""An open loop stops adding beyond this: the rate is more than the contender can do, and the figures say so."""


async def closed(once: Once, *, in_flight: int, seconds: float, warm: int, count_max: int) -> Report:
    """What is finished within ``seconds`` while ``in_flight`` are under way, after the first ``warm`` to be finished.

    It ends later where that is not long enough for each of those in flight to be finished once, and earlier when the
    last of ``count_max`` has begun, so that what is counted was always in full company; it was cut short then. With
    nothing to warm up, all is counted, from the beginning to the last end.
    """
    latencies_s: list[float] = []
    begun = finished = 0
    is_cut = False
    began_s = ended_s = time.perf_counter()
    end_s = began_s + seconds if warm == 0 else float("inf")
    is_drained = warm == 0

    async def work() -> None:
        nonlocal begun, finished, began_s, ended_s, end_s, is_cut
        while begun < count_max and (begun_s := time.perf_counter()) < end_s:
            begun += 1
            if begun == count_max and not is_drained:
                end_s, is_cut = begun_s, True
            await once()
            now_s = time.perf_counter()
            finished += 1
            if finished == warm:
                began_s = now_s
            elif finished > warm and (is_drained or now_s <= end_s):
                ended_s = now_s
                latencies_s.append(now_s - begun_s)
            if finished == warm + in_flight and not is_drained:
                end_s = min(end_s, max(began_s + seconds, now_s))

    await asyncio.gather(*(work() for _ in range(in_flight)))
    return report_of(latencies_s, ended_s - began_s, done=finished, is_cut=is_cut)


async def opened(once: Once, *, rate: float, seconds: float, count_max: int = COUNT_MAX) -> Report:
    """One settlement due every 1/``rate`` s whether the others are done or not; latencies from when each was due.

    It is cut short where more than ``OPEN_IN_FLIGHT_MAX`` are under way, or after ``count_max``.
    """
    latencies_s: list[float] = []
    began_s = time.perf_counter()
    waiting: set[asyncio.Task[None]] = set()

    async def one(due_s: float) -> None:
        await once()
        latencies_s.append(time.perf_counter() - due_s)

    tasks: list[asyncio.Task[None]] = []
    count = round(rate * seconds)
    for turn in range(min(count, count_max)):
        due_s = began_s + turn / rate
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        if len(waiting) > OPEN_IN_FLIGHT_MAX:
            break
        task = asyncio.create_task(one(due_s))
        waiting.add(task)
        task.add_done_callback(waiting.discard)
        tasks.append(task)
    await asyncio.gather(*tasks)
    return report_of(latencies_s, time.perf_counter() - began_s, done=len(tasks), is_cut=len(tasks) < count)


def report_of(latencies_s: list[float], took_s: float, *, done: int, is_cut: bool = False) -> Report:
    """Rate and percentiles of what was counted; ``done`` counts the settlements that were not counted too.

    ``cut_short`` is 1 where the reading ended before its time.
    """
    if not latencies_s:
        raise RuntimeError("nothing was settled")
    latencies_s = sorted(latencies_s)

    def percentile_ms(share: float) -> float:
        return 1000 * latencies_s[min(len(latencies_s) - 1, int(share * len(latencies_s)))]

    return {
        "count": len(latencies_s),
        "done": done,
        "cut_short": int(is_cut),
        "seconds": took_s,
        "per_s": len(latencies_s) / took_s,
        "p50_ms": percentile_ms(0.50),
        "p90_ms": percentile_ms(0.90),
        "p99_ms": percentile_ms(0.99),
    }


async def serve(orders: Mapping[str, Callable[..., Awaitable[Report]]]) -> None:
    """Carries out one order a line, ``{"do": name, argument: value, …}``, until the input ends."""
    loop = asyncio.get_running_loop()
    answer({})  # Ready.
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order = json.loads(line)
        answer(await orders[order.pop("do")](**order))


def answer(report: Report) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()
