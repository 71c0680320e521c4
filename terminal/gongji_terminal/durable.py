"""One SQLite file that one thread writes: everything that waits goes into one commit, durable when the caller hears."""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any, Self, TypeAlias, TypeVar

Result = TypeVar("Result")
Job: TypeAlias = Callable[[sqlite3.Connection], Any]


class DurableFile:
    """The file; made with this schema if it is not there. What ``do`` returns is on the disk."""

    def __init__(self, path: Path | str, schema: str) -> None:
        self._path = str(path)
        self._schema = schema
        self._jobs: queue.SimpleQueue[tuple[Job, Future[Any]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="gongji-journal", daemon=True)
        self._thread.start()

    async def __aenter__(self) -> Self:
        await self.do(lambda _: None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Commits what waits and closes the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def do(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
        """What the job returns, once its writes are committed; what it raises, once they are undone."""
        future: Future[Result] = Future()
        self._jobs.put((job, future))
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        """The one thread that touches the file."""
        connection: sqlite3.Connection | None = None
        try:
            closing = False
            while not closing:
                waiting = [self._jobs.get()]
                while not self._jobs.empty():
                    waiting.append(self._jobs.get())
                jobs = [job for job in waiting if job is not None]
                closing = len(jobs) < len(waiting)
                try:
                    connection = connection or _opened(self._path, self._schema)
                    _commit_together(connection, jobs)
                except Exception as error:  # noqa: BLE001  Whoever waits must hear of it, whatever it is.
                    for _, future in jobs:
                        if not future.done():
                            future.set_exception(error)
        finally:
            if connection is not None:
                connection.close()


def _opened(path: str, schema: str) -> sqlite3.Connection:
    with suppress(FileExistsError):
        # Its owner's alone: it holds personal numbers. SQLite gives the files beside it the same mode.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(schema)
    return connection


def _commit_together(connection: sqlite3.Connection, jobs: list[tuple[Job, Future[Any]]]) -> None:
    """Everything that waits in one commit, each job in a savepoint; nobody hears of success before the commit."""
    results: list[tuple[Future[Any], Any, Exception | None]] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for job, future in jobs:
            connection.execute("SAVEPOINT job")
            try:
                results.append((future, job(connection), None))
            except Exception as error:
                if not connection.in_transaction:
                    raise  # A full disk: SQLite has undone what the others wrote as well.
                # It belongs to this job's caller alone.
                connection.execute("ROLLBACK TO job")
                results.append((future, None, error))
            connection.execute("RELEASE job")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            # Else SQLite has undone it already, and asking again would hide why.
            connection.execute("ROLLBACK")
        raise
    for future, result, problem in results:
        if not future.set_running_or_notify_cancel():
            continue
        if problem is None:
            future.set_result(result)
        else:
            future.set_exception(problem)
