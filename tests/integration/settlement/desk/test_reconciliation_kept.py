"""What is kept of a day's end: for how long, found by which index, and audited by `gongji verify` (I11)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

import pytest

from chassis.db import Database
from gongji.settlement.v1 import reconciliation_pb2 as pb
from ops.verify.days import check_days
from ops.verify.report import Report
from services.settlement.operations.reconciling import UNFINISHED_KEPT, Books, forget
from services.settlement.store import differences, reconciliation
from services.settlement.tables.reconciliation import RECONCILIATION_ROWS
from tests.integration.plans import check_plan
from tests.integration.rows import columns_of
from tests.integration.settlement.desk.books import Shop, day_before
from tests.integration.settlement.desk.test_reconciliation import shop_of
from tests.integration.settlement.desk.town import Town

KEPT: Final = timedelta(days=30)
DAYS_AGO: Final = 2
SPOILT: Final = {
    "a row with a fen more": """
        UPDATE reconciliation_rows SET wallet_pay = wallet_pay + 1 WHERE upload_id = $1 AND row_no = 1""",
    "a row that is gone": "DELETE FROM reconciliation_rows WHERE upload_id = $1 AND row_no = 1",
    "a record of ours that is gone from the day": """
        UPDATE payments SET decided_at = decided_at - interval '9 days' WHERE payment_id =
            (SELECT record_id FROM reconciliation_rows WHERE upload_id = $1 AND row_no = 1)""",
}


async def balanced_shop(town: Town) -> tuple[Shop, str]:
    """A hospital whose day before yesterday balances, a refund among its records; and the upload."""
    shop = await shop_of(town, 1_000, 2_000)
    await shop.reverses(shop.settlements[0])
    for row in shop.rows:
        await shop.moved_back(row.setl_id, DAYS_AGO)
    answer = await shop.details(day=day_before(shop.day, DAYS_AGO))
    assert answer.stmt_rslt == pb.STMT_RSLT_BALANCED
    return shop, answer.upload_id


async def findings(connection: Any) -> list[str]:  # noqa: ANN401  Untyped driver.
    """What I11 finds."""
    report = Report()
    await check_days(connection, report)
    assert report.checks["I11"].checked
    return report.checks["I11"].findings


@pytest.mark.parametrize("spoil", SPOILT.values(), ids=SPOILT)
async def test_a_day_that_is_said_to_balance_and_does_not_is_found(town: Town, spoil: str) -> None:
    """Sound it is not reported; spoilt by hand on either side it is, by its institution."""
    shop, upload_id = await balanced_shop(town)
    async with town.database.driver_connection() as connection:
        assert not [each for each in await findings(connection) if shop.code in each]
        await connection.execute("BEGIN")
        await connection.execute(spoil.replace("$1", f"'{upload_id}'"))
        found = [each for each in await findings(connection) if shop.code in each]
        await connection.execute("ROLLBACK")
    assert len(found) == 1


async def test_a_day_with_a_difference_is_not_said_to_balance(town: Town) -> None:
    """It is the officers' list that shows it; I11 says nothing of it."""
    shop, _ = await balanced_shop(town)
    await shop.details(shop.rows[1:], day=day_before(shop.day, DAYS_AGO))
    async with town.database.driver_connection() as connection:
        assert not [each for each in await findings(connection) if shop.code in each]


async def rows_kept(database: Database, upload_id: str) -> tuple[int, str]:
    """How many rows of an upload are there, and what is said of them."""
    async with database.driver_connection() as connection:
        count = await connection.fetchval(
            "SELECT count(*) FROM reconciliation_rows WHERE upload_id = $1::text::uuid", upload_id
        )
        said = await connection.fetchval(
            "SELECT rows_kept FROM reconciliation_uploads WHERE upload_id = $1::text::uuid", upload_id
        )
    return count, said


