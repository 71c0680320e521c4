"""A day of many records reconciles in one call, in pages: neither side ever holds them all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import UUID

import pytest

from chassis.telemetry import logger
from gongji.settlement.v1 import reconciliation_pb2 as pb
from kernel.clock import business_midnight, parsed_day
from tests.integration.settlement.desk.books import ROWS_MAX, Shop, day_before, row_of
from tests.integration.settlement.desk.test_reconciliation import shop_of
from tests.integration.settlement.desk.town import Town

LACKING: Final = 7
DEARER: Final = 11
GROWTH_MAX_MIB: Final = 64
"""What both ends of the call, which share this process, may come to hold of it; the rows alone are above 50 MiB."""
CALL_MAX_S: Final = 300.0
_PAGE_BYTES: Final = 4096
_log = logger("test")
_SEED: Final = """
WITH plan AS (SELECT l.* FROM plans l JOIN payments p USING (plan_id) WHERE p.payment_id = $1),
made AS (
    INSERT INTO plans (plan_id, digest, psn_no, year, patient_version, fixmedins_code, infno, legs, amount_fen,
                       document, created_at, expires_at)
    SELECT md5('plan' || $2 || n)::uuid, l.digest, l.psn_no, l.year, l.patient_version, l.fixmedins_code, l.infno,
           l.legs, l.amount_fen, l.document, l.created_at, l.expires_at
    FROM plan l, generate_series(1, $3) AS n
)
INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, plan_id, legs,
                      amount_fen, epoch, created_at, deadline_at, decided_at, finished_at)
SELECT md5($2 || n)::uuid, 'SETTLE', 'DONE', p.fixmedins_code, p.infno, p.fixmedins_code || lpad(n::text, 18, '0'),
       p.request_hash, p.psn_no, p.year, md5('plan' || $2 || n)::uuid, p.legs, p.amount_fen, p.epoch, $4::timestamptz,
       $4::timestamptz, $4::timestamptz + n * interval '0.5 s', $4::timestamptz + n * interval '0.5 s'
FROM payments p, generate_series(1, $3) AS n WHERE p.payment_id = $1"""


async def seeded(town: Town, records: int) -> tuple[Shop, str, list[str]]:
    """A hospital whose yesterday has so many settlements, each like a real one; the day, and their ids."""
    shop = await shop_of(town, 1_000)
    day = day_before(shop.day)
    begins = business_midnight(parsed_day(day, field="day"))
    async with town.database.driver_transaction() as connection:
        await connection.execute("SET LOCAL statement_timeout = 0")
        first = UUID(shop.rows[0].setl_id)
        await connection.execute(_SEED, first, shop.code, records, begins + timedelta(seconds=1), timeout=CALL_MAX_S)
        ids = await connection.fetch(
            "SELECT md5($1 || n)::uuid AS id FROM generate_series(1, $2) AS n", shop.code, records
        )
    return shop, day, [str(row["id"]) for row in ids]


async def sent(shop: Shop, day: str, ids: list[str]) -> AsyncIterator[pb.ReconcileDetailRequest]:
    """The books' messages, made one after another: a few records lacking, a few a fen dearer."""
    header = pb.ReconcileDetailHeader(fixmedins_code=shop.code, stmt_date=day, rows_cnt=len(ids) - LACKING)
    yield pb.ReconcileDetailRequest(header=header)
    one = row_of(shop.settlements[0])
    one.infno = one.msgid = ""
    for start in range(LACKING, len(ids), ROWS_MAX):
        rows = []
        for place, setl_id in enumerate(ids[start : start + ROWS_MAX], start=start):
            row = pb.StatementRow.FromString(one.SerializeToString())
            row.setl_id = setl_id
            row.amounts.psn_cash_pay += LACKING <= place < LACKING + DEARER
            rows.append(row)
        yield pb.ReconcileDetailRequest(rows=pb.StatementRows(rows=rows))


def memory_mib() -> float:
    """What this process has in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES / 2**20


async def watched(peak_mib: list[float]) -> None:
    """Notes the greatest memory of this process, until cancelled."""
    with suppress(asyncio.CancelledError):
        while True:
            peak_mib[0] = max(peak_mib[0], memory_mib())
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("records", [2_500, pytest.param(100_000, marks=pytest.mark.long)])
async def test_a_big_day_reconciles_in_one_call_with_bounded_memory(town: Town, records: int) -> None:
    """Seven lacking and eleven a fen dearer are found among them, and the process hardly grows meanwhile."""
    shop, day, ids = await seeded(town, records)
    await shop.totals([], stmt_begndate=day, stmt_enddate=day)
    peak_mib = [memory_mib()]
    watching = asyncio.create_task(watched(peak_mib))
    before_mib, began = peak_mib[0], time.monotonic()
    answer = await shop.reconciliation.ReconcileDetail(sent(shop, day, ids), timeout=CALL_MAX_S)
    details_s, began = time.monotonic() - began, time.monotonic()
    totals = await shop.totals([], stmt_begndate=day, stmt_enddate=day)
    totals_s = time.monotonic() - began
    watching.cancel()
    await watching
    growth_mib = peak_mib[0] - before_mib
    _log.warning(
        "a big day", records=records, details_s=round(details_s, 1), totals_s=round(totals_s, 1), growth_mib=growth_mib
    )
    assert (answer.theirs_cnt, answer.ours_cnt) == (records - LACKING, records)
    assert {(count.kind, count.cnt) for count in answer.differences} == {
        (pb.DIFFERENCE_KIND_ONLY_OURS, LACKING),
        (pb.DIFFERENCE_KIND_AMOUNT, DEARER),
    }
    assert totals.groups[0].ours.fixmedins_setl_cnt == records
    assert growth_mib < GROWTH_MAX_MIB
