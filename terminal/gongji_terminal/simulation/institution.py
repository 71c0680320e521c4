"""One institution of a simulated day, a process of its own: ``python -m gongji_terminal.simulation.institution``.

It is started by `gongji-terminal simulate`, which kills it now and then. It tells what happens on standard output, a
JSON object a line, and ends when standard input does: then every terminal finds out what became of each request.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
import uuid
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import grpc

from gongji.identity.v1 import credentials_pb2, credentials_pb2_grpc
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.care import Care, care_of
from gongji_terminal.channels import channel_to
from gongji_terminal.client import NOT_SIGNED_IN, Outcome, Patience, Reversed, Terminal
from gongji_terminal.failures import TerminalRefusal, Unanswered, failure_of
from gongji_terminal.journal import Journal
from gongji_terminal.simulation.town import Desk, Institution, journal_of, read

Answer = TypeVar("Answer")

OPTER: Final = "simulated"
PATIENCE: Final = Patience(attempt_s=5.0, request_s=12.0, pause_max_s=1.0)
PHONE_S: Final = 5.0
REVOKES: Final = 0.12
REVERSES: Final = 0.06
DIES: Final = 0.03
"""How often a terminal's next step is a revocation, a 2601, and how often its power fails during the step."""
FORGETS_IT_IS_DONE: Final = 0.1
"""How often a bill that was taken back is taken back once more, perhaps by another terminal at the same moment."""
DEATH_WITHIN_S: Final = 0.3
RECENT_MAX: Final = 50
CATCH_UP_PAUSE_S: Final = 0.5
BILL_FEN: Final = (500, 20_000)


@dataclass
class Ward:
    """What the terminals of the institution share: who comes, what was paid lately, and whether the day is over."""

    institution: Institution
    patients: tuple[str, ...]
    folder: Path
    pause_s: float
    chance: random.Random
    over: asyncio.Event = field(default_factory=asyncio.Event)
    recent: list[pb.Settlement] = field(default_factory=list)

    @property
    def code(self) -> str:
        """The institution's."""
        return self.institution.fixmedins_code

    @property
    def care(self) -> Care:
        """What is billed here."""
        return care_of(self.code, "11")

    def happens(self, share: float) -> bool:
        """Chance."""
        return self.chance.random() < share

    def pick(self) -> pb.Settlement:
        """A bill of lately that is to be taken back, most often for the last time."""
        place = self.chance.randrange(len(self.recent))
        return self.recent[place] if self.happens(FORGETS_IT_IS_DONE) else self.recent.pop(place)


def tell(what: str, **more: object) -> None:
    """A line for whoever started this process."""
    sys.stdout.write(json.dumps({"what": what, **more}) + "\n")
    sys.stdout.flush()


