"""What one area's ledger can tell about itself, in one consistent reading: I1, I2, I5, I6, I8, I9."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import asyncpg

from ops.verify.report import Report


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """``counted`` tells how many rows were looked at; each row of ``wrong`` is a finding in words."""

    invariant: str
    counted: str
    wrong: str


# A leg "current of Y" is read as past once its account has turned to a later year (protocol, "Year turn").
_HELD_LEGS: Final = """
    SELECT l.psn_no, l.account_kind AS kind,
           sum(l.past_fen + CASE WHEN l.year < a.year THEN l.current_fen ELSE 0 END) AS past,
           sum(CASE WHEN l.year < a.year THEN 0 ELSE l.current_fen END) AS current
      FROM branch_legs l
      JOIN branches b USING (payment_id)
      LEFT JOIN accounts a ON a.psn_no = l.psn_no AND a.kind = l.account_kind
     WHERE b.state = 'HELD'
     GROUP BY 1, 2
"""

CHECKS: Final = (
    LedgerCheck(
        "I1",
        "SELECT count(*) FROM accounts",
        """SELECT format('account %s %s: held %s+%s of balance %s+%s', psn_no, kind,
                         held_past_fen, held_current_fen, past_fen, current_fen)
             FROM accounts
            WHERE NOT (0 <= held_past_fen AND held_past_fen <= past_fen
                       AND 0 <= held_current_fen AND held_current_fen <= current_fen)""",
    ),
    LedgerCheck(
        "I1",
        "SELECT count(*) FROM branches WHERE state = 'HELD'",
        f"""SELECT format('account %s %s: held %s+%s, but its held legs sum to %s+%s', coalesce(a.psn_no, h.psn_no),
                         coalesce(a.kind, h.kind), a.held_past_fen, a.held_current_fen, h.past, h.current)
              FROM accounts a
              FULL JOIN ({_HELD_LEGS}) h ON h.psn_no = a.psn_no AND h.kind = a.kind
             WHERE (coalesce(a.held_past_fen, 0), coalesce(a.held_current_fen, 0))
                   IS DISTINCT FROM (coalesce(h.past, 0), coalesce(h.current, 0))""",  # noqa: S608  Constants only.
    ),
    LedgerCheck(
        "I2",
        "SELECT count(*) FROM accounts",
        """SELECT format('account %s %s: balance %s+%s, but its entries sum to %s+%s', coalesce(a.psn_no, e.psn_no),
                         coalesce(a.kind, e.book), a.past_fen, a.current_fen, e.past, e.current)
             FROM accounts a
             FULL JOIN (SELECT psn_no, book,
                               coalesce(sum(amount_fen) FILTER (WHERE part = 'PAST'), 0) AS past,
                               coalesce(sum(amount_fen) FILTER (WHERE part = 'CURRENT'), 0) AS current
                          FROM entries WHERE psn_no IS NOT NULL GROUP BY 1, 2) e
                    ON e.psn_no = a.psn_no AND e.book = a.kind
            WHERE (coalesce(a.past_fen, 0), coalesce(a.current_fen, 0))
                  IS DISTINCT FROM (coalesce(e.past, 0), coalesce(e.current, 0))""",
    ),
    LedgerCheck(
        "I2",
        "SELECT count(DISTINCT source_id) FROM entries",
        """SELECT format('the entries of %s sum to %s instead of 0', source_id, sum(amount_fen))
             FROM entries GROUP BY source_id HAVING sum(amount_fen) <> 0""",
    ),
    LedgerCheck(
        "I2",
        "SELECT count(*) FROM branches WHERE state = 'CONFIRMED'",
        """SELECT format('payment %s leg %s is confirmed with %s fen, but its entries took %s', l.payment_id, l.leg_no,
                         l.past_fen + l.current_fen, coalesce(-e.taken, 0))
             FROM branch_legs l
             JOIN branches b USING (payment_id)
             LEFT JOIN (SELECT source_id, leg_no, sum(amount_fen) AS taken FROM entries
                         WHERE kind = 'PAYMENT' AND psn_no IS NOT NULL GROUP BY 1, 2) e
                    ON e.source_id = l.payment_id AND e.leg_no = l.leg_no
            WHERE (b.state = 'CONFIRMED' AND coalesce(-e.taken, 0) <> l.past_fen + l.current_fen)
               OR (b.state <> 'CONFIRMED' AND e.taken IS NOT NULL)""",
    ),
    LedgerCheck(
        "I5",
        "SELECT count(*) FROM entries",
        """SELECT format('%s leg %s has %s entries of kind %s', source_id, leg_no, count(*), kind)
             FROM entries GROUP BY source_id, leg_no, kind, book, part HAVING count(*) > 1""",
    ),
    LedgerCheck(
        "I6",
        "SELECT count(*) FROM branches WHERE state = 'HELD'",
        """SELECT format('payment %s is held since %s and was never inquired about', payment_id, created_at)
             FROM branches
            WHERE state = 'HELD' AND last_inquired_at IS NULL AND inquire_at + interval '60 seconds' < now()""",
    ),
    LedgerCheck(
        "I8",
        "SELECT count(*) FROM branch_legs",
        """SELECT format('payment %s leg %s: charged %s, noted as refunded %s, credited back %s',
                         l.payment_id, l.leg_no, l.past_fen + l.current_fen, l.refunded_fen, coalesce(r.back, 0))
             FROM branch_legs l
             LEFT JOIN (SELECT c.original_payment_id, cl.leg_no, sum(cl.past_fen + cl.current_fen) AS back
                          FROM credits c JOIN credit_legs cl USING (credit_id)
                         WHERE c.purpose = 'REFUND' GROUP BY 1, 2) r
                    ON r.original_payment_id = l.payment_id AND r.leg_no = l.leg_no
            WHERE coalesce(r.back, 0) > l.past_fen + l.current_fen OR coalesce(r.back, 0) <> l.refunded_fen""",
    ),
    LedgerCheck(
        "I9",
        "SELECT count(*) FROM authorisations",
        """SELECT format('authorisation %s: used %s and held %s of %s, but its legs say used %s and held %s',
                         a.authorisation_id, a.used_fen, a.held_fen, coalesce(a.authorised_fen::text, 'no limit'),
                         a.opened_used_fen + coalesce(l.used, 0), coalesce(l.held, 0))
             FROM authorisations a
             LEFT JOIN (SELECT authorisation_id,
                               sum(past_fen + current_fen - refunded_fen) FILTER (WHERE b.state = 'CONFIRMED') AS used,
                               sum(past_fen + current_fen) FILTER (WHERE b.state = 'HELD') AS held
                          FROM branch_legs JOIN branches b USING (payment_id)
                         WHERE authorisation_id IS NOT NULL GROUP BY 1) l USING (authorisation_id)
            WHERE a.used_fen + a.held_fen > a.authorised_fen
               OR a.used_fen <> a.opened_used_fen + coalesce(l.used, 0) OR a.held_fen <> coalesce(l.held, 0)""",
    ),
)


async def check_ledger(connection: asyncpg.Connection, area: str, report: Report) -> None:
    """Every check of this ledger in one snapshot; the connection is inside a repeatable-read transaction."""
    for check in CHECKS:
        report.checked(check.invariant, await connection.fetchval(check.counted))
        for row in await connection.fetch(check.wrong):
            report.violated(check.invariant, f"ledger {area}: {row[0]}")
    alarms = await connection.fetchval("SELECT count(*) FROM alarms WHERE done_at IS NULL")
    quarantined = await connection.fetchval("SELECT count(*) FROM quarantine WHERE done_at IS NULL")
    report.open(f"alarms of ledger {area}", alarms)
    report.open(f"commands in quarantine at ledger {area}", quarantined)
