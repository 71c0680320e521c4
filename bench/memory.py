"""Each process's memory over a long run of visits: PreSettle and Settle, 64 under way, one patient after the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import linear_regression
from typing import Any, Final

from bench.contenders import Gongji
from bench.contest import say
from bench.measure import assert_durable, resident_bytes
from bench.place import gongji_on, servers_in
from bench.population import Population, Signer
from bench.verified import verified

IN_FLIGHT: Final = 64
SAMPLES: Final = 20
FAMILIES: Final = 20_000
MEGABYTE: Final = 1024 * 1024
PER: Final = 100_000
SHARE_MAX: Final = 0.10
"""Flat is what grows by no more of its size than this in another 100,000 visits, going by the run's second half."""
JUDGED: Final = ("settlement", "ledger", "nats")
"""The client is the bench's own: it keeps every patient's token."""


async def memory(folder: Path, *, visits: int) -> dict[str, Any]:
    """Megabytes of each process, every twentieth of the way, and whether they are flat."""
    population, signer, families = Population(), Signer.new(), range(min(FAMILIES, visits))
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
            while done < visits:
                report = await gongji.closed(in_flight=IN_FLIGHT, seconds=600.0, count_max=visits // SAMPLES)
                done += report["done"]
                used = {name: resident_bytes(pid) / MEGABYTE for name, pid in gongji.processes().items()}
                samples.append({"settlements": done, **used})
                say(f"  {done:,}: " + ", ".join(f"{name} {value:.1f} MB" for name, value in used.items()))
            await gongji.stop()
            check = await verified(world)
    growth = {name: growth_of(samples, name) for name in JUDGED}
    return {
        "visits": done,
        "samples": samples,
        "growth": growth,
        "aim": f"≤ {SHARE_MAX:.0%} in {PER:,} visits",
        "met": all(it["share"] <= SHARE_MAX for it in growth.values()) if done >= PER else None,
        "verify": check,
    }


def growth_of(samples: Sequence[dict[str, float]], name: str) -> dict[str, float]:
    """Megabytes (and the share of its size) by which it grows in 100,000 visits, by least squares over the second half.

    The first half is what a process needs once: pools, caches and batches that have not been as large before.
    """
    half = samples[len(samples) // 2 :]
    slope = linear_regression([it["settlements"] for it in half], [it[name] for it in half]).slope
    at_end = half[-1][name]
    return {"at_begin_mb": samples[0][name], "at_end_mb": at_end, "mb": slope * PER, "share": slope * PER / at_end}
