"""The journal: what was written is there after a crash, and nothing else is."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from gongji_terminal.journal import Entry, EntryState, Journal, Told
from gongji_terminal.msgid import next_msgid

HOSPITAL: Final = "H65010000001"
NOW: Final = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal in a file of its own."""
    async with Journal(tmp_path / "journal.db") as opened:
        yield opened


async def write(journal: Journal, *, infno: str = "2207", original: str = "") -> Entry:
    """One more request; its msgid counts up from 0."""
    return await journal.write(
        fixmedins_code=HOSPITAL,
        terminal=1,
        infno=infno,
        now=NOW,
        make_msgid=lambda last: f"{0 if last is None else int(last) + 1:04d}",
        make_request=lambda msgid: b"request " + msgid.encode(),
        original_setl_id=original,
    )


async def test_a_written_request_is_in_the_file_before_it_is_sent(journal: Journal, tmp_path: Path) -> None:
    """When write returns, another connection sees the request: a crash from now on cannot lose it."""
    entry = await write(journal)
    with sqlite3.connect(tmp_path / "journal.db") as other:
        rows = other.execute("SELECT infno, msgid, state, request FROM requests").fetchall()
    other.close()
    assert rows == [("2207", entry.msgid, "WRITTEN", b"request 0000")]


async def test_requests_written_at_once_have_msgids_of_their_own(journal: Journal) -> None:
    """However many are written side by side, no msgid is made twice."""
    entries = await asyncio.gather(*(write(journal) for _ in range(50)))
    assert sorted(entry.msgid for entry in entries) == [f"{n:04d}" for n in range(50)]


async def test_the_last_msgid_outlives_the_process(tmp_path: Path) -> None:
    """A journal opened again goes on counting where it stopped."""
    async with Journal(tmp_path / "j.db") as journal:
        await write(journal)
    async with Journal(tmp_path / "j.db") as journal:
        assert (await write(journal)).msgid == "0001"
        assert [entry.msgid for entry in await journal.unanswered()] == ["0000", "0001"]


async def test_a_clock_that_was_far_ahead_does_not_stop_a_terminal(journal: Journal) -> None:
    """Set right, it makes msgids of now again; when the wrong time has come, none that was made then is made twice."""
    made = []
    for days in (0, 365, 0, 0, 365):
        now = NOW + timedelta(days=days)
        entry = await journal.write(
            fixmedins_code=HOSPITAL,
            terminal=1,
            infno="2207",
            now=now,
            make_msgid=lambda last, now=now: next_msgid(HOSPITAL, 1, now=now, last=last),  # type: ignore[misc]  # As below.
            make_request=lambda _: b"request",
        )
        made.append(entry.msgid)
    this_year, next_year = (next_msgid(HOSPITAL, 1, now=NOW + timedelta(days=days))[:-2] for days in (0, 365))
    assert made == [this_year + "00", next_year + "00", this_year + "01", this_year + "02", next_year + "01"]


async def test_a_full_disk_is_named_and_nothing_of_the_job_stays(journal: Journal) -> None:
    """SQLite undoes the whole transaction by itself then; the journal goes on once there is room."""
    await write(journal)
    await journal.do(lambda connection: connection.execute("PRAGMA max_page_count = 1"))
    with pytest.raises(sqlite3.OperationalError, match="full"):
        await journal.write(
            fixmedins_code=HOSPITAL,
            terminal=1,
            infno="2207",
            now=NOW,
            make_msgid=lambda _: "0009",
            make_request=lambda _: b"x" * 1_000_000,
        )
    await journal.do(lambda connection: connection.execute("PRAGMA max_page_count = 1000000"))
    assert (await write(journal)).msgid == "0001"


async def test_what_was_told_is_kept_and_no_longer_unanswered(journal: Journal) -> None:
    """After the answer the entry has the state that was told and waits for nothing."""
    entry = await write(journal)
    await journal.note_attempt(entry)
    await journal.note_told(entry, Told(EntryState.SETTLED, setl_id="s1", answer=b"a"), now=NOW)
    found = await journal.find(fixmedins_code=HOSPITAL, infno="2207", msgid=entry.msgid)
    assert found is not None
    assert (found.state, found.setl_id, found.answer, found.attempts) == (EntryState.SETTLED, "s1", b"a", 1)
    assert await journal.unanswered() == []


async def test_an_answer_that_a_reversal_has_overtaken_changes_nothing(journal: Journal) -> None:
    """The payment was made, taken back by a reversal, and only then did the first answer arrive."""
    entry = await write(journal)
    await journal.note_told(entry, Told(EntryState.REVERSED, setl_id="S1", refund_setl_id="R1"), now=NOW)
    await journal.note_told(entry, Told(EntryState.SETTLED, setl_id="S1"), now=NOW)
    (found,) = await journal.entries()
    assert (found.state, found.setl_id, found.refund_setl_id) == (EntryState.REVERSED, "S1", "R1")


async def test_a_revocation_is_noted_at_the_settlement_it_took_back(journal: Journal) -> None:
    """The settlement's entry then names what gave its money back."""
    settled = await write(journal)
    await journal.note_told(settled, Told(EntryState.SETTLED, setl_id="s1"), now=NOW)
    revocation = await write(journal, infno="2208", original="s1")
    await journal.note_told(revocation, Told(EntryState.SETTLED, setl_id="r1"), now=NOW)
    assert [entry.refund_setl_id for entry in await journal.entries()] == ["r1", ""]


async def test_one_bad_job_harms_no_other_in_its_commit(journal: Journal) -> None:
    """A request whose making fails is refused alone; those beside it are written."""

    def broken(_: str) -> bytes:
        raise RuntimeError("no request")

    bad = journal.write(
        fixmedins_code=HOSPITAL,
        terminal=1,
        infno="2207",
        now=NOW,
        make_msgid=lambda _: "9999",
        make_request=broken,
    )
    results = await asyncio.gather(write(journal), bad, write(journal), return_exceptions=True)
    assert isinstance(results[1], RuntimeError)
    assert [entry.msgid for entry in await journal.entries()] == ["0000", "0001"]


async def test_a_journal_that_cannot_be_opened_says_so(tmp_path: Path) -> None:
    """A file that is no database is an error for whoever writes, not a silent loss."""
    (tmp_path / "j.db").write_bytes(b"no database" * 100)
    journal = Journal(tmp_path / "j.db")
    with pytest.raises(sqlite3.DatabaseError):
        await write(journal)
    await journal.close()
