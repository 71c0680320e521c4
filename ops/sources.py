"""The databases of a system that is mended by command: the coordinator's and every ledger's, opened to be written."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Final

from chassis.db import Database
from ops.payments.databases import described
from ops.places import Places
from services.settlement.ledger.store.locking import lock_area
from services.settlement.ledger.store.mending import raise_epoch

STATEMENT_MAX_S: Final = 300.0
"""A comparison reads whole tables, in parts."""


class CannotMendError(Exception):
    """The command did nothing more than it said, and the message tells why."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The coordinator's database, the ledgers' by area, and where the other rooms' are, as far as it is known."""

    coordinator: Database
    ledgers: Mapping[str, Database]
    room_urls: Mapping[str, str]

    async def highest_epoch(self) -> int:
        """The newest epoch that the coordinator or any ledger has heard of."""
        async with self.coordinator.driver_connection() as connection:
            known = [await connection.fetchval("SELECT epoch FROM coordinator")]
        for ledger in self.ledgers.values():
            async with ledger.driver_connection() as connection:
                known.append(await connection.fetchval("SELECT coalesce(max(epoch), 0) FROM ledger_state"))
        return int(max(known))

    async def fence(self, epoch: int) -> None:
        """Every ledger hears of the epoch: whatever an older coordinator still says is refused from here on."""
        for area, ledger in self.ledgers.items():
            async with ledger.driver_transaction() as connection:
                await lock_area(connection, area)
                await raise_epoch(connection, area, epoch)


@asynccontextmanager
async def opened(places: Places) -> AsyncIterator[Sources]:
    """All of them. CannotMendError names one that does not answer: without it nothing can be judged."""
    async with AsyncExitStack() as stack:

        async def reached(name: str, url: str) -> Database:
            database = Database(
                url, application="gongji-mend", pool_size=2, statement_timeout_s=STATEMENT_MAX_S,
                idle_in_transaction_timeout_s=STATEMENT_MAX_S,
            )  # fmt: skip
            stack.push_async_callback(database.close)
            try:
                async with database.driver_connection() as connection:
                    await connection.execute("SELECT 1")
            except Exception as problem:
                raise CannotMendError(f"the database of {name} cannot be reached: {described(problem)}") from problem
            return database

        coordinator = await reached("settlement", places.coordinator_url)
        ledgers = {area: await reached(f"ledger {area}", url) for area, url in sorted(places.ledger_urls.items())}
        yield Sources(coordinator, ledgers, places.room_urls)
