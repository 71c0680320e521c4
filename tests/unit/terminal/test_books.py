"""The terminal's books: plans asked for once, reversals that wait, days that are as long as they are."""

from __future__ import annotations

import asyncio
import sqlite3
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import records
from gongji_terminal.alone import Busy, alone_with
from gongji_terminal.journal import PAGE_ROWS, Entry, EntryState, Journal, PlanAsked, ShownPlan, Told
from gongji_terminal.reconciling import merged, row_of
from gongji_terminal.records import Record, record_of
from gongji_terminal.visits import OpenVisits, Visit

HOSPITAL: Final = "H65010000001"
NOW: Final = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
DAY: Final = date(2026, 11, 21)
MANY: Final = 5_000
MEMORY_BYTES: Final = 2 << 20
"""Far less than MANY records take."""


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """A journal in a file of its own."""
    async with Journal(tmp_path / "journal.db") as opened:
        yield opened


async def asked(journal: Journal, plan_id: str) -> Entry:
    """A request of the plan, if there may be one."""
    return await journal.write(
        fixmedins_code=HOSPITAL,
        terminal=1,
        infno="2207",
        now=NOW,
        make_msgid=lambda last: f"{0 if last is None else int(last) + 1:04d}",
        make_request=lambda _: b"request",
        plan_id=plan_id,
        once=True,
    )


def record(number: int, **changes: Any) -> Record:  # noqa: ANN401  Any field.
    """One settlement of the day."""
    made = pb.Settlement(setl_id=f"{number:06d}", fixmedins_code=HOSPITAL, insutype="310", clr_type="11")
    made.setl_time.FromDatetime(NOW)
    made.amounts.medfee_sumamt = 100
    return replace(record_of(made), **changes)


def filled(file: Path, made: list[Record]) -> None:
    """Puts records into a journal's file at once."""
    with closing(sqlite3.connect(file)) as connection:
        for one in made:
            records.keep(connection, one)
        connection.commit()


@pytest.mark.parametrize("state", [EntryState.WRITTEN, EntryState.SETTLED, EntryState.REPLANNED])
async def test_a_plan_is_asked_for_once(journal: Journal, state: EntryState) -> None:
    """While its request is open, paid or answered by a new plan, no second one is written."""
    first = await asked(journal, "p1")
    await journal.note_told(first, Told(state), now=NOW)
    with pytest.raises(PlanAsked) as standing:
        await asked(journal, "p1")
    assert standing.value.entry.msgid == first.msgid
    assert len(await journal.entries()) == 1
    assert (await asked(journal, "p2")).msgid == "0001"


@pytest.mark.parametrize("state", [EntryState.REFUSED, EntryState.REVERSED])
async def test_a_plan_whose_request_came_to_nothing_may_be_asked_for_again(journal: Journal, state: EntryState) -> None:
    """Nothing was taken by the first."""
    await journal.note_told(await asked(journal, "p1"), Told(state), now=NOW)
    assert (await asked(journal, "p1")).msgid == "0001"


async def test_two_who_ask_for_one_plan_at_once_make_one_request(journal: Journal) -> None:
    """The journal decides in the transaction that writes."""
    told = await asyncio.gather(*(asked(journal, "p1") for _ in range(8)), return_exceptions=True)
    assert sorted(type(one).__name__ for one in told) == ["Entry", *["PlanAsked"] * 7]


async def test_a_plan_is_found_by_its_end_and_forgotten_after_days(journal: Journal) -> None:
    """A name that fits two is none."""
    for number in (1, 2):
        await journal.keep_plan(ShownPlan(f"plan-{number}-end", HOSPITAL, "OUTPATIENT", "m", b"", "plan-0"), now=NOW)
    assert [plan.plan_id for plan in await journal.plans_like("1-end")] == ["plan-1-end"]
    assert len(await journal.plans_like("-end")) == 2
    await journal.keep_plan(ShownPlan("new", HOSPITAL, "OUTPATIENT", "m", b""), now=NOW + timedelta(days=3))
    assert await journal.plans_like("1-end") == []


async def test_a_reversal_waits_until_it_is_answered(tmp_path: Path) -> None:
    """Asked for twice it waits once; it outlives the process; an answer takes it out."""
    for _ in range(2):
        async with Journal(tmp_path / "j.db") as journal:
            await journal.queue_reversal(fixmedins_code=HOSPITAL, infno="2207", msgid="m1", now=NOW)
    async with Journal(tmp_path / "j.db") as journal:
        (waiting,) = await journal.reversals_queued()
        await journal.note_reversal(waiting, now=NOW, reason="REVOKE_WINDOW_CLOSED")
        assert await journal.reversals_queued() == []
        await journal.queue_reversal(fixmedins_code=HOSPITAL, infno="2207", msgid="m1", now=NOW)
        assert len(await journal.reversals_queued()) == 1
        await journal.note_reversal(waiting, now=NOW)
        await journal.queue_reversal(fixmedins_code=HOSPITAL, infno="2207", msgid="m1", now=NOW)
        assert await journal.reversals_queued() == []


