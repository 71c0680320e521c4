"""3201 and 3202: totals beside totals, records beside records, and what officers decide of the differences.

Nothing here moves money or changes a record. An upload is received and compared page by page, each in a transaction of
its own; whoever dies on the way has lost nothing but the time, for the same rows sent again do the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

from chassis import telemetry
from chassis.db import Database
from chassis.faults import fault_point
from kernel.failures import Failure, Kind
from kernel.ids import FixmedinsCode
from kernel.values import value
from services.settlement.domain.payment import area_of
from services.settlement.domain.reconciliation import (
    Decision,
    DifferenceState,
    Found,
    Group,
    GroupCompared,
    Period,
    Record,
    Total,
    check_decision,
    checked_row,
    compared,
    difference_of,
    digest_part,
    missing,
    standing_decision,
)
from services.settlement.store import differences as kept
from services.settlement.store import projections as projected
from services.settlement.store import reconciliation as store
from services.settlement.store.differences import Count, Difference, ToPut
from services.settlement.store.reconciliation import Connection, Latest, Upload

_log = telemetry.logger("reconciliation")

UNFINISHED_KEPT: Final = timedelta(days=1)
"""After this the rows of an upload that broke off are deleted; no call lasts as long."""
STREAM_PAGE: Final = 200
_FIRST: Final = UUID(int=0)


@dataclass(frozen=True, slots=True)
class Books:
    """What reconciliation works with; ``kept`` is how long an institution's rows are."""

    database: Database
    new_id: Callable[[], UUID]
    kept: timedelta


@value
class Announced:
    """An upload's header: whose books, of which day, and how many rows follow it."""

    fixmedins_code: FixmedinsCode
    period: Period
    rows_cnt: int


@value
class Compared:
    """A day with the institution's rows beside ours, as it stands now."""

    upload_id: UUID
    theirs_cnt: int
    ours_cnt: int
    counts: list[Count]
    existed: bool
    compared_at: datetime


@value
class DayView:
    """A day as it stands: our totals by group, and the upload that counts (None: none) with its differences counted."""

    ours: dict[Group, Total]
    latest: Latest | None
    counts: list[Count]


async def reconcile_totals(
    books: Books,
    *,
    fixmedins_code: FixmedinsCode,
    period: Period,
    theirs: Iterable[tuple[Group, Total]],
    stated_only: bool,
    now: datetime,
) -> list[GroupCompared]:
    """3201: the institution's totals beside ours, group by group. Failures: INSTITUTION_UNKNOWN, GROUP_STATED_TWICE."""
    stated = list(theirs)
    compared({}, stated, stated_only=stated_only)  # Before anything is counted.
    await _check_institution(books, fixmedins_code, now)
    ours = await _our_totals(books, fixmedins_code, period)
    return compared(ours, stated, stated_only=stated_only)


async def reconcile_rows(
    books: Books, *, announced: Announced, parts: AsyncIterator[Sequence[Record]], now: datetime
) -> Compared:
    """3202: takes an institution's records of a day and compares them with ours.

    Failures: INSTITUTION_UNKNOWN; ROW_UNNAMED, ROW_STATED_TWICE, ROWS_CNT_DIFFERS (nothing was compared);
    RECONCILIATION_SUPERSEDED (other rows of the same day were begun to be compared later: those count).
    """
    await _check_institution(books, announced.fixmedins_code, now)
    upload = Upload(books.new_id(), announced.fixmedins_code, announced.period.first)
    digest = await _receive(books, upload, announced.rows_cnt, parts)
    async with books.database.driver_connection() as connection:
        await store.begin_comparing(connection, upload)
    await _compare_theirs(books, upload, now)
    ours_cnt = await _look_for_missing(books, upload, announced.period, now)
    return await _finish(books, upload, announced.rows_cnt, ours_cnt, digest, now)


async def view_day(books: Books, *, fixmedins_code: FixmedinsCode, period: Period, now: datetime) -> DayView:
    """How a day stands; INSTITUTION_UNKNOWN."""
    await _check_institution(books, fixmedins_code, now)
    ours = await _our_totals(books, fixmedins_code, period)
    async with books.database.driver_connection() as connection:
        latest = await store.latest(connection, fixmedins_code, period.first)
        counts = await kept.counts(connection, fixmedins_code, period.first)
    return DayView(ours, latest, counts)


