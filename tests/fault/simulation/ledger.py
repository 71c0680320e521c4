"""An area's ledger: its rows, its batches, its inquiries; every decision is the production domain's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from kernel.ids import AdmDvs, PaymentId
from services.settlement.ledger.domain.commands import (
    BranchReply,
    Cancel,
    Confirm,
    PutCredit,
    Reply,
    Request,
    identity_of,
)
from services.settlement.ledger.domain.model import BranchState, Entry, EntryKind
from services.settlement.ledger.domain.state import Outcome, State
from services.settlement.ledger.wire.commands import parse_batch
from services.settlement.ledger.wire.replies import render_batch, render_reply
from services.settlement.saga.requests import Decision
from tests.fault.simulation.decisions import Decisions
from tests.fault.simulation.rows import name_of
from tests.fault.simulation.world import Node, Violation, World

SWEEP_MS = 1_000
BACKOFF_MS = 2_000
BACKOFF_MAX_MS = 30_000
GATHER_MS = 3

Replied = Callable[[Reply], None]


@dataclass(slots=True)
class LedgerRows:
    """What is durable in one ledger's database."""

    state: State = field(default_factory=State)
    entries: list[Entry] = field(default_factory=list)
    inquire_at_ms: dict[PaymentId, int] = field(default_factory=dict)
    inquiries: dict[PaymentId, int] = field(default_factory=dict)


class Ledger(Node):
    """One writer; what comes while it writes is gathered into the next batch."""

    def __init__(self, area: AdmDvs, world: World, decisions: Decisions) -> None:
        super().__init__(f"ledger {area}")
        self.area = area
        self.rows = LedgerRows()
        self._world = world
        self._decisions = decisions
        self._waiting: list[tuple[Request, Replied]] = []
        self.wrote: Callable[[Ledger, list[Outcome]], None] = lambda _ledger, _outcomes: None
        self.ask: Callable[[Ledger, list[PaymentId], Callable[[dict[PaymentId, Decision]], None]], None] | None = None

    def forget(self) -> None:
        """What waited is gone."""
        self._waiting = []

    def awake(self) -> None:
        """The inquiries begin."""
        self._world.after_at(self, SWEEP_MS, self._sweep)

    def hear(self, payload: bytes, answer: Callable[[bytes], None]) -> None:
        """A batch of commands in the words of the contract."""
        parsed = parse_batch(payload)
        if parsed.refused:
            raise Violation(f"{self.name} cannot read what a coordinator sends: {parsed.refused}")
        for index, request in parsed.writes:
            self.put(request, lambda reply, index=index: answer(render_batch([render_reply(index, reply)])))  # type: ignore[misc]

    def put(self, request: Request, answer: Replied) -> None:
        """One command, for the next batch."""
        self._waiting.append((request, answer))
        if len(self._waiting) == 1:
            self._world.after_at(self, GATHER_MS, self._write)

    def _write(self) -> None:
        batch, self._waiting = self._waiting, []
        outcomes: list[Outcome] = []

        def transaction() -> None:
            outcomes.extend(self.apply([request for request, _ in batch]))

        what = " ".join(f"{kind} {name_of(it)}" for kind, it in (identity_of(request.command) for request, _ in batch))
        if not self._world.commit(self, what, transaction):
            return  # Nobody is answered: whoever waits asks again.
        for (_, answer), outcome in zip(batch, outcomes, strict=True):
            answer(outcome.reply)

    def apply(self, requests: list[Request]) -> list[Outcome]:
        """One transaction: decide, write, and let the invariants look."""
        now = self._world.now
        after, outcomes = self._decisions.apply_all(self.rows.state, requests, now=now)
        self.rows.state = after
        for request, outcome in zip(requests, outcomes, strict=True):
            self._note(request, outcome)
            self.rows.entries.extend(outcome.entries)
            if outcome.alarms:
                raise Violation(f"{self.name} raises {outcome.alarms[0].kind.value} about {_subject(outcome)}")
            for branch in outcome.branches.values():
                if branch.state is BranchState.HELD and branch.inquire_at is not None:
                    wait_ms = int((branch.inquire_at - now).total_seconds() * 1000)
                    self.rows.inquire_at_ms.setdefault(branch.payment_id, self._world.now_ms + wait_ms)
        self.wrote(self, outcomes)
        return outcomes

    def _note(self, request: Request, outcome: Outcome) -> None:
        """Which situation this was, for the proof that the seeds reach them all."""
        reply = outcome.reply
        state = reply.state.value if isinstance(reply, BranchReply) and reply.state is not None else ""
        wrote = "" if outcome.branches or outcome.credits or not state else " again"
        refused = reply.refusal
        self._world.seen[
            f"{identity_of(request.command)[0]} {refused.reason if refused is not None else state}{wrote}".strip()
        ] += 1
        if isinstance(request.command, PutCredit) and any(
            it.state is BranchState.CONFIRMED for it in outcome.branches.values()
        ):
            confirmed = any(entry.kind is EntryKind.PAYMENT for entry in outcome.entries)
            self._world.seen["CREDIT of a hold, confirmed first" if confirmed else "CREDIT of a charge"] += 1

    def _sweep(self) -> None:
        """Asks about holds whose time is over (as ``_CLAIM_DUE``); it never ends one by itself (rule 2)."""
        self._world.after_at(self, SWEEP_MS, self._sweep)
        rows, now_ms = self.rows, self._world.now_ms
        due = [
            payment_id
            for payment_id, branch in rows.state.branches.items()
            if branch.state is BranchState.HELD and rows.inquire_at_ms[payment_id] <= now_ms
        ]
        for payment_id in due:
            asked = rows.inquiries.get(payment_id, 0)
            rows.inquiries[payment_id] = asked + 1
            rows.inquire_at_ms[payment_id] = now_ms + min(BACKOFF_MS * 2**asked, BACKOFF_MAX_MS)
        if due and self.ask is not None:
            self.ask(self, due, self._decided)

    def _decided(self, decisions: dict[PaymentId, Decision]) -> None:
        for payment_id, decision in decisions.items():
            match decision:
                case Decision.CONFIRM:
                    self._world.seen["INQUIRE answered CONFIRM"] += 1
                    self.put(Request(Confirm(payment_id)), lambda _reply: None)
                case Decision.CANCEL:
                    self._world.seen["INQUIRE answered CANCEL"] += 1
                    self.put(Request(Cancel(payment_id)), lambda _reply: None)
                case Decision.WAIT:
                    self._world.seen["INQUIRE answered WAIT"] += 1


def _subject(outcome: Outcome) -> str:
    return name_of(outcome.alarms[0].subject_id)
