"""The databases of a running system, opened for reading; one that does not answer is named and not waited for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import asyncpg

from chassis.db import DRIVER_ERRORS
from ops.places import Places

COORDINATOR: Final = "settlement"
CONNECT_MAX_S: Final = 5.0
STATEMENT_MAX_S: Final = 30.0
SILENCE_MAX_S: Final = STATEMENT_MAX_S + 5.0
"""A server that hangs does not keep its own timeout."""

Row: TypeAlias = Mapping[str, Any]


def ledger_at(area: str) -> str:
    """What one area's ledger is called in findings and stories."""
    return f"ledger {area}"


@dataclass
class Databases:
    """Read-only connections by what they are called: settlement, ``ledger <area>``, and the other rooms."""

    connections: Mapping[str, asyncpg.Connection]
    unreachable: dict[str, str] = field(default_factory=dict)
    """What could not be read, with the problem. The coordinator is never among them: without it nothing is told."""

    @property
    def areas(self) -> list[str]:
        """The areas of the ledgers that answer."""
        return [name.removeprefix("ledger ") for name in self.connections if name.startswith("ledger ")]

    def can_read(self, where: str) -> bool:
        """Whether a database is known and has answered so far."""
        return where in self.connections and where not in self.unreachable

    async def rows(self, where: str, statement: str, *arguments: object) -> list[Row]:
        """What a database tells; nothing, and a note, when it is out of reach. The coordinator's trouble is raised."""
        if not self.can_read(where):
            return []
        try:
            found: list[Row] = await self.connections[where].fetch(statement, *arguments)
        except DRIVER_ERRORS as problem:
            if where == COORDINATOR:
                raise
            self.unreachable[where] = described(problem)
            return []
        return found


def described(problem: BaseException) -> str:
    """A problem in one line."""
    return f"{type(problem).__name__}: {problem}".splitlines()[0].rstrip(": ")


@asynccontextmanager
async def opened(places: Places) -> AsyncIterator[Databases]:
    """All of them, side by side; raises what is in the way of the coordinator's."""
    urls = {COORDINATOR: places.coordinator_url}
    urls |= {ledger_at(area): url for area, url in sorted(places.ledger_urls.items())}
    urls |= places.room_urls
    found = await asyncio.gather(*(connect(url, read_only=True) for url in urls.values()), return_exceptions=True)
    async with AsyncExitStack() as stack:
        connections, unreachable = {}, {}
        for name, outcome in zip(urls, found, strict=True):
            if isinstance(outcome, BaseException):
                unreachable[name] = described(outcome)
            else:
                stack.push_async_callback(outcome.close)
                connections[name] = outcome
        if isinstance(found[0], BaseException):
            raise found[0]
        for outcome in found:
            if isinstance(outcome, BaseException) and not isinstance(outcome, DRIVER_ERRORS):
                raise outcome
        yield Databases(connections, unreachable)


async def connect(url: str, *, read_only: bool) -> asyncpg.Connection:
    """One connection that neither hangs nor, when it is read-only, can write."""
    return await asyncpg.connect(
        url,
        timeout=CONNECT_MAX_S,
        command_timeout=SILENCE_MAX_S,
        server_settings={
            "application_name": "gongji-payments",
            "default_transaction_read_only": "on" if read_only else "off",
            "statement_timeout": str(int(STATEMENT_MAX_S * 1_000)),
        },
    )
