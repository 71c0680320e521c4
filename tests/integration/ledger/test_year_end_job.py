"""``gongji accounts year-turn`` on real ledgers: rows are put back a year, as if December had passed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from chassis.db import Database
from kernel.clock import SystemClock, business_year
from kernel.money import Fen
from ops.accounts import year_turn
from ops.accounts.year_turn import Turn, turn_all
from ops.sources import CannotMendError
from services.settlement.ledger.domain.commands import Command
from services.settlement.ledger.domain.model import CreditPurpose
from services.settlement.ledger.store.locking import lock_area
from tests.integration.ledger.books import AREA, everything, give
from tests.unit.ledger.given import cancel, confirm, credit, own_leg, personal, refund, try_, wallet, wallet_leg
from tests.unit.ledger.sequences import violations

ROOT = Path(__file__).resolve().parents[3]
YEAR = business_year(SystemClock().now())
LAST_YEAR = ("UPDATE accounts SET year = year - 1", "UPDATE branch_legs SET year = year - 1")
PEOPLE = 60
PAST: Fen = 30
CURRENT: Fen = 70


async def in_december(ledger: Database) -> None:
    """Accounts of both kinds; every third has a hold of both parts, every fourth is confirmed already."""
    for number in range(1, PEOPLE + 1):
        key = personal(number)
        commands: list[Command] = [
            credit(number, (1, key, PAST, CURRENT), purpose=CreditPurpose.CARRIED_OVER, year=YEAR),
            credit(1_000 + number, (1, wallet(number), 5, 0), purpose=CreditPurpose.WALLET, year=YEAR),
        ]
        if number % 3 == 0 or number % 4 == 0:
            legs = own_leg(10, 50, key=key, year=YEAR), wallet_leg(2, leg_no=2, key=wallet(number))
            commands.append(try_(number, *legs))
        if number % 4 == 0:
            commands.append(confirm(number))
        await give(ledger, *commands)
    async with ledger.driver_transaction() as connection:
        for statement in LAST_YEAR:
            await connection.execute(statement)


async def years(ledger: Database) -> dict[int, int]:
    """How many accounts stand in which year."""
    async with ledger.driver_connection() as connection:
        found = await connection.fetch("SELECT year, count(*) AS n FROM accounts GROUP BY year")
    return {row["year"]: row["n"] for row in found}


async def check(ledger: Database) -> None:
    """Every account is in the present year with all of its money in past, and the books are right."""
    state, entries = await everything(ledger)
    assert await years(ledger) == {YEAR: 2 * PEOPLE}
    assert {account.balance.current + account.held.current for account in state.accounts.values()} == {0}
    assert violations(state, entries) == []


def ignored(_: Turn) -> None:
    """Nobody watches."""


async def test_every_account_is_turned_with_its_holds_and_the_payments_in_flight_end_right(
    area_ledger: Database, ledger_url: str
) -> None:
    """Holds of both parts become holds of past; afterwards they are confirmed, cancelled and refunded to the fen."""
    await in_december(area_ledger)
    (turn,) = await turn_all({AREA: ledger_url}, year=YEAR, told=ignored)
    assert (turn.before, turn.turned, turn.left, turn.problem) == (2 * PEOPLE, 2 * PEOPLE, 0, "")
    await check(area_ledger)
    for number in range(3, PEOPLE + 1, 3):
        await give(area_ledger, cancel(number) if number % 2 else confirm(number))
    for number in range(4, PEOPLE + 1, 4):
        await give(area_ledger, refund(5_000 + number, number, (1, personal(number), 10, 50), year=YEAR - 1))
    await check(area_ledger)
    state, _ = await everything(area_ledger)
    left = {number: state.accounts[personal(number)].balance.past for number in range(1, PEOPLE + 1)}
    spent = {number for number in left if number % 4 and number % 6 == 0}
    assert left == {number: 40 if number in spent else 100 for number in left}
    (again,) = await turn_all({AREA: ledger_url}, year=None, told=ignored)
    assert (again.before, again.turned, again.left) == (0, 0, 0)


@pytest.mark.parametrize("seed", range(3))
async def test_it_may_be_stopped_anywhere_and_crossed_by_payments(
    area_ledger: Database, ledger_url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs at once, cut off again and again, while payments of December end: in the end as if it had run once."""
    monkeypatch.setattr(year_turn, "PAGE_ACCOUNTS", 7)
    monkeypatch.setattr(year_turn, "BATCH_ACCOUNTS", 3)
    random = Random(seed)
    await in_december(area_ledger)

    async def stopped_at_once() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(random.random() * 0.15):
                await turn_all({AREA: ledger_url}, year=YEAR, told=ignored)

    async def pays() -> None:
        for number in random.sample(range(1, PEOPLE + 1), PEOPLE):
            await give(area_ledger, confirm(number) if number % 12 == 0 else cancel(number))
            await asyncio.sleep(0.002)

    paying = asyncio.create_task(pays())
    for _ in range(6):
        await asyncio.gather(stopped_at_once(), stopped_at_once())
        async with area_ledger.driver_transaction() as connection:
            await lock_area(connection, AREA)  # Accounts and entries of one instant.
            state, entries = await everything(area_ledger)
        assert violations(state, entries) == []
    await paying
    await turn_all({AREA: ledger_url}, year=YEAR, told=ignored)
    await check(area_ledger)


