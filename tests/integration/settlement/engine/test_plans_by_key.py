"""No statement on a payment's way reads a table or an index from end to end, whatever was in it when it was planned.

And what it sends as a row comes to the columns it is meant for.
"""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import uuid4

from chassis import outbox
from chassis.db import Database
from chassis.outbox import COLUMNS, OutgoingEvent
from kernel.ids import PaymentId, PlanId
from ops.embedded.databases import Databases
from services.settlement.domain.payment import PRE_SETTLE_OF, Key
from services.settlement.ledger.store.locking import hold, let_go
from services.settlement.operations.engine import Engine
from services.settlement.saga.coordinator import Write
from services.settlement.saga.payment import AccountAfter, State
from services.settlement.store import around, payments, plans, projections, stays
from services.settlement.store.payments import Beginning
from tests.integration.plans import check_plan
from tests.integration.rows import check_rows, columns_of
from tests.integration.settlement.engine.conftest import new_databases
from tests.integration.settlement.engine.statements import Said, hearing
from tests.integration.settlement.engine.world import AREAS, HOSPITAL, World

SAID_MIN: Final = 4
WITHOUT_PLAN: Final = {"BEGIN", "COMMIT", *(hold(area) for area in AREAS), *(let_go(area) for area in AREAS)}
"""What begins and ends a transaction, or the holding of an area's lock."""
PLANNING: Final = {
    projections._INSTITUTION,
    projections._BINDINGS_OF,
    projections._PEOPLE,
    projections._SIGNING_KEY,
    projections._HEARD,
    plans._PATIENT,
    around._AROUND,
    plans._INSERT,
    stays._PARTS,
    stays._PARTS_BESIDE,
}
"""What PreSettle reads of the projections, how it stores a plan, and what is read of a stay in hospital."""
PUBLISHING: Final = {outbox._TAKE, outbox._MARK}
"""What is said of each event; here nobody publishes."""
OF_EVENTS: Final = COLUMNS.split(", ")
KEPT_AS: Final = {
    "begin_row": {
        **{
            name: f"payments.{name}"
            for name in ("payment_id", "fixmedins_code", "infno", "msgid", "request_hash", "plan_id", "traceparent")
        },
        "plan_digest": "plans.digest",
        "plan_infno": "plans.infno",
        "n": "int8",
    },
    "write_row": {
        **{name: f"payments.{name}" for name in ("payment_id", "reason", "refused_leg_no", "quarantine")},
        "expected": "payments.state",
        "to_state": "payments.state",
        "balances_after": "text",  # The statement makes it jsonb.
        **dict.fromkeys(("expected_pending", "asks_receiver", "in_time"), "bool"),
        **{name: f"outbox.{name}" for name in OF_EVENTS},
    },
}
"""The column that each column of a row is kept in or compared with; or its type, where there is none."""


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
    said["settlement"] |= PLANNING | PUBLISHING
    async with new_databases(postgres) as urls:
        for name, queries in said.items():
            assert len(queries) >= SAID_MIN, f"{name} was hardly listened to"
            async with Database(urls[name], pool_size=1, by_key=True) as empty, empty.driver_connection() as connection:
                await connection.execute("VACUUM ANALYZE")
                for query in queries:
                    await check_plan(connection, query)


async def test_the_types_of_rows_are_what_the_statements_take(engine: Engine) -> None:
    """Column by column: a type that has them in another order would put values in the wrong place."""
    async with engine.database.driver_connection() as connection:
        tables = {table: await columns_of(connection, table) for table in ("payments", "plans", "outbox")}
        for sql in (payments._BEGIN, payments._WRITE):
            taken = re.search(r"unnest\(\$1::(\w+)\[\]\)\s+AS q \(([^)]*)\)", sql)
            assert taken is not None
            found = await columns_of(connection, taken[1])
            assert list(found) == re.split(r",\s+", taken[2])
            kept = {name: KEPT_AS[taken[1]][name].split(".") for name in found}
            assert found == {name: tables[it[0]][it[1]] if len(it) > 1 else it[0] for name, it in kept.items()}


async def test_what_begins_says_each_value_under_its_name(engine: Engine) -> None:
    """What ``begin_trying`` has sent, of plans that nobody made."""
    asked = [
        Beginning(PaymentId(uuid4()), Key(HOSPITAL, infno, f"M{infno}"), b"hash", PlanId(uuid4()), b"digest", "trace")
        for infno in PRE_SETTLE_OF
    ]
    sent: list[Said] = []
    async with engine.database.driver_connection() as connection:
        with hearing(engine.database, sent.append):
            await payments.begin_trying(connection, asked, epoch=1, vote_deadline=timedelta(seconds=1))
            await asyncio.sleep(0)  # The driver tells in the loop's next turn.
        (rows,) = [said.arguments[0] for said in sent if said.query == payments._BEGIN]
        meant = [
            {
                "n": n,
                "payment_id": it.payment_id,
                "fixmedins_code": HOSPITAL,
                "infno": it.key.infno,
                "msgid": it.key.msgid,
                "request_hash": b"hash",
                "plan_id": it.plan_id,
                "plan_digest": b"digest",
                "plan_infno": PRE_SETTLE_OF[it.key.infno],
                "traceparent": "trace",
            }
            for n, it in enumerate(asked)
        ]
        await check_rows(connection, "begin_row", rows, meant)


async def test_what_is_written_says_each_value_under_its_name(engine: Engine) -> None:
    """A write with an event beside it, once with each of the flags set."""
    payment_id = PaymentId(uuid4())
    event = OutgoingEvent(uuid4(), "aggregate", 7, "subject", b"payload", datetime(2026, 6, 1, tzinfo=UTC), "trace")
    after = AccountAfter(1, 2, 3, 4, 5, 2026, frozen=False)
    rows, meant = [], []
    for flag in ("expected_pending", "asks_receiver", "in_time"):
        flags = {name: name == flag for name in ("expected_pending", "asks_receiver", "in_time")}
        write = Write(
            payment_id,
            State.TRYING,
            State.ABORTED,
            reason="reason",
            refused_leg_no=3,
            balances_after=(after,),
            quarantine="quarantine",
            **flags,
        )
        rows.append(payments._write_row(write, event))
        meant.append(
            {
                "payment_id": payment_id,
                "expected": "TRYING",
                "to_state": "ABORTED",
                "reason": "reason",
                "refused_leg_no": 3,
                "balances_after": json.dumps([after]),
                "quarantine": "quarantine",
                **flags,
                **{name: getattr(event, name) for name in OF_EVENTS},
            }
        )
    async with engine.database.driver_connection() as connection:
        await check_rows(connection, "write_row", rows, meant)


def _note(queries: set[str], said: Said) -> None:
    if said.query not in WITHOUT_PLAN and not said.is_the_drivers:
        queries.add(said.query)


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
