"""The terminal's journal: every request that may move money is in it, durably, before it is sent the first time.

One SQLite file (durable.py). No token and no name is ever in it. Beside the requests it keeps the plans that were shown
(a plan is paid by one request), what the terminal was told of money that moved (records.py), the reversals that a
cashier asked for and that wait for the network, and who is signed in.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Final

from gongji_terminal import records
from gongji_terminal.durable import DurableFile
from gongji_terminal.msgid import last_that_counts
from gongji_terminal.records import Record

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
CREATE INDEX IF NOT EXISTS requests_by_time ON requests (written_at, msgid);
CREATE INDEX IF NOT EXISTS requests_by_msgid ON requests (msgid);
CREATE TABLE IF NOT EXISTS last_msgid (
    fixmedins_code text NOT NULL,
    terminal integer NOT NULL,
    msgid text NOT NULL,
    PRIMARY KEY (fixmedins_code, terminal)
) STRICT;
CREATE TABLE IF NOT EXISTS plans (
    plan_id text NOT NULL PRIMARY KEY,
    fixmedins_code text NOT NULL,
    care text NOT NULL,
    mdtrt_id text NOT NULL,
    plan blob NOT NULL,
    replaces text NOT NULL,
    shown_at text NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS plan_requests (
    plan_id text NOT NULL,
    fixmedins_code text NOT NULL,
    infno text NOT NULL,
    msgid text NOT NULL,
    PRIMARY KEY (plan_id, msgid)
) STRICT;
CREATE TABLE IF NOT EXISTS reversals (
    fixmedins_code text NOT NULL,
    infno text NOT NULL,
    msgid text NOT NULL,
    state text NOT NULL CHECK (state IN ('QUEUED', 'DONE', 'REFUSED')),
    reason text NOT NULL DEFAULT '',
    refund_setl_id text NOT NULL DEFAULT '',
    asked_at text NOT NULL,
    told_at text,
    PRIMARY KEY (fixmedins_code, infno, msgid)
) STRICT;
CREATE INDEX IF NOT EXISTS reversals_queued ON reversals (asked_at) WHERE state = 'QUEUED';
CREATE TABLE IF NOT EXISTS sign_ins (
    fixmedins_code text NOT NULL,
    terminal_no text NOT NULL,
    sign_no text NOT NULL,
    opter text NOT NULL,
    PRIMARY KEY (fixmedins_code, terminal_no)
) STRICT;
"""
_COLUMNS: Final = (
    "fixmedins_code, infno, msgid, state, request, attempts, setl_id, original_setl_id, reason, refund_setl_id, answer,"
    " written_at"
)
PAGE_ROWS: Final = 200
"""So many rows of a listing are in memory at once."""
PLANS_KEPT: Final = timedelta(days=2)
"""A plan is worth nothing after minutes; it is kept so that who looks for it hears what became of it."""
PLAN_NAMED_MIN: Final = 6
"""So many of a plan's last characters name it."""


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
    written_at: str = ""
    """When it was written down, in ISO 8601."""


class PlanAsked(Exception):  # noqa: N818  It tells what stands, it is no fault.
    """A plan that this journal has a request for already, open or paid: it is not asked for twice."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.msgid)
        self.entry = entry


@dataclass(frozen=True, slots=True)
class ShownPlan:
    """A plan that a cashier was shown: enough to pay it from another process."""

    plan_id: str
    fixmedins_code: str
    care: str
    mdtrt_id: str
    plan: bytes
    """The serialised Plan, without names."""
    replaces: str = ""
    """The plan that it came instead of, when a source had changed."""


@dataclass(frozen=True, slots=True)
class QueuedReversal:
    """A 2601 that somebody asked for and that no service has answered yet."""

    fixmedins_code: str
    infno: str
    msgid: str
    asked_at: str


@dataclass(frozen=True, slots=True)
class Told:
    """What the service said of a request."""

    state: EntryState
    setl_id: str = ""
    reason: str = ""
    refund_setl_id: str = ""
    answer: bytes = b""
    records: Sequence[Record] = ()
    """The money that moved by it, as rows of the day's books."""


