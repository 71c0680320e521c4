"""A process that runs a month dies as by ``kill -9``: the month is not run at all or run for ever, never by halves."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import Final

import pytest

from services.settlement.domain.clearing import Period
from services.settlement.domain.split import Role
from services.settlement.operations import clearing
from services.settlement.operations.clearing import Ran
from tests.integration.settlement.clearing.book import HAMI, URUMQI, Book, at, leg
from tests.integration.settlement.clearing.test_runs import file_of

MARCH: Final = Period(2025, 3)
RUN_S: Final = 120.0
RUNS_IT: Final = """
import asyncio, sys
from chassis import faults
from chassis.db import Database
from services.settlement.domain.clearing import Period
from services.settlement.operations import clearing

async def run(url):
    async with Database(url, pool_size=2, by_key=True) as database:
        await clearing.run(database, period=Period(2025, 3), carry_reason="", run_by="operator:killed")

faults.arm(sys.argv[2])
asyncio.run(run(sys.argv[1]))
"""
"""Another process than the test's, as the service's is."""


async def killed_at(url: str, point: str) -> int | None:
    """How a process ends that runs March and meets this point."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUNS_IT, url, point, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    async with asyncio.timeout(RUN_S):
        return await process.wait()


async def march(book: Book) -> None:
    """Three settlements between two areas, one of them taken back."""
    for day, area in ((1, HAMI), (2, URUMQI), (3, HAMI)):
        await book.settled(at(f"2025-03-{day:02d}"), leg(Role.OWN, area, 100 + day), fund_fen=7)
    await book.revoked(book.written[-1], at("2025-03-31", "23:59:59"))


async def run(book: Book) -> Ran:
    """March, asked for by somebody else."""
    return await clearing.run(book.database, period=MARCH, carry_reason="", run_by="operator:again")


@pytest.mark.parametrize("moment", ["before_commit", "after_commit"])
async def test_asked_again_the_month_is_as_if_nobody_had_died(
    book: Book, another_book: Book, database: str, moment: str
) -> None:
    """Killed before the commit nothing is left; after it the run stands. The file is in both cases the same."""
    stands = moment == "after_commit"
    await march(book)
    await march(another_book)
    undisturbed = await run(another_book)
    assert await killed_at(database, f"settlement.clearing.{moment}") == -signal.SIGKILL
    assert bool(await book.lines(str(MARCH))) is stands
    again = await run(book)
    assert (again.existed, again.run.run_by) == (stands, "operator:killed" if stands else "operator:again")
    assert (again.run.lines_sha256, again.run.lines_count, again.run.payments_count) == (
        undisturbed.run.lines_sha256,
        undisturbed.run.lines_count,
        undisturbed.run.payments_count,
    )
    assert again.run.lines_count > 0
    assert await file_of(book.database, MARCH) == await file_of(another_book.database, MARCH)
    assert (await run(book)).existed is True
