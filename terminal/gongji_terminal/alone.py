"""One command of a counter moves money at a time: another that began meanwhile would reverse what is on its way.

The lock is SQLite's own on a file beside the journal, so it works wherever the journal does, and the system lets go of
it when its holder is killed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

WAIT_S: Final = 5.0


class Busy(Exception):  # noqa: N818  It says what is the case.
    """Another command works with this journal."""


class CannotLock(Exception):  # noqa: N818  As above.
    """The lock's file cannot be used; nothing was sent."""


@contextmanager
def alone_with(journal: Path, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Nobody else moves money with this journal inside; Busy if somebody still does after ``wait_s``. CannotLock."""
    file = journal.resolve()  # Whoever comes by a link meets those who do not.
    path = file.with_name(file.name + ".lock")
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(closing(sqlite3.connect(path, timeout=wait_s, isolation_level=None)))
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_BUSY:
                raise Busy from None
            raise CannotLock(f"{path} cannot be used as a lock: {error}") from None
        yield