class Window:
    """A terminal at work, from when it is switched on until its power fails or the day is over."""

    def __init__(
        self, ward: Ward, terminal: Terminal, journal: Journal, phones: credentials_pb2_grpc.CredentialServiceAsyncStub
    ) -> None:
        self._ward = ward
        self._terminal = terminal
        self._journal = journal
        self._phones = phones
        self._signed_in = False

    async def works(self) -> bool:
        """Serves until the day is over and nothing is open (True), or until its power fails (False)."""
        while True:
            open_before = await self._left()
            if open_before:
                await self._catch_up()
                if await self._left():
                    await asyncio.sleep(CATCH_UP_PAUSE_S)
                continue
            if self._ward.over.is_set():
                return True
            step = asyncio.create_task(self._step())
            if self._ward.happens(DIES):
                await asyncio.wait({step}, timeout=self._ward.chance.uniform(0, DEATH_WITHIN_S))
                step.cancel()
                await asyncio.gather(step, return_exceptions=True)
                tell("died")
                return False
            await step
            await self._rests()

    async def _rests(self) -> None:
        """Until the next patient comes, or the day is over."""
        pause_s = self._ward.chance.uniform(0.5, 1.5) * self._ward.pause_s
        await asyncio.wait([over := asyncio.create_task(self._ward.over.wait())], timeout=pause_s)
        over.cancel()

    async def _left(self) -> int:
        """How many requests have no answer, and reversals that wait."""
        return len(await self._journal.unanswered()) + len(await self._journal.reversals_queued())

    async def _catch_up(self) -> None:
        """Finds out what became of what was left; a money request that somebody awaits is done by now."""
        for entry, outcome in await self._terminal.recover():
            if isinstance(outcome, TerminalRefusal | Unanswered):
                tell("silent" if isinstance(outcome, Unanswered) else "refused", reason=outcome.reason)
            else:
                tell("resumed", msgid=entry.msgid)
                self._note(outcome)

    async def _step(self) -> None:
        """One thing that happens at a window; a refusal or silence is told, and the next patient comes."""
        try:
            if not self._signed_in:
                await self._terminal.sign_in(OPTER)
                self._signed_in = True
            if self._ward.recent and self._ward.happens(REVOKES):
                bill = self._ward.pick()
                self._note(await self._timed(self._terminal.revoke(bill.setl_id, care=self._ward.care)))
            elif self._ward.recent and self._ward.happens(REVERSES):
                key = self._ward.pick().key
                self._note(await self._timed(self._terminal.reverse(infno=str(int(key.infno)), msgid=key.msgid)))
            else:
                await self._visit()
        except TerminalRefusal as refusal:
            self._signed_in = self._signed_in and refusal.reason not in NOT_SIGNED_IN
            tell("refused", reason=refusal.reason)
        except Unanswered as silence:
            tell("silent", reason=silence.reason)

    async def _visit(self) -> None:
        """A patient shows the code of a phone, sees the plan and pays; a new plan is consented to once."""
        ward, terminal = self._ward, self._terminal
        patient, visit = ward.chance.choice(ward.patients), f"S{uuid.uuid4().hex[:20]}"
        try:
            issued = await self._phones.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=patient), timeout=PHONE_S)
        except grpc.aio.AioRpcError as error:
            raise failure_of(error) from None
        decoded = await terminal.decode(issued.code, mdtrt_id=visit)
        plan = await self._timed(
            terminal.pre_settle(
                care=ward.care, psn_no=patient, ec_token=decoded.ec_token, mdtrt_id=visit, bill=self._bill()
            )
        )
        outcome = await self._timed(terminal.settle(plan, care=ward.care))
        self._note(outcome)
        if isinstance(outcome, pb.Replan) and outcome.HasField("plan"):
            self._note(await self._timed(terminal.settle(outcome.plan, care=ward.care)))

    def _bill(self) -> pb.Bill:
        """Of any amount; at a hospital the pooled fund pays its part."""
        inside, outside = (self._ward.chance.randint(*BILL_FEN) for _ in range(2))
        bill = pb.Bill(med_type="11", medfee_sumamt=inside + outside, fulamt_ownpay_amt=outside, inscp_scp_amt=inside)
        if self._ward.care is Care.PHARMACY:
            bill.med_type = "41"
        else:
            bill.act_pay_dedc, bill.hifp_pay = inside // 4, inside // 3
        return bill

    def _note(self, outcome: Outcome) -> None:
        match outcome:
            case pb.Settlement() if outcome.original_setl_id:
                tell("revoked")
            case pb.Settlement():
                tell("paid", fen=outcome.amounts.medfee_sumamt)
                self._ward.recent.append(outcome)
                del self._ward.recent[:-RECENT_MAX]
            case pb.Replan():
                tell("replanned", reason=outcome.reason)
            case Reversed():
                tell("reversed")

    @staticmethod
    async def _timed(answer: Awaitable[Answer]) -> Answer:
        """Tells how long the cashier waited, if there was an answer."""
        began = time.monotonic()
        got = await answer
        tell("answered", seconds=round(time.monotonic() - began, 3))
        return got


async def play(ward: Ward, *, settlement: str, identity: str) -> None:
    """Every terminal at work until standard input ends and nothing is open."""

    async def at_work(desk: Desk, phones: credentials_pb2_grpc.CredentialServiceAsyncStub) -> None:
        finished = False
        while not finished:
            async with (
                Journal(journal_of(ward.folder, ward.code, desk.terminal_no)) as journal,
                Terminal.connected(
                    settlement_address=settlement,
                    identity_address=identity,
                    journal=journal,
                    fixmedins_code=ward.code,
                    terminal_no=desk.terminal_no,
                    number=desk.number,
                    patience=PATIENCE,
                ) as terminal,
            ):
                finished = await Window(ward, terminal, journal, phones).works()

    async def until_told() -> None:
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        await reader.read()
        ward.over.set()

    async with channel_to(identity) as channel, asyncio.TaskGroup() as group:
        phones = credentials_pb2_grpc.CredentialServiceStub(channel)
        group.create_task(until_told())
        for desk in ward.institution.desks:
            group.create_task(at_work(desk, phones))


def main() -> None:
    """Town file, institution, its terminals, journals' folder, pause in seconds, seed."""
    file, code, terminals, folder, pause_s, seed = sys.argv[1:]
    town = read(Path(file))
    whole = next(one for one in town.institutions if one.fixmedins_code == code)
    ward = Ward(
        Institution(code, whole.desks[: int(terminals)]),
        town.patients,
        Path(folder),
        float(pause_s),
        random.Random(seed),  # noqa: S311  Chance, no secret.
    )
    asyncio.run(play(ward, settlement=town.settlement, identity=town.identity))


if __name__ == "__main__":
    main()