async def differences_of_day(
    books: Books, *, fixmedins_code: FixmedinsCode, day: date, states: Sequence[DifferenceState]
) -> AsyncIterator[list[Difference]]:
    """A day's differences in the order of records, a page at a time; no connection is kept between pages."""
    after = _FIRST
    while True:
        async with books.database.driver_connection() as connection:
            page = await kept.of_day(connection, fixmedins_code, day, states=states, after=after, limit=STREAM_PAGE)
        if page:
            yield page
            after = page[-1].found.record_id
        if len(page) < STREAM_PAGE:
            return


async def list_differences(
    books: Books, *, area: str, fixmedins_code: str, state: DifferenceState, after: tuple[date, UUID], size: int
) -> tuple[list[Difference], bool]:
    """So many differences, the oldest day first, and whether there are more; an empty area or institution means any.

    INSTITUTION_NEEDED (INVALID): what is not open is looked up by its institution alone.
    """
    if not fixmedins_code and state is not DifferenceState.OPEN:
        raise Failure(Kind.INVALID, "INSTITUTION_NEEDED", field="fixmedins_code")
    async with books.database.driver_connection() as connection:
        if not fixmedins_code:
            found = await kept.open_page(connection, area=area, after=after, limit=size + 1)
        elif area in {"", area_of(fixmedins_code)}:
            found = await kept.page_of_institution(
                connection, fixmedins_code=fixmedins_code, state=state, after=after, limit=size + 1
            )
        else:
            found = []
    return found[:size], len(found) > size


async def resolve_difference(books: Books, *, difference_id: UUID, decision: Decision, now: datetime) -> Difference:
    """The difference as an officer settled it; the same decision again changes nothing.

    Failures: DIFFERENCE_UNKNOWN, DIFFERENCE_CLEARED, DIFFERENCE_DECIDED.
    """
    async with books.database.driver_transaction() as connection:
        found = await _locked(connection, difference_id)
        if not check_decision(found.state, found.decision, decision):
            return found
        await kept.decide(connection, difference_id, decision, now=now)
        decided = await _locked(connection, difference_id)
        fault_point("settlement.difference.before_commit")
    fault_point("settlement.difference.after_commit")
    return decided


async def forget(books: Books) -> int:
    """Deletes a page of rows that are kept no longer; how many pages, 0 when nothing is left to do."""
    async with books.database.driver_connection() as connection:
        upload_id = await store.unkept_upload(connection)
        if upload_id is not None:
            await store.forget_rows(connection, upload_id)
            return 1
        return 0 if await kept.forget_cleared(connection, kept=books.kept, limit=store.PAGE_MAX) else 1


async def _locked(connection: Connection, difference_id: UUID) -> Difference:
    found = await kept.locked(connection, difference_id)
    if found is None:
        raise Failure(Kind.NOT_FOUND, "DIFFERENCE_UNKNOWN")
    return found


async def _check_institution(books: Books, fixmedins_code: FixmedinsCode, now: datetime) -> None:
    """One that is suspended or has ended still closes its books."""
    async with books.database.driver_connection() as connection:
        institution, _ = await projected.find_institution(connection, fixmedins_code, now=now)
    if institution is None:
        raise Failure(Kind.NOT_FOUND, "INSTITUTION_UNKNOWN", field="fixmedins_code", fixmedins_code=fixmedins_code)


async def _our_totals(books: Books, fixmedins_code: FixmedinsCode, period: Period) -> dict[Group, Total]:
    totals: dict[Group, Total] = {}
    after: store.Cursor | None = store.beginning_of(period)
    while after is not None:
        async with books.database.driver_connection() as connection:
            page = await store.page_of_books(connection, fixmedins_code, after=after, until=period.ends)
            for group, total in await store.totals_of(connection, page.payment_ids):
                totals[group] = totals[group].plus(total) if group in totals else total
        after = page.after
    return totals


