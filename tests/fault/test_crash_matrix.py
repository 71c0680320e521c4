"""Coordinator and ledger killed at named points of a payment, a refusal and a revocation, and started again.

In each cell three patients are at it at the same moment, and each terminal finds out in another way: one sends the
same request again, one asks and reverses what is undecided, one reverses without asking.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, Final, TypeAlias

import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.client import Care, Outcome, Patience
from gongji_terminal.failures import TerminalRefusal, Unanswered
from gongji_terminal.journal import Entry, Journal
from tests.e2e.town import OUTPATIENT, Family, Town, WatchedCounter
from tests.fault.conftest import DRAINED
from tests.fault.victims import COORDINATOR, FAR_LEDGER, arm, died, revive

DRAIN_MAX_S: Final = 30.0
BILL_FEN: Final = 10_000
IMPATIENT: Final = Patience(attempt_s=0.4, request_s=0.2)


class Act(Enum):
    """What the three are at when it happens."""

    PAY = "pay"
    PAY_REFUSED = "pay, refused by the near ledger"
    REVOKE = "revoke"


@dataclass(frozen=True, slots=True)
class Cell:
    """Who dies where, and doing what. ``paid`` is what must have become of it, where only one outcome is right."""

    victim: str
    point: str
    act: Act
    paid: bool | None = None

    def __str__(self) -> str:
        return f"{self.point}, {self.act.value}"


CELLS: Final = (
    Cell(COORDINATOR, "settlement.begin.after_commit", Act.PAY),
    Cell(COORDINATOR, "settlement.decide.before_commit", Act.PAY),
    Cell(COORDINATOR, "settlement.decide.after_commit", Act.PAY),
    Cell(COORDINATOR, "settlement.confirm.before_send+0.3", Act.PAY, paid=True),
    Cell(COORDINATOR, "settlement.abort.after_commit", Act.PAY_REFUSED, paid=False),
    Cell(COORDINATOR, "settlement.refund.after_commit", Act.REVOKE),
    Cell(FAR_LEDGER, "ledger.try.before_commit", Act.PAY),
    Cell(FAR_LEDGER, "ledger.try.after_commit", Act.PAY),
    Cell(FAR_LEDGER, "ledger.confirm.before_commit", Act.PAY, paid=True),
    Cell(FAR_LEDGER, "ledger.confirm.after_commit", Act.PAY, paid=True),
    Cell(FAR_LEDGER, "ledger.cancel.before_commit", Act.PAY_REFUSED, paid=False),
    Cell(FAR_LEDGER, "ledger.cancel.after_commit", Act.PAY_REFUSED, paid=False),
    Cell(FAR_LEDGER, "ledger.credit.before_commit", Act.REVOKE),
    Cell(FAR_LEDGER, "ledger.credit.after_commit", Act.REVOKE),
)


@dataclass(frozen=True, slots=True)
class Three:
    """The terminals, by the way in which they find out."""

    repeats: WatchedCounter
    asks: WatchedCounter
    reverses: WatchedCounter

    @property
    def all(self) -> tuple[WatchedCounter, ...]:
        """In the order of the families."""
        return (self.repeats, self.asks, self.reverses)


@pytest.fixture(scope="module")
async def three(town: Town) -> AsyncIterator[Three]:
    """Three terminals of the hospital."""
    patient = Patience(attempt_s=4.0, request_s=40.0, pause_max_s=0.2)
    async with (
        town.another_counter(number=11, patience=patient) as repeats,
        town.another_counter(number=12, patience=IMPATIENT) as asks,
        town.another_counter(number=13, patience=IMPATIENT) as reverses,
    ):
        yield Three(repeats, asks, reverses)


@pytest.fixture(scope="module")
async def fresh(town: Town) -> Iterator[Sequence[Family]]:
    """Three families for each cell, which nobody else has."""
    pairs = await town.pairs(3 * len(CELLS))
    return iter([pairs[start : start + 3] for start in range(0, len(pairs), 3)])


@pytest.mark.parametrize("cell", CELLS, ids=str)
async def test_whoever_dies_money_is_conserved_and_every_terminal_learns_the_truth(
    town: Town,
    three: Three,
    fresh: Iterator[Sequence[Family]],
    cell: Cell,
    record_property: Callable[[str, object], None],
) -> None:
    """After the restart everything comes to rest by itself; what was told, what is stored and what was taken agree."""
    families = next(fresh)
    before = [await town.money(family) for family in families]
    acts = await prepared(town, three, families, cell.act)
    await arm(town.world, cell.victim, cell.point)

    tellings = [asyncio.create_task(act()) for act in acts]
    dead_at = await died(town.world, cell.victim)
    await revive(town.world, cell.victim)
    revived_at = time.monotonic()
    repeated = await told(tellings[0])
    asked = await told(tellings[1])
    asked = await found_out(three.asks) if asked is None else asked
    await told(tellings[2])
    last = await reversed_blindly(three.reverses)
    await town.reached()
    await town.at_rest(bound_s=DRAIN_MAX_S)
    at_rest_at = time.monotonic()
    record_property(DRAINED, f"{at_rest_at - dead_at:.1f} (restart {revived_at - dead_at:.1f})")

    for family, money, outcome in zip(families, before, (repeated, asked, last), strict=True):
        paid = isinstance(outcome, pb.Settlement)
        taken = paid is (cell.act is not Act.REVOKE)
        assert await town.net_of(family) == (BILL_FEN if taken else 0), outcome
        assert await town.money(family) == ([(0, 0), (3_000, 0)] if taken else money), outcome
    if cell.paid is not None:
        assert isinstance(repeated, pb.Settlement if cell.paid else pb.Replan), repeated
    await town.check()


async def prepared(
    town: Town, three: Three, families: Sequence[Family], act: Act
) -> list[Callable[[], Coroutine[Any, Any, Outcome]]]:
    """Everything up to the moment before; each function then begins what its family is at."""
    plans = [await town.planned(family, BILL_FEN) for family in families]
    if act is Act.REVOKE:
        paid = [await town.hospital.pay(plan, med_type=OUTPATIENT) for plan in plans]
        await town.at_rest()
        return [
            partial(counter.terminal.revoke, one.setl_id, care=Care.OUTPATIENT)
            for counter, one in zip(three.all, paid, strict=True)
            if isinstance(one, pb.Settlement)
        ]
    if act is Act.PAY_REFUSED:
        await asyncio.gather(*(town.freeze(family.patient) for family in families))
    return [partial(counter.pay, plan, med_type=OUTPATIENT) for counter, plan in zip(three.all, plans, strict=True)]


Told: TypeAlias = Outcome | TerminalRefusal | None


async def told(telling: asyncio.Task[Outcome]) -> Told:
    """What came of it; None if the terminal was left without an answer."""
    try:
        return await telling
    except TerminalRefusal as refusal:
        return refusal
    except Unanswered:
        return None


async def found_out(counter: WatchedCounter) -> Told:
    """Asks until there is an answer, and reverses what is undecided."""
    outcome: Told = None
    while outcome is None:
        for _, found in await counter.terminal.recover():
            outcome = None if isinstance(found, Unanswered) else found
        await asyncio.sleep(0.05)
    return outcome


async def reversed_blindly(counter: WatchedCounter) -> Told:
    """Reverses the last request whatever became of it; a revocation that was made stands."""
    entry = await last_entry(counter.terminal._journal)
    while True:
        try:
            return await counter.terminal.reverse(infno=entry.infno, msgid=entry.msgid)
        except Unanswered:
            await asyncio.sleep(0.05)
        except TerminalRefusal as refusal:
            if refusal.reason != "REVOCATION_STANDS":
                raise
            await counter.terminal.recover()
            found = await counter.terminal.get(infno=entry.infno, msgid=entry.msgid)
            return found.settlement


async def last_entry(journal: Journal) -> Entry:
    """What was written last."""
    return (await journal.entries())[-1]
