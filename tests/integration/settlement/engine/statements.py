"""Hearing what a database is told, statement by statement."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from chassis.db import Database


@contextmanager
def hearing(database: Database, note: Callable[[Any], None]) -> Iterator[None]:
    """Calls ``note`` with asyncpg's record of each query of every connection, also of those that are made later."""
    heard: set[Any] = set()

    def hear(connection: Any) -> None:  # noqa: ANN401  The driver publishes no types.
        connection.add_query_logger(note)
        heard.add(connection)

    def taken(connection: Any, _record: object, _proxy: object) -> None:  # noqa: ANN401  As above.
        hear(connection.driver_connection)

    for connection in database._made:  # Some of them are lent already, and stay so.
        hear(connection)
    event.listen(database.engine.sync_engine, "checkout", taken)
    try:
        yield
    finally:
        event.remove(database.engine.sync_engine, "checkout", taken)
        for connection in heard:
            connection.remove_query_logger(note)
