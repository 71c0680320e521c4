"""What one area's ledger can tell about itself: I1, I2, I5, I6, I8, I9.

Each check is one statement over a page of keys, and a statement sees one snapshot: what a batch of the ledger changes
together (balance, hold, entries, branch, authorisation), a check sees together or not at all, however fast the ledger
writes. So no check needs another's snapshot, none is held open for long, and neither memory nor the time of a statement
grows with the ledger. Only the sums of authorisations are one statement over everything, and in whole rounds only.

After a whole round, ``Changed`` says which keys the next one has to look at: everything that entries written since then
name, and whatever is or was held. Entries become visible in the order of their numbers (the area's lock), so the
highest one that was seen divides old from new without a gap. What changes without an entry and without a hold
(somebody's hand on an old row) is found by the next whole round.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from ops.verify.report import Report

PAGE_KEYS: Final = 5_000
_FIRST: Final = UUID(int=0)
BELOW_ALL: Final = -(2**63)
"""No entry has this number; one that somebody slipped in may well have a number below zero."""

Key: TypeAlias = tuple[Any, ...]


class Subject(Enum):
    """What a check is about; the value is the page of keys it sees as ``scope``."""

    ACCOUNT = "SELECT psn_no, kind FROM unnest($1::text[], $2::text[]) AS scope(psn_no, kind)"
    SOURCE = "SELECT source_id FROM unnest($1::uuid[]) AS scope(source_id)"  # Whatever books entries together.
    BRANCH = "SELECT payment_id FROM unnest($1::uuid[]) AS scope(payment_id)"
    HOLD = "SELECT payment_id FROM unnest($1::uuid[]) AS held(payment_id)"  # A branch that was just seen HELD.
    AUTHORISATION = "SELECT authorisation_id FROM unnest($1::uuid[]) AS scope(authorisation_id)"


@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """Each row of ``wrong`` is a finding in words, about a key of ``scope``."""

    invariant: str
    subject: Subject
    wrong: str


# A leg of a RECEIVER brings money: it holds nothing, and its entries add (protocol, "Acceptance").
# A leg "current of Y" is read as past once its account has turned to a later year (protocol, "Year turn").
_HELD_LEGS: Final = """
    SELECT l.psn_no, l.account_kind AS kind,
           sum(l.past_fen + CASE WHEN l.year < a.year THEN l.current_fen ELSE 0 END) AS past,
           sum(CASE WHEN l.year < a.year THEN 0 ELSE l.current_fen END) AS current
      FROM branches b
      JOIN branch_legs l USING (payment_id)
      JOIN accounts a ON a.psn_no = l.psn_no AND a.kind = l.account_kind
     WHERE b.state = 'HELD' AND l.role <> 'RECEIVER'
     GROUP BY 1, 2
