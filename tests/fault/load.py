"""Steady load: patients who pay, each bill over three funders in two areas, and get their money back, again and again.

Each patient stands at a terminal of his own with a journal of its own, which behaves as a real one: the same key again
until there is an answer, then it asks, then it reverses; what is still unknown it finds out about before anything else.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.client import Care, Outcome, Patience
from gongji_terminal.failures import TerminalRefusal, Unanswered
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.money import Fen
from tests.e2e.town import HAMI, OUTPATIENT, URUMQI, Family, Town, WatchedCounter, bill_of, new_resident

EACH_FEN: Final[Fen] = 1_000
"""What the patient and each funder begins with."""
BILL_FEN: Final[Fen] = 4_500
"""More than the four have together, so that every one of them pays."""
PATIENCE: Final = Patience(attempt_s=3.0, request_s=8.0, pause_max_s=0.5)
PAUSE_S: Final = 0.1
SERVICE_MAX_S: Final = 60.0
POLL_S: Final = 0.02
PATIENTS: Final = 4
FIRST_TERMINAL: Final = 60
PASSING: Final = frozenset(
    {
        *("AREA_UNREACHABLE", "OWN_AREA_UNREACHABLE", "VOTE_DEADLINE_PASSED"),
        *("BUS_UNAVAILABLE", "NO_RESPONDER", "SERVICE_BUSY", "PAYMENT_IN_PROGRESS", "DEADLINE_PASSED"),
        *("PAYMENT_REVERSED", "ALREADY_REVOKED"),
    }
)
"""Refusals that a fault may bring about and that pass with it. Any other one is a finding."""


@dataclass
class Load:
    """The patients at work, and what they were told."""

    town: Town
    families: Sequence[Family]
    paid_at: list[tuple[float, AdmDvs]] = field(default_factory=list)
    """When a patient was told that his bill is paid (monotonic seconds), and his area."""
    settled: list[tuple[Family, str]] = field(default_factory=list)
    """Every bill that a terminal was told is paid: whose, and its setl_id."""
    standing: dict[PsnNo, str] = field(default_factory=dict)
    """The bill that stands paid now, by patient."""
    hindered: Counter[str] = field(default_factory=Counter)
    """Why something was not done at the first try, by reason."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    working: list[asyncio.Task[None]] = field(default_factory=list)

    async def steady(self, bills: int = 4) -> None:
        """Returns once the patients of every area were told of so many bills more."""
        await self.resumes(since=time.monotonic(), bills=bills)

    async def resumes(self, *, since: float, bills: int = 1) -> float:
        """Returns once the patients of every area were told, after ``since``, that bills are paid; seconds since then.

        It looks at both areas, because a ledger that is away stops its own patients alone.
        """
        end = time.monotonic() + SERVICE_MAX_S
        while min(sum(at > since and area == one for at, area in self.paid_at) for one in (URUMQI, HAMI)) < bills:
            assert time.monotonic() < end, f"no service for {SERVICE_MAX_S:.0f} s; in the way: {dict(self.hindered)}"
            for patient in self.working:
                if patient.done():
                    patient.result()
            await asyncio.sleep(POLL_S)
        return time.monotonic() - since

    def pause_s(self, *areas: AdmDvs, since: float) -> float:
        """The longest time without a paid bill of these areas' patients that ended after ``since``."""
        times = [at for at, area in self.paid_at if area in areas or not areas]
        return max((later - earlier for earlier, later in pairwise(times) if later > since), default=float("inf"))

    # One patient -----------------------------------------------------------------------------------------------------

    async def pays_on(self, family: Family, counter: WatchedCounter) -> None:
        """Pays, takes it back, pays again; ends with nothing unknown and nothing paid."""
        while not self.stopping.is_set() or family.patient.psn_no in self.standing or await _unknown(counter):
            try:
                await self._goes_on(family, counter)
            except TerminalRefusal as refusal:
                self.hindered[refusal.reason] += 1
                if refusal.reason == "ALREADY_REVOKED":
                    del self.standing[family.patient.psn_no]
                if refusal.reason not in PASSING:
                    raise
            except (Unanswered, Failure) as silence:
                self.hindered[silence.reason or str(silence)] += 1
                if isinstance(silence, Failure) and silence.kind not in {Kind.UNAVAILABLE, Kind.DEADLINE}:
                    raise
            await asyncio.sleep(PAUSE_S)

    async def _goes_on(self, family: Family, counter: WatchedCounter) -> None:
        """Finds out what is unknown, before anything else; then the bill that stands is taken back, or one is paid."""
        await self._find_out(family, counter)
        if await _unknown(counter):
            return
        if (standing := self.standing.get(family.patient.psn_no)) is not None:
            self._told(family, await counter.terminal.revoke(standing, care=Care.OUTPATIENT))
        elif not self.stopping.is_set():
            self._told(family, await self._paid(family, counter))

    async def _paid(self, family: Family, counter: WatchedCounter) -> Outcome:
        plan = await counter.plan(
            patient=family.patient.psn_no, med_type=OUTPATIENT, bill=bill_of(BILL_FEN), mdtrt_id="LOAD"
        )
        return await counter.pay(plan, med_type=OUTPATIENT)

    async def _find_out(self, family: Family, counter: WatchedCounter) -> None:
        """What has become of requests without an answer; those that are still without one stay in the journal."""
        for _, outcome in await counter.terminal.recover():
            if isinstance(outcome, TerminalRefusal | Unanswered):
                self.hindered[outcome.reason or str(outcome)] += 1
            else:
                self._told(family, outcome)

    def _told(self, family: Family, outcome: Outcome) -> None:
        """Notes what the terminal was told."""
        patient = family.patient
        match outcome:
            case pb.Settlement() if outcome.original_setl_id:
                self.standing.pop(patient.psn_no, None)
            case pb.Settlement():
                self.paid_at.append((time.monotonic(), patient.area))
                self.settled.append((family, outcome.setl_id))
                self.standing[patient.psn_no] = outcome.setl_id
            case pb.Replan():
                self.hindered[outcome.reason] += 1
            case _:
                self.hindered["reversed"] += 1