@pytest.mark.parametrize("year", [YEAR - 1, YEAR + 1])
async def test_no_other_year_than_the_present_one_is_turned_into(
    area_ledger: Database, ledger_url: str, year: int
) -> None:
    """An account is not turned ahead of its time, nor into a year that is over: nothing is done."""
    await in_december(area_ledger)
    with pytest.raises(CannotMendError, match=f"is {YEAR}, not {year}; nothing was turned"):
        await turn_all({AREA: ledger_url}, year=year, told=ignored)
    assert await years(area_ledger) == {YEAR - 1: 2 * PEOPLE}


async def test_a_ledger_that_is_away_stops_no_other(area_ledger: Database, ledger_url: str) -> None:
    """The one is told as a problem, the other is turned."""
    await in_december(area_ledger)
    away = ledger_url.rpartition("/")[0] + "/there_is_none"
    turned = await turn_all({"650500": away, AREA: ledger_url}, year=YEAR, told=ignored)
    assert [(turn.area, turn.turned, turn.is_done) for turn in turned] == [(AREA, 120, True), ("650500", 0, False)]


async def test_the_command_counts_and_goes_on_after_a_kill(area_ledger: Database, ledger_url: str) -> None:
    """Killed at its first batch and run again: the counts of what is left come to all accounts, and exit code 0."""
    await in_december(area_ledger)
    first = await started(ledger_url)
    async with asyncio.timeout(60):
        while len(await years(area_ledger)) == 1 and first.returncode is None:  # noqa: ASYNC110  Another process's rows.
            await asyncio.sleep(0.005)
    with suppress(ProcessLookupError):
        first.send_signal(signal.SIGKILL)
    await first.communicate()
    standing = (await years(area_ledger)).get(YEAR - 1, 0)
    second = await started(ledger_url, "--json")
    out, error = await second.communicate()
    assert (second.returncode, error) == (0, b"")
    (told,) = json.loads(out)
    assert (told["area"], told["before"], told["turned"], told["left"]) == (AREA, standing, standing, 0)
    await check(area_ledger)


async def started(ledger_url: str, *options: str) -> asyncio.subprocess.Process:
    """The command, running."""
    where: Sequence[str] = ("--coordinator", ledger_url, "--ledgers", f"{ledger_url}#{{area}}", "--areas", AREA)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-c", "from ops.main import main; main()", "accounts", "year-turn", *where, *options,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
