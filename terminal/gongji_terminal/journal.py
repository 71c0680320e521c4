"""The terminal's journal: every request that may move money is in it, durably, before it is sent the first time.

One SQLite file. Writers queue up for one thread, which puts everything that waits into one commit. No token and no
name is ever in it.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final, Self, TypeVar

Result = TypeVar("Result")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS requests (
    fixmedins_code text NOT NULL,
    infno text NOT NULL,
    msgid text NOT NULL,
    state text NOT NULL CHECK (state IN ('WRITTEN', 'SETTLED', 'REPLANNED', 'REFUSED', 'REVERSED')),
    request blob NOT NULL,
    attempts integer NOT NULL DEFAULT 0,
    setl_id text NOT NULL DEFAULT '',
    original_setl_id text NOT NULL DEFAULT '',
    reason text NOT NULL DEFAULT '',
    refund_setl_id text NOT NULL DEFAULT '',
    answer blob NOT NULL DEFAULT x'',
    written_at text NOT NULL,
    told_at text,
    PRIMARY KEY (fixmedins_code, infno, msgid)
) STRICT;
CREATE INDEX IF NOT EXISTS requests_open ON requests (written_at) WHERE state = 'WRITTEN';
CREATE TABLE IF NOT EXISTS last_msgid (
    fixmedins_code text NOT NULL,
    terminal integer NOT NULL,
    msgid text NOT NULL,
    PRIMARY KEY (fixmedins_code, terminal)
) STRICT;
"""
_COLUMNS: Final = (
    "fixmedins_code, infno, msgid, state, request, attempts, setl_id, original_setl_id, reason, refund_setl_id, answer"
)


class EntryState(Enum):
    """What the terminal has been told of a request; the comment says who acts next."""

    WRITTEN = "WRITTEN"  # Nothing that can be believed: the terminal asks, and reverses what stays unanswered.
    SETTLED = "SETTLED"  # Done: a bill paid, or a revocation made.
    REPLANNED = "REPLANNED"  # Nothing taken; the cashier decides on the new plan.
    REFUSED = "REFUSED"  # Nothing taken; ``reason`` says why.
    REVERSED = "REVERSED"  # Nothing taken, or all of it given back.


@dataclass(frozen=True, slots=True)
class Entry:
    """One request and what came of it, as the terminal was told."""

    fixmedins_code: str
    infno: str
    msgid: str
    state: EntryState
    request: bytes
    """The serialised SettleRequest or RevokeSettleRequest, to be sent again as it is."""
    attempts: int = 0
    """How often it was sent in vain."""
    setl_id: str = ""
    """Of the settlement, or of the revocation."""
    original_setl_id: str = ""
    """Of a revocation: what it takes back."""
    reason: str = ""
    refund_setl_id: str = ""
    """What took the money back: a revocation, or the refund of a reversal."""
    answer: bytes = b""
    """The serialised Settlement or Replan, without names."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the service said of a request."""

    state: EntryState
    setl_id: str = ""
    reason: str = ""
    refund_setl_id: str = ""
    answer: bytes = b""


