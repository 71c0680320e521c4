"""The year-end job: what no command has touched since the year began is turned, current into past, ledger by ledger.

Every account goes through its ledger's own command and its one writer, as if a payment had touched it: payments go on
meanwhile, and what is in flight at midnight is turned with its holds. Nothing is noted beside the accounts: a run that
is stopped has turned what it has turned, and the next one finds the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from chassis.db import Database, is_transient
from ops.payments.databases import described
from ops.sources import CannotMendError
from services.settlement.ledger.domain.commands import Request, TurnAccount
from services.settlement.ledger.domain.model import AccountKey
from services.settlement.ledger.operations import Quarantined, execute
from services.settlement.ledger.store.locking import AreaWriter
from services.settlement.ledger.store.turning import accounts_after, count_left, present_year

PAGE_ACCOUNTS: Final = 2_000
BATCH_ACCOUNTS: Final = 250
"""Turned under one lock: a payment waits for no more."""
RETRY_PAUSE_S: Final = 1.0
RETRIES_MAX: Final = 60


@dataclass(slots=True)
class Turn:
    """How far one area's ledger is."""

    area: str
    year: int
    before: int = 0
    """Accounts that stood in an older year when the run began; others' commands turn some of them meanwhile."""
    turned: int = 0
    left: int = 0
    problem: str = ""

    @property
    def is_done(self) -> bool:
        """Whether every account of the area has turned."""
        return not (self.left or self.problem)

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "area": self.area, "year": self.year, "before": self.before, "turned": self.turned, "left": self.left,
            "problem": self.problem,
        }  # fmt: skip


async def turn_all(ledger_urls: Mapping[str, str], *, year: int | None, told: Callable[[Turn], None]) -> Sequence[Turn]:
    """Turns the accounts of every ledger into ``year``; None is the present one.

    An area whose ledger is away is told as a problem, and stops no other. CannotMendError, nothing turned, if ``year``
    is not the present one by the clock of a ledger that answers: no account is turned ahead of its time, and a year
    that is over is turned with the present one.
    """
    databases = {
        area: Database(url, application="gongji-year-turn", pool_size=2) for area, url in sorted(ledger_urls.items())
    }
    try:
        turns = [await _began(area, database, year) for area, database in databases.items()]
        for turn in turns:
            if not turn.problem:
                await _turn_area(databases[turn.area], turn, told)
            told(turn)
        return turns
    finally:
        for database in databases.values():
            await database.close()


async def _began(area: str, database: Database, year: int | None) -> Turn:
    try:
        async with database.driver_connection() as connection:
            present = await present_year(connection)
            before = await count_left(connection, present)
    except Exception as error:  # noqa: BLE001  Whatever it is, it is this area's alone, and told.
        return Turn(area, year or 0, problem=f"the ledger cannot be reached: {described(error)}")
    if year not in {None, present}:
        raise CannotMendError(f"the present year at ledger {area} is {present}, not {year}; nothing was turned")
    return Turn(area, present, before=before, left=before)


async def _turn_area(database: Database, turn: Turn, told: Callable[[Turn], None]) -> None:
    """Turns what is left, at most half of the time as the area's writer; a ledger that falls silent is waited for."""
    quarantined: Quarantined = set()
    failures, after = 0, None
    while True:
        writer = AreaWriter(database, turn.area)
        try:
            await _turn_on(writer, turn, after, quarantined, told)
        except _SilentError as silent:
            after, failures = silent.after, failures + 1 if silent.after == after else 0
            if failures >= RETRIES_MAX:
                turn.problem = "the ledger does not answer; run the command again to go on"
                return
            await asyncio.sleep(RETRY_PAUSE_S)
        else:
            break
        finally:
            with suppress(Exception):
                await writer.close()
    if quarantined:
        turn.problem = f"{len(quarantined)} accounts could not be turned and are in the ledger's quarantine"


class _SilentError(Exception):
    """The database is away; everything up to ``after`` is turned."""

    def __init__(self, after: AccountKey | None) -> None:
        super().__init__()
        self.after = after


async def _turn_on(
    writer: AreaWriter,
    turn: Turn,
    after: AccountKey | None,
    quarantined: Quarantined,
    told: Callable[[Turn], None],
) -> None:
    """From behind this account to the last, and counts what is left by then."""
    loop = asyncio.get_running_loop()
    while True:
        try:
            async with writer.database.driver_connection() as connection:
                page = await accounts_after(connection, after, limit=PAGE_ACCOUNTS)
                if not page:
                    turn.left = await count_left(connection, turn.year)
                    return
        except Exception as error:
            if is_transient(error):
                raise _SilentError(after) from None
            raise
        for batch in _batches([key for key, year in page if year < turn.year]):
            began = loop.time()
            commands = [TurnAccount(key, turn.year) for key in batch]
            replies = await execute(
                writer=writer, requests=[Request(command) for command in commands], quarantined=quarantined
            )
            failed = {command_id for _, command_id in quarantined}
            if any(
                reply is None and command.turn_id not in failed
                for command, reply in zip(commands, replies, strict=True)
            ):
                raise _SilentError(after)
            turn.turned += sum(reply is not None for reply in replies)
            after = batch[-1]
            told(turn)
            await asyncio.sleep(loop.time() - began)
        after = page[-1][0]


def _batches(keys: Sequence[AccountKey]) -> Iterator[Sequence[AccountKey]]:
    for start in range(0, len(keys), BATCH_ACCOUNTS):
        yield keys[start : start + BATCH_ACCOUNTS]
