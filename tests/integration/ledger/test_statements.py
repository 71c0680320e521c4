"""A batch's own statements: each finds its rows by an index whatever the tables held when it was planned."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest

from chassis.db import Database
from services.settlement.ledger.domain.model import AccountKind, AccountState
from services.settlement.ledger.store import loading, sets, writing
from tests.unit.ledger.given import OWN, YEAR

UPDATES = (
    writing._DECIDE_BRANCHES,
    writing._UPDATE_REFUNDED,
    writing._UPDATE_ACCOUNTS,
    writing._UPDATE_AUTHORISATIONS,
)
STATEMENTS = {
    "load": loading._USUAL,
    "accounts": loading._ACCOUNTS,
    "authorisations": loading._AUTHORISATIONS,
    "write": sets._statement(UPDATES),
}
TYPE = """
SELECT attname, typname FROM pg_attribute JOIN pg_type ON pg_type.oid = atttypid
WHERE attrelid = $1::text::regclass ORDER BY attnum"""
ACCOUNT = (OWN.psn_no, AccountKind.PERSONAL, YEAR, 1, 0, 0, 0, False, AccountState.OPEN)


@pytest.fixture
async def by_key(ledger_url: str) -> AsyncIterator[Database]:
    """The ledger's database, with connections as its process has them."""
    async with Database(ledger_url, pool_size=1, by_key=True) as opened:
        yield opened


@pytest.mark.parametrize("name", STATEMENTS)
async def test_no_index_is_walked_though_the_tables_were_known_to_be_empty(by_key: Database, name: str) -> None:
    """Planned on vacuumed empty tables, for good, every index that is scanned is scanned by a condition on its key."""
    sql = STATEMENTS[name]
    nulls = ", ".join(["NULL"] * max(int(number) for number in re.findall(r"\$(\d+)", sql)))
    async with by_key.driver_connection() as connection:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute(f"PREPARE statement AS {sql}")
        plan = [row[0].strip() for row in await connection.fetch(f"EXPLAIN EXECUTE statement({nulls})")]
    scans = [line for line in plan if re.search(r"Index (Only )?Scan", line)]
    assert len(scans) >= 1
    assert len(scans) == len([line for line in plan if line.startswith("Index Cond")]), "\n".join(plan)
    assert [line for line in plan if "Seq Scan" in line and "ledger_state" not in line] == []
    assert [line for line in plan if line.startswith("Join Filter")] == []


async def test_the_types_of_rows_are_what_the_statements_take(by_key: Database) -> None:
    """Column by column: a type that lacks one, or has them in another order, would put values in the wrong place."""
    manners = [it for it in vars(writing).values() if isinstance(it, sets.Manner) and it.row_type]
    assert len(manners) >= 5
    async with by_key.driver_connection() as connection:
        for manner in manners:
            found = await connection.fetch(TYPE, manner.row_type)
            assert [tuple(row) for row in found] == list(manner.columns.items()), manner.row_type


async def test_a_row_that_is_not_there_to_be_updated_fails_the_batch(by_key: Database) -> None:
    """The account that is there is not changed either."""
    missing = ("nobody", *ACCOUNT[1:])
    changed = (*ACCOUNT[:3], 7, *ACCOUNT[4:])
    async with by_key.driver_connection() as connection:
        await sets.write_sets(connection, [sets.RowSet(writing._INSERT_ACCOUNTS, [ACCOUNT])])
    with pytest.raises(LookupError):
        async with by_key.driver_transaction() as connection:
            await sets.write_sets(connection, [sets.RowSet(writing._UPDATE_ACCOUNTS, [changed, missing])])
    async with by_key.driver_connection() as connection:
        assert await connection.fetchval("SELECT past_fen FROM accounts") == 1
