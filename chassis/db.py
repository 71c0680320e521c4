"""One PostgreSQL database: SQLAlchemy over asyncpg for the schema and cold paths, the raw driver for hot ones.

Both come out of one pool. Every statement is bounded: by the server's ``statement_timeout``, by its ``lock_timeout``,
and, should the server fall silent, by the driver's own command timeout. A connection that fell silent is left without a
word, and with it every other one of its time: what swallowed one of them has mostly swallowed all.
"""

from __future__ import annotations

import asyncio
import re
import time
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, Final, Self

import asyncpg
import orjson
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from chassis.sockets import end_when_silent
from chassis.telemetry import logger

_log = logger("db")

STATEMENT_TIMEOUT_S: Final = 10.0
LOCK_TIMEOUT_S: Final = 5.0
IDLE_IN_TRANSACTION_TIMEOUT_S: Final = 30.0
CONNECT_TIMEOUT_S: Final = 5.0
POOL_WAIT_S: Final = 5.0
RETRY_PAUSE_S: Final = 1.0
ROLLBACK_MAX_S: Final = 1.0
"""For a rollback, and for the end of a cancelled statement. After this the connection is hung up instead, which ends a
transaction as well."""
CLOSE_MAX_S: Final = 5.0
_COMMAND_MARGIN_S: Final = 2.0
_BY_KEY: Final = {
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}
"""Each statement is planned once for a connection, and so that its cost does not grow with the tables: a plan that was
made while they were small must not scan them for ever. (Planning anew for the arrays of each batch costs more than
carrying the statement out.)"""
_QUOTED_ARGUMENT: Final = re.compile(r"(for query argument \$\d+).*", re.DOTALL)
_BEGAN: Final = "gongji_began"

_TRANSIENT_CLASSES: Final = ("08", "40", "53", "57", "58")
"""Connection, rollback (deadlock, serialisation), resources, operator intervention (restart, timeout), system error."""
_TRANSIENT_STATES: Final = frozenset({"55P03", "25P03"})
"""Lock not available; idle in transaction for too long."""
_UNDONE: Final = ("40", "55P03", "57014")
"""Rollback (deadlock, serialisation); lock not available; statement_timeout."""
DRIVER_ERRORS: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""All that asyncpg raises of its own. The last has no parent among them: a statement was cut, or came after the
server's last words and before its hanging up."""
_PASSING: Final = (PoolTimeoutError, DisconnectionError, OSError, asyncpg.InternalClientError)
"""No connection free, lost, or not to be had (OSError has TimeoutError in it); cut in the middle of a statement."""


