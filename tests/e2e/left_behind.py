"""What stands in the town's databases, and what a refusal may leave there: table by table, with the reason."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Self

import asyncpg

from tests.e2e.town import Town

ROOMS: Final = ("identity", "family", "settlement", "notify")
TABLES: Final = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
COUNTED: Final = {"identity refused_decodings": "coalesce(sum(refusals), 0)"}
"""Counted by what its rows say: one row stands for all refusals of a minute."""
JUDGED_MAX_S: Final = 60.0
"""The risk sweep looks every fifteen seconds, the ledgers' chain is sealed more often."""
POLL_S: Final = 0.1

_SHOWN: Final = {"identity refused_decodings": 1}
"""Refused at a desk: whoever seeks misuse counts refused codes (domain §8)."""
_TOLD: Final = {
    "settlement outbox": 1,  # Settlement says that a credential was refused,
    "identity inbox": 1,  # identity hears it once
    "identity credential_refusals": 1,  # and keeps it for an officer;
    "notify inbox": 1,  # notify hears it too, and tells nobody.
}
"""A token that identity did sign, refused for the bill of somebody else or at another terminal."""
_SUSPECTED: Final = _TOLD | {
    "identity risk_events": 1,  # A case in the officer's queue
    "identity risk_evidence": 1,  # with what happened,
    "identity outbox": 1,  # of which identity tells once,
    "notify inbox_version": 1,  # so that the person whose credential it is
    "notify messages": 1,  # is told of unusual use.
}
"""Somebody's credential shown for another's bill."""
LEFT: Final[Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "an unknown institution decodes": _SHOWN,
        "an expired code": _SHOWN,
        "a used code": _SHOWN,
        "a forged code": _SHOWN,
        "no code at all": _SHOWN,
        "a token shown as a code": _SHOWN,
        "a token of another hospital": _TOLD,
        "a token of another terminal": _TOLD,
        "a funder's own code used for the patient": _SUSPECTED,
        "a stranger's code used for the patient": _SUSPECTED,
    }
)
"""By the name of the bad input: how many rows more, in which table of which database. Any other leaves none."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A connection to every database of a town, and what is counted in it."""

    town: Town
    databases: Mapping[str, asyncpg.Connection]
    statements: Mapping[str, str]

    @classmethod
    @asynccontextmanager
    async def of(cls, town: Town) -> AsyncIterator[Self]:
        """Connects to all rooms and ledgers."""
        urls = {room: town.world.database_url(room) for room in ROOMS}
        urls |= {f"ledger-{area}": town.world.ledger_database_url(area) for area in town.ledgers}
        async with AsyncExitStack() as stack:
            databases = {name: await asyncpg.connect(url) for name, url in urls.items()}
            for connection in databases.values():
                stack.push_async_callback(connection.close)
            statements = {name: await _counting(name, connection) for name, connection in databases.items()}
            yield cls(town, databases, statements)

    async def counted(self) -> dict[str, int]:
        """How many rows there are, by the database's and the table's name."""
        return {
            f"{name} {table}": int(count)
            for name, connection in self.databases.items()
            for table, count in await connection.fetch(self.statements[name])
        }

    async def at_rest(self) -> dict[str, int]:
        """The same once nothing comes of itself any more: all is told, every refusal judged, every entry sealed."""
        await self.town.told()
        end = time.monotonic() + JUDGED_MAX_S
        while await self._unjudged() or any([await self._unsealed(area) for area in self.town.ledgers]):
            if time.monotonic() > end:
                raise TimeoutError("a refusal was not judged, or an entry not sealed")
            await asyncio.sleep(POLL_S)
        await self.town.told()
        return await self.counted()

    async def _unjudged(self) -> int:
        identity = self.databases["identity"]
        return int(await identity.fetchval("SELECT count(*) FROM credential_refusals WHERE judged_at IS NULL"))

    async def _unsealed(self, area: str) -> bool:
        ledger = self.databases[f"ledger-{area}"]
        return bool(
            await ledger.fetchval(
                "SELECT coalesce((SELECT max(entry_no) FROM entries), 0)"
                " > coalesce((SELECT max(last_entry_no) FROM entry_blocks), 0)"
            )
        )


async def _counting(database: str, connection: asyncpg.Connection) -> str:
    """One statement that counts every table of a database."""
    tables = [table for (table,) in await connection.fetch(TABLES)]
    return " UNION ALL ".join(
        f"SELECT '{table}', {COUNTED.get(f'{database} {table}', 'count(*)')} FROM \"{table}\""  # noqa: S608  Names from the catalogue.
        for table in tables
    )