"""

CHECKS: Final = (
    LedgerCheck(
        "I1",
        Subject.ACCOUNT,
        """SELECT format('account %s %s: held %s+%s of balance %s+%s', psn_no, kind,
                         held_past_fen, held_current_fen, past_fen, current_fen)
             FROM accounts JOIN scope USING (psn_no, kind)
            WHERE NOT (0 <= held_past_fen AND held_past_fen <= past_fen
                       AND 0 <= held_current_fen AND held_current_fen <= current_fen)""",
    ),
    LedgerCheck(
        "I1",
        Subject.ACCOUNT,
        f"""SELECT format('account %s %s: held %s+%s, but its held legs sum to %s+%s', psn_no, kind,
                         a.held_past_fen, a.held_current_fen, h.past, h.current)
              FROM accounts a JOIN scope USING (psn_no, kind)
              LEFT JOIN ({_HELD_LEGS}) h USING (psn_no, kind)
             WHERE (a.held_past_fen, a.held_current_fen)
                   IS DISTINCT FROM (coalesce(h.past, 0), coalesce(h.current, 0))""",  # noqa: S608  Constants only.
    ),
    LedgerCheck(
        "I1",
        Subject.HOLD,
        """SELECT format('payment %s holds money of account %s %s, which does not exist', payment_id, l.psn_no,
                         l.account_kind)
             FROM branches JOIN scope USING (payment_id) JOIN branch_legs l USING (payment_id)
             LEFT JOIN accounts a ON a.psn_no = l.psn_no AND a.kind = l.account_kind
            WHERE branches.state = 'HELD' AND l.role <> 'RECEIVER' AND a.psn_no IS NULL""",
    ),
    LedgerCheck(
        "I2",
        Subject.ACCOUNT,
        """SELECT format('account %s %s: balance %s+%s, but its entries sum to %s+%s', a.psn_no, a.kind, a.past_fen,
                         a.current_fen, e.past, e.current)
             FROM accounts a JOIN scope USING (psn_no, kind)
             LEFT JOIN LATERAL (SELECT sum(amount_fen) FILTER (WHERE part = 'PAST') AS past,
                                       sum(amount_fen) FILTER (WHERE part = 'CURRENT') AS current
                                  FROM entries WHERE psn_no = a.psn_no AND book = a.kind) e ON true
            WHERE (a.past_fen, a.current_fen) IS DISTINCT FROM (coalesce(e.past, 0), coalesce(e.current, 0))""",
    ),
    LedgerCheck(
        "I2",
        Subject.SOURCE,
        """SELECT format('the entries of %s sum to %s instead of 0', source_id, sum(amount_fen))
             FROM entries JOIN scope USING (source_id) GROUP BY source_id HAVING sum(amount_fen) <> 0""",
    ),
    LedgerCheck(
        "I2",
        Subject.SOURCE,
        """SELECT format('%s has entries of account %s %s, which does not exist', source_id, e.psn_no, e.book)
             FROM entries e JOIN scope USING (source_id) LEFT JOIN accounts a ON a.psn_no = e.psn_no AND a.kind = e.book
            WHERE e.psn_no IS NOT NULL AND a.psn_no IS NULL""",
    ),
    LedgerCheck(
        "I2",
        Subject.SOURCE,
        """SELECT format('%s has entries of a payment, but no branch that is confirmed', source_id)
             FROM scope JOIN entries e USING (source_id) LEFT JOIN branches b ON b.payment_id = source_id
            WHERE e.kind IN ('PAYMENT', 'TRANSFER_IN') AND b.state IS DISTINCT FROM 'CONFIRMED' GROUP BY source_id""",
    ),
    LedgerCheck(
        "I2",
        Subject.SOURCE,
        """SELECT format('credit %s leg %s is booked with %s fen, but its entries brought %s', source_id, l.leg_no,
                         l.past_fen + l.current_fen, coalesce(e.brought, 0))
             FROM scope JOIN credit_legs l ON l.credit_id = source_id
             LEFT JOIN LATERAL (SELECT sum(amount_fen) AS brought FROM entries
                                 WHERE source_id = scope.source_id AND leg_no = l.leg_no
                                   AND (psn_no IS NOT NULL OR book = 'SUSPENSE')) e ON true
            WHERE coalesce(e.brought, 0) <> l.past_fen + l.current_fen""",
    ),
    LedgerCheck(
        "I2",
        Subject.BRANCH,
        """SELECT format('payment %s leg %s is confirmed with %s fen, but its entries moved %s', payment_id, l.leg_no,
                         l.past_fen + l.current_fen, coalesce(e.moved, 0))
             FROM branches b JOIN scope USING (payment_id) JOIN branch_legs l USING (payment_id)
             LEFT JOIN LATERAL (SELECT sum(amount_fen) AS moved FROM entries
                                 WHERE source_id = b.payment_id AND leg_no = l.leg_no
                                   AND (psn_no IS NOT NULL OR book = 'SUSPENSE')) e ON true
            WHERE b.state = 'CONFIRMED' AND coalesce(e.moved, 0)
                  <> (l.past_fen + l.current_fen) * CASE l.role WHEN 'RECEIVER' THEN 1 ELSE -1 END""",
    ),
    LedgerCheck(
        "I5",
        Subject.SOURCE,
        """SELECT format('%s leg %s has %s entries of kind %s', source_id, leg_no, count(*), kind)
             FROM entries JOIN scope USING (source_id)
            GROUP BY source_id, leg_no, kind, book, part HAVING count(*) > 1""",
    ),
    LedgerCheck(
        "I6",
        Subject.HOLD,
        """SELECT format('payment %s is held since %s and was never inquired about', payment_id, created_at)
             FROM branches JOIN scope USING (payment_id)
            WHERE state = 'HELD' AND last_inquired_at IS NULL AND inquire_at + interval '60 seconds' < now()""",
    ),
    LedgerCheck(
        "I8",
        Subject.BRANCH,
        """SELECT format('payment %s leg %s: charged %s, noted as refunded %s, credited back %s',
                         l.payment_id, l.leg_no, l.past_fen + l.current_fen, l.refunded_fen, coalesce(r.back, 0))
             FROM branch_legs l JOIN scope USING (payment_id)
             LEFT JOIN LATERAL (SELECT sum(cl.past_fen + cl.current_fen) AS back
                                  FROM credits c JOIN credit_legs cl USING (credit_id)
                                 WHERE c.purpose = 'REFUND' AND c.original_payment_id = l.payment_id
                                   AND cl.leg_no = l.leg_no) r ON true
            WHERE coalesce(r.back, 0) > l.past_fen + l.current_fen OR coalesce(r.back, 0) <> l.refunded_fen""",
    ),
    LedgerCheck(
        "I9",
        Subject.AUTHORISATION,
        """SELECT format('authorisation %s: used %s and held %s of %s', authorisation_id, used_fen, held_fen,
                         authorised_fen)
             FROM authorisations JOIN scope USING (authorisation_id) WHERE used_fen + held_fen > authorised_fen""",
    ),
    LedgerCheck(
        "I9",
        Subject.AUTHORISATION,
        """SELECT format('authorisation %s: month %s used %s and held %s of %s', authorisation_id, month, used_fen,
                         held_fen, limit_fen)
             FROM authorisation_months JOIN scope USING (authorisation_id) WHERE used_fen + held_fen > limit_fen""",
    ),
)

_AUTHORISATION_SUMS: Final = """
    SELECT format('authorisation %s: used %s and held %s of %s, but its legs say used %s and held %s',
                  a.authorisation_id, a.used_fen, a.held_fen, coalesce(a.authorised_fen::text, 'no limit'),
                  a.opened_used_fen + coalesce(l.used, 0), coalesce(l.held, 0))
      FROM authorisations a
      LEFT JOIN (SELECT authorisation_id,
                        sum(past_fen + current_fen - refunded_fen) FILTER (WHERE b.state = 'CONFIRMED') AS used,
                        sum(past_fen + current_fen) FILTER (WHERE b.state = 'HELD') AS held
                   FROM branch_legs JOIN branches b USING (payment_id)
                  WHERE authorisation_id IS NOT NULL GROUP BY 1) l USING (authorisation_id)
     WHERE a.used_fen <> a.opened_used_fen + coalesce(l.used, 0) OR a.held_fen <> coalesce(l.held, 0)
