"""Plays one cell: arms the victim, lets it die, spoils NATS, brings everybody back, and looks whether all is well."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from tests.fault.matrix.accounts import Amending, Closing, Credit, Freeze, FreezeLeft, Opening
from tests.fault.matrix.bills import (
    Bills,
    Failing,
    Mended,
    Overdue,
    Plans,
    RefusedBills,
    Revocations,
    UnseenRequests,
)
from tests.fault.matrix.books import Reconcile, Resolve
from tests.fault.matrix.cells import Cell, Nats
from tests.fault.matrix.claims import DecideClaim
from tests.fault.matrix.endings import MoveAccount, MoveLeft
from tests.fault.matrix.hearing import Hearing, LosingStream, StartingAnew
from tests.fault.matrix.premiums import PayPremium, RevokePremium
from tests.fault.matrix.scene import Scene
from tests.fault.matrix.table import Act
from tests.fault.matrix.wallets import MoveWallet, OpenWallet, Transfer
from tests.fault.victims import COORDINATOR, FAMILY, FAR_LEDGER, arm_running, died

DRAIN_MAX_S: Final = 40.0
NATS_AWAY_S: Final = 0.5
"""How long NATS stays away while the process waits for it."""
SECOND_DEATH_MAX_S: Final = 6.0
"""Beyond this the second death comes by the clock, wherever the process is."""


class Playing(Protocol):
    """What an act does, in this order."""

    async def prepare(self) -> None:
        """Everything up to the moment before."""

    async def begin(self) -> None:
        """What the process dies of; returns at once."""

    async def learn(self) -> None:
        """Whoever asked finds out."""

    async def check(self) -> None:
        """What was told, stored and done agree."""

    async def undo(self) -> None:
        """As before, for the next cell."""


ACTS: Final[Mapping[Act, Callable[[Scene], Playing]]] = {
    Act.PAY: Bills,
    Act.PAY_REFUSED: RefusedBills,
    Act.REVOKE: Revocations,
    Act.REVERSE_UNSEEN: UnseenRequests,
    Act.PLAN: Plans,
    Act.CREDIT: Credit,
    Act.FREEZE: Freeze,
    Act.FREEZE_LEFT: FreezeLeft,
    Act.OVERDUE: Overdue,
    Act.FAIL: Failing,
    Act.MENDED: Mended,
    Act.OPEN: Opening,
    Act.AMEND: Amending,
    Act.CLOSE: Closing,
    Act.OPEN_WALLET: OpenWallet,
    Act.TRANSFER: Transfer,
    Act.PAY_PREMIUM: PayPremium,
    Act.REVOKE_PREMIUM: RevokePremium,
    Act.RECONCILE: Reconcile,
    Act.RESOLVE: Resolve,
    Act.DECIDE_CLAIM: DecideClaim,
    Act.MOVE_WALLET: MoveWallet,
    Act.MOVE_ACCOUNT: MoveAccount,
    Act.MOVE_LEFT: MoveLeft,
    Act.HEAR: Hearing,
    Act.LOSE_STREAM: LosingStream,
    Act.START_ANEW: StartingAnew,
}


@dataclass(frozen=True, slots=True)
class Played:
    """What a cell cost, in seconds from the (first) death: until the process was ready again for good, until rest."""

    cell: Cell
    ready_s: float
    drained_s: float
    again: str
    """Where it died the second time."""
    whole_s: float

    def __str__(self) -> str:
        again = f", again at {self.again}" if self.again else ""
        return f"{self.drained_s:6.1f} s  (ready after {self.ready_s:4.1f} s)  {self.cell}{again}"


async def play(scene: Scene, cell: Cell) -> Played:
    """Plays the cell to its end; AssertionError, TimeoutError or a failure if anything does not hold."""
    began_at = time.monotonic()
    town, victim = scene.town, cell.line.victim
    await scene.begins()
    act = ACTS[cell.line.act](scene)
    await act.prepare()
    if cell.line.act is Act.START_ANEW:
        await scene.launch(victim, cell.line.point)
    else:
        await arm_running(town.world, victim, cell.line.point)
    await act.begin()
    dead_at = await died(town.world, victim)
    scene.decided = await scene.decisions()
    again = await _brought_back(scene, cell)
    ready_at = time.monotonic()
    await act.learn()
    await scene.reached()
    await town.at_rest(bound_s=DRAIN_MAX_S)
    rest_at = time.monotonic()
    await scene.check_decisions_stand()
    await act.check()
    await scene.check()
    await act.undo()
    return Played(cell, ready_at - dead_at, rest_at - dead_at, again, time.monotonic() - began_at)


async def _brought_back(scene: Scene, cell: Cell) -> str:
    """NATS is spoilt and the process started, once or twice; where it died the second time."""
    world, victim = scene.town.world, cell.line.victim
    if cell.nats is not Nats.UP:
        await scene.broker.kill()
    await scene.launch(victim, cell.line.again if cell.twice else None)
    if cell.nats is not Nats.UP:
        await asyncio.sleep(NATS_AWAY_S)
        if cell.nats is Nats.WIPED:
            await scene.broker.wipe()
        await scene.broker.start()
    again = ""
    if cell.twice:
        again = await _died_again(scene, cell)
        await scene.launch(victim)
    await world.ready(victim)
    return again


async def _died_again(scene: Scene, cell: Cell) -> str:
    """Waits for the second death; one that does not come is brought about by the clock."""
    end = time.monotonic() + SECOND_DEATH_MAX_S
    while scene.town.world.pid(cell.line.victim) is not None:
        if time.monotonic() > end:
            await scene.town.world.kill_process(cell.line.victim)
            return f"{SECOND_DEATH_MAX_S:.0f} s"
        await asyncio.sleep(0.005)
    return cell.line.again


async def mended(scene: Scene) -> None:
    """After a cell that failed: servers and processes as they should be, and three families nobody has dealt with."""
    await scene.broker.start()
    for victim in (COORDINATOR, FAR_LEDGER, FAMILY):
        await scene.launch(victim)
    for victim in (COORDINATOR, FAR_LEDGER, FAMILY):
        await scene.town.world.ready(victim)
    await scene.reached()
    scene.families = await scene.town.pairs(3)
    scene.known = await scene.found()