class Database:
    """A pool of connections to one database.

    The server may die and come back: connections that it closed are thrown away at the next use without a round trip
    to find out, and whoever was in a transaction gets an error for which ``is_transient`` is true. A commit that ended
    in such an error may or may not have happened; the caller's key tells.
    """

    def __init__(
        self,
        url: str,
        *,
        application: str = "gongji",
        pool_size: int = 10,
        statement_timeout_s: float = STATEMENT_TIMEOUT_S,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
        idle_in_transaction_timeout_s: float = IDLE_IN_TRANSACTION_TIMEOUT_S,
        by_key: bool = False,
    ) -> None:
        """``idle_in_transaction_timeout_s`` is how long a process that hangs may keep its locks from all others.

        ``by_key`` is for a process whose statements all find their rows by an index (``_BY_KEY``).
        """
        self._url = url
        self._connect_arguments: dict[str, Any] = {
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": statement_timeout_s + _COMMAND_MARGIN_S,
            "server_settings": {
                "application_name": application,
                "timezone": "UTC",
                "jit": "off",
                "statement_timeout": _milliseconds(statement_timeout_s),
                "lock_timeout": _milliseconds(lock_timeout_s),
                "idle_in_transaction_session_timeout": _milliseconds(idle_in_transaction_timeout_s),
                **(_BY_KEY if by_key else {}),
            },
        }
        # asyncpg reads the URL itself, so sockets (?host=), sslmode and the rest of libpq's words work as they should.
        self.engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=POOL_WAIT_S,
            pool_use_lifo=True,
            json_deserializer=orjson.loads,
            hide_parameters=True,  # An error's text ends up in the log; the values of a statement may name a person.
        )
        event.listen(self.engine.sync_engine, "connect", self._note_beginning)
        event.listen(self.engine.sync_engine, "checkout", self._refuse_unfit)
        self._announced: list[Callable[[], None]] = []
        self._kept: list[Any] = []
        """Connections lent by the pool that nobody uses at the moment (``_take``)."""
        self._asking = 0
        """How many may be waiting for the pool."""
        self._kept_max = pool_size // 2
        self._made: weakref.WeakSet[Any] = weakref.WeakSet()
        self._silent_at = float("-inf")
        """When a connection last fell silent; what was connected before is not trusted any more."""

    async def _connect(self) -> Any:  # noqa: ANN401  asyncpg publishes no types.
        connection = await asyncpg.connect(self._url, **self._connect_arguments)
        end_when_silent(connection._transport.get_extra_info("socket"))  # noqa: SLF001  The driver has no other way.
        self._made.add(connection)
        return connection

    def _note_beginning(self, _connection: object, record: Any) -> None:  # noqa: ANN401  SQLAlchemy's own record.
        record.info[_BEGAN] = time.monotonic()

    def _refuse_unfit(self, dbapi_connection: Any, record: Any, _proxy: object) -> None:  # noqa: ANN401  Untyped.
        """At checkout: asyncpg knows when the server has hung up, so no ping is needed; the pool then connects anew."""
        connection = dbapi_connection.driver_connection
        if record.info.get(_BEGAN, 0.0) <= self._silent_at:
            connection.terminate()  # Without a goodbye, for which it would wait.
        if connection.is_closed():
            raise DisconnectionError

    def _distrust_all(self) -> None:
        """A connection fell silent: all that were made before now are left at their next checkout."""
        self._silent_at = time.monotonic()
        _log.warning("the database fell silent; all connections are made anew")

    async def __aenter__(self) -> Self:
        await self.wait_until_reachable()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def wait_until_reachable(self) -> None:
        """Returns once the database answers; says once a second why not. A wrong name or password raises at once."""
        while True:
            try:
                async with self.driver_connection() as connection:
                    await connection.execute("SELECT 1")
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("the database is not reachable yet", problem=type(error).__name__)
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                return

    async def close(self) -> None:
        """Closes every connection; those of a silent server, and those still lent to somebody, without a goodbye."""
        while self._kept:
            self._kept.pop().close()
        try:
            async with asyncio.timeout(CLOSE_MAX_S):
                await self.engine.dispose()
        except TimeoutError:
            _log.warning("the database was left without a goodbye")
        for connection in list(self._made):  # The pool forgets what is lent; nobody would ever close it.
            connection.terminate()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """One transaction (READ COMMITTED) for SQLAlchemy Core: committed at the end, rolled back on any exception."""
        with rows_untold(), self._waiting_for_the_pool():
            async with self.engine.begin() as connection:
                try:
                    yield connection
                except BaseException as error:
                    _announcing.discard(id(connection))
                    if _is_silence(error):
                        self._distrust_all()
                        if not connection.invalidated:
                            await connection.invalidate()
                    raise
        self._announce(connection)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[AsyncConnection]:
        """As ``transaction``, to read alone: all its statements see the database as it was at the first of them."""
        async with self.transaction() as connection:
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
            yield connection

    @asynccontextmanager
    async def driver_connection(self) -> AsyncIterator[Any]:
        """A raw asyncpg connection of the same pool, outside any transaction: each statement commits by itself.

        JSON and JSONB values go in as text and come out decoded, as SQLAlchemy sets them.
        """
        pooled = await self._take()
        connection = pooled.driver_connection
        try:
            with rows_untold():
                yield connection
        except BaseException as error:
            _announcing.discard(id(connection))
            try:
                if connection is not None:
                    await self._leave(connection, error)
            finally:
                # A connection that was cut or whose statement may still be running is not handed to the next.
                unfit = connection is None or connection.is_closed() or connection.is_in_transaction()
                if unfit or is_transient(error):
                    pooled.invalidate()
                pooled.close()
            raise
        else:
            self._keep(pooled)
            self._announce(connection)

    async def _leave(self, connection: Any, error: BaseException) -> None:  # noqa: ANN401  Untyped.
        """Hangs up if a statement may still be running; a cancelled one is ended at the server first.

        Hung up at once, the server would carry on with it, and keep its locks, until it has something to say.
        """
        if _is_silence(error):
            self._distrust_all()
            connection.terminate()
        elif isinstance(error, asyncio.CancelledError):
            with suppress(*DRIVER_ERRORS):
                await connection.close(timeout=ROLLBACK_MAX_S)

    async def _take(self) -> Any:  # noqa: ANN401  SQLAlchemy's loan of a connection of the driver.
        """A connection that was kept, or one of the pool, which costs several times what a statement does."""
        while self._kept:
            pooled = self._kept.pop()
            if not pooled.driver_connection.is_closed() and pooled.info[_BEGAN] > self._silent_at:
                return pooled
            pooled.driver_connection.terminate()
            pooled.invalidate()
            pooled.close()
        with self._waiting_for_the_pool():
            return await self.engine.raw_connection()

    def _keep(self, pooled: Any) -> None:  # noqa: ANN401  As above.
        """Keeps a connection that was lent for the next who asks, unless somebody waits for the pool."""
        if self._asking or len(self._kept) >= self._kept_max:
            pooled.close()
        else:
            self._kept.append(pooled)

    @contextmanager
    def _waiting_for_the_pool(self) -> Iterator[None]:
        """While somebody may wait for it, nothing is kept from the pool."""
        if self._kept:
            self._kept.pop().close()
        self._asking += 1
        try:
            yield
        finally:
            self._asking -= 1

    @asynccontextmanager
    async def driver_transaction(self, *, begin: str = "BEGIN") -> AsyncIterator[Any]:
        """As ``driver_connection``, inside one transaction (READ COMMITTED): for hot set-based statements.

        ``begin`` may say more than BEGIN where the first statement takes no parameters (a lock): one round trip less.
        """
        async with self.driver_connection() as connection:
            try:
                await connection.execute(begin)  # Inside, for it may be cut off once the transaction has begun.
                yield connection
            except BaseException as error:
                await self._roll_back(connection, error)
                raise
            await connection.execute("COMMIT")

    @staticmethod
    async def _roll_back(connection: Any, error: BaseException) -> None:  # noqa: ANN401  Untyped.
        """Ends the transaction in good time, one way or another."""
        if _is_silence(error):
            return  # Whoever lent the connection hangs it up, which ends the transaction.
        try:
            async with asyncio.timeout(ROLLBACK_MAX_S):
                await connection.execute("ROLLBACK")
        except DRIVER_ERRORS:
            connection.terminate()

    def on_announced_commit(self, callback: Callable[[], None]) -> None:
        """Calls back after each use of a connection, committed, that ``announce_commit`` was called for."""
        self._announced.append(callback)

    def _announce(self, connection: object) -> None:
        if id(connection) in _announcing:
            _announcing.discard(id(connection))
            for callback in self._announced:
                callback()