"""
_MONTH_SUMS: Final = """
    SELECT format('authorisation %s: month %s used %s and held %s, but its legs say used %s and held %s',
                  authorisation_id, month, coalesce(m.used_fen, 0), coalesce(m.held_fen, 0),
                  coalesce(l.used, 0) + coalesce(c.opened_month_fen, 0), coalesce(l.held, 0))
      FROM authorisation_months m
      FULL JOIN (SELECT l.authorisation_id, b.month,
                        sum(past_fen + current_fen - refunded_fen) FILTER (WHERE b.state = 'CONFIRMED') AS used,
                        sum(past_fen + current_fen) FILTER (WHERE b.state = 'HELD') AS held
                   FROM branch_legs l JOIN branches b USING (payment_id) JOIN authorisations a USING (authorisation_id)
                  WHERE a.counts_months AND b.month IS NOT NULL GROUP BY 1, 2) l USING (authorisation_id, month)
      FULL JOIN (SELECT authorisation_id, opened_month AS month, opened_month_fen
                   FROM authorisations WHERE opened_month IS NOT NULL) c USING (authorisation_id, month)
     WHERE coalesce(m.used_fen, 0) <> coalesce(l.used, 0) + coalesce(c.opened_month_fen, 0)
        OR coalesce(m.held_fen, 0) <> coalesce(l.held, 0)
"""
_PAGES: Final = {
    Subject.ACCOUNT: """SELECT psn_no, kind FROM accounts WHERE (psn_no, kind) > ($1, $2)
                         ORDER BY psn_no, kind LIMIT $3""",
    Subject.BRANCH: "SELECT payment_id FROM branches WHERE payment_id > $1 ORDER BY payment_id LIMIT $2",
    Subject.HOLD: """SELECT payment_id FROM branches WHERE state = 'HELD' AND payment_id > $1
                      ORDER BY payment_id LIMIT $2""",
    Subject.AUTHORISATION: """SELECT authorisation_id FROM authorisations WHERE authorisation_id > $1
                               ORDER BY authorisation_id LIMIT $2""",
}
_START: Final[dict[Subject, Key]] = dict.fromkeys(_PAGES, (_FIRST,)) | {Subject.ACCOUNT: ("", "")}
_NEW_ENTRIES: Final = """
    SELECT entry_no, source_id, psn_no, book FROM entries
     WHERE entry_no > $1 AND entry_no <= $2 ORDER BY entry_no LIMIT $3
"""
_HELD_NOW: Final = """
    SELECT b.payment_id, l.psn_no, l.account_kind, l.authorisation_id
      FROM branches b JOIN branch_legs l USING (payment_id) WHERE b.state = 'HELD'
"""
_BRANCHES_OF_SOURCES: Final = """
    SELECT b.payment_id, l.psn_no, l.account_kind, l.authorisation_id
      FROM (SELECT coalesce(c.original_payment_id, s.source_id) AS payment_id
              FROM unnest($1::uuid[]) AS s(source_id) LEFT JOIN credits c ON c.credit_id = s.source_id) s
      JOIN branches b USING (payment_id) JOIN branch_legs l USING (payment_id)
