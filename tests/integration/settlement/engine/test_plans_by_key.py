"""No statement on a payment's way reads a table from end to end, whatever the tables held when it was planned."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Any

from chassis.db import Database
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import State
from tests.integration.settlement.engine.statements import hearing
from tests.integration.settlement.engine.world import AREAS, World

OF_ONE_ROW = {"coordinator", "ledger_state", "outbox_stream"}
SAID_MIN = 4


async def test_what_a_payment_says_to_the_databases_is_planned_by_key(town: World, engine: Engine) -> None:
    """A settlement, its refund, a refusal: every table but those of one row is entered by an index."""
    databases = {"coordinator": engine.database, **{str(area): town.ledgers[area] for area in AREAS}}
    said: dict[str, set[str]] = {name: set() for name in databases}
    with ExitStack() as stack:
        for name, database in databases.items():
            stack.enter_context(hearing(database, lambda told, queries=said[name]: queries.add(told.query)))
        await _pay_and_take_back(town, engine)
    for name, database in databases.items():
        planned = [query for query in said[name] if "$1" in query]
        assert len(planned) >= SAID_MIN, f"{name} was hardly listened to"
        for query in planned:
            plan = await _plan_of(database, query)
            read_whole = set(re.findall(r"Seq Scan on (?!pg_)(\w+)", plan)) - OF_ONE_ROW
            assert not read_whole, f"{name} reads {read_whole} from end to end:\n{query}\n{plan}"


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


async def _plan_of(database: Database, query: str) -> str:
    parameters = len(set(re.findall(r"\$[0-9]+", query)))
    async with database.driver_connection() as connection:
        await connection.execute(f"PREPARE explained AS {query}")
        try:
            rows: list[Any] = await connection.fetch(f"EXPLAIN EXECUTE explained({', '.join(['NULL'] * parameters)})")
        finally:
            await connection.execute("DEALLOCATE explained")
    return "\n".join(row[0] for row in rows)
