"""What the acts work with: a town, its terminals, three families, and the servers that may die."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.client import Outcome, Patience
from gongji_terminal.failures import TerminalRefusal, Unanswered
from kernel.failures import Failure, Kind
from kernel.money import Fen
from ops.embedded.nats import EmbeddedNats
from tests.e2e.town import HAMI, Family, Town, WatchedCounter
from tests.fault.victims import launch

"""Of the processes that die."""
UNTIL_MAX_S: Final = 30.0
POLL_S: Final = 0.02
PATIENT: Final = Patience(attempt_s=4.0, request_s=40.0, pause_max_s=0.2)
IMPATIENT: Final = Patience(attempt_s=0.4, request_s=0.2)

Told: TypeAlias = Outcome | TerminalRefusal | None
Decisions: TypeAlias = dict[UUID, str]
"""The payments that are decided, and how."""

_DECIDED: Final = (
    "SELECT payment_id, state FROM payments WHERE kind = 'SETTLE' AND state <> 'TRYING' AND created_at > $1"
)
_PAID: Final = frozenset({"COMMITTED", "DONE"})


@dataclass
class Scene:
    """One town with three terminals and three families, used by one cell after the other."""

    town: Town
    broker: EmbeddedNats
    repeats: WatchedCounter
    """Sends the same request again until it is answered."""
    asks: WatchedCounter
    """Asks what became of it, and reverses what is undecided."""
    reverses: WatchedCounter
    """Reverses without asking."""
    families: Sequence[Family] = ()
    began_at: Any = None
    """By the database's clock, when this cell began."""
    decided: Decisions = field(default_factory=dict)
    """What was decided when the process died."""
    known: tuple[object, object] = (0, {})
    """What a failed cell left behind, so that it is held against that cell alone."""

    @property
    def terminals(self) -> tuple[WatchedCounter, ...]:
        """In the order of the families."""
        return (self.repeats, self.asks, self.reverses)

    @property
    def near(self) -> asyncpg.Connection:
        """The database of the patients' ledger."""
        return self.town.ledgers[self.families[0].patient.area]

    @property
    def far(self) -> asyncpg.Connection:
        """The database of the funders' ledger: that of FAR_LEDGER."""
        return self.town.ledgers[HAMI]

    async def launch(self, victim: str, point: str | None = None) -> None:
        """Starts a process again, to die at the point if one is given, and does not wait until it is ready."""
        await launch(self.town.world, victim, point)

    async def begins(self) -> None:
        """A new cell begins now."""
        self.began_at = await self.town.settlement.fetchval("SELECT clock_timestamp()")
        self.decided = {}

    async def reached(self) -> None:
        """The coordinator and both ledgers answer again: NATS may be back for longer than they have known."""
        await until(self._answer, "everybody answers")

    async def _answer(self) -> bool:
        await self.town.balances(self.families[0])
        return True

    async def money(self) -> list[list[tuple[Fen, Fen]]]:
        """(past, current) of every member of every family, once everything is at rest."""
        await self.reached()
        return [await self.town.money(family) for family in self.families]

    async def decisions(self) -> Decisions:
        """How the bills of this cell are decided at this moment."""
        return dict(await self.town.settlement.fetch(_DECIDED, self.began_at))

    async def found(self) -> tuple[object, object]:
        """How many violations `gongji verify` counts, and what waits for a person."""
        report = (await self.town.report()).as_json()
        return report["violations"], report["waiting"]

    async def check(self) -> None:
        """At rest, no invariant is violated and nothing waits for a person, beyond what a failed cell left behind."""
        await self.town.at_rest()
        if await self.found() != self.known:
            await self.town.check()

    async def check_decisions_stand(self) -> None:
        """What was COMMITTED when the process died is paid, and what was ABORTED is not: nobody decides anew."""
        now = await self.decisions()
        for payment_id, before in self.decided.items():
            assert (before in _PAID) == (now[payment_id] in _PAID), (payment_id, before, now[payment_id])


@asynccontextmanager
async def scene_in(town: Town, broker: EmbeddedNats, *, first_terminal: int = 11) -> AsyncIterator[Scene]:
    """Three terminals and three families of the town."""
    async with (
        town.another_counter(number=first_terminal, patience=PATIENT) as repeats,
        town.another_counter(number=first_terminal + 1, patience=IMPATIENT) as asks,
        town.another_counter(number=first_terminal + 2, patience=IMPATIENT) as reverses,
    ):
        families = await town.pairs(3)
        yield Scene(town, broker, repeats, asks, reverses, families)


async def told(telling: Awaitable[Outcome]) -> Told:
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
        await asyncio.sleep(POLL_S)
    return outcome


async def reversed_blindly(counter: WatchedCounter) -> Told:
    """Reverses the last request whatever became of it; a revocation that was made stands."""
    entry = (await counter.terminal._journal.entries())[-1]
    while True:
        with suppress(Unanswered):
            try:
                return await counter.terminal.reverse(infno=entry.infno, msgid=entry.msgid)
            except TerminalRefusal as refusal:
                if refusal.reason != "REVOCATION_STANDS":
                    raise
                await counter.terminal.recover()
                found = await counter.terminal.get(infno=entry.infno, msgid=entry.msgid)
                return found.settlement
        await asyncio.sleep(POLL_S)


async def until(holds: Callable[[], Awaitable[object]], what: str) -> None:
    """Waits until it holds; a service that is away or still undecided is asked again."""
    end = time.monotonic() + UNTIL_MAX_S
    while True:
        try:
            if await holds():
                return
        except Failure as failure:
            if failure.kind not in {Kind.UNAVAILABLE, Kind.DEADLINE}:
                raise
        assert time.monotonic() < end, f"after {UNTIL_MAX_S:.0f} s still not: {what}"
        await asyncio.sleep(POLL_S)


def is_paid(outcome: Told) -> bool:
    """Whether the terminal holds a settlement, or a revocation's record, in its hands."""
    return isinstance(outcome, pb.Settlement)