"""


@dataclass
class Changed:
    """The keys that a round has to look at, since the one before."""

    keys: dict[Subject, set[Key]] = field(default_factory=lambda: {subject: set() for subject in Subject})

    def add_branch(self, row: asyncpg.Record, *, held: bool) -> None:
        """A branch with one of its legs."""
        if held:
            self.keys[Subject.HOLD].add((row["payment_id"],))
        self.keys[Subject.BRANCH].add((row["payment_id"],))
        self.keys[Subject.ACCOUNT].add((row["psn_no"], row["account_kind"]))
        if row["authorisation_id"] is not None:
            self.keys[Subject.AUTHORISATION].add((row["authorisation_id"],))


async def head_of(connection: asyncpg.Connection) -> int:
    """The newest entry; all below it can be seen too, or will never be."""
    return int(await connection.fetchval("SELECT coalesce(max(entry_no), 0) FROM entries"))


async def changed_between(
    connection: asyncpg.Connection, since: int, head: int, held_before: Collection[UUID]
) -> Changed:
    """What entries after ``since`` up to ``head`` name, what is held, and what was held a round before."""
    changed = Changed()
    sources: set[UUID] = set()
    after = since
    while rows := await connection.fetch(_NEW_ENTRIES, after, head, PAGE_KEYS):
        after = rows[-1]["entry_no"]
        sources |= {row["source_id"] for row in rows}
        changed.keys[Subject.ACCOUNT] |= {(row["psn_no"], row["book"]) for row in rows if row["psn_no"]}
    changed.keys[Subject.SOURCE] |= {(source_id,) for source_id in sources}
    for row in await connection.fetch(_HELD_NOW):
        changed.add_branch(row, held=True)
    for page in _parted([*sources, *held_before]):
        for row in await connection.fetch(_BRANCHES_OF_SOURCES, page):
            changed.add_branch(row, held=False)
    return changed


async def check_ledger(
    connection: asyncpg.Connection, area: str, report: Report, *, changed: Changed | None = None
) -> None:
    """Every check over all keys, or over those that have changed."""
    for subject in Subject:
        if changed is None:
            async for page in _pages(connection, subject):
                await _check_page(connection, area, subject, page, report)
        else:
            for part in _parted(sorted(changed.keys[subject], key=str)):
                await _check_page(connection, area, subject, part, report)
    if changed is None:
        await _check_authorisation_sums(connection, area, report)
    alarms = await connection.fetchval("SELECT count(*) FROM alarms WHERE done_at IS NULL")
    quarantined = await connection.fetchval("SELECT count(*) FROM quarantine WHERE done_at IS NULL")
    report.open(f"alarms of ledger {area}", alarms)
    report.open(f"commands in quarantine at ledger {area}", quarantined)


async def _check_page(
    connection: asyncpg.Connection, area: str, subject: Subject, keys: Sequence[Key], report: Report
) -> None:
    if not keys:
        return
    columns = [list(column) for column in zip(*keys, strict=True)]
    for check in CHECKS:
        if check.subject is subject:
            report.checked(check.invariant, len(keys))
            scoped = f"WITH scope AS MATERIALIZED ({subject.value}) {check.wrong}"  # Constants only.
            for row in await connection.fetch(scoped, *columns):
                report.violated(check.invariant, f"ledger {area}: {row[0]}")


async def _check_authorisation_sums(connection: asyncpg.Connection, area: str, report: Report) -> None:
    for row in [*await connection.fetch(_AUTHORISATION_SUMS), *await connection.fetch(_MONTH_SUMS)]:
        report.violated("I9", f"ledger {area}: {row[0]}")


async def _pages(connection: asyncpg.Connection, subject: Subject) -> AsyncIterator[list[Key]]:
    """All keys of a subject, page by page; sources come in the order of their entries, each page's once."""
    if subject is Subject.SOURCE:
        head, after = await head_of(connection), BELOW_ALL
        before: set[Key] = set()
        while rows := await connection.fetch(_NEW_ENTRIES, after, head, PAGE_KEYS):
            after = rows[-1]["entry_no"]
            page: set[Key] = {(row["source_id"],) for row in rows}
            yield sorted(page - before)
            before = page
        return
    last = _START[subject]
    while rows := await connection.fetch(_PAGES[subject], *last, PAGE_KEYS):
        last = tuple(rows[-1])
        yield [tuple(row) for row in rows]


def _parted(keys: Sequence[Any]) -> list[Sequence[Any]]:
    return [keys[start : start + PAGE_KEYS] for start in range(0, len(keys), PAGE_KEYS)]