async def test_a_listing_has_every_request_once_in_order(journal: Journal) -> None:
    """Pages end where the next begin, also within one instant."""
    count = 2 * PAGE_ROWS + 1
    await asyncio.gather(*(asked(journal, f"p{number}") for number in range(count)))
    listed = [entry.msgid async for page in journal.pages() for entry in page]
    assert listed == [f"{number:04d}" for number in range(count)]
    day = NOW + timedelta(days=1)
    assert [page async for page in journal.pages(since=day)] == [page async for page in journal.pages(until=NOW)] == []


async def test_a_long_day_takes_no_more_memory_than_a_page(tmp_path: Path) -> None:
    """Statement and reconciliation read 5,000 records of each of two journals within two megabytes."""
    files = [tmp_path / name for name in ("a.db", "b.db")]
    for file in files:
        async with Journal(file):
            pass
        filled(file, [record(number) for number in range(MANY)])
    async with Journal(files[0]) as first, Journal(files[1]) as second:
        tracemalloc.start()
        try:
            count = 0
            async for one in merged([first, second], fixmedins_code=HOSPITAL, day=DAY):
                count += row_of(one).amounts.medfee_sumamt // 100
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert count == MANY
    assert peak < MEMORY_BYTES


async def test_books_of_several_terminals_are_one(tmp_path: Path) -> None:
    """Every record once, in order, whichever journals it stands in; other days and institutions stay out."""
    halves = [range(0, 3 * PAGE_ROWS, 2), range(0, 3 * PAGE_ROWS, 3)]
    for name, numbers in zip(("a.db", "b.db"), halves, strict=True):
        async with Journal(tmp_path / name):
            pass
        filled(tmp_path / name, [record(number) for number in numbers])
    filled(tmp_path / "a.db", [record(990_000, setl_day="2026-11-20"), record(990_001, fixmedins_code="P65010000001")])
    async with Journal(tmp_path / "a.db") as first, Journal(tmp_path / "b.db") as second:
        found = [one.setl_id async for one in merged([first, second], fixmedins_code=HOSPITAL, day=DAY)]
    assert found == [f"{number:06d}" for number in sorted({*halves[0], *halves[1]})]


def test_a_record_belongs_to_the_day_in_shanghai() -> None:
    """17:00 UTC is the next day there."""
    made = pb.Settlement(setl_id="1", fixmedins_code=HOSPITAL)
    made.setl_time.FromDatetime(datetime(2026, 12, 31, 17, 0, tzinfo=UTC))
    assert record_of(made).setl_day == "2027-01-01"


def test_a_reversals_refund_names_no_request_of_its_own() -> None:
    """The desk knows it by its setl_id alone."""
    made = pb.Settlement(setl_id="1", fixmedins_code=HOSPITAL, original_setl_id="0")
    row = row_of(record_of(made, reversed_infno="2207", reversed_msgid="m1"))
    assert (row.infno, row.msgid, row.clr_type, row.refd_setl_flag) == ("", "", "11", True)


def test_only_one_command_moves_money_at_a_time(tmp_path: Path) -> None:
    """Another one is told that it has to wait, and may when the first is through."""
    file = tmp_path / "j.db"
    with alone_with(file), pytest.raises(Busy), alone_with(file, wait_s=0):
        pass
    with alone_with(file, wait_s=0):
        pass


def test_a_visits_token_is_its_owners_alone_and_ends_with_its_time(tmp_path: Path) -> None:
    """Mode 0600 in a folder of mode 0700; nothing of it is left when the last visit ends."""
    visits = OpenVisits(tmp_path / "j.db")
    visits.keep(Visit("m1", "p", "secret", (NOW + timedelta(hours=1)).isoformat()))
    visits.keep(Visit("m2", "p", "secret", (NOW + timedelta(hours=3)).isoformat()))
    folder = tmp_path / "j.db.visits"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    later = NOW + timedelta(hours=2)
    assert (visits.find("m1", now=later), visits.find("m3", now=NOW)) == (None, None)
    visits.end_all(expired_at=later)
    assert [file.name for file in folder.iterdir()] == ["m2.json"]
    assert "secret" not in repr(visits.find("m2", now=later))
    visits.end_all()
    assert not folder.exists()
