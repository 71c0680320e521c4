"""The closed loop that drives every contender."""

from __future__ import annotations

import asyncio

from bench.pace import OPEN_IN_FLIGHT_MAX, closed, opened

FOREVER = 1_000_000


async def test_a_contender_that_is_slower_than_the_reading_is_read_all_the_same() -> None:
    """One settlement takes three times as long as the reading: each of those in flight is waited for once."""

    async def once() -> None:
        await asyncio.sleep(0.06)

    report = await closed(once, in_flight=4, seconds=0.02, warm=4, count_max=FOREVER)
    assert report["count"] == 4
    assert report["p50_ms"] >= 60


async def test_a_quick_contender_is_read_for_as_long_as_was_asked() -> None:
    """Nothing is left out but the six to warm up with and those that were under way at the end; no more begin then."""
    done, warm, in_flight = 0, 6, 2

    async def once() -> None:
        nonlocal done
        await asyncio.sleep(0.005)
        done += 1

    report = await closed(once, in_flight=in_flight, seconds=0.2, warm=warm, count_max=FOREVER)
    assert report["done"] == done
    assert report["count"] <= done - warm <= report["count"] + in_flight
    assert 0.1 < report["seconds"] <= 0.2


async def test_the_reading_ends_when_the_last_has_begun() -> None:
    """Ten settlements and no more, however long it was to last."""

    async def once() -> None:
        await asyncio.sleep(0.001)

    report = await closed(once, in_flight=2, seconds=3_600.0, warm=2, count_max=10)
    assert report["done"] == 10


async def test_a_reading_that_ran_out_of_plans_says_so() -> None:
    """Ten were ready for an hour; the reading that has its whole time does not say it."""

    async def once() -> None:
        await asyncio.sleep(0.001)

    cut = await closed(once, in_flight=2, seconds=3_600.0, warm=2, count_max=10)
    whole = await closed(once, in_flight=2, seconds=0.01, warm=2, count_max=FOREVER)
    assert (cut["cut_short"], whole["cut_short"]) == (1, 0)


async def test_an_open_loop_that_runs_out_of_plans_says_so() -> None:
    """Three were ready for ten; the loop that had all of its ten does not say it."""

    async def once() -> None:
        await asyncio.sleep(0.001)

    few = await opened(once, rate=1_000.0, seconds=0.01, count_max=3)
    whole = await opened(once, rate=1_000.0, seconds=0.01)
    assert (few["cut_short"], few["done"]) == (1, 3)
    assert (whole["cut_short"], whole["done"]) == (0, 10)


async def test_an_open_loop_that_stops_adding_says_so() -> None:
    """Nobody is answered until more are under way than it ever adds to."""
    gate, begun = asyncio.Event(), 0

    async def once() -> None:
        nonlocal begun
        begun += 1
        await gate.wait()

    loop = asyncio.create_task(opened(once, rate=1_000_000.0, seconds=0.01))
    while begun <= OPEN_IN_FLIGHT_MAX:  # noqa: ASYNC110  The loop under test tells nobody.
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.01)
    gate.set()
    report = await loop
    assert (report["cut_short"], report["done"]) == (1, OPEN_IN_FLIGHT_MAX + 1)