class Journal(DurableFile):
    """The journal in one file; made if it is not there. Several terminals of one process may share it."""

    def __init__(self, path: Path | str) -> None:
        super().__init__(path, _SCHEMA + records.SCHEMA)
        self.path = Path(path)

    # Requests --------------------------------------------------------------------------------------------------------

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
        plan_id: str = "",
        once: bool = False,
    ) -> Entry:
        """A new entry, durable when this returns. ``make_msgid`` gets the last msgid this terminal made.

        ``once``: PlanAsked if there is a request of this plan that is open, paid or answered by a new plan.
        """

        def write(connection: sqlite3.Connection) -> Entry:
            if once and (earlier := _standing(connection, plan_id)) is not None:
                raise PlanAsked(earlier)
            msgid = make_msgid(_last_msgid(connection, fixmedins_code, terminal, now))
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
            if plan_id:
                connection.execute(
                    "INSERT INTO plan_requests VALUES (?, ?, ?, ?)", (plan_id, fixmedins_code, infno, msgid)
                )
            return Entry(
                fixmedins_code,
                infno,
                msgid,
                EntryState.WRITTEN,
                request,
                original_setl_id=original_setl_id,
                written_at=now.isoformat(),
            )

        return await self.do(write)

    async def note_attempt(self, entry: Entry) -> None:
        """The request was sent and will be sent again; for people who look into the journal."""
        await self.do(
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
            for record in told.records:
                records.keep(connection, record)

        await self.do(note)

    async def find(self, *, fixmedins_code: str, infno: str, msgid: str) -> Entry | None:
        """The entry of a request, None if this terminal never wrote it."""
        found = await self._select("fixmedins_code = ? AND infno = ? AND msgid = ?", fixmedins_code, infno, msgid)
        return found[0] if found else None

    async def of_msgid(self, msgid: str) -> Entry | None:
        """The entry with this msgid, whichever transaction it is; None if this terminal never wrote it."""
        found = await self._select("msgid = ?", msgid)
        return found[0] if found else None

    async def of_plan(self, plan_id: str) -> Entry | None:
        """The request that stands for a plan: open, paid, or answered by a new plan; None if it may still be paid."""
        return await self.do(lambda connection: _standing(connection, plan_id))

    async def unanswered(self) -> list[Entry]:
        """What must still be asked for, oldest first."""
        return await self._select("state = 'WRITTEN'")

    async def entries(self) -> list[Entry]:
        """The whole journal in memory, oldest first; ``pages`` is for one that may be long."""
        return await self._select("true")

    async def pages(
        self, *, since: datetime | None = None, until: datetime | None = None, state: EntryState | None = None
    ) -> AsyncIterator[list[Entry]]:
        """The journal, oldest first, a page in memory at a time: from ``since`` up to, not with, ``until``."""
        after = ("" if since is None else since.isoformat(), "")
        end = "9" if until is None else until.isoformat()
        wanted = "" if state is None else state.value
        while True:
            page = await self._select(
                "(written_at, msgid) > (?, ?) AND written_at < ? AND (? = '' OR state = ?)",
                *after,
                end,
                wanted,
                wanted,
                limit=PAGE_ROWS,
            )
            if not page:
                return
            yield page
            after = (page[-1].written_at, page[-1].msgid)

    # Plans -----------------------------------------------------------------------------------------------------------

    async def keep_plan(self, shown: ShownPlan, *, now: datetime) -> None:
        """A plan that is shown now; those of days ago are forgotten."""

        def keep(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO plans VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (
                    shown.plan_id,
                    shown.fixmedins_code,
                    shown.care,
                    shown.mdtrt_id,
                    shown.plan,
                    shown.replaces,
                    now.isoformat(),
                ),
            )
            connection.execute("DELETE FROM plans WHERE shown_at < ?", ((now - PLANS_KEPT).isoformat(),))

        await self.do(keep)

    async def plans_like(self, ending: str) -> list[ShownPlan]:
        """The plans whose id ends so; two at most, for one is meant."""
        return await self._plans("substr(plan_id, -length(?)) = ?", ending, ending)

    async def _plans(self, condition: str, *values: str) -> list[ShownPlan]:
        statement = (
            f"SELECT plan_id, fixmedins_code, care, mdtrt_id, plan, replaces FROM plans WHERE {condition} "  # noqa: S608  Constants.
            "ORDER BY shown_at DESC LIMIT 2"
        )
        return await self.do(lambda connection: [ShownPlan(*row) for row in connection.execute(statement, values)])

    # Reversals that wait for the network -----------------------------------------------------------------------------

    async def queue_reversal(self, *, fixmedins_code: str, infno: str, msgid: str, now: datetime) -> QueuedReversal:
        """Somebody wants this request reversed; it stays wanted until a service has answered."""
        reversal = QueuedReversal(fixmedins_code, infno, msgid, now.isoformat())
        await self.do(
            lambda connection: connection.execute(
                "INSERT INTO reversals (fixmedins_code, infno, msgid, state, asked_at) VALUES (?, ?, ?, 'QUEUED', ?) "
                "ON CONFLICT DO UPDATE SET state = 'QUEUED' WHERE state = 'REFUSED'",
                (fixmedins_code, infno, msgid, reversal.asked_at),
            )
        )
        return reversal

    async def note_reversal(
        self, reversal: QueuedReversal, *, now: datetime, reason: str = "", refund_setl_id: str = ""
    ) -> None:
        """What the service said of it: refused for this reason, or done."""
        await self.do(
            lambda connection: connection.execute(
                "UPDATE reversals SET state = ?, reason = ?, refund_setl_id = ?, told_at = ? "
                "WHERE fixmedins_code = ? AND infno = ? AND msgid = ?",
                (
                    "REFUSED" if reason else "DONE",
                    reason,
                    refund_setl_id,
                    now.isoformat(),
                    reversal.fixmedins_code,
                    reversal.infno,
                    reversal.msgid,
                ),
            )
        )

    async def reversals_queued(self) -> list[QueuedReversal]:
        """What is still wanted, oldest first."""
        return await self.do(
            lambda connection: [
                QueuedReversal(*row)
                for row in connection.execute(
                    "SELECT fixmedins_code, infno, msgid, asked_at FROM reversals WHERE state = 'QUEUED' "
                    "ORDER BY asked_at, msgid"
                )
            ]
        )

    # The day's books -------------------------------------------------------------------------------------------------

    async def keep_record(self, record: Record) -> None:
        """Money that moved, heard of otherwise than by a request's own answer."""
        await self.do(lambda connection: records.keep(connection, record))

    async def record(self, setl_id: str) -> Record | None:
        """What is known of this settlement."""
        return await self.do(lambda connection: records.find(connection, setl_id))

    async def taken_back_by(self, setl_id: str) -> Record | None:
        """What took this settlement back, None if nothing did as far as this journal knows."""
        return await self.do(lambda connection: records.taking_back(connection, setl_id))

    async def paid_of_visit(self, *, fixmedins_code: str, mdtrt_id: str) -> list[Record]:
        """What was settled of a visit and stands, as far as this journal knows."""
        return await self.do(
            lambda connection: list(records.of_visit(connection, fixmedins_code=fixmedins_code, mdtrt_id=mdtrt_id))
        )

    async def day(self, *, fixmedins_code: str, day: date) -> AsyncIterator[list[Record]]:
        """The records of a day in Asia/Shanghai by setl_id, a page in memory at a time."""
        after = ""
        while True:
            page = await self.do(
                lambda connection, after=after: records.of_day(  # type: ignore[misc]  # mypy cannot infer a default.
                    connection, fixmedins_code=fixmedins_code, day=day, after=after, limit=PAGE_ROWS
                )
            )
            if not page:
                return
            yield page
            after = page[-1].setl_id

    # Who is signed in ------------------------------------------------------------------------------------------------

    async def note_sign_in(self, *, fixmedins_code: str, terminal_no: str, sign_no: str, opter: str) -> None:
        """签到: what the sign-out will name; an empty ``sign_no`` forgets it."""

        def note(connection: sqlite3.Connection) -> None:
            connection.execute(
                "DELETE FROM sign_ins WHERE fixmedins_code = ? AND terminal_no = ?", (fixmedins_code, terminal_no)
            )
            if sign_no:
                connection.execute(
                    "INSERT INTO sign_ins VALUES (?, ?, ?, ?)", (fixmedins_code, terminal_no, sign_no, opter)
                )

        await self.do(note)

    async def sign_in(self, *, fixmedins_code: str, terminal_no: str) -> tuple[str, str] | None:
        """The sign_no and the cashier of the sign-in that this journal knows."""
        return await self.do(
            lambda connection: connection.execute(
                "SELECT sign_no, opter FROM sign_ins WHERE fixmedins_code = ? AND terminal_no = ?",
                (fixmedins_code, terminal_no),
            ).fetchone()
        )

    # Inside ----------------------------------------------------------------------------------------------------------

    async def _select(self, condition: str, *values: str, limit: int = -1) -> list[Entry]:
        statement = f"SELECT {_COLUMNS} FROM requests WHERE {condition} ORDER BY written_at, msgid LIMIT ?"  # noqa: S608  Constants.
        return await self.do(
            lambda connection: [_entry(row) for row in connection.execute(statement, (*values, limit))]
        )


def _last_msgid(connection: sqlite3.Connection, fixmedins_code: str, terminal: int, now: datetime) -> str | None:
    """The last that this terminal made; those that a wrong clock made count again when their time has come."""
    end = last_that_counts(fixmedins_code, now=now)
    found: str | None = connection.execute(
        "SELECT max(msgid) FROM (SELECT msgid FROM last_msgid WHERE fixmedins_code = ?1 AND terminal = ?2 "
        "AND msgid <= ?3 UNION ALL SELECT * FROM (SELECT msgid FROM requests WHERE msgid > ?1 AND msgid <= ?3 "
        "AND substr(msgid, 27, 2) = ?4 ORDER BY msgid DESC LIMIT 1))",
        (fixmedins_code, terminal, end, f"{terminal:02d}"),
    ).fetchone()[0]
    return found


def _standing(connection: sqlite3.Connection, plan_id: str) -> Entry | None:
    """The request of a plan that has not come to nothing."""
    columns = ", ".join(f"r.{column.strip()}" for column in _COLUMNS.split(","))
    row = connection.execute(
        f"SELECT {columns} FROM plan_requests p JOIN requests r USING (fixmedins_code, infno, msgid) "  # noqa: S608  Constants.
        "WHERE p.plan_id = ? AND r.state IN ('WRITTEN', 'SETTLED', 'REPLANNED') ORDER BY r.written_at DESC LIMIT 1",
        (plan_id,),
    ).fetchone()
    return None if row is None else _entry(row)


def _entry(row: sqlite3.Row | tuple[str, str, str, str, bytes, int, str, str, str, str, bytes, str]) -> Entry:
    return Entry(row[0], row[1], row[2], EntryState(row[3]), *row[4:])


def _key(entry: Entry) -> tuple[str, str, str]:
    return entry.fixmedins_code, entry.infno, entry.msgid
