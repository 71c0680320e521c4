"""I11: a day on which nothing differs has the same sums in the institution's books and in ours.

The comparison goes record by record; this adds both sides up by other statements. Only days that were over when they
were compared are judged: nothing comes to belong to them any more. One whose rows are being compared anew, or purged,
is left to another round.
"""

from __future__ import annotations

from datetime import date
from typing import Any, Final

import asyncpg

from ops.verify.report import Report

PAGE_DAYS: Final = 100
_AMOUNTS: Final = ("medfee_sumamt", "fund_pay_sumamt", "acct_pay", "acct_mulaid_pay", "psn_cash_pay", "wallet_pay")
_DAYS: Final = """
    SELECT d.fixmedins_code, d.stmt_date, u.upload_id
      FROM reconciliation_days d JOIN reconciliation_uploads u ON u.upload_id = d.compared_id
     WHERE (d.fixmedins_code, d.stmt_date) > ($1, $2) AND d.comparing_id = d.compared_id AND u.rows_kept = 'WHOLE'
           AND u.compared_at > ((d.stmt_date + 1)::timestamp AT TIME ZONE 'Asia/Shanghai') + interval '1 minute'
           AND NOT EXISTS (SELECT FROM reconciliation_differences x
                            WHERE (x.fixmedins_code, x.stmt_date) = (d.fixmedins_code, d.stmt_date)
                                  AND x.state <> 'CLEARED')
     ORDER BY 1, 2 LIMIT $3
"""
_THEIRS: Final = ", ".join(f"coalesce(sum(r.{name}), 0)" for name in _AMOUNTS)
_OURS: Final = ", ".join(
    f"sum((l.document #>> '{{amounts,{name}}}')::bigint * CASE p.kind WHEN 'REFUND' THEN -1 ELSE 1 END)"
    for name in _AMOUNTS
)
_SUMS: Final = f"""
    WITH days AS (
        SELECT d.fixmedins_code, d.stmt_date, d.compared_id
          FROM reconciliation_days d JOIN reconciliation_uploads u ON u.upload_id = d.compared_id
         WHERE d.compared_id = ANY ($1) AND d.comparing_id = d.compared_id AND u.rows_kept = 'WHOLE'
               AND NOT EXISTS (SELECT FROM reconciliation_differences x
                                WHERE (x.fixmedins_code, x.stmt_date) = (d.fixmedins_code, d.stmt_date)
                                      AND x.state <> 'CLEARED')
    ), theirs AS (
        SELECT r.upload_id, r.insutype, r.clr_type, r.is_refund, count(*) AS count, ARRAY[{_THEIRS}] AS sums
          FROM days d JOIN reconciliation_rows r ON r.upload_id = d.compared_id GROUP BY 1, 2, 3, 4
    ), ours AS (
        SELECT d.compared_id AS upload_id, l.document #>> '{{visit,insutype}}' AS insutype, p.clr_type,
               p.kind = 'REFUND' AS is_refund, count(*) AS count, ARRAY[{_OURS}] AS sums
          FROM days d
          JOIN payments p ON p.fixmedins_code = d.fixmedins_code
               AND p.decided_at >= d.stmt_date::timestamp AT TIME ZONE 'Asia/Shanghai'
               AND p.decided_at < (d.stmt_date + 1)::timestamp AT TIME ZONE 'Asia/Shanghai'
               AND p.kind IN ('SETTLE', 'REFUND') AND p.state IN ('COMMITTED', 'DONE') AND p.clr_type IS NOT NULL
          LEFT JOIN payments o ON o.payment_id = p.original_id
          JOIN plans l ON l.plan_id = coalesce(p.plan_id, o.plan_id)
         GROUP BY 1, 2, 3, 4
    )
    SELECT d.fixmedins_code, d.stmt_date, insutype, clr_type, is_refund, t.count AS theirs_cnt, o.count AS ours_cnt
      FROM theirs t FULL JOIN ours o USING (upload_id, insutype, clr_type, is_refund)
      JOIN days d ON d.compared_id = upload_id
     WHERE t.count IS DISTINCT FROM o.count OR t.sums IS DISTINCT FROM o.sums
"""  # noqa: S608  Constants.


async def check_days(coordinator: asyncpg.Connection, report: Report) -> None:
    """Every day that is said to balance, both sides added up. What is away from both sides since is not judged."""
    after: tuple[str, date] = ("", date.min)
    while True:
        days = await coordinator.fetch(_DAYS, *after, PAGE_DAYS)
        report.checked("I11", len(days))
        for row in await coordinator.fetch(_SUMS, [day["upload_id"] for day in days]):
            report.violated("I11", _finding(row))
        if len(days) < PAGE_DAYS:
            return
        after = (days[-1]["fixmedins_code"], days[-1]["stmt_date"])


def _finding(row: Any) -> str:  # noqa: ANN401  Untyped driver.
    what = "what gave back" if row["is_refund"] else "settlements"
    return (
        f"{row['fixmedins_code']} {row['stmt_date']}: {what} of {row['insutype']}/{row['clr_type']} are said to agree, "
        f"and the sums differ ({row['theirs_cnt'] or 0} stated, {row['ours_cnt'] or 0} ours)"
    )
