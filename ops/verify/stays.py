"""What is kept of each stay in hospital against its settlements: STAY.

What an earlier release settled before there were stays is of none; it is missed only where its stay has earlier parts.
"""

from __future__ import annotations

from typing import Final

import asyncpg

from ops.verify.report import Report

_COUNTED: Final = "SELECT count(*) FROM stay_settlements"
_OTHERWISE: Final = """
    SELECT s.payment_id FROM stay_settlements s JOIN payments p USING (payment_id) LEFT JOIN plans l USING (plan_id)
     WHERE (s.psn_no, s.fixmedins_code, s.mdtrt_id, s.interim, p.infno) IS DISTINCT FROM
           (p.psn_no, p.fixmedins_code, l.document #>> '{visit,mdtrt_id}',
            coalesce((l.document #>> '{facts,interim}')::boolean, false), '2304')
"""
_MISSING: Final = """
    SELECT p.payment_id FROM payments p JOIN plans l USING (plan_id)
     WHERE p.kind = 'SETTLE' AND p.infno = '2304'
       AND NOT EXISTS (SELECT FROM stay_settlements s WHERE s.payment_id = p.payment_id)
       AND EXISTS (SELECT FROM stay_settlements s JOIN payments before USING (payment_id)
                    WHERE (s.psn_no, s.fixmedins_code, s.mdtrt_id)
                          = (p.psn_no, p.fixmedins_code, l.document #>> '{visit,mdtrt_id}')
                      AND before.created_at < p.created_at)
"""
_CLOSED: Final = """
    WITH standing AS (
        SELECT s.*, lead(s.payment_id) OVER (PARTITION BY s.psn_no, s.fixmedins_code, s.mdtrt_id
                                             ORDER BY p.created_at, p.payment_id) AS later_id
          FROM stay_settlements s JOIN payments p USING (payment_id)
         WHERE p.state IN ('TRYING', 'COMMITTED', 'DONE')
           AND NOT EXISTS (SELECT FROM payments r WHERE r.original_id = p.payment_id)
    )
    SELECT payment_id, later_id FROM standing WHERE NOT interim AND later_id IS NOT NULL
"""


async def check_stays(coordinator: asyncpg.Connection, report: Report) -> None:
    """Every stay; rounds that are whole alone, since it reads the plan of each part."""
    report.checked("STAY", await coordinator.fetchval(_COUNTED))
    for row in await coordinator.fetch(_OTHERWISE):
        report.violated(
            "STAY", f"settlement {row['payment_id']} is of another stay or another part than it was paid as"
        )
    for row in await coordinator.fetch(_MISSING):
        report.violated("STAY", f"settlement {row['payment_id']} is not among the parts of its stay")
    for row in await coordinator.fetch(_CLOSED):
        report.violated("STAY", f"settlement {row['payment_id']} closed its stay, and {row['later_id']} followed it")
