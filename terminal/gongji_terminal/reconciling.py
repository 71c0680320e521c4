"""对账 from the journals of an institution's terminals: totals first (3201), then record by record (3202).

However long the day, a page of each journal is in memory at a time. The same rows again change nothing at the desk, so
a reconciliation that got no answer is simply run again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from datetime import date
from typing import Final, TypeVar

import grpc

from gongji.settlement.v1 import reconciliation_pb2 as pb
from gongji.settlement.v1.reconciliation_pb2_grpc import ReconciliationServiceStub
from gongji_terminal.failures import failure_of
from gongji_terminal.journal import Journal
from gongji_terminal.records import REVERSAL, Record

Answer = TypeVar("Answer")

UPLOAD_S: Final = 600.0
"""A day's rows may take so long; totals and differences as well."""
ROWS_PER_PART: Final = 200
ROWS_MAX: Final = 500_000
"""More the desk does not take of one day."""
AMOUNTS: Final = ("medfee_sumamt", "fund_pay_sumamt", "acct_pay", "acct_mulaid_pay", "psn_cash_pay", "wallet_pay")


async def merged(journals: Sequence[Journal], *, fixmedins_code: str, day: date) -> AsyncIterator[Record]:
    """The records of a day of all these journals by setl_id; one that stands in several comes once."""
    pages = [journal.day(fixmedins_code=fixmedins_code, day=day) for journal in journals]
    heads = [deque(await anext(page, [])) for page in pages]
    last = ""
    while any(heads):
        number = min((n for n, head in enumerate(heads) if head), key=lambda n: heads[n][0].setl_id)
        record = heads[number].popleft()
        if not heads[number]:
            heads[number] = deque(await anext(pages[number], []))
        if record.setl_id != last:
            last = record.setl_id
            yield record


class Reconciler:
    """What an institution says of a day, and how the desk judges it."""

    def __init__(self, settlement: grpc.aio.Channel, journals: Sequence[Journal], fixmedins_code: str) -> None:
        self._desk = ReconciliationServiceStub(settlement)
        self._journals = journals
        self._code = fixmedins_code

    async def totals(self, day: date) -> list[pb.StatementTotal]:
        """The day's totals by insutype and clr_type, and nothing is sent."""
        sums: dict[tuple[str, str], pb.StatementTotal] = {}
        async for record in self._records(day):
            group = (record.insutype, record.clr_type)
            total = sums.setdefault(group, pb.StatementTotal(insutype=group[0], clr_type=group[1]))
            total.fixmedins_setl_cnt += 1
            total.refd_setl_cnt += bool(record.original_setl_id)
            for name in AMOUNTS:
                setattr(total.amounts, name, getattr(total.amounts, name) + getattr(record, name))
        return [sums[group] for group in sorted(sums)]

    async def compare_totals(self, day: date, totals: Iterable[pb.StatementTotal]) -> pb.ReconcileTotalResponse:
        """3201: these totals beside the desk's."""
        text = day.isoformat()
        request = pb.ReconcileTotalRequest(
            fixmedins_code=self._code, stmt_begndate=text, stmt_enddate=text, totals=totals
        )
        return await _answered(self._desk.ReconcileTotal(request, timeout=UPLOAD_S))

    async def compare_records(
        self, day: date, *, count: int, sent: Callable[[int], None] = lambda _: None
    ) -> pb.ReconcileDetailResponse:
        """3202: so many records beside the desk's; ``sent`` hears how many have gone."""

        async def parts() -> AsyncIterator[pb.ReconcileDetailRequest]:
            header = pb.ReconcileDetailHeader(fixmedins_code=self._code, stmt_date=day.isoformat(), rows_cnt=count)
            yield pb.ReconcileDetailRequest(header=header)
            rows: list[pb.StatementRow] = []
            gone = 0
            async for record in self._records(day):
                rows.append(row_of(record))
                if len(rows) == ROWS_PER_PART:
                    yield pb.ReconcileDetailRequest(rows=pb.StatementRows(rows=rows))
                    sent(gone := gone + len(rows))
                    rows = []
            if rows:
                yield pb.ReconcileDetailRequest(rows=pb.StatementRows(rows=rows))
                sent(gone + len(rows))

        return await _answered(self._desk.ReconcileDetail(parts(), timeout=UPLOAD_S))

    async def differences(self, day: date) -> AsyncIterator[pb.Difference]:
        """The difference file: what nobody has settled, in the order of records."""
        request = pb.StreamDifferencesRequest(fixmedins_code=self._code, stmt_date=day.isoformat())
        try:
            async for part in self._desk.StreamDifferences(request, timeout=UPLOAD_S):
                for difference in part.differences:
                    yield difference
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None

    def _records(self, day: date) -> AsyncIterator[Record]:
        return merged(self._journals, fixmedins_code=self._code, day=day)


def row_of(record: Record) -> pb.StatementRow:
    """A record as the desk takes it; a refund by 2601 has no request of its own to name."""
    has_request = record.infno != REVERSAL
    return pb.StatementRow(
        setl_id=record.setl_id,
        infno=record.infno if has_request else "",
        msgid=record.msgid if has_request else "",
        refd_setl_flag=bool(record.original_setl_id),
        insutype=record.insutype,
        clr_type=record.clr_type,
        amounts=pb.StatementAmounts(**{name: getattr(record, name) for name in AMOUNTS}),
    )


async def _answered(call: Awaitable[Answer]) -> Answer:
    try:
        return await call
    except grpc.aio.AioRpcError as error:
        raise failure_of(error) from None
