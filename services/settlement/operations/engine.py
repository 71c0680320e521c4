"""The engine: one object of a process that owns the payments in flight and carries out what the saga decides.

It decides nothing itself: rows, replies and time become events, ``advance`` says what to do, and the engine does it in
batches. No step belongs to the call that asked for it, so a cancelled call changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Final, Self, TypeAlias, TypeVar, assert_never
from uuid import UUID

from prometheus_client import Counter, Gauge

from chassis import telemetry
from chassis.batch import Batcher
from chassis.db import Database, is_transient
from chassis.deadlines import timeout_s
from chassis.faults import fault_point
from kernel.clock import Clock
from kernel.failures import Failure
from kernel.ids import AdmDvs, PaymentId, PlanId
from services.settlement.clients import LedgerClient
from services.settlement.domain.payment import RETENTION_DEFAULT
from services.settlement.operations.flight import Flight
from services.settlement.operations.rows import Begun, Rows, WriteAsked
from services.settlement.saga.coordinator import (
    Answer,
    Command,
    Event,
    Observed,
    Order,
    Send,
    Ticked,
    Write,
    advance,
    begin,
)
from services.settlement.saga.payment import OPEN_STATES, Payment, State
from services.settlement.saga.requests import in_progress_failure
from services.settlement.saga.restoring import Standing, is_unclear, restoring_failure
from services.settlement.store import payments as store
from services.settlement.store import plans
from services.settlement.store.payments import Beginning
from services.settlement.wire.ledger import command_of, replied
from services.settlement.wire.origin import origin_of

_log = telemetry.logger("engine")

BATCH_SIZE_MAX: Final = 128
WAITING_MAX: Final = 1_000_000
"""Steps of payments under way are never refused for their number; new ones are, at the edge."""
COMPANY_S: Final = 0.0015
"""For each payment that is to begin or is being voted on, a step waits so long for company. To work through those in
flight takes longer anyhow, so at any load the wait costs less than the larger batch saves; a lone payment waits for
nobody."""
COMPANY_MAX_S: Final = 0.04
FINISH_SPACING_S: Final = 0.05
"""Nobody waits for a payment's last step (but of a credit)."""
RETRY_PAUSE_S: Final = 0.25
"""How long a database step that failed technically rests before it is asked for again."""
POLL_PAUSE_S: Final = 0.1
"""How often a row is read that another coordinator drives and somebody here waits for."""
WATCH_S: Final = 1.0
"""How often the row of an undecided payment is read: another coordinator may have decided, or the deadline passed."""
WATCH_MARGIN_S: Final = 0.05
LOOKED_AFTER_PER_S: Final = 1_000
"""So many payments without an answer are sent again in a second, and so many read again, however many there are: while
a ledger is dead, most of a processor is left for those that are new."""
RECOVERED_MAX: Final = 1_000
"""How many payments are driven here at once because recovery took them up. The rest stays in the table, where another
coordinator finds it: memory is bounded, and what is taken is done before its lease is over."""
_KEEPS_ORIGIN: Final = frozenset({Order.TRY, Order.CREDIT})

_DECIDED: Final = Counter(
    "gongji_settlement_writes_total", "Saga steps written, by the state reached.", ["to"], registry=telemetry.REGISTRY
)
_QUARANTINED: Final = Counter(
    "gongji_settlement_quarantined_total", "Payments that a person must look at.", registry=telemetry.REGISTRY
)
_IN_FLIGHT: Final = Gauge("gongji_settlement_in_flight", "Payments this process drives.", registry=telemetry.REGISTRY)