class Journal:
    """The journal in one file; made if it is not there. Several terminals of one process may share it."""

    def __init__(self, path: Path | str) -> None:
        self._path = str(path)
        self._jobs: queue.SimpleQueue[tuple[Callable[[sqlite3.Connection], Any], Future[Any]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._work, name="gongji-journal", daemon=True)
        self._thread.start()

    async def __aenter__(self) -> Self:
        await self._do(lambda _: None)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Commits what waits and closes the file."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    async def write(
        self,
        *,
        fixmedins_code: str,
        terminal: int,
        infno: str,
        now: datetime,
        make_msgid: Callable[[str | None], str],
        make_request: Callable[[str], bytes],
        original_setl_id: str = "",
    ) -> Entry:
        """A new entry, durable when this returns. ``make_msgid`` gets the last msgid this terminal made."""

        def write(connection: sqlite3.Connection) -> Entry:
            row = connection.execute(
                "SELECT msgid FROM last_msgid WHERE fixmedins_code = ? AND terminal = ?", (fixmedins_code, terminal)
            ).fetchone()
            msgid = make_msgid(None if row is None else row[0])
            request = make_request(msgid)
            connection.execute(
                "INSERT INTO last_msgid VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET msgid = excluded.msgid",
                (fixmedins_code, terminal, msgid),
            )
            connection.execute(
                "INSERT INTO requests (fixmedins_code, infno, msgid, state, request, original_setl_id, written_at) "
                "VALUES (?, ?, ?, 'WRITTEN', ?, ?, ?)",
                (fixmedins_code, infno, msgid, request, original_setl_id, now.isoformat()),
            )
            return Entry(fixmedins_code, infno, msgid, EntryState.WRITTEN, request, original_setl_id=original_setl_id)

        return await self._do(write)

    async def note_attempt(self, entry: Entry) -> None:
        """The request was sent and will be sent again; for people who look into the journal."""
        await self._do(
            lambda connection: connection.execute(
                "UPDATE requests SET attempts = attempts + 1 WHERE fixmedins_code = ? AND infno = ? AND msgid = ?",
                _key(entry),
            )
        )

    async def note_told(self, entry: Entry, told: Told, *, now: datetime) -> None:
        """What the service said. A revocation's success is noted at the settlement it took back as well.

        Reversed is the last word: an answer to the request itself that was on its way all the while comes too late.
        """

        def note(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE requests SET state = ?, setl_id = ?, reason = ?, refund_setl_id = ?, answer = ?, told_at = ? "
                "WHERE fixmedins_code = ? AND infno = ? AND msgid = ? AND (state <> 'REVERSED' OR ? = 'REVERSED')",
                (
                    told.state.value,
                    told.setl_id,
                    told.reason,
                    told.refund_setl_id,
                    told.answer,
                    now.isoformat(),
                    *_key(entry),
                    told.state.value,
                ),
            )
            if entry.original_setl_id and told.state is EntryState.SETTLED:
                connection.execute(
                    "UPDATE requests SET refund_setl_id = ? WHERE setl_id = ?", (told.setl_id, entry.original_setl_id)
                )

        await self._do(note)

    async def find(self, *, fixmedins_code: str, infno: str, msgid: str) -> Entry | None:
        """The entry of a request, None if this terminal never wrote it."""
        found = await self._select("fixmedins_code = ? AND infno = ? AND msgid = ?", fixmedins_code, infno, msgid)
        return found[0] if found else None

    async def unanswered(self) -> list[Entry]:
        """What must still be asked for, oldest first."""
        return await self._select("state = 'WRITTEN'")

    async def entries(self) -> list[Entry]:
        """The whole journal, oldest first."""
        return await self._select("true")

    async def _select(self, condition: str, *values: str) -> list[Entry]:
        statement = f"SELECT {_COLUMNS} FROM requests WHERE {condition} ORDER BY written_at, msgid"  # noqa: S608  Constants.

        def select(connection: sqlite3.Connection) -> list[Entry]:
            rows = connection.execute(statement, values).fetchall()
            return [Entry(row[0], row[1], row[2], EntryState(row[3]), *row[4:]) for row in rows]

        return await self._do(select)

    async def _do(self, job: Callable[[sqlite3.Connection], Result]) -> Result:
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
                    connection = connection or _opened(self._path)
                    _commit_together(connection, jobs)
                except Exception as error:  # noqa: BLE001  Whoever waits must hear of it, whatever it is.
                    for _, future in jobs:
                        if not future.done():
                            future.set_exception(error)
        finally:
            if connection is not None:
                connection.close()


def _opened(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.executescript(_SCHEMA)
    return connection


def _commit_together(
    connection: sqlite3.Connection, jobs: list[tuple[Callable[[sqlite3.Connection], Any], Future[Any]]]
) -> None:
    """Everything that waits in one commit, each job in a savepoint; nobody hears of success before the commit."""
    results: list[tuple[Future[Any], Any, Exception | None]] = []
    connection.execute("BEGIN IMMEDIATE")
    try:
        for job, future in jobs:
            connection.execute("SAVEPOINT job")
            try:
                results.append((future, job(connection), None))
            except Exception as error:  # noqa: BLE001  It belongs to this job's caller alone.
                connection.execute("ROLLBACK TO job")
                results.append((future, None, error))
            connection.execute("RELEASE job")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    for future, result, problem in results:
        if not future.set_running_or_notify_cancel():
            continue
        if problem is None:
            future.set_result(result)
        else:
            future.set_exception(problem)


def _key(entry: Entry) -> tuple[str, str, str]:
    return entry.fixmedins_code, entry.infno, entry.msgid
