"""A province's month: three million settlements, cleared in one run that costs the process no memory."""

from __future__ import annotations

import resource
import time
from typing import Final

import asyncpg
import pytest

from ops.verify.clearing import NAME
from services.settlement.domain.clearing import Period
from services.settlement.operations import clearing
from tests.integration.settlement.clearing.book import Book
from tests.integration.settlement.clearing.test_verified import checked

COUNT: Final = 3_000_000
AT_ONCE: Final = 100_000
GROWTH_MAX_MIB: Final = 64
MARCH: Final = Period(2025, 3)
_NEW: Final = """
    FROM (SELECT n, ('01950000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid AS id,
                 '2025-03-01 00:00+08'::timestamptz + n * (interval '2678000 s' / $1) AS at
            FROM generate_series($2::bigint, $3::bigint) AS n) AS q"""
_INSURED: Final = "(650100 + (n + (n % 10 = 0)::int) % 12 * 100)::text"
"""Each tenth patient is treated in another area than his own,"""
_FUNDER: Final = "(650100 + (n + (n % 5 = 0)::int * 2) % 12 * 100)::text"
"""and each fifth has a funder from a third one."""
_PLANS: Final = f"""
INSERT INTO plans (plan_id, digest, psn_no, year, patient_version, fixmedins_code, infno, legs, amount_fen, document,
                   created_at, expires_at)
SELECT id, sha256('x'), '650100000000001', 2025, 0, 'H65010000001', '2206', '[]', 0,
       jsonb_build_object(
           'visit', jsonb_build_object('insuplc_admdvs', {_INSURED}, 'padding', repeat('01234', 120)),
           'amounts', jsonb_build_object('fund_pay_sumamt', 600, 'padding', repeat('98765', 100))),
       at, at + interval '10 minutes' {_NEW}"""
_PAYMENTS: Final = f"""
INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, plan_id, legs,
                      amount_fen, epoch, created_at, deadline_at, decided_at, finished_at)
SELECT id, 'SETTLE', 'DONE', 'H' || (650100 + n % 12 * 100) || '00001', '2207', 'm' || n, sha256('x'),
       '650100000000001', 2025, id,
       jsonb_build_array(
           jsonb_build_object('leg_no', 1, 'role', 'OWN', 'psn_no', '650100000000001',
                              'area', {_INSURED}, 'past_fen', 100, 'current_fen', 50,
                              'authorisation_id', NULL, 'floor_fen', 0, 'floor_parts', '[]'::jsonb),
           jsonb_build_object('leg_no', 2, 'role', 'FUNDER', 'psn_no', '650100000000002',
                              'area', {_FUNDER}, 'past_fen', 200, 'current_fen', 0,
                              'authorisation_id', gen_random_uuid(), 'floor_fen', 0, 'floor_parts', '["past"]'::jsonb)),
       350, 1, at, at + interval '8 seconds', at, at + interval '1 second' {_NEW}"""


@pytest.mark.long
async def test_three_million_settlements_are_cleared_in_bounded_memory(
    book: Book, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process grows by less than 64 MiB, however many lines there are, and verify finds nothing wrong."""
    async with book.database.driver_connection() as connection:
        await connection.execute("SET statement_timeout = 0; SET synchronous_commit = off")
        for first in range(1, COUNT + 1, AT_ONCE):
            for statement in (_PLANS, _PAYMENTS):
                await connection.execute(statement, float(COUNT), first, first + AT_ONCE - 1, timeout=600)
        await connection.execute("VACUUM ANALYZE payments", timeout=600)
        await connection.execute("VACUUM ANALYZE plans", timeout=600)
        await connection.execute("RESET ALL")
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began, cpu = time.monotonic(), time.process_time()
    ran = (await clearing.run(book.database, period=MARCH, carry_reason="", run_by="operator:test")).run
    took_s, cpu_s = time.monotonic() - began, time.process_time() - cpu
    grown_mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib) / 1024
    with capsys.disabled():
        print(  # noqa: T201  The figures are asked for.
            f"\n  {COUNT:,} settlements, {ran.lines_count:,} lines: run in {took_s:.0f} s, of them {cpu_s:.0f} s of the"
            f" process, which grew by {grown_mib:.0f} MiB"
        )
    assert ran.payments_count == COUNT
    assert grown_mib < GROWTH_MAX_MIB
    began = time.monotonic()
    verifying = await asyncpg.connect(database)
    report = await checked(verifying)
    await verifying.close()
    assert (report.findings, report.checks[NAME].checked) == ([], COUNT + ran.lines_count + 1)
    with capsys.disabled():
        print(f"  verified in {time.monotonic() - began:.0f} s")  # noqa: T201  As above.
