"""What the year-end job reads: every account by its key, page by page, and how many still stand in an old year."""

from __future__ import annotations

from typing import Final

from kernel.clock import business_year
from services.settlement.ledger.domain.model import AccountKey, AccountKind
from services.settlement.ledger.store.sets import Connection

_AFTER: Final = """
    SELECT psn_no, kind, year FROM accounts WHERE (psn_no, kind) > ($1::text, $2::text) ORDER BY psn_no, kind LIMIT $3
"""
"""Those that are turned already as well: a page is as long whatever earlier runs have done, and so is its statement."""
_LEFT: Final = "SELECT count(*) FROM accounts WHERE year < $1"


async def present_year(connection: Connection) -> int:
    """The account year by the ledger's clock."""
    return business_year(await connection.fetchval("SELECT clock_timestamp()"))


async def accounts_after(
    connection: Connection, after: AccountKey | None, *, limit: int
) -> list[tuple[AccountKey, int]]:
    """The next accounts in the order of their keys, each with its year; None = from the first."""
    psn_no, kind = ("", "") if after is None else (after.psn_no, after.kind.value)
    found = await connection.fetch(_AFTER, psn_no, kind, limit)
    return [(AccountKey(record["psn_no"], AccountKind(record["kind"])), record["year"]) for record in found]


async def count_left(connection: Connection, year: int) -> int:
    """How many accounts stand in a year before this one."""
    left: int = await connection.fetchval(_LEFT, year)
    return left
