"""Acts at the counter: bills are planned, paid, refused, revoked and reversed by three terminals at the same moment."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.client import Care, Outcome
from gongji_terminal.failures import TerminalRefusal, Unanswered
from gongji_terminal.journal import Entry
from kernel.money import Fen
from tests.e2e.town import OUTPATIENT, Family
from tests.fault.matrix.scene import Scene, Told, found_out, is_paid, reversed_blindly, told, until
from tests.fault.victims import COORDINATOR, arm_running, died

BILL_FEN: Final = 10_000
OWN_FEN: Final = 3_000
"""The patient's own part of it in a family of ``Town.pairs``; the funder bears the rest from his past part."""

Doing = Callable[[], Coroutine[Any, Any, Outcome]]


class Bills:
    """Three patients pay; each terminal finds out in its own way."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.before: list[list[tuple[Fen, Fen]]] = []
        self._doings: list[Doing] = []
        self._tellings: list[asyncio.Task[Outcome]] = []
        self._outcomes: list[Told] = []

    async def prepare(self) -> None:
        """Everything up to the moment before."""
        scene = self.scene
        self.before = await scene.money()
        self._doings = await self.doings([await scene.town.planned(family, BILL_FEN) for family in scene.families])

    async def doings(self, plans: list[pb.Plan]) -> list[Doing]:
        """What each terminal then begins."""
        return [
            partial(counter.pay, plan, med_type=OUTPATIENT)
            for counter, plan in zip(self.scene.terminals, plans, strict=True)
        ]

    async def begin(self) -> None:
        """All three at once."""
        self._tellings = [asyncio.create_task(doing()) for doing in self._doings]

    async def learn(self) -> None:
        """Each terminal finds out what became of its request."""
        scene = self.scene
        repeated, asked, _ = await asyncio.gather(*map(told, self._tellings))
        asked = await found_out(scene.asks) if asked is None else asked
        self._outcomes = [repeated, asked, await reversed_blindly(scene.reverses)]

    def took(self, outcome: Told) -> bool:
        """Whether a family's money is gone, by what its terminal was told."""
        return is_paid(outcome)

    async def check(self) -> None:
        """What was told, what is stored and what was taken agree."""
        after = await self.scene.money()
        expected = [
            _paid(money) if self.took(outcome) else money
            for money, outcome in zip(self.before, self._outcomes, strict=True)
        ]
        assert after == expected, self._outcomes
        for family, outcome in zip(self.scene.families, self._outcomes, strict=True):
            assert await self.scene.town.net_of(family) == (BILL_FEN if self.took(outcome) else 0), outcome

    async def undo(self) -> None:
        """The money goes back, to the fen, so that the next cell finds the families as this one did."""
        scene = self.scene
        for family, outcome in zip(scene.families, self._outcomes, strict=True):
            if self.took(outcome):
                setl_id = await paid_id(scene, family)
                await scene.town.hospital.terminal.revoke(setl_id, care=Care.OUTPATIENT)
        assert await scene.money() == self.before


class RefusedBills(Bills):
    """The patients' accounts are frozen after planning: the near ledger refuses what it is sent."""

    async def doings(self, plans: list[pb.Plan]) -> list[Doing]:
        """Frozen at the last moment."""
        await asyncio.gather(*(self.scene.town.freeze(family.patient) for family in self.scene.families))
        return await super().doings(plans)

    async def check(self) -> None:
        """Nothing was taken, by nobody's account."""
        await super().check()
        assert not any(map(is_paid, self._outcomes)), self._outcomes

    async def undo(self) -> None:
        """The accounts take holds again."""
        for family in self.scene.families:
            await self.scene.town.freeze(family.patient, frozen=False)


class Revocations(Bills):
    """Three paid bills are taken back at once."""

    async def doings(self, plans: list[pb.Plan]) -> list[Doing]:
        """Paid before anything dies."""
        scene = self.scene
        paid = [await scene.town.hospital.pay(plan, med_type=OUTPATIENT) for plan in plans]
        await scene.town.at_rest()
        return [
            partial(counter.terminal.revoke, one.setl_id, care=Care.OUTPATIENT)
            for counter, one in zip(scene.terminals, paid, strict=True)
            if isinstance(one, pb.Settlement)
        ]

    def took(self, outcome: Told) -> bool:
        """A revocation that was stopped leaves the bill paid."""
        return not is_paid(outcome)


class UnseenRequests(Bills):
    """A terminal reverses a request that never arrived, is left without an answer, reverses again; then it arrives."""

    _entry: Entry
    _reversing: asyncio.Task[Told]

    async def prepare(self) -> None:
        """The request stands in the journal and was never sent."""
        scene = self.scene
        self.before = await scene.money()
        plan = await scene.town.planned(scene.families[2], BILL_FEN)

        def request(key: pb.RequestKey) -> bytes:
            return pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest).SerializeToString()

        self._entry = await scene.reverses.terminal._written(Care.OUTPATIENT.settle, request)

    async def begin(self) -> None:
        """It is reversed until that is answered."""
        self._reversing = asyncio.create_task(reversed_blindly(self.scene.reverses))

    async def learn(self) -> None:
        """Answered."""
        self._outcomes = [None, None, await self._reversing]

    async def check(self) -> None:
        """The original comes late and can never start."""
        await super().check()
        late = await told(self.scene.repeats.terminal._send(self._entry))
        assert isinstance(late, TerminalRefusal), late
        assert late.reason == "PAYMENT_REVERSED"


