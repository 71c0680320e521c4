"""Transfers: a giver who asks until he knows, and a receiver who says yes, no, both at once, or nothing."""

from __future__ import annotations

from datetime import UTC
from typing import Final

from kernel.clock import business_year
from services.settlement.domain.payment import request_hash, transfer_key
from tests.fault.simulation.rows import AskedTransfer, area_of, psn_no
from tests.fault.simulation.scenario import Operation
from tests.fault.simulation.terminal import PATIENCE_MS, Line, Submit, plan_leg
from tests.fault.simulation.told import PENDING, Asked, Told
from tests.fault.simulation.world import World

VOTES: Final = {"accept": ("ACCEPT",), "decline": ("DECLINE",), "both": ("ACCEPT", "DECLINE"), "silent": ()}


class Wallet:
    """One transfer, from its giver's and its receiver's side: it goes on until both know what became of it."""

    def __init__(self, operation: Operation, world: World, submit: Submit) -> None:
        self.name = f"w{operation.number}"
        self.operation = operation
        self.journal: list[Line] = []
        self._world = world
        self._submit = submit

    @property
    def open_lines(self) -> list[Line]:
        """What giver or receiver still wait for."""
        return [line for line in self.journal if line.is_open]

    def start(self) -> None:
        """The giver asks for it; a withdrawal may overtake it."""
        operation = self.operation
        giver = operation.person
        key = transfer_key(area_of(giver), f"transfer-{operation.number:04d}")
        legs = tuple(plan_leg(n, it, giver) for n, it in enumerate(operation.shares, start=1))
        content = request_hash("transfer", *(str(leg) for leg in legs))
        transfer = AskedTransfer(psn_no(giver), legs, operation.accept_within_ms)
        line = Line("TRANSFER", key, content)
        self.journal.append(line)
        begins_ms = operation.at_ms + 1_000
        self._world.after(begins_ms, lambda: self._give(line, transfer, 0))
        for vote in VOTES[operation.style]:
            self._world.after(begins_ms + operation.answer_ms, lambda vote=vote: self._vote(line, vote))  # type: ignore[misc]
        if operation.then == "withdraw":
            self._world.after(max(begins_ms + operation.then_ms, 1), lambda: self._withdraw(line))

    def _give(self, line: Line, transfer: AskedTransfer, tried: int) -> None:
        """The same request until it is known what became of it; once the receiver is asked, the giver only looks."""
        if not line.is_waiting:
            return
        kind = "ASK" if tried % 2 and any(told.outcome == PENDING for told in line.told) else line.kind
        year = business_year(self._world.now.astimezone(UTC))
        asked = Asked(
            kind,
            self.operation.number,
            line.key,
            line.content,
            lambda told: self._hear(line, told),
            transfer=transfer.in_year(year),
        )
        self._submit(self.name, asked, tried)
        self._world.after(PATIENCE_MS, lambda: self._give(line, transfer, tried + 1))

    def _hear(self, line: Line, told: Told) -> None:
        self._world.tell(f"{self.name} is told of its transfer: {told.outcome}")
        line.told.append(told)

    def _vote(self, of: Line, vote: str) -> None:
        """The receiver's answer, sent until something final is said of it. It may come before he is asked."""
        line = Line(vote, of.key, b"")
        self.journal.append(line)

        def hear(told: Told) -> None:
            self._world.tell(f"{self.name} is told of its {vote}: {told.outcome}")
            line.told.append(told)

        def send(tried: int) -> None:
            if line.is_waiting:
                asked = Asked(vote, self.operation.number, of.key, b"", hear)
                self._submit(self.name, asked, tried)
                self._world.after(PATIENCE_MS, lambda: send(tried + 1))

        send(0)

    def _withdraw(self, line: Line) -> None:
        line.wants_reversal = True

        def hear(told: Told) -> None:
            self._world.tell(f"{self.name} is told of its withdrawal: {told.outcome}")
            line.reversals.append(told)

        def send(tried: int) -> None:
            if line.is_open:
                self._submit(self.name, Asked("REVERSE", self.operation.number, line.key, b"", hear), tried)
                self._world.after(PATIENCE_MS, lambda: send(tried + 1))

        send(0)
