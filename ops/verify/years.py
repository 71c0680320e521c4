"""What each patient's year has used against the settlements and claims that used it: YEAR.

One statement, so one snapshot: whatever moves meanwhile moves on both sides at once. What was settled by a release that
counted nothing stands on neither side.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from ops.verify.report import Report

_COUNTED: Final = "SELECT count(*) FROM benefit_years"
_WRONG: Final = """
    WITH uses AS (
        SELECT p.psn_no, p.year, l.insutype, l.pool, l.deductible_fen, l.fund_fen, l.large_fen
          FROM payments p JOIN plans l USING (plan_id)
         WHERE p.kind = 'SETTLE' AND p.state IN ('COMMITTED', 'DONE') AND l.insutype IS NOT NULL
           AND NOT EXISTS (SELECT FROM payments r WHERE r.original_id = p.payment_id)
        UNION ALL
        SELECT c.psn_no, c.use_year, c.use_insutype, c.use_pool, c.use_deductible_fen, c.use_fund_fen, c.use_large_fen
          FROM claims c
         WHERE c.state IN ('APPROVED', 'ORDERED') AND c.use_insutype IS NOT NULL
           AND NOT EXISTS (
               SELECT FROM payments p WHERE p.payment_id = c.payment_id AND p.state IN ('ABORTED', 'CLOSED'))
    ), used AS (
        SELECT psn_no, year, insutype, pool, sum(deductible_fen)::bigint AS deductible_fen,
               sum(fund_fen)::bigint AS fund_fen, sum(large_fen)::bigint AS large_fen
          FROM uses GROUP BY psn_no, year, insutype, pool
    )
    SELECT psn_no, year, insutype, pool,
           ARRAY[coalesce(y.deductible_fen, 0), coalesce(y.fund_fen, 0), coalesce(y.large_fen, 0)] AS kept,
           ARRAY[coalesce(u.deductible_fen, 0), coalesce(u.fund_fen, 0), coalesce(u.large_fen, 0)] AS settled
      FROM used u FULL JOIN benefit_years y USING (psn_no, year, insutype, pool)
     WHERE (coalesce(y.deductible_fen, 0), coalesce(y.fund_fen, 0), coalesce(y.large_fen, 0))
           <> (coalesce(u.deductible_fen, 0), coalesce(u.fund_fen, 0), coalesce(u.large_fen, 0))
"""


async def check_years(coordinator: asyncpg.Connection, report: Report) -> None:
    """Every year of every patient; rounds that are whole alone, since it reads every settlement's plan."""
    report.checked("YEAR", await coordinator.fetchval(_COUNTED))
    for row in await coordinator.fetch(_WRONG):
        pool = f", pool {row['pool']}" if row["pool"] else ""
        report.violated(
            "YEAR",
            f"{row['psn_no']} in {row['year']}, insutype {row['insutype']}{pool}: deductible, fund and large are kept "
            f"as {row['kept']} fen, settlements and claims sum to {row['settled']}",
        )