async def test_rows_are_kept_for_their_time_and_replaced_ones_no_longer(town: Town) -> None:
    """The rows that count stay for the setting's days; those before them, and what broke off a day ago, go at once."""
    books = Books(town.database, uuid4, KEPT)
    shop, replaced = await balanced_shop(town)
    day = day_before(shop.day, DAYS_AGO)
    assert await town.refused(shop.details(day=day, rows_cnt=9)) == "ROWS_CNT_DIFFERS"
    counting = (await shop.details(shop.rows[1:], day=day)).upload_id
    async with town.database.driver_connection() as connection:
        (broken_off,) = await connection.fetchrow(
            "UPDATE reconciliation_uploads SET keep_until = keep_until - $2::interval"
            " WHERE fixmedins_code = $1 AND state = 'RECEIVING' RETURNING upload_id::text",
            shop.code,
            UNFINISHED_KEPT,
        )
    while await forget(books):
        pass
    assert await rows_kept(town.database, replaced) == (0, "GONE")
    assert await rows_kept(town.database, broken_off) == (0, "GONE")
    assert await rows_kept(town.database, counting) == (2, "WHOLE")
    async with town.database.driver_connection() as connection:
        kept = await connection.fetchval(
            "UPDATE reconciliation_uploads SET keep_until = now() WHERE upload_id = $1::text::uuid"
            " RETURNING OLD.keep_until - created_at",
            counting,
        )
    assert kept >= KEPT
    while await forget(books):
        pass
    assert await rows_kept(town.database, counting) == (0, "GONE")
    assert [each.state for each in await shop.differences(day)] == [pb.DIFFERENCE_STATE_OPEN]


async def test_cleared_differences_go_and_what_an_officer_judged_stays(town: Town) -> None:
    """A cleared one of long ago is deleted; one that an officer once explained, and that cleared later, is not."""
    books = Books(town.database, uuid4, KEPT)
    shop = await shop_of(town, 1_000, 2_000)
    await shop.details([])
    first, _ = await shop.differences()
    request = pb.ResolveDifferenceRequest(
        difference_id=first.difference_id, state=pb.DIFFERENCE_STATE_EXPLAINED, cause="c", opter="z1"
    )
    await shop.reconciliation.ResolveDifference(request, timeout=60)
    dearer = pb.StatementRow.FromString(first.ours.SerializeToString())
    dearer.amounts.wallet_pay += 1
    await shop.details([dearer])
    await shop.details()
    async with town.database.driver_connection() as connection:
        await connection.execute(
            "UPDATE reconciliation_differences SET changed_at = now() - interval '31 days', stmt_date = '2026-01-02'"
            " WHERE fixmedins_code = $1",
            shop.code,
        )
        while await forget(books):
            pass
        left = await connection.fetch(
            "SELECT difference_id::text FROM reconciliation_differences WHERE fixmedins_code = $1", shop.code
        )
    assert [row[0] for row in left] == [first.difference_id]


STATEMENTS: Final = [
    value
    for module in (reconciliation, differences)
    for name, value in vars(module).items()
    if name.startswith("_") and name not in {"_OF_PLAN", "_OURS", "_COLUMNS"} and isinstance(value, str)
    if value.lstrip().startswith(("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"))
]


@pytest.fixture
async def planner(db: Database, database: str) -> Any:  # noqa: ANN401  An iterator of the untyped driver's connection.
    """A connection that plans as the service's do, on tables known to be empty."""
    async with db.driver_connection() as connection:
        await connection.execute("VACUUM ANALYZE")
    async with Database(database, pool_size=1, by_key=True) as opened, opened.driver_connection() as connection:
        yield connection


async def test_no_statement_of_a_days_end_reads_a_table_from_end_to_end(planner: Any) -> None:  # noqa: ANN401  As above.
    """Each finds its page by an index (ADR 16), however many records there are."""
    assert len(STATEMENTS) >= 20
    for statement in STATEMENTS:
        await check_plan(planner, statement)


async def test_the_type_of_a_row_is_what_is_kept_of_it(planner: Any) -> None:  # noqa: ANN401  As above.
    """Column by column, in the order in which they are sent (ADR 17)."""
    sent = await columns_of(planner, "reconciliation_row")
    kept = await columns_of(planner, "reconciliation_rows")
    assert list(sent) == ["row_no", "setl_id", "fallback_id", *[c.name for c in RECONCILIATION_ROWS.columns][4:]]
    assert {name: kept[name] for name in sent if name in kept} == {n: t for n, t in sent.items() if n != "fallback_id"}