class Plans(Bills):
    """A plan is being stored; nothing moves whatever becomes of it."""

    _planning: asyncio.Task[pb.Plan]

    async def prepare(self) -> None:
        """As the families are."""
        self.before = await self.scene.money()

    async def begin(self) -> None:
        """The first patient's bill is planned."""
        self._planning = asyncio.create_task(self._planned())

    async def _planned(self) -> pb.Plan:
        while True:
            try:
                return await self.scene.town.planned(self.scene.families[0], BILL_FEN)
            except Unanswered:
                await asyncio.sleep(0.05)

    async def learn(self) -> None:
        """The plan comes in the end, and can be paid."""
        plan = await self._planning
        paid = await self.scene.repeats.pay(plan, med_type=OUTPATIENT)
        self._outcomes = [paid, None, None]


class Overdue(Bills):
    """Decided and not confirmed, and the lease is held by a coordinator that sleeps: only the ledger's question helps.

    One terminal pays, is left without an answer, and waits.
    """

    async def prepare(self) -> None:
        """COMMITTED here, HELD there, and nobody drives it."""
        scene = self.scene
        await super().prepare()
        await arm_running(scene.town.world, COORDINATOR, "settlement.decide.after_commit")
        self._tellings = [asyncio.create_task(self._doings[1]())]
        await died(scene.town.world, COORDINATOR)
        await told(self._tellings[0])
        await scene.town.settlement.execute(
            "UPDATE payments SET next_drive_at = now() + interval '1 minute' WHERE state = 'COMMITTED'"
        )
        await scene.launch(COORDINATOR)
        await scene.town.world.ready(COORDINATOR)

    async def begin(self) -> None:
        """The ledger's clock does it."""

    async def learn(self) -> None:
        """The terminal asks; then the question of the ledgers brings everything to rest."""
        self._outcomes = [None, await found_out(self.scene.asks), None]
        await until(self._confirmed, "confirmed by inquiry")
        await self.scene.town.settlement.execute("UPDATE payments SET next_drive_at = now() WHERE state = 'COMMITTED'")

    async def _confirmed(self) -> bool:
        held = "SELECT count(*) FROM branches WHERE state = 'HELD'"
        return not await self.scene.near.fetchval(held) and not await self.scene.far.fetchval(held)


BREAK: Final = """
CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'broken by a test' USING ERRCODE = 'data_exception'; END $$;
CREATE OR REPLACE TRIGGER broken BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION broken();
"""
MEND: Final = "DROP TRIGGER IF EXISTS broken ON entries"


class Failing(Bills):
    """The far ledger cannot write entries: the CONFIRM goes into quarantine and is tried for ever."""

    async def prepare(self) -> None:
        """Broken after the plans were made."""
        await super().prepare()
        await self.scene.far.execute(BREAK)

    async def learn(self) -> None:
        """Mended; then everybody finds out."""
        await self.scene.far.execute(MEND)
        await super().learn()
        await until(self._out_of_quarantine, "out of quarantine")

    async def _out_of_quarantine(self) -> bool:
        return not await self.scene.far.fetchval("SELECT count(*) FROM quarantine WHERE done_at IS NULL")


class Mended(Failing):
    """As ``Failing``, and the process dies after the mending."""

    async def prepare(self) -> None:
        """In quarantine already."""
        await super().prepare()
        await super().begin()
        await until(self._in_quarantine, "in quarantine")

    async def begin(self) -> None:
        """Mended."""
        await self.scene.far.execute(MEND)

    async def _in_quarantine(self) -> bool:
        return bool(await self.scene.far.fetchval("SELECT count(*) FROM quarantine WHERE done_at IS NULL"))


def _paid(before: list[tuple[Fen, Fen]]) -> list[tuple[Fen, Fen]]:
    """What such a bill leaves a family."""
    _, (past_fen, current_fen) = before
    return [(0, 0), (past_fen - (BILL_FEN - OWN_FEN), current_fen)]


async def paid_id(scene: Scene, family: Family) -> str:
    """The settlement that stands."""
    return str(
        await scene.town.settlement.fetchval(
            """SELECT payment_id FROM payments AS p WHERE psn_no = $1 AND kind = 'SETTLE' AND state = 'DONE'
                  AND NOT EXISTS (SELECT FROM payments AS r WHERE r.original_id = p.payment_id AND r.state = 'DONE')""",
            family.patient.psn_no,
        )
    )
