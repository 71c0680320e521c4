"""The area's lock: whoever holds it is the area's one writer (protocol rule 10).

PostgreSQL gives an advisory lock to a transaction or to a session; the two exclude each other all the same. What is
rare takes it for a transaction. The batches of commands take it for their session and keep it from one to the next, so
that each of their statements commits by itself, and BEGIN, the lock and COMMIT are no round trips of their own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from chassis.db import Database, is_transient, rows_untold
from services.settlement.ledger.store.sets import Connection

LOCK_CLASS: Final = 0x676A6C67
"""The first key of the advisory lock of every ledger ("gjlg"); the second is the area."""
HELD_MAX_S: Final = 0.1
"""However busy a writer is, after so long it lets those go first who wait for the lock."""
WRITER_SILENT_MAX_S: Final = 3.0
"""How long a writer that hangs keeps the area's lock: less than others wait for it, and less than a vote may take."""


def begin_locked(area: str) -> str:
    """Begins a transaction that is the area's one writer until it ends, in one round trip."""
    return f"BEGIN; {_lock(area)}"


async def lock_area(connection: Connection, area: str) -> None:
    """Makes a transaction that has begun already the area's one writer until it ends."""
    await connection.execute(_lock(area))


def hold(area: str) -> str:
    """Makes a session the area's one writer until ``let_go``; the server ends it should it fall silent meanwhile."""
    return (
        f"SELECT pg_advisory_lock({LOCK_CLASS}, {int(area)});"
        f" SET idle_session_timeout = {int(WRITER_SILENT_MAX_S * 1000)}"
    )


def let_go(area: str) -> str:
    """The end of ``hold``."""
    return f"SELECT pg_advisory_unlock({LOCK_CLASS}, {int(area)}); RESET idle_session_timeout"


def _lock(area: str) -> str:
    return f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {int(area)})"


class AreaWriter:
    """Writes for one area, one batch after the other, as its one writer.

    The lock is taken before the first batch and let go once there has been none for ``kept_s``. It belongs to the
    connection that everything is read and written on, so it cannot be lost without that. After a statement that was
    merely refused it is let go; after anything else the connection is hung up, and the server lets go of the lock when
    it has ended what was under way.
    """

    def __init__(self, database: Database, area: str, *, kept_s: float = 0.0) -> None:
        self.database = database
        self.area = area
        self._kept_s = kept_s
        self._turn = asyncio.Lock()
        self._loan: AsyncExitStack | None = None
        """What gives the connection back; None while the lock is not ours."""
        self._connection: Connection = None
        self._held_since = self._used_at = 0.0
        self._leaving: asyncio.TimerHandle | None = None
        self._left: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Connection]:
        """A connection that holds the lock, outside any transaction: what is read is the latest, each write commits."""
        async with self._turn:
            connection = await self._held()
            try:
                with rows_untold():
                    yield connection
            except BaseException as error:
                await self._give_up(error)
                raise
            self._used_at = asyncio.get_running_loop().time()
            if not self._kept_s:
                await self._let_go()
            elif self._leaving is None:
                self._leave_in(self._kept_s)

    async def close(self) -> None:
        """Lets go of the lock, after the batch under way."""
        async with self._turn:
            if self._leaving is not None:
                self._leaving.cancel()
                self._leaving = None
            await self._let_go()
        if self._left is not None:
            await self._left

    async def _held(self) -> Connection:
        loop = asyncio.get_running_loop()
        if self._loan is not None and (self._connection.is_closed() or loop.time() - self._held_since > HELD_MAX_S):
            await self._let_go()
        if self._loan is None:
            async with AsyncExitStack() as loan:
                self._connection = await loan.enter_async_context(self.database.driver_connection())
                await self._say(hold(self.area))
                self._loan = loan.pop_all()
            self._held_since = loop.time()
        return self._connection

    async def _let_go(self) -> None:
        loan, self._loan = self._loan, None
        if loan is None:
            return
        try:
            async with loan:
                await self._say(let_go(self.area))
        except Exception as error:  # The connection is lost, and the lock with it.
            if not is_transient(error):
                raise

    async def _say(self, statement: str) -> None:
        """If it fails, nobody can say what the session holds; cancelled, its loan ends the statement first."""
        try:
            await self._connection.execute(statement)
        except Exception:
            self._connection.terminate()
            raise

    async def _give_up(self, error: BaseException) -> None:
        if not isinstance(error, Exception) or is_transient(error) or self._connection.is_in_transaction():
            loan, self._loan = self._loan, None
            if isinstance(error, Exception):
                self._connection.terminate()
            if loan is not None:
                await loan.__aexit__(type(error), error, error.__traceback__)
        else:
            await self._let_go()

    def _leave_in(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()

        def leave() -> None:
            self._leaving = None
            if self._loan is None or self._turn.locked():
                return  # Whoever has the turn looks after it.
            left_s = self._used_at + self._kept_s - loop.time()
            if left_s > 0:
                self._leave_in(left_s)
            else:
                self._left = loop.create_task(self._leave())

        self._leaving = loop.call_later(seconds, leave)

    async def _leave(self) -> None:
        async with self._turn:
            await self._let_go()
