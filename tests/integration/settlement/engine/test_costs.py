"""What one settlement costs, counted: statements, commits, NATS messages, protobuf messages. Noise cannot change these.

Seconds are `make bench`'s to measure. Here a statement more on the hot path, a commit more, a message that is read
twice fails the test that says how many there are; whoever means it changes the number and says why in the commit.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Final

import sqlalchemy as sa

from chassis.db import Database
from services.settlement.ledger.store import loading
from services.settlement.ledger.store.locking import hold, let_go
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import State
from services.settlement.store import account_commands, endings, payments, refunds
from tests.integration.settlement.engine.statements import Said, hearing
from tests.integration.settlement.engine.world import HAMI, URUMQI, World

COORDINATOR: Final = "coordinator"
REST_S: Final = 0.8
"""By then nothing of what was given before is under way."""
OF_THE_SWEEPS: Final = frozenset({payments._TAKE_DUE, account_commands._TAKE_DUE, endings._TAKE_DUE})
"""What recovery asks at its own times, whether or not anybody pays."""
NAMED: Final = {
    payments._BEGIN: "INSERT payments",
    payments._WRITE: "UPDATE payments",
    refunds._STANDS: "SELECT what stands",
    refunds._GIVE_BACK: "INSERT refund",
    loading._USUAL: "SELECT ledger_state",
    **{hold(area): "LOCK" for area in (HAMI, URUMQI)},
    **{let_go(area): "UNLOCK" for area in (HAMI, URUMQI)},
}
OF_SETS: Final = "WITH set_0 AS"
"""How the one statement begins in which a ledger writes."""
PROTOBUF: Final = frozenset({"FromString", "ParseFromString", "MergeFromString", "SerializeToString"})


@dataclass
class Costs:
    """What was counted between the beginning and the end of the block."""

    statements: dict[str, list[str]] = field(default_factory=dict)
    """By database, each by its kind."""
    published: int = 0
    protobuf: Counter[str] = field(default_factory=Counter)


def kind_of(query: str) -> str:
    """What a statement does, in few words; all that a ledger's one write does; of one that is not known, its text."""
    if query.startswith(OF_SETS):
        written = re.findall(r"(INSERT) INTO (\w+)|(UPDATE) (\w+) AS", query)
        return ", ".join(" ".join(filter(None, found)) for found in written)
    return NAMED.get(query) or " ".join(query.split())


@contextmanager
def counted(town: World, engine: Engine) -> Iterator[Costs]:
    """Counts at every database, at the bus, and at protobuf's own functions."""
    costs = Costs()
    databases: dict[str, Database] = {COORDINATOR: engine.database} | {
        str(area): town.ledgers[area] for area in town.ledgers
    }
    with ExitStack() as stack:
        for name, database in databases.items():
            stack.enter_context(hearing(database, _noting(costs.statements.setdefault(name, []))))
        client = engine.ledgers._bus.client
        before = client.stats["out_msgs"]
        sys.setprofile(lambda _frame, what, called: _count(costs.protobuf, what, called))
        stack.callback(sys.setprofile, None)
        yield costs
        costs.published = client.stats["out_msgs"] - before


def _noting(log: list[str]) -> Callable[[Said], None]:
    """Notes each statement by its kind, but for the sweeps' and the driver's own."""

    def note(said: Said) -> None:
        if said.query not in OF_THE_SWEEPS and not said.is_the_drivers:
            log.append(kind_of(said.query))

    return note


def _count(counter: Counter[str], what: str, called: object) -> None:
    if what == "c_call" and (name := getattr(called, "__name__", "")) in PROTOBUF:
        counter[name] += 1


async def test_what_one_settlement_over_two_ledgers_costs(town: World, engine: Engine) -> None:
    """Three statements at the coordinator, two batches at each ledger; four messages; nothing is read twice."""
    person, key = town.patient(), town.key()
    await town.give(engine, person, own=10_000, wallet=5_000)
    await town.until((await town.settle(engine, await town.plan(person, own=1, wallet=1))).payment.key, State.DONE)
    plan = await town.plan(person, own=7_000, wallet=1_500)
    await asyncio.sleep(REST_S)
    with counted(town, engine) as costs:
        await town.settle(engine, plan, key)
        await town.until(key, State.DONE)
    assert costs.statements[COORDINATOR] == ["INSERT payments", "UPDATE payments", "UPDATE payments"]
    for area in (HAMI, URUMQI):
        assert costs.statements[area] == [
            *("LOCK", "SELECT ledger_state", "INSERT branches, INSERT branch_legs, UPDATE accounts", "UNLOCK"),
            *("LOCK", "SELECT ledger_state", "UPDATE branches, UPDATE accounts, INSERT entries", "UNLOCK"),
        ]
    assert costs.published == 4
    assert costs.protobuf == {
        "SerializeToString": 4 + 4 + 1,  # Commands, replies, the event.
        "FromString": 4 + 4 + 4,  # Commands, replies; and the commands once more by the tests' own edge.
    }


async def test_what_one_revocation_over_two_ledgers_costs(town: World, engine: Engine) -> None:
    """One reading and one writing in a transaction, the last step; one batch at each ledger, two messages."""
    person, key = town.patient(), town.key("2208")
    await town.give(engine, person, own=10_000, wallet=5_000)
    settled = [await town.settle(engine, await town.plan(person, own=700, wallet=150)) for _ in range(2)]
    for each in settled:
        await town.until(each.payment.key, State.DONE)
    first, second = settled
    await town.revoke(engine, first.payment.payment_id, town.key("2208"))
    await asyncio.sleep(REST_S)
    with counted(town, engine) as costs:
        await town.revoke(engine, second.payment.payment_id, key)
        await town.until(key, State.DONE)
    assert costs.statements[COORDINATOR] == [
        *("BEGIN", "SELECT what stands", "INSERT refund", "COMMIT"),
        "UPDATE payments",
    ]
    assert costs.published == 2


async def test_whichever_way_a_statement_is_said_it_is_counted(town: World, engine: Engine) -> None:
    """By the driver or by SQLAlchemy, in a transaction or not, and whatever it looks like."""
    with counted(town, engine) as costs:
        async with engine.database.driver_connection() as connection:
            await connection.execute("SELECT 1")
            await connection.fetch("WITH it AS (SELECT $1::int) SELECT count(*) FROM it", 1)
        async with engine.database.transaction() as session:
            await session.execute(sa.text("SELECT event_id FROM outbox"))
            await session.execute(sa.text("UPDATE outbox SET version = :it WHERE false"), [{"it": 1}, {"it": 2}])
        await asyncio.sleep(0)  # The driver tells in the loop's next turn.
    assert Counter(costs.statements[COORDINATOR]) == Counter(
        [
            "SELECT 1",
            "WITH it AS (SELECT $1::int) SELECT count(*) FROM it",
            *("BEGIN;", "SELECT event_id FROM outbox", "UPDATE outbox SET version = $1 WHERE false", "COMMIT;"),
        ]
    )
