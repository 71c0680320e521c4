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
from typing import Any, Final

from chassis.db import Database
from services.settlement.operations.engine import Engine
from services.settlement.saga.payment import State
from tests.integration.settlement.engine.statements import hearing
from tests.integration.settlement.engine.world import HAMI, URUMQI, World

COORDINATOR: Final = "coordinator"
SETS: Final = "WITH set_0 AS"
"""How the one statement begins in which a ledger writes."""
TOUCHED: Final = "WITH legs AS"
"""How the one statement begins in which it reads all that a batch touches."""
REST_S: Final = 0.8
"""By then what was given before is published and nothing of it is under way."""
OF_THE_CLOCK: Final = ("SELECT count(*)", "SELECT event_id", "UPDATE outbox", "SELECT current_setting")
"""Beginnings of what the outbox, the driver and the test itself say at their own times; recovery says WITH due."""
PROTOBUF: Final = frozenset({"FromString", "ParseFromString", "MergeFromString", "SerializeToString"})


@dataclass
class Costs:
    """What was counted between the beginning and the end of the block."""

    statements: dict[str, list[str]] = field(default_factory=dict)
    """By database, each by its first words."""
    published: int = 0
    protobuf: Counter[str] = field(default_factory=Counter)


def kind_of(query: str) -> str:
    """INSERT payments, UPDATE accounts, COMMIT and so on; a ledger's one write names all that it does."""
    if TOUCHED in query:
        return "SELECT ledger_state"
    if SETS in query:
        written = re.findall(r"(INSERT) INTO (\w+)|(UPDATE) (\w+) AS", query)
        return ", ".join(" ".join(filter(None, found)) for found in written)
    words = query.replace("(", " ").split()
    if words[0] == "WITH":
        return "INSERT payments" if "INSERT INTO payments" in query else "UPDATE payments"
    if words[0] == "SELECT":
        table = words[words.index("FROM") + 1] if "FROM" in words else words[1]
        return f"SELECT {table.removesuffix(';')}"
    named = {"INSERT": 2, "UPDATE": 1}
    return f"{words[0]} {words[named[words[0]]]}" if words[0] in named else words[0].removesuffix(";")


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


def _noting(log: list[str]) -> Callable[[Any], None]:
    """Notes each statement but those of the clock, by its kind."""

    def note(told: Any) -> None:  # noqa: ANN401  asyncpg's record of a query; the driver publishes no types.
        text = " ".join(told.query.split())
        if (
            text.startswith("WITH") and not any(it in text for it in ("won AS", "begun AS", SETS, TOUCHED))
        ) or text.startswith(OF_THE_CLOCK):
            return
        log.append(kind_of(text))

    return note


def _count(counter: Counter[str], what: str, called: object) -> None:
    if what == "c_call" and (name := getattr(called, "__name__", "")) in PROTOBUF:
        counter[name] += 1


async def test_what_one_settlement_over_two_ledgers_costs(town: World, engine: Engine) -> None:
    """Three statements at the coordinator, two commits at each ledger; four messages; nothing is read twice."""
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
            *("BEGIN", "SELECT ledger_state", "INSERT branches, INSERT branch_legs, UPDATE accounts", "COMMIT"),
            *("BEGIN", "SELECT ledger_state", "UPDATE branches, UPDATE accounts, INSERT entries", "COMMIT"),
        ]
    assert costs.published == 4
    assert costs.protobuf == {
        "SerializeToString": 4 + 4 + 1,  # Commands, replies, the event.
        "FromString": 4 + 4 + 4,  # Commands, replies; and the commands once more by the tests' own edge.
    }
