"""A coordinator's process: it carries out what the saga decides, as services.settlement.operations does in production.

Everything here but the rows is memory and dies with it. Every database step and every message may get lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar, assert_never

from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.failures import Failure
from kernel.ids import AdmDvs, PaymentId
from services.settlement.domain.payment import Window, request_hash
from services.settlement.saga.coordinator import (
    Answer,
    Command,
    Drive,
    Event,
    Observed,
    Send,
    Ticked,
    Write,
)
from services.settlement.saga.payment import OPEN_STATES, PAID_STATES, Payment, State
from services.settlement.saga.requests import (
    AlreadyGivenBack,
    AlreadyStopped,
    Bury,
    Decision,
    GiveBack,
    Reversal,
    check_same_request,
    inquired,
    refusal_failure,
    revoke,
)
from services.settlement.saga.transfers import receiver_of
from services.settlement.wire.ledger import command_of, replied
from tests.fault.simulation.decisions import Decisions
from tests.fault.simulation.rows import PaymentRows, label, name_of
from tests.fault.simulation.told import Asked, Told, judged
from tests.fault.simulation.world import Node, World

SWEEP_MS = 500
RESEND_MS = 500
RETRY_MS = 250
ANSWER_WAIT_MS = 1_500
WATCH_MS = 1_000
POLL_MS = 100
CALL_MS = 9_000
INQUIRE_AFTER_MS = 10_000

Result = TypeVar("Result")


@dataclass(slots=True)
class _Flight:
    """A payment in flight here: its drive, what is under way, and who waits for its answer."""

    drive: Drive
    outstanding: int = 0
    ticking: bool = False
    waiters: list[Callable[[Payment], None]] = field(default_factory=list)


class Coordinator(Node):
    """One of several on the same rows."""

    def __init__(self, name: str, world: World, rows: PaymentRows, decisions: Decisions) -> None:
        super().__init__(name)
        self._world = world
        self._rows = rows
        self._decisions = decisions
        self._flights: dict[PaymentId, _Flight] = {}
        self.new_id: Callable[[int], PaymentId] = lambda _: PaymentId(NotImplemented)
        self.deliver: Callable[[str, AdmDvs, str, bytes, Callable[[bytes], None]], None] | None = None

    def forget(self) -> None:
        """Every flight is gone; whoever waits hears nothing."""
        self._flights = {}

    def awake(self) -> None:
        """The sweeps begin."""
        self._world.after_at(self, SWEEP_MS, self._sweep)

    # The database, a moment away.

    def _ask(
        self, about: str, transaction: Callable[[], Result], then: Callable[[Result], None], *, writes: bool = True
    ) -> None:
        """One transaction; asked for again when it ends without an acknowledgement."""
        found: list[Result] = []

        def act() -> None:
            found.append(transaction())

        def execute() -> None:
            lives = self.is_up and self.life == life
            if lives and writes and not self._world.commit(self, about, act):
                self._world.after_at(self, RETRY_MS, lambda: self._ask(about, transaction, then))
                return
            if writes and not lives and fate[2] < 128:
                return
            if not found:
                # A read, or a request that was under way when its process died: the database does it all the same.
                act()
            late = 15 * fate[3] if fate[4] < 64 and self._world.is_troubled(self.name) else 0
            self._world.after_at(self, 1 + fate[1] % 4 + late, lambda: then(found[0]))

        life, fate = self.life, self._world.fate(f"{self.name}:{about}")
        if self.is_up:
            self._world.after(1 + fate[0] % 6, execute)

    # What terminals and ledgers ask for.

    def hear(self, asked: Asked) -> None:
        """A request, as its operation treats it."""
        match asked.kind:
            case "SETTLE":
                self._settle(asked)
            case "REVOKE":
                self._revoke(asked)
            case "REVERSE":
                self._reverse(asked)
            case "CREDIT":
                self._credit(asked)
            case "TRANSFER":
                self._transfer(asked)
            case "ACCEPT" | "DECLINE":
                self._vote(asked)
            case _:
                self._look_up(asked)

    def _settle(self, asked: Asked) -> None:
        plan = asked.plan
        if plan is None:
            raise ValueError("a settlement without a plan")
        payment_id = self.new_id(asked.operation)

        def begun(result: tuple[Payment, bool] | Failure) -> None:
            if isinstance(result, Failure):
                asked.answer(Told(result.reason))
                return
            row, is_new = result
            if is_new:
                self.take_up(row)
            else:
                try:
                    check_same_request(row, asked.content)
                except Failure as failure:
                    asked.answer(Told(failure.reason))
                    return
            self._answer_of(row, lambda payment: self._settled(asked, payment))

        self._ask(
            f"begin {asked.label} as {name_of(payment_id)}",
            lambda: self._rows.begin(payment_id, asked.key, asked.content, plan.plan_id, plan.digest),
            begun,
        )

    def _settled(self, asked: Asked, payment: Payment) -> None:
        if payment.state in PAID_STATES:
            asked.answer(Told("PAID", payment.payment_id))
        else:
            asked.answer(Told(refusal_failure(payment).reason, payment.payment_id))

    def _answer_of(self, row: Payment, answer: Callable[[Payment], None], waited_ms: int = 0) -> None:
        """The row once it can be answered (as ``Engine.answer_of``); the caller's time ends by itself."""
        if row.is_answerable:
            answer(row)
        elif row.payment_id in self._flights:
            self._flights[row.payment_id].waiters.append(answer)
        elif waited_ms < CALL_MS:
            again = waited_ms + POLL_MS
            self._world.after_at(
                self,
                POLL_MS,
                lambda: self._ask(
                    f"poll {label(row)}",
                    lambda: self._rows.by_id(row.payment_id),
                    lambda read: self._answer_of(read or row, answer, again),
                    writes=False,
                ),
            )

    def _revoke(self, asked: Asked) -> None:
        def found(rows: tuple[Payment | None, Payment | None, Payment | None]) -> None:
            taken, original, live = rows
            try:
                if taken is not None:
                    check_same_request(taken, asked.content)
                    asked.answer(Told("REFUNDED", taken.payment_id))
                    return
                step = revoke(
                    original,
                    live,
                    key=asked.key,
                    request_hash=asked.content,
                    refund_id=self.new_id(asked.operation),
                    now=self._rows.now,
                    window=Window(),
                )
            except Failure as failure:
                asked.answer(Told(failure.reason))
                return
            if isinstance(step, AlreadyGivenBack):
                asked.answer(Told("REFUNDED", step.refund.payment_id))
            else:
                self._give_back(asked, step, self._revoke)

        self._ask(
            f"read for {asked.label}",
            lambda: (
                self._rows.by_key(asked.key),
                self._rows.by_id(asked.original_id),
                None if asked.original_id is None else self._rows.live_refund(asked.original_id),
            ),
            found,
            writes=False,
        )

    def _give_back(self, asked: Asked, step: GiveBack, again: Callable[[Asked], None]) -> None:
        def inserted(row: Payment | None) -> None:
            if row is None:
                again(asked)
                return
            self.take_up(row)
            asked.answer(Told("REFUNDED", row.payment_id))

        self._ask(f"insert {label(step.refund)}", lambda: self._rows.insert_decided(step.refund), inserted)

    def _reverse(self, asked: Asked) -> None:
        def found(rows: tuple[Payment | None, Payment | None]) -> None:
            original, live = rows
            try:
                step: Reversal = self._decisions.reverse(
                    original,
                    live,
                    original_key=asked.key,
                    new_id=self.new_id(asked.operation),
                    request_hash=request_hash("reverse", *asked.key),
                    now=self._rows.now,
                    window=Window(),
                )
            except Failure as failure:
                asked.answer(Told(failure.reason))
                return
            match step:
                case AlreadyStopped():
                    asked.answer(Told("STOPPED"))
                case AlreadyGivenBack(refund):
                    asked.answer(Told("REFUNDED", refund.payment_id))
                case Bury(tombstone):
                    self._ask(
                        f"bury {asked.label}",
                        lambda: self._rows.insert_decided(tombstone),
                        lambda row: self._reverse(asked) if row is None else asked.answer(Told("STOPPED")),
                    )
                case GiveBack():
                    self._give_back(asked, step, self._reverse)
                case Write():

                    def aborted(row: Payment) -> None:
                        self.take_up(row)
                        self._reverse(asked)

                    self._write(step, aborted)
                case _:
                    assert_never(step)

        def read() -> tuple[Payment | None, Payment | None]:
            original = self._rows.by_key(asked.key)
            return original, None if original is None else self._rows.live_refund(original.payment_id)

        self._ask(f"read for {asked.label}", read, found, writes=False)

    def _credit(self, asked: Asked) -> None:
        def inserted(row: Payment) -> None:
            self.take_up(row)
            self._answer_of(row, lambda payment: asked.answer(Told("CREDITED", payment.payment_id)))

        def insert() -> Payment:
            row = asked.credit(self.new_id(asked.operation), self._rows.now)
            found = self._rows.insert_decided(row) or self._rows.by_key(asked.key)
            if found is None:
                raise AssertionError("a credit's key is taken and stands for nothing")
            return found

        self._ask(f"insert {asked.label}", insert, inserted)

    def _transfer(self, asked: Asked) -> None:
        transfer = asked.transfer
        if transfer is None:
            raise ValueError("a transfer without its legs")
        payment_id = self.new_id(asked.operation)

        def begun(result: tuple[Payment, bool]) -> None:
            row, _ = result
            try:
                check_same_request(row, asked.content)
            except Failure as failure:
                asked.answer(Told(failure.reason))
                return
            self.take_up(row)
            self._answer_of(row, lambda payment: asked.answer(judged(payment)))

        self._ask(
            f"begin {asked.label} as {name_of(payment_id)}",
            lambda: self._rows.begin_transfer(payment_id, asked.key, asked.content, transfer),
            begun,
        )

    def _vote(self, asked: Asked) -> None:
        """A receiver's yes or no (as ``operations.transfers``)."""
        vote = self._decisions.accept if asked.kind == "ACCEPT" else self._decisions.decline

        def found(row: Payment | None) -> None:
            try:
                step = vote(row, by=None if row is None else receiver_of(row))
            except Failure as failure:
                decided = row is not None and row.state is not State.TRYING
                asked.answer(Told(failure.reason, row.payment_id if row is not None and decided else None))
                return
            if isinstance(step, Payment):
                asked.answer(Told("ACCEPTED" if asked.kind == "ACCEPT" else "DECLINED", step.payment_id))
                return

            def written(after: Payment) -> None:
                self.take_up(after)
                self._vote(asked)

            self._write(step, written)

        self._ask(f"read for {asked.label}", lambda: self._rows.by_key(asked.key), found, writes=False)

    def _look_up(self, asked: Asked) -> None:
        self._ask(
            f"read for {asked.label}",
            lambda: self._rows.by_key(asked.key),
            lambda row: asked.answer(judged(row)),
            writes=False,
        )

    def inquire(self, payment_ids: list[PaymentId], answer: Callable[[dict[PaymentId, Decision]], None]) -> None:
        """What a ledger is told that asks (as ``Engine.inquire``)."""
        told: dict[PaymentId, Decision] = {}

        def decide(payment_id: PaymentId, row: Payment | None) -> None:
            decision = inquired(row)
            if isinstance(decision, Write):

                def aborted(after: Payment) -> None:
                    self.take_up(after)
                    decide(payment_id, after)

                self._write(decision, aborted)
                return
            told[payment_id] = decision
            if len(told) == len(payment_ids):
                answer(told)

        def found(rows: list[Payment | None]) -> None:
            for payment_id, row in zip(payment_ids, rows, strict=True):
                decide(payment_id, row)

        asked_for = " ".join(map(name_of, payment_ids))
        self._ask(
            f"read {asked_for} for an inquiry",
            lambda: [self._rows.by_id(payment_id) for payment_id in payment_ids],
            found,
            writes=False,
        )

    def _sweep(self) -> None:
        def found(rows: list[Payment]) -> None:
            for row in rows:
                flight = self._flights.get(row.payment_id)
                if flight is None:
                    self.take_up(row)
                else:
                    self._see(flight, row)

        self._ask("sweep", self._rows.take_due, found, writes=False)
        self._world.after_at(self, SWEEP_MS, self._sweep)

    # The shell around ``advance`` (as ``Engine``).

    def take_up(self, row: Payment) -> None:
        """Drives a payment on from its row, if anything is left to do."""
        flight = self._flights.get(row.payment_id)
        if flight is not None:
            self._see(flight, row)
        elif row.state in OPEN_STATES:
            drive, commands = self._decisions.begin(row)
            flight = self._flights[row.payment_id] = _Flight(drive)
            self._world.after_at(self, WATCH_MS, lambda: self._watch(flight))
            self._carry_out(flight, commands)

    def _see(self, flight: _Flight, row: Payment) -> None:
        if not flight.drive.is_writing:
            self._step(flight, Observed(row))

    def _step(self, flight: _Flight, event: Event) -> None:
        flight.drive, commands = self._decisions.advance(flight.drive, event)
        self._carry_out(flight, commands)

    def _carry_out(self, flight: _Flight, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Answer():
                    waiters, flight.waiters = flight.waiters, []
                    for waiter in waiters:
                        waiter(command.payment)
                case Write():
                    self._write(command, lambda row: self._step(flight, Observed(row)))
                case Send():
                    self._send(flight, command)
                case _:
                    assert_never(command)
        self._rest_or_go_on(flight)

    def _write(self, write: Write, then: Callable[[Payment], None]) -> None:
        why = f" ({write.reason})" if write.reason else ""
        to = "receiver asked" if write.asks_receiver else write.to.value
        about = f"{name_of(write.payment_id)} {write.expected.value} → {to}{why}"

        def written(row: Payment) -> None:
            self._world.tell(f"{self.name}: {about}: the row is {row.state.value}")
            then(row)

        self._ask(about, lambda: self._rows.write(write), written)

    def _send(self, flight: _Flight, send: Send) -> None:
        command = command_of(send.payment, send.area, send.order, inquire_after_ms=INQUIRE_AFTER_MS)
        payload = pb.CommandBatch(epoch=1, commands=[command]).SerializeToString()
        about = f"{send.order.value} {name_of(send.payment.payment_id)}"
        flight.outstanding += 1
        waits = [True]

        def rest() -> None:
            flight.outstanding -= waits[0]
            waits[0] = False

        def hear(answer: bytes) -> None:
            rest()
            event = next(
                (replied(send.payment, send.area, send.order, it) for it in pb.ReplyBatch.FromString(answer).replies),
                None,
            )
            here = self._flights.get(send.payment.payment_id)
            if here is not None and event is not None:
                self._step(here, event)

        def over() -> None:
            rest()
            self._rest_or_go_on(flight)

        self._world.after_at(self, ANSWER_WAIT_MS, over)
        if self.deliver is not None:
            self.deliver(self.name, send.area, about, payload, hear)

    def _rest_or_go_on(self, flight: _Flight) -> None:
        drive = flight.drive
        if drive.is_finished:
            self._land(flight)
        elif not flight.outstanding and not drive.is_writing:
            if drive.payment.is_voting or flight.waiters:
                if not flight.ticking:
                    flight.ticking = True
                    self._world.after_at(self, RESEND_MS, lambda: self._tick(flight))
            else:
                self._land(flight)

    def _land(self, flight: _Flight) -> None:
        if self._flights.get(flight.drive.payment.payment_id) is flight:
            del self._flights[flight.drive.payment.payment_id]

    def _tick(self, flight: _Flight) -> None:
        flight.ticking = False
        if not flight.outstanding:
            self._step(flight, Ticked())

    def _watch(self, flight: _Flight) -> None:
        payment = flight.drive.payment
        if not payment.is_voting:
            return

        def looked(row: Payment | None) -> None:
            if row is not None:
                self._see(flight, row)
            self._world.after_at(self, WATCH_MS, lambda: self._watch(flight))

        self._ask(f"watch {label(payment)}", lambda: self._rows.by_id(payment.payment_id), looked, writes=False)
