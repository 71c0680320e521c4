"""What claims say of their payments and orders, in one statement and so in one snapshot: settlement may go on."""

from __future__ import annotations

from typing import Final

import asyncpg

from ops.verify.report import Report
from services.settlement.domain.claim import FOUR_EYES_ABOVE_FEN
from services.settlement.domain.payment import CLAIM_INFNO

_COUNT: Final = "SELECT count(*) FROM claims"
_WRONG: Final = """
    WITH taken AS (
        SELECT p.*, EXISTS (SELECT FROM payments r WHERE r.original_id = p.payment_id) AS given_back
          FROM payments p WHERE p.kind = 'CHARGE' AND p.infno = $1
    ), approvals AS (
        SELECT claim_id, count(DISTINCT opter) FILTER (WHERE approved) AS approvers,
               (array_agg(approved ORDER BY decision_no DESC))[1] AS last_approved
          FROM claim_decisions GROUP BY claim_id
    ), of_claims AS (
        SELECT c.claim_id, CASE
                   WHEN c.payment_id IS NOT NULL AND p.payment_id IS NULL THEN 'its payment is missing'
                   WHEN p.payment_id IS NOT NULL AND (p.fixmedins_code, p.msgid, p.amount_fen)
                       IS DISTINCT FROM (c.area, format('%s/%s', c.claim_id, c.attempt), c.family_fen)
                       THEN 'its payment says otherwise'
                   WHEN c.state IN ('APPROVED', 'ORDERED') AND p.given_back THEN 'what it took is given back'
                   WHEN c.state = 'REFUSED' AND p.state IN ('TRYING', 'COMMITTED', 'DONE') AND NOT p.given_back
                       THEN 'it is refused, and money is taken for it'
                   WHEN c.state = 'ORDERED' AND p.payment_id IS NOT NULL AND p.state NOT IN ('COMMITTED', 'DONE')
                       THEN 'it is ordered, and nothing was taken'
                   WHEN c.state IN ('APPROVED', 'ORDERED') AND NOT coalesce(a.last_approved, false)
                       THEN 'nobody has approved it'
                   WHEN c.state IN ('APPROVED', 'ORDERED') AND a.approvers < 2
                       AND (c.bill ->> 'medfee_sumamt')::bigint > $2 THEN 'one officer alone has approved it'
                   WHEN c.fund_fen + c.family_fen > (c.bill ->> 'medfee_sumamt')::bigint
                       THEN 'more is paid than its bill'
               END AS problem
          FROM claims c LEFT JOIN taken p USING (payment_id) LEFT JOIN approvals a USING (claim_id)
    ), of_orders AS (
        SELECT o.order_id, CASE
                   WHEN (o.lines_count, o.total_fen) IS DISTINCT FROM (count(c.claim_id),
                       coalesce(sum(c.fund_fen + c.family_fen), 0)) THEN 'its claims do not come to it'
                   WHEN bool_or(c.area <> o.area) THEN 'a claim of another area is in it'
                   WHEN o.sha256 <> sha256(convert_to(
                       E'payout_order_id,area,claim_id,psn_no,fund_fen,family_fen,total_fen\\n' || string_agg(
                           format(E'%s,%s,%s,%s,%s,%s,%s\\n', o.order_id, o.area, c.claim_id, c.psn_no, c.fund_fen,
                                  c.family_fen, c.fund_fen + c.family_fen), '' ORDER BY c.claim_id), 'UTF8'))
                       THEN 'its digest is of another file'
               END AS problem
          FROM payout_orders o LEFT JOIN claims c ON c.payout_order_id = o.order_id GROUP BY o.order_id
    )
    SELECT format('claim %s: %s', claim_id, problem) FROM of_claims WHERE problem IS NOT NULL
    UNION ALL
    SELECT format('payout order %s: %s', order_id, problem) FROM of_orders WHERE problem IS NOT NULL
    UNION ALL
    SELECT format('payment %s was taken for claim %s, which does not stand on it', p.payment_id, p.msgid)
      FROM taken p WHERE p.state IN ('TRYING', 'COMMITTED', 'DONE') AND NOT p.given_back
       AND NOT EXISTS (SELECT FROM claims c WHERE c.payment_id = p.payment_id)
    UNION ALL
    SELECT format('invoice %s of %s stands in %s claims', invoice_no, fixmedins_code, count(*))
      FROM claims WHERE state <> 'REFUSED' GROUP BY fixmedins_code, invoice_no HAVING count(*) > 1"""


async def check_claims(coordinator: asyncpg.Connection, report: Report) -> None:
    """Claims, whole: what is taken is the family's part, what is ordered is what is approved, and nothing twice."""
    report.checked("CLAIM", await coordinator.fetchval(_COUNT))
    for row in await coordinator.fetch(_WRONG, CLAIM_INFNO, FOUR_EYES_ABOVE_FEN):
        report.violated("CLAIM", row[0])
