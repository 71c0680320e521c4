"""Reads: balances and statements, outside the writer's lock. Holds never appear on a statement."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from kernel.clock import business_year
from kernel.ids import AuthorisationId
from services.settlement.ledger.domain.limits import MonthUse
from services.settlement.ledger.domain.model import Account, AccountKey, Authorisation, Memo, Part
from services.settlement.ledger.domain.state import MonthKey
from services.settlement.ledger.store.loading import load_accounts, load_authorisations
from services.settlement.ledger.store.months import load_months
from services.settlement.ledger.store.sets import Connection

_STATEMENT: Final = """
    SELECT s.opening_fen, s.closing_fen, l.*
    FROM (
        SELECT coalesce(sum(amount_fen) FILTER (WHERE booked_at < $4::timestamptz), 0)::bigint AS opening_fen,
               coalesce(sum(amount_fen) FILTER (WHERE $5::timestamptz IS NULL OR booked_at < $5), 0)::bigint
                   AS closing_fen
        FROM entries WHERE psn_no = $1 AND book = $2
    ) AS s
    LEFT JOIN (
        SELECT e.entry_no, e.booked_at, e.part, e.amount_fen, e.balance_after_fen, e.kind,
               coalesce(b.payment_id, c.original_payment_id) AS payment_id, c.credit_id,
               coalesce(b.fixmedins_code, c.fixmedins_code, '') AS fixmedins_code,
               coalesce(b.setl_id, c.setl_id, '') AS setl_id, coalesce(b.care_area, c.care_area, '') AS care_area
        FROM entries AS e
        LEFT JOIN branches AS b ON e.kind IN ('PAYMENT', 'TRANSFER_IN') AND b.payment_id = e.source_id
        LEFT JOIN credits AS c ON e.kind NOT IN ('PAYMENT', 'TRANSFER_IN', 'YEAR_TURN') AND c.credit_id = e.source_id
        WHERE e.psn_no = $1 AND e.book = $2 AND e.entry_no > $3
          AND ($4::timestamptz IS NULL OR e.booked_at >= $4) AND ($5::timestamptz IS NULL OR e.booked_at < $5)
        ORDER BY e.entry_no LIMIT $6
    ) AS l ON true
    ORDER BY l.entry_no
"""
"""One statement, so that lines and balances are of one instant; without lines it gives one row of balances alone."""


@dataclass(frozen=True, slots=True)
class Balances:
    """What exists of the accounts and authorisations asked for, as it stands in the present year.

    ``months`` are those asked for of authorisations that have a limit per month.
    """

    accounts: dict[AccountKey, Account] = field(default_factory=dict)
    authorisations: dict[AuthorisationId, Authorisation] = field(default_factory=dict)
    months: dict[MonthKey, MonthUse] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StatementQuery:
    """One page of an account's statement: entries after ``after_entry_no``, booked from (incl.) to (excl.)."""

    key: AccountKey
    after_entry_no: int
    entries_max: int
    from_time: datetime | None = None
    to_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One entry as its owner sees it."""

    entry_no: int
    booked_at: datetime
    part: Part
    amount_fen: int
    balance_after_fen: int
    kind: str
    payment_id: UUID | None
    credit_id: UUID | None
    memo: Memo


@dataclass(frozen=True, slots=True)
class StatementPage:
    """The lines of a page, whether more follow, and the account's balance before the period and after it.

    Balances are sums of what was booked by then, so that opening + the lines of all pages = closing.
    """

    lines: tuple[StatementLine, ...]
    more: bool
    opening_fen: int
    closing_fen: int


async def read_balances(
    connection: Connection,
    keys: Iterable[AccountKey],
    authorisation_ids: Iterable[AuthorisationId],
    months: Collection[int] = (),
) -> Balances:
    """Accounts and authorisations for any number of askers at once.

    An account whose year is over is shown turned, though nothing is written: its next command turns it.
    """
    found = await load_accounts(connection, keys)
    year = business_year(await connection.fetchval("SELECT clock_timestamp()"))
    accounts = {key: account.turned_to(year) if account.year < year else account for key, account in found.items()}
    authorisations = await load_authorisations(connection, authorisation_ids)
    limited = [it.authorisation_id for it in authorisations.values() if it.per_month_fen is not None]
    uses = await load_months(connection, limited, months) if limited and months else {}
    return Balances(accounts, authorisations, uses)


async def read_statement(connection: Connection, query: StatementQuery) -> StatementPage:
    """One page of a statement; empty for an account that does not exist."""
    records = await connection.fetch(
        _STATEMENT,
        query.key.psn_no,
        query.key.kind.value,
        query.after_entry_no,
        query.from_time,
        query.to_time,
        query.entries_max + 1,
    )
    opening_fen, closing_fen = records[0]["opening_fen"], records[0]["closing_fen"]
    found = [record for record in records if record["entry_no"] is not None]
    lines = tuple(
        StatementLine(
            entry_no=record["entry_no"],
            booked_at=record["booked_at"],
            part=Part(record["part"]),
            amount_fen=record["amount_fen"],
            balance_after_fen=record["balance_after_fen"],
            kind=record["kind"],
            payment_id=record["payment_id"],
            credit_id=record["credit_id"],
            memo=Memo(record["fixmedins_code"], record["setl_id"], record["care_area"]),
        )
        for record in found[: query.entries_max]
    )
    return StatementPage(lines, len(found) > query.entries_max, opening_fen, closing_fen)