_announcing: Final[set[int]] = set()
"""The connections (by identity, while their transaction runs) whose commit somebody in this process waits for."""


def announce_commit(connection: object) -> None:
    """Marks what is done on this connection: once it is committed, those who asked are called (the outbox)."""
    _announcing.add(id(connection))


def violated_constraint(error: BaseException) -> str | None:
    """The name of the constraint or unique index that refused the row; None for any other error.

    Takes SQLAlchemy's and asyncpg's exceptions. A store turns the name into the failure whose rule it repeats.
    """
    for cause in _causes(error):
        if isinstance(cause, asyncpg.IntegrityConstraintViolationError):
            name: str | None = cause.constraint_name
            return name
    return None


def is_transient(error: BaseException) -> bool:
    """Whether the same work may succeed when it is done again: lost connection, restart, deadlock, timeout, no room."""
    return any(_is_passing(cause) for cause in _causes(error))


def is_left_undone(error: BaseException) -> bool:
    """Whether the server said itself that it left the statement undone: a deadlock, or a lock or an end not in time.

    So it concerns what was asked and not the database, and whoever asked knows that nothing of it was done.
    """
    return any(
        isinstance(cause, asyncpg.PostgresError) and (cause.sqlstate or "").startswith(_UNDONE)
        for cause in _causes(error)
    )


@contextmanager
def rows_untold() -> Iterator[None]:
    """Takes the rows at fault out of errors, whose text ends up in the log.

    PostgreSQL quotes them in its DETAIL, the driver behind the number of the argument that it could not encode.
    """
    try:
        yield
    except BaseException as error:
        for cause in _causes(error):
            if isinstance(cause, asyncpg.PostgresError):
                cause.detail = None
            if cause.args and isinstance(cause.args[0], str):
                cause.args = (_QUOTED_ARGUMENT.sub(r"\1", cause.args[0]), *cause.args[1:])
        raise


def _is_silence(error: BaseException) -> bool:
    """Whether the driver gave up waiting for an answer; a server that answers says so itself (statement_timeout)."""
    return any(isinstance(cause, TimeoutError) for cause in _causes(error))


def _is_passing(cause: BaseException) -> bool:
    match cause:
        case DBAPIError():
            return cause.connection_invalidated
        case asyncpg.PostgresError():
            state: str = cause.sqlstate or ""
            return state.startswith(_TRANSIENT_CLASSES) or state in _TRANSIENT_STATES
        case asyncpg.InterfaceError():
            return "clos" in str(cause) or "released" in str(cause)
        case _:
            return isinstance(cause, _PASSING)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and what it was raised from, SQLAlchemy's ``orig`` included, each once."""
    found: list[BaseException] = []
    queue: list[BaseException | None] = [error]
    while queue:
        cause = queue.pop(0)
        if cause is None or cause in found:
            continue
        found.append(cause)
        queue.append(getattr(cause, "orig", None))
        queue.append(cause.__cause__)
    return found


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))