async def _unknown(counter: WatchedCounter) -> bool:
    """Whether the terminal has sent something of which it does not know what became."""
    return bool(await counter.terminal._journal.unanswered())


async def load_families(town: Town, count: int = PATIENTS) -> list[Family]:
    """Patients, every second one in each area, each with three funders: one in Ürümqi, two in Hami."""
    return await asyncio.gather(*(_family(town, (URUMQI, HAMI)[number % 2]) for number in range(count)))


async def _family(town: Town, area: AdmDvs) -> Family:
    funders = (new_resident(home, past_fen=EACH_FEN) for home in (URUMQI, HAMI, HAMI))
    return await town.family(new_resident(area, past_fen=EACH_FEN), *funders)


@asynccontextmanager
async def load_on(town: Town, families: Sequence[Family]) -> AsyncIterator[Load]:
    """These patients at work; at the end every one of them knows what became of each request and has nothing paid."""
    load = Load(town, families)
    async with AsyncExitStack() as stack:
        for number, family in enumerate(families, start=FIRST_TERMINAL):
            counter = await stack.enter_async_context(town.another_counter(number=number, patience=PATIENCE))
            load.working.append(asyncio.create_task(load.pays_on(family, counter)))
        try:
            yield load
        except BaseException:
            for patient in load.working:
                patient.cancel()
            await asyncio.gather(*load.working, return_exceptions=True)
            raise
        load.stopping.set()
        async with asyncio.timeout(SERVICE_MAX_S):
            await asyncio.gather(*load.working)


async def check_load(town: Town, load: Load) -> None:
    """Nothing lost, nothing double: every invariant with the terminals' journals, and every account as it began."""
    await town.check()
    for family in load.families:
        assert [past + current for past, current in await town.money(family)] == [EACH_FEN] * len(family.members)
        assert await town.net_of(family) == 0
