"""After a simulated day: what its journals say of it, and how they stand beside the desk's books."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from gongji.settlement.v1 import reconciliation_pb2 as rec
from gongji_terminal.channels import channel_to
from gongji_terminal.failures import TerminalRefusal, Unanswered
from gongji_terminal.journal import EntryState, Journal
from gongji_terminal.msgid import SHANGHAI
from gongji_terminal.reconciling import Reconciler, merged
from gongji_terminal.records import REVERSAL
from gongji_terminal.simulation.town import SimulatedTown, journals_of
from gongji_terminal.voice import plain

Answer = TypeVar("Answer")

ASKED_AGAIN_FOR_S: Final = 60.0
PAUSE_S: Final = 1.0
SHOWN_MAX: Final = 20


@dataclass
class Books:
    """What the journals hold of the day, and the differences that were found."""

    paid: int = 0
    revoked: int = 0
    reversed: int = 0
    """Refunds by 2601."""
    stopped: int = 0
    """Requests that were reversed before anything was paid."""
    paid_fen: int = 0
    from_accounts_fen: int = 0
    returned_fen: int = 0
    unanswered: Counter[str] = field(default_factory=Counter)
    """What became of the requests that got no answer at first, by the state they ended in."""
    left_open: int = 0
    records: int = 0
    unbalanced: int = 0
    """Days of institutions that do not balance."""
    differences: int = 0
    shown: list[dict[str, object]] = field(default_factory=list)
    """The first of them."""


async def compared(town: SimulatedTown, folder: Path, *, since: datetime, until: datetime, resumed: set[str]) -> Books:
    """The day's books of every institution, with 3201 and 3202 of every day that it touched in Asia/Shanghai."""
    books = Books()
    first, last = (time.astimezone(SHANGHAI).date() for time in (since, until))
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    async with channel_to(town.settlement) as channel:
        for institution in town.institutions:
            code = institution.fixmedins_code
            async with AsyncExitStack() as stack:
                journals = [await stack.enter_async_context(Journal(path)) for path in journals_of(folder, code)]
                await _count(books, journals, since=since, resumed=resumed)
                for day in days:
                    await _sum(books, journals, code, day, since=since)
                    await _reconcile(books, Reconciler(channel, journals, code), day)
    return books


async def _count(books: Books, journals: Sequence[Journal], *, since: datetime, resumed: set[str]) -> None:
    for journal in journals:
        books.left_open += len(await journal.unanswered()) + len(await journal.reversals_queued())
        async for page in journal.pages(since=since):
            for entry in page:
                books.stopped += entry.state is EntryState.REVERSED and not entry.refund_setl_id
                if entry.attempts or entry.msgid in resumed:
                    books.unanswered[entry.state.value.lower()] += 1


async def _sum(books: Books, journals: Sequence[Journal], code: str, day: date, *, since: datetime) -> None:
    async for record in merged(journals, fixmedins_code=code, day=day):
        if datetime.fromisoformat(record.setl_time) < since.replace(microsecond=0):
            continue
        books.records += 1
        if not record.original_setl_id:
            books.paid += 1
            books.paid_fen += record.medfee_sumamt
            books.from_accounts_fen += record.acct_pay
            continue
        books.reversed += record.infno == REVERSAL
        books.revoked += record.infno != REVERSAL
        books.returned_fen -= record.medfee_sumamt


async def _reconcile(books: Books, reconciler: Reconciler, day: date) -> None:
    """Totals, and whatever they say the records as well."""
    totals = await reconciler.totals(day)
    whole = await _patiently(lambda: reconciler.compare_totals(day, totals))
    count = sum(total.fixmedins_setl_cnt for total in totals)
    rows = await _patiently(lambda: reconciler.compare_records(day, count=count))
    if whole.stmt_rslt == rows.stmt_rslt == rec.STMT_RSLT_BALANCED:
        return
    books.unbalanced += 1
    found = await _patiently(lambda: _listed(reconciler, day))
    books.differences += len(found)
    books.shown += found[: SHOWN_MAX - len(books.shown)]


async def _listed(reconciler: Reconciler, day: date) -> list[dict[str, object]]:
    return [plain(difference) async for difference in reconciler.differences(day)]


async def _patiently(ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """The desk may be coming back yet; the same question again changes nothing."""
    end = time.monotonic() + ASKED_AGAIN_FOR_S
    while True:
        try:
            return await ask()
        except (TerminalRefusal, Unanswered) as failure:
            if not failure.is_open or time.monotonic() > end:
                raise
        await asyncio.sleep(PAUSE_S)
