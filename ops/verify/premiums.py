"""What stands beside the premiums' payments, in one statement and so in one snapshot: settlement may go on working."""

from __future__ import annotations

from typing import Final

import asyncpg

from ops.verify.report import Report
from services.settlement.domain.payment import PREMIUM_INFNO

_COUNT: Final = "SELECT count(*) FROM premium_payments"
_WRONG: Final = """
    SELECT format('premium %s of %s for %s: %s', payment_id, insured_psn_no, year, problem) FROM (
        SELECT coalesce(m.payment_id, p.payment_id) AS payment_id, m.insured_psn_no, m.year,
               CASE
                   WHEN m.payment_id IS NULL THEN 'its payment is there alone'
                   WHEN p.payment_id IS NULL THEN 'it has no payment'
                   WHEN p.msgid NOT LIKE m.insured_psn_no || '/' || m.year || '/%'
                       OR (p.fixmedins_code, p.amount_fen) IS DISTINCT FROM (m.area, m.amount_fen)
                       THEN 'its payment says otherwise'
                   WHEN m.ended_at IS NULL AND r.payment_id IS NOT NULL THEN 'taken back, and it stands'
                   WHEN m.ended_at IS NOT NULL AND p.state IN ('TRYING', 'COMMITTED', 'DONE') AND r.payment_id IS NULL
                       THEN 'paid or being paid, and it has ended'
               END AS problem
          FROM premium_payments m
          FULL JOIN (SELECT * FROM payments WHERE kind = 'CHARGE' AND infno = $1) p USING (payment_id)
          LEFT JOIN payments r ON r.original_id = p.payment_id
    ) found WHERE problem IS NOT NULL"""
_TWICE: Final = """
    SELECT format('the premium of %s for %s stands %s times', insured_psn_no, year, count(*))
      FROM premium_payments WHERE ended_at IS NULL GROUP BY insured_psn_no, year HAVING count(*) > 1"""


async def check_premiums(coordinator: asyncpg.Connection, report: Report) -> None:
    """The rows beside the payments, whole: there is one for each person and year, not one for each bill."""
    report.checked("I10", await coordinator.fetchval(_COUNT))
    for row in [*await coordinator.fetch(_WRONG, PREMIUM_INFNO), *await coordinator.fetch(_TWICE)]:
        report.violated("I10", row[0])
