"""No statement on a payment's way reads a table or an index from end to end, whatever was in it when it was planned."""

from __future__ import annotations

import re
from contextlib import ExitStack
from functools import partial
from typing import Any

from chassis.db import Database
from ops.embedded.databases import Databases
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import State
from services.settlement.store import payments, projections
from tests.integration.settlement.engine.conftest import new_databases
from tests.integration.settlement.engine.statements import hearing
from tests.integration.settlement.engine.world import AREAS, World

OF_ONE_ROW = {"coordinator", "ledger_state", "outbox_stream"}
OF_THE_DRIVER = "typeinfo_tree"
OF_WHAT_IS_OPEN = {"account_commands_due", "payments_due", "outbox_unpublished"}
"""Indexes of the few rows that wait for something; a sweep reads them from the beginning."""
SAID_MIN = 4
COLUMNS_OF = "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass ORDER BY attnum"
PLANNING = {projections._INSTITUTION, projections._BINDINGS_OF, projections._PEOPLE, projections._SIGNING_KEY}
"""What PreSettle reads of the projections."""


async def test_what_a_payment_says_to_the_databases_is_planned_by_key(
    town: World, engine: Engine, postgres: Databases
) -> None:
    """A settlement, its refund, a refusal: on tables known to be empty, every scan is of an index and by its key."""
    databases = {"settlement": engine.database, **{str(area): town.ledgers[area] for area in AREAS}}
    said: dict[str, set[str]] = {name: set() for name in databases}
    with ExitStack() as stack:
        for name, database in databases.items():
            stack.enter_context(hearing(database, partial(_note, said[name])))
        await _pay_and_take_back(town, engine)
    said["settlement"] |= PLANNING
    async with new_databases(postgres) as urls:
        for name, queries in said.items():
            planned = [query for query in queries if "$1" in query and OF_THE_DRIVER not in query]
            assert len(planned) >= SAID_MIN, f"{name} was hardly listened to"
            async with Database(urls[name], pool_size=1, by_key=True) as empty:
                for query in planned:
                    await _check_plan(empty, query)


async def test_the_types_of_rows_are_what_the_statements_take(engine: Engine) -> None:
    """Column by column: a type that has them in another order would put values in the wrong place."""
    for sql in (payments._BEGIN, payments._WRITE):
        taken = re.search(r"unnest\(\$1::(\w+)\[\]\)\s+AS q \(([^)]*)\)", sql)
        assert taken is not None
        async with engine.database.driver_connection() as connection:
            found = await connection.fetch(COLUMNS_OF, taken[1])
        assert [row["attname"] for row in found] == re.split(r",\s+", taken[2])


def _note(queries: set[str], told: Any) -> None:  # noqa: ANN401  asyncpg's record of a query.
    queries.add(told.query)


async def _pay_and_take_back(town: World, engine: Engine) -> None:
    person, key = town.patient(), town.key()
    await town.give(engine, person, own=10_000, wallet=5_000)
    settled = await town.settle(engine, await town.plan(person, own=7_000, wallet=1_500), key)
    await town.until(key, State.DONE)
    taking_back = town.key("2208")
    await town.revoke(engine, settled.payment.payment_id, taking_back)
    await town.until(taking_back, State.DONE)
    refused = town.key()
    await town.settle(engine, await town.plan(person, own=90_000), refused)
    await town.until(refused, State.CLOSED)


async def _check_plan(empty: Database, query: str) -> None:
    nulls = ", ".join(["NULL"] * len(set(re.findall(r"\$[0-9]+", query))))
    async with empty.driver_connection() as connection:
        await connection.execute("VACUUM ANALYZE")
        await connection.execute(f"PREPARE explained AS {query}")
        lines = [row[0].strip() for row in await connection.fetch(f"EXPLAIN EXECUTE explained({nulls})")]
        await connection.execute("DEALLOCATE explained")
    told = f"{query}\n" + "\n".join(lines)
    read_whole = {it for line in lines for it in re.findall(r"Seq Scan on (\w+)", line)} - OF_ONE_ROW
    assert not read_whole, told
    scans = [scan for line in lines for scan in re.findall(r"Index (?:Only )?Scan (?:Backward )?using (\w+)", line)]
    conditions = [line for line in lines if line.startswith("Index Cond")]
    of_what_is_open = [scan for scan in scans if scan in OF_WHAT_IS_OPEN]
    assert len(scans) - len(of_what_is_open) <= len(conditions), told
