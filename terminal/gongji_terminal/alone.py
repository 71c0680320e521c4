"""One command of a counter moves money at a time: another that began meanwhile would reverse what is on its way.

The lock is SQLite's own on a file beside the journal, so it works wherever the journal does, and the system lets go of
it when its holder is killed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

WAIT_S: Final = 5.0


class Busy(Exception):  # noqa: N818  It says what is the case.
    """Another command works with this journal."""


@contextmanager
def alone_with(journal: Path, *, wait_s: float = WAIT_S) -> Iterator[None]:
    """Nobody else moves money with this journal inside; Busy if somebody still does after ``wait_s``."""
    file = journal.resolve()  # Whoever comes by a link meets those who do not.
    path = file.with_name(file.name + ".lock")
    with closing(sqlite3.connect(path, timeout=wait_s, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise Busy from None
        yield
