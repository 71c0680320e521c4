"""Hearing what a database is told, statement by statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from asyncpg.introspection import INTRO_LOOKUP_TYPES
from sqlalchemy import event
from sqlalchemy.engine.interfaces import ExecuteStyle

from chassis.db import Database

_WITHOUT_JIT: Final = "SELECT current_setting('jit') AS cur, set_config('jit', 'off', false) AS new"
_OF_THE_DRIVER: Final = frozenset({_WITHOUT_JIT, " ".join(INTRO_LOOKUP_TYPES.split())})


@dataclass(frozen=True)
class Said:
    """A statement as it was sent, and what was sent with it."""

    query: str
    arguments: Sequence[Any]

    @property
    def is_the_drivers(self) -> bool:
        """Whether asyncpg says it for itself, once for a connection that meets a type it does not know."""
        return " ".join(self.query.split()) in _OF_THE_DRIVER


@contextmanager
def hearing(database: Database, note: Callable[[Said], None]) -> Iterator[None]:
    """Calls ``note`` with each statement of every connection, also of those that are made later.

    The driver tells of one in the loop's next turn after it. Of what SQLAlchemy says it tells nothing, for that is
    prepared first: SQLAlchemy tells of it, before it is said.
    """
    heard: set[Any] = set()

    def told(record: Any) -> None:  # noqa: ANN401  asyncpg's; the driver publishes no types.
        note(Said(record.query, record.args))

    def hear(connection: Any) -> None:  # noqa: ANN401  As above.
        connection.add_query_logger(told)
        heard.add(connection)

    def taken(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401  As above.
        hear(connection.driver_connection)

    def executed(_connection: object, _cursor: object, query: str, arguments: Any, context: Any, _: bool) -> None:  # noqa: ANN401, FBT001  SQLAlchemy's own.
        if context is None or context.execute_style is not ExecuteStyle.EXECUTEMANY:  # That one is not prepared.
            note(Said(query, arguments))

    for connection in database._made:  # Some of them are lent already, and stay so.
        hear(connection)
    event.listen(database.engine.sync_engine, "checkout", taken)
    event.listen(database.engine.sync_engine, "before_cursor_execute", executed)
    try:
        yield
    finally:
        event.remove(database.engine.sync_engine, "before_cursor_execute", executed)
        event.remove(database.engine.sync_engine, "checkout", taken)
        for connection in heard:
            connection.remove_query_logger(told)