Replan: TypeAlias = Callable[[Payment, Mapping[str, Any], frozenset[AdmDvs]], Awaitable[PlanId]]
"""Makes and stores a new plan after a refusal: (the refused payment, its plan, silent areas) → the new plan's id.

It is called when every ledger but the silent ones has let go of the refused attempt, so balances read then are free of
it; the silent areas must be left out as AREA_UNREACHABLE. A ``Failure`` says that no new plan can be made now: the
refusal's own reason is then the answer, for ever.
"""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """The engine's durations, in seconds where the name says so."""

    vote_deadline_s: float = 8.0  # Until when ledgers may vote, by the database's clock (rule 9).
    inquire_after_s: float = 10.0  # When a ledger begins to ask about a hold.
    resend_pause_s: float = 0.5  # Before a command without an answer is sent again.
    lease_s: float = 3.0  # How long recovery leaves a payment to the coordinator that wrote it last.
    lease_max_s: float = 15.0  # The longest pause until the next try, so also how late a ledger that is back is told.
    replan_wait_s: float = 1.5  # How long a refusal waits for its holds to be released, a refund until it is booked.
    answer_wait_s: float = 30.0  # How long a call without a deadline of its own waits.
    retention: timedelta = RETENTION_DEFAULT


class Engine:
    """Drives payments: batches their database steps, sends their ledger commands, answers whoever waits.

    Several engines on one database may drive the same payment: every decision is a compare-and-set.
    """

    def __init__(
        self,
        database: Database,
        ledgers: LedgerClient,
        *,
        replan: Replan,
        new_id: Callable[[], UUID],
        clock: Clock,
        settings: EngineSettings,
    ) -> None:
        self.database = database
        self.ledgers = ledgers
        self.settings = settings
        self.standing = Standing(ledgers.epoch)
        self.replan = replan
        self.new_id = new_id
        self.lease = timedelta(seconds=settings.lease_s)
        self._rows = Rows(
            database,
            clock=clock,
            epoch=self.epoch,
            vote_deadline=timedelta(seconds=settings.vote_deadline_s),
            lease=self.lease,
        )
        self._begin: Batcher[Beginning, Begun] = Batcher(
            self._begin_many, size_max=BATCH_SIZE_MAX, spacing_s=self._company_s
        )
        self._decide: Batcher[WriteAsked, Payment] = Batcher(
            self._rows.decide, size_max=BATCH_SIZE_MAX, waiting_max=WAITING_MAX, spacing_s=self._company_s
        )
        self._finish: Batcher[WriteAsked, Payment] = Batcher(
            self._rows.finish,
            size_max=BATCH_SIZE_MAX,
            waiting_max=WAITING_MAX,
            spacing_s=lambda: FINISH_SPACING_S,
        )
        self._read: Batcher[PaymentId, Payment | None] = Batcher(
            self._rows.read, size_max=BATCH_SIZE_MAX, waiting_max=WAITING_MAX
        )
        self._flights: dict[PaymentId, Flight] = {}
        self._voting: set[Flight] = set()
        """Those of the flights that are being voted on."""
        self._company: set[Flight] = set()
        """Those of them that nothing had to be sent again for: the payments of a silent ledger are nobody's company."""
        self._awaited = 0
        """How many answers are waited for here: the rows of a whole file may be, and none of them is voted on."""
        self._recovered: set[PaymentId] = set()
        """Those of the flights that recovery took up."""
        self._tasks: set[asyncio.Task[Any]] = set()
        self._is_closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Takes up nothing more and waits for the steps under way; recovery finishes the rest, here or elsewhere."""
        self._is_closing = True
        for flight in self._flights.values():
            flight.rest()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for batcher in (self._begin, self._decide, self._finish, self._read):
            await batcher.close()
        self._flights.clear()
        self._voting.clear()
        self._company.clear()
        self._recovered.clear()
        _IN_FLIGHT.set(0)

    def _company_s(self) -> float:
        return min(COMPANY_S * (self._begin.waiting + len(self._company)), COMPANY_MAX_S)

    def _pause_s(self, least_s: float) -> float:
        """Before a payment is looked after again."""
        return max(least_s, max(len(self._voting), self._awaited) / LOOKED_AFTER_PER_S)

    @property
    def epoch(self) -> int:
        """The coordinator's epoch as this process last heard of it."""
        return self.standing.epoch

    def stand(self, standing: Standing) -> None:
        """Takes note of how the coordinator stands.

        When it restores, or has done so since, whatever is in flight is dropped: it may rest on rows that are gone.
        """
        if standing == self.standing:
            return
        _log.warning("the coordinator stands anew", epoch=standing.epoch, restoring=standing.is_restoring)
        self.standing = standing
        self._rows.epoch = standing.epoch
        self.ledgers.enter(standing.epoch)
        for flight in list(self._flights.values()):
            flight.is_dropped = True
            self._land(flight)
            self._answer(flight, flight.drive.payment)

    def check_serving(self) -> None:
        """COORDINATOR_RESTORING while nothing may be decided or told here."""
        if self.standing.is_restoring:
            raise restoring_failure()

    # What operations ask for (``operations.inquiring`` answers the ledgers).

    async def begin(self, beginning: Beginning) -> Begun:
        """Begins a settlement, or finds what its key stands for; from then on it is driven, whoever goes away."""
        return await self._begin(beginning)

    async def own(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Lets the engine do a piece of work for a call; it is finished even if the call is cancelled."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_left_behind)
            raise

    async def write(self, payment: Payment, write: Write) -> Payment:
        """Carries out a Write that a request decided; the row as it then stands, driven on if it is open."""
        asked = WriteAsked(write, payment, None, telemetry.traceparent())
        row = await (self._decide if write.expected is State.TRYING else self._finish)(asked)
        self.take_up(row)
        return row

    async def answer_of(self, payment: Payment) -> Payment:
        """The row once it can be answered; PAYMENT_IN_PROGRESS when the call's time is over before."""
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_s(self.settings.answer_wait_s)
        while not payment.is_answerable:
            self.check_serving()
            left_s = end - loop.time()
            if left_s <= 0:
                raise in_progress_failure(payment)
            payment = await self._later(payment, left_s)
        return payment

    async def _later(self, payment: Payment, left_s: float) -> Payment:
        """The row at its answer, or at the latest when the time is over."""
        flight = self._flights.get(payment.payment_id)
        if flight is None:
            await asyncio.sleep(min(POLL_PAUSE_S, left_s))
            return await self._read(payment.payment_id) or payment
        waiter: asyncio.Future[Payment] = asyncio.get_running_loop().create_future()
        flight.waiters.add(waiter)
        self._awaited += 1
        try:
            async with asyncio.timeout(left_s):
                return await waiter
        except TimeoutError:
            return flight.drive.payment
        finally:
            self._awaited -= 1
            flight.waiters.discard(waiter)

    async def acknowledged(self, payment: Payment) -> frozenset[AdmDvs]:
        """The ledgers that have not done within ``replan_wait_s`` what was decided; empty if all have.

        Of an aborted payment: that have not let go. Of a refund: that have not booked it.
        """
        self.take_up(payment)
        flight = self._flights.get(payment.payment_id)
        return frozenset() if flight is None else await flight.acknowledged(self.settings.replan_wait_s)

    @property
    def recovery_room(self) -> int:
        """How many more payments recovery may take up here now."""
        return max(RECOVERED_MAX - len(self._recovered), 0)

    async def sweep(self, *, limit: int) -> int:
        """Takes up to ``limit`` payments that nobody has finished in time; how many there were (rule 8)."""
        if self.standing.is_restoring:
            return 0
        fault_point("settlement.sweep.before_commit")
        async with self.database.driver_connection() as connection:
            rows = await store.take_due(
                connection,
                epoch=self.epoch,
                limit=limit,
                pause=self.lease,
                pause_max=timedelta(seconds=self.settings.lease_max_s),
            )
            voting = [row.plan_id for row, _ in rows if row.state is State.TRYING and row.plan_id is not None]
            documents = await plans.documents(connection, voting) if voting else {}
        if rows:
            fault_point("settlement.sweep.after_commit")
        for row, traceparent in rows:
            flight = self._flights.get(row.payment_id)
            if flight is None:
                self.take_up(row, None if row.plan_id is None else documents.get(row.plan_id), traceparent)
                self._recovered |= {row.payment_id} & self._flights.keys()
            else:
                self._see(flight, row)
        return len(rows)

    def take_up(self, payment: Payment, plan: Mapping[str, Any] | None = None, traceparent: str = "") -> None:
        """Drives a payment on from its row, if anything is left to do; the row must be durable."""
        if self.standing.is_restoring or is_unclear(payment):
            return
        flight = self._flights.get(payment.payment_id)
        if flight is not None:
            self._see(flight, payment)
        elif payment.state in OPEN_STATES and not self._is_closing:
            drive, commands = begin(payment)
            flight = Flight(drive, plan, traceparent or telemetry.traceparent())
            self._flights[payment.payment_id] = flight
            _IN_FLIGHT.set(len(self._flights))
            if payment.is_voting:
                self._voting.add(flight)
                self._company.add(flight)
                self._watch(flight)
            self._carry_out(flight, commands)

    # The shell around ``advance``.

    async def _begin_many(self, asked: list[Beginning]) -> list[Begun | BaseException]:
        results = await self._rows.begin(asked)
        for beginning, begun in zip(asked, results, strict=True):
            if isinstance(begun, Begun) and begun.is_new:
                self.take_up(begun.payment, begun.plan, beginning.traceparent)
        return results

    def _step(self, flight: Flight, event: Event) -> None:
        if flight.is_dropped:
            return
        flight.drive, commands = advance(flight.drive, event)
        flight.note_released()
        if not flight.drive.payment.is_voting:
            self._leave_vote(flight)
        self._carry_out(flight, commands)

    def _see(self, flight: Flight, row: Payment) -> None:
        """Takes note of a row as it was read. While a Write is under way it tells nothing: the Write's outcome will."""
        if not flight.drive.is_writing:
            self._step(flight, Observed(row))

    def _carry_out(self, flight: Flight, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Answer():
                    self._answer(flight, command.payment)
                case Write():
                    self._write(flight, command)
                case Send():
                    self._send(flight, command)
                case _:
                    assert_never(command)
        self._rest_or_go_on(flight)

    def _answer(self, flight: Flight, payment: Payment) -> None:
        for waiter in flight.waiters:
            if not waiter.done():
                waiter.set_result(payment)

    def _write(self, flight: Flight, write: Write) -> None:
        if write.quarantine:
            _QUARANTINED.inc()
            _log.error("a payment is in quarantine", payment_id=str(write.payment_id), reason=write.quarantine)
        asked = WriteAsked(write, flight.drive.payment, flight.plan, flight.traceparent)
        batcher = self._decide if write.expected is State.TRYING else self._finish
        batcher.submit(asked).add_done_callback(partial(self._written, flight, write))

    def _written(self, flight: Flight, write: Write, outcome: asyncio.Future[Payment]) -> None:
        if outcome.cancelled() or flight.is_dropped or (outcome.exception() is not None and self._is_closing):
            return
        if (error := outcome.exception()) is not None:
            if not is_transient(error) and not isinstance(error, Failure):
                _log.error("a step of a payment cannot be written", payment_id=str(write.payment_id), exc_info=error)
            # Whether it was committed is not known: asked for again, the compare-and-set finds out.
            asyncio.get_running_loop().call_later(RETRY_PAUSE_S, self._write_again, flight, write)
            return
        row = outcome.result()
        _DECIDED.labels(to=row.state.value).inc()
        self._step(flight, Observed(row))

    def _write_again(self, flight: Flight, write: Write) -> None:
        if not (self._is_closing or flight.is_dropped):
            self._write(flight, write)

    def _send(self, flight: Flight, send: Send) -> None:
        command = command_of(
            send.payment,
            send.area,
            send.order,
            inquire_after_ms=int(self.settings.inquire_after_s * 1000),
            traceparent=flight.traceparent,
            origin=origin_of(send.payment, send.area, flight.plan) if send.order in _KEEPS_ORIGIN else b"",
        )
        flight.outstanding += 1
        self.ledgers.send(send.area, command).add_done_callback(partial(self._replied, flight, send))

    def _replied(self, flight: Flight, send: Send, outcome: asyncio.Future[Any]) -> None:
        flight.outstanding -= 1
        if outcome.cancelled():
            return
        if (error := outcome.exception()) is not None:
            _log.error("a command could not be sent", area=send.area, order=send.order.value, exc_info=error)
            reply = None
        else:
            told = outcome.result()
            reply = None if told is None else replied(send.payment, send.area, send.order, told)
        if reply is None:
            self._rest_or_go_on(flight)
        else:
            self._step(flight, reply)

    def _rest_or_go_on(self, flight: Flight) -> None:
        """Keeps a flight as long as anything can still come of it here; recovery has the rows of all others."""
        drive = flight.drive
        if drive.is_finished:
            self._land(flight)
        elif not (flight.outstanding or drive.is_writing or self._is_closing or flight.is_dropped):
            # While a receiver is asked there is nothing to do here: recovery takes the row up at his deadline.
            if drive.payment.is_voting or flight.waiters:
                if flight.tick is None:
                    # The first time soon, however many there are: one message was lost, its ledger need not be dead.
                    pause_s = self.settings.resend_pause_s
                    pause_s = self._pause_s(pause_s) if flight.is_sent_again else pause_s
                    flight.tick = asyncio.get_running_loop().call_later(pause_s, self._tick, flight)
            else:
                self._land(flight)

    def _land(self, flight: Flight) -> None:
        flight.rest()
        self._leave_vote(flight)
        if self._flights.get(flight.drive.payment.payment_id) is flight:
            del self._flights[flight.drive.payment.payment_id]
            self._recovered.discard(flight.drive.payment.payment_id)
            _IN_FLIGHT.set(len(self._flights))

    def _leave_vote(self, flight: Flight) -> None:
        self._voting.discard(flight)
        self._company.discard(flight)

    def _tick(self, flight: Flight) -> None:
        flight.tick = None
        flight.is_sent_again = True
        self._company.discard(flight)
        if not flight.outstanding:
            self._step(flight, Ticked())

    def _watch(self, flight: Flight) -> None:
        """Looks again in a while, and in good time at the deadline of a payment begun here."""
        loop = asyncio.get_running_loop()
        left_s = flight.begun_at + self.settings.vote_deadline_s + WATCH_MARGIN_S - loop.time()
        pause_s = min(self._pause_s(WATCH_S), left_s) if left_s > 0 else self._pause_s(RETRY_PAUSE_S)
        flight.watch = loop.call_later(pause_s, self._look, flight)

    def _look(self, flight: Flight) -> None:
        """Reads the row again: the database's clock says whether the deadline has passed."""
        if not flight.drive.payment.is_voting or self._is_closing:
            return
        if flight.drive.is_writing:
            self._watch(flight)
        else:
            self._read.submit(flight.drive.payment.payment_id).add_done_callback(partial(self._looked, flight))

    def _looked(self, flight: Flight, outcome: asyncio.Future[Payment | None]) -> None:
        if outcome.cancelled() or self._is_closing or flight.is_dropped:
            return
        row = None if outcome.exception() is not None else outcome.result()
        if row is not None:
            self._see(flight, row)
        if flight.drive.payment.is_voting:
            self._watch(flight)


def _left_behind(task: asyncio.Task[Any]) -> None:
    """A refusal that nobody waits for any more is no error: whoever asks again is told it then."""
    if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Failure):
        _log.error("work that its call had left behind failed", exc_info=error)