async def _receive(books: Books, upload: Upload, rows_cnt: int, parts: AsyncIterator[Sequence[Record]]) -> bytes:
    """Keeps every row as it comes; their digest. ROWS_CNT_DIFFERS unless as many came as were announced."""
    async with books.database.driver_connection() as connection:
        await store.begin_upload(connection, upload, rows_cnt=rows_cnt, unfinished=UNFINISHED_KEPT)
    digest, count = hashlib.sha256(), 0
    async for rows in parts:
        numbered = [(row_no, checked_row(row, row_no)) for row_no, row in enumerate(rows, start=count + 1)]
        count += len(numbered)
        if count > rows_cnt:
            raise _count_differs(rows_cnt, count)
        for row in rows:
            digest.update(digest_part(row))
        fault_point("settlement.reconcile_rows.before_commit")
        async with books.database.driver_connection() as connection:
            await store.put_rows(connection, upload, numbered)
        fault_point("settlement.reconcile_rows.after_commit")
    if count < rows_cnt:
        raise _count_differs(rows_cnt, count)
    return digest.digest()


def _count_differs(rows_cnt: int, received: int) -> Failure:
    return Failure(Kind.INVALID, "ROWS_CNT_DIFFERS", field="rows_cnt", announced=rows_cnt, received=received)


async def _compare_theirs(books: Books, upload: Upload, now: datetime) -> None:
    """Every stated record beside ours."""
    after = 0
    while True:
        async with books.database.driver_transaction() as connection:
            await store.hold_day(connection, upload)
            page = await store.rows_beside_ours(connection, upload, after=after)
            found = [difference_of(row.record_id, row.theirs, row.ours, day=upload.day) for row in page]
            await _keep(books, connection, upload, [each for each in found if each is not None], now)
            fault_point("settlement.reconcile_theirs.before_commit")
        fault_point("settlement.reconcile_theirs.after_commit")
        if len(page) < store.PAGE_MAX:
            return
        after = page[-1].row_no


async def _look_for_missing(books: Books, upload: Upload, period: Period, now: datetime) -> int:
    """Every record of ours that was not stated; how many records we have. Later ones than ``now`` are left to later."""
    count, until = 0, min(period.ends, now)
    after: store.Cursor | None = store.beginning_of(period)
    while after is not None:
        async with books.database.driver_transaction() as connection:
            await store.hold_day(connection, upload)
            page = await store.page_of_books(connection, upload.fixmedins_code, after=after, until=until)
            lacking = await store.missing_of(connection, page.payment_ids, upload_id=upload.upload_id)
            await _keep(books, connection, upload, [missing(record_id, ours) for record_id, ours in lacking], now)
            fault_point("settlement.reconcile_ours.before_commit")
        fault_point("settlement.reconcile_ours.after_commit")
        count += len(page.payment_ids)
        after = page.after
    return count


async def _keep(books: Books, connection: Connection, upload: Upload, found: Sequence[Found], now: datetime) -> None:
    if not found:
        return
    known = await kept.known(connection, upload.fixmedins_code, upload.day, [each.record_id for each in found])
    put = []
    for each in found:
        before = known.get(each.record_id)
        same = before is not None and before.fingerprint == each.fingerprint
        decision = standing_decision(None if before is None else before.decision, same=same)
        state = DifferenceState.OPEN if decision is None else decision.state
        put.append(ToPut(books.new_id(), each, state, decision))
    await kept.put(connection, upload.fixmedins_code, upload.day, put, upload_id=upload.upload_id, now=now)


async def _finish(
    books: Books, upload: Upload, theirs_cnt: int, ours_cnt: int, digest: bytes, now: datetime
) -> Compared:
    """What differs no more is cleared, and the day is compared."""
    all_cleared = False
    while not all_cleared:
        async with books.database.driver_transaction() as connection:
            await store.hold_day(connection, upload)
            all_cleared = await kept.clear(
                connection, upload.fixmedins_code, upload.day, upload_id=upload.upload_id, now=now
            )
    async with books.database.driver_transaction() as connection:
        await store.hold_day(connection, upload)
        existed = await store.finish(
            connection, upload, digest=digest, ours_cnt=ours_cnt, compared_at=now, kept=books.kept
        )
        counts = await kept.counts(connection, upload.fixmedins_code, upload.day)
        fault_point("settlement.reconcile_finish.before_commit")
    fault_point("settlement.reconcile_finish.after_commit")
    _log.info("a day is compared", upload_id=str(upload.upload_id), theirs=theirs_cnt, ours=ours_cnt)
    return Compared(upload.upload_id, theirs_cnt, ours_cnt, counts, existed, now)
