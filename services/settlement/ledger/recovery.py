"""The ledger's clock: it asks the coordinator about holds whose time is over, and seals what was booked.

Protocol rules 2 and 4: a hold ends by CONFIRM or CANCEL alone, never by the ledger itself. WAIT and silence keep it; a
payment that the coordinator does not know keeps it too, and someone is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from prometheus_client import Gauge

from chassis.bus import Bus
from chassis.db import Database, is_transient
from chassis.faults import fault_point
from chassis.telemetry import REGISTRY, logger
from kernel.clock import Clock
from kernel.failures import Failure
from kernel.ids import AdmDvs, PaymentId
from services.settlement.ledger.consumer import AreaConsumer
from services.settlement.ledger.domain.commands import Request
from services.settlement.ledger.domain.model import Alarm, AlarmKind
from services.settlement.ledger.operations import report_alarms
from services.settlement.ledger.store.locking import begin_locked
from services.settlement.ledger.store.sealing import seal_block, unsealed_for_s
from services.settlement.ledger.store.sweeping import DueHold, claim_due_holds, count_held, read_quarantined
from services.settlement.ledger.store.writing import write_alarms
from services.settlement.ledger.wire.inquiries import parse_inquiry, render_inquiry

_log = logger("ledger")

INQUIRED_TOGETHER_MAX: Final = 512
"""As the contract says of one INQUIRE."""

HELD: Final = Gauge("gongji_ledger_held", "Holds that stand.", ["area"], registry=REGISTRY)
LONG_HELD: Final = Gauge(
    "gongji_ledger_long_held", "Holds far beyond their deadline: someone should look.", ["area"], registry=REGISTRY
)
UNSEALED: Final = Gauge(
    "gongji_ledger_unsealed_s", "Age of the oldest entry that is in no sealed block.", ["area"], registry=REGISTRY
)


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the ledger looks, asks, asks again, and calls someone."""

    sweep_s: float
    backoff_s: float
    backoff_max_s: float
    long_held_s: float
    answer_wait_s: float


class Inquirer:
    """Asks about one area's due holds, for ever; answers go through the same batches as any command."""

    def __init__(
        self, *, database: Database, bus: Bus, consumer: AreaConsumer, area: AdmDvs, pace: Pace, clock: Clock
    ) -> None:
        self._database = database
        self._bus = bus
        self._consumer = consumer
        self._area = area
        self._pace = pace
        self._clock = clock

    async def run(self) -> None:
        """Sweeps until cancelled; neither NATS nor the database going away ends it."""
        while True:
            try:
                while await self.sweep() == INQUIRED_TOGETHER_MAX:
                    pass
            except Failure as failure:
                _log.warning("an inquiry got no answer", area=self._area, reason=failure.reason)
            except Exception as error:
                if not is_transient(error):
                    raise
                _log.warning("the ledger is out of reach", area=self._area, problem=type(error).__name__)
            await asyncio.sleep(self._pace.sweep_s)

    async def sweep(self) -> int:
        """Asks once about what is due, and carries out what is answered; how many payments were asked about.

        Raises a ``Failure`` when the coordinator does not answer: each hold stays, and is asked about again later.
        """
        due = await self._claim()
        if not due:
            return 0
        fault_point("ledger.inquire.before_send")
        asked = [hold.payment_id for hold in due]
        subject = f"{self._bus.prefix}.settlement.inquire"
        answer = await self._bus.request(subject, render_inquiry(self._area, asked), wait_s=self._pace.answer_wait_s)
        fault_point("ledger.inquire.after_reply")
        inquiries = parse_inquiry(answer, asked)
        decided = tuple(Request(inquiry.command, inquiry.epoch) for inquiry in inquiries if inquiry.command is not None)
        if decided:
            await self._consumer.write(decided)
        await self._call_for_unknown([inquiry.payment_id for inquiry in inquiries if inquiry.unknown])
        return len(due)

    async def _claim(self) -> list[DueHold]:
        pace = self._pace
        async with self._database.driver_transaction(begin=begin_locked(self._area)) as connection:
            due = await claim_due_holds(
                connection,
                limit=INQUIRED_TOGETHER_MAX,
                backoff=timedelta(seconds=pace.backoff_s),
                backoff_max=timedelta(seconds=pace.backoff_max_s),
            )
            held = await count_held(connection, overdue=timedelta(seconds=pace.long_held_s))
            quarantined = await read_quarantined(connection)
            if due:
                fault_point("ledger.inquire.before_commit")
        self._consumer.quarantined.clear()
        self._consumer.quarantined.update(quarantined)
        HELD.labels(self._area).set(held.held)
        LONG_HELD.labels(self._area).set(held.long_held)
        for hold in due:
            if hold.overdue_s > pace.long_held_s:
                _log.error(
                    "a hold is long overdue", area=self._area, payment_id=str(hold.payment_id),
                    overdue_s=round(hold.overdue_s), inquiries=hold.inquiries,
                )  # fmt: skip
        return due

    async def _call_for_unknown(self, unknown: Sequence[PaymentId]) -> None:
        """Protocol rule 4: only a restore from backup can lead here; guessing would lose money that was confirmed."""
        if not unknown:
            return
        now = self._clock.now()
        alarms = [Alarm(AlarmKind.INQUIRE_UNKNOWN, payment_id, now) for payment_id in unknown]
        async with self._database.driver_transaction(begin=begin_locked(self._area)) as connection:
            await write_alarms(connection, alarms)
        report_alarms(self._area, alarms)


@dataclass(frozen=True, slots=True)
class Sealing:
    """When entries are sealed: as soon as ``entries_max`` wait, or one has waited ``after_s``; looked at each pause."""

    after_s: float
    entries_max: int
    pause_s: float = 0.5


class Sealer:
    """Chains one area's entries into blocks, for ever, beside the writers and never in their way.

    Any number of processes may seal one area. What goes wrong is said and tried again: it stops no payment.
    """

    def __init__(self, *, database: Database, area: AdmDvs, sealing: Sealing) -> None:
        self._database = database
        self._area = area
        self._sealing = sealing

    async def run(self) -> None:
        """Seals until cancelled."""
        pause_s = min(self._sealing.pause_s, self._sealing.after_s)
        while True:
            try:
                await self.seal()
            except Exception as error:  # noqa: BLE001  A chain that cannot go on must not end the ledger.
                if is_transient(error):
                    _log.warning("the ledger is out of reach", area=self._area, problem=type(error).__name__)
                else:
                    _log.exception("entries could not be sealed", area=self._area)
            await asyncio.sleep(pause_s)

    async def seal(self) -> int:
        """Seals everything that is due, block by block, each in a transaction of its own; how many entries."""
        sealed = 0
        after = timedelta(seconds=self._sealing.after_s)
        while True:
            async with self._database.driver_transaction() as connection:
                block = await seal_block(connection, self._area, entries_max=self._sealing.entries_max, after=after)
                age_s = 0.0 if block else await unsealed_for_s(connection)
                if block:
                    fault_point("ledger.seal.before_commit")
            if block:
                fault_point("ledger.seal.after_commit")
            sealed += block
            if not block:
                UNSEALED.labels(self._area).set(age_s)
                return sealed
