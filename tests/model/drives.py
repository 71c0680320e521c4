"""One coordinator's memory in the model, and each step of it by the production ``begin`` and ``advance``.

What is only told and never decided upon is left out of rows, Writes and answers (``bare``): reasons, the leg that was
refused, balances. ``advance`` passes them on and looks at none of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Generic, NamedTuple, TypeAlias, TypeVar

from services.settlement.saga.coordinator import (
    Advance,
    Answer,
    Drive,
    Observed,
    Order,
    Replied,
    Send,
    Ticked,
    Write,
)
from services.settlement.saga.payment import PAID_STATES, Payment, PaymentKind, State
from tests.model.functions import Functions
from tests.model.ledgers import REPLIES, REPLY_CODE

Value = TypeVar("Value")

TOLD_PAID = 1
"""The terminal has been told OK."""
TOLD_NOTHING = 2
"""The terminal has been told that nothing was taken and nothing will be: refused, or reversed before it was paid."""
TOLD_ASKED = 4
"""The giver of a transfer has been told that its receiver is being asked."""
ORDER_BIT = {order: 1 << place for place, order in enumerate(Order)}


class Numbered(Generic[Value]):
    """Values and their numbers: the same value has the same number, in the order of first sight."""

    def __init__(self) -> None:
        self._numbers: dict[Value, int] = {}
        self.values: list[Value] = []

    def of(self, value: Value) -> int:
        """The number of a value."""
        number = self._numbers.get(value)
        if number is None:
            number = self._numbers[value] = len(self.values)
            self.values.append(value)
        return number


class Slot(NamedTuple):
    """A drive without its replies, which stand beside the ledgers: the row as it was last seen, and ``is_writing``."""

    row: int
    is_writing: bool


Told: TypeAlias = tuple[int, ...]
"""What a drive has heard, by ledger: 0, or the answer's code + 1."""


class Stepped(NamedTuple):
    """What a step leads to: the slot, what it has heard, new orders by ledger, Writes asked for, the terminal told."""

    slot: Slot | None
    told: Told
    sent: tuple[int, ...]
    writes: tuple[int, ...]
    answered: int


def bare_row(payment: Payment) -> Payment:
    """The row without what is only told."""
    return replace(payment, reason="", refused_leg_no=0, balances_after=())


def bare_write(write: Write) -> Write:
    """The Write without what is only told."""
    return replace(write, reason="", refused_leg_no=0, balances_after=())


def _told(payment: Payment) -> int:
    if payment.state is State.TRYING:
        return TOLD_ASKED
    return TOLD_PAID if payment.state in PAID_STATES else TOLD_NOTHING


class Drives:
    """Steps of a coordinator."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions
        self.rows: Numbered[Payment] = Numbered()
        self.writes: Numbered[Write] = Numbered()
        self._known: dict[tuple[object, ...], Stepped] = {}

    def heard(self, slot: Slot, told: Told, area: int, reply: int) -> Stepped:
        """A ledger's answer arrives."""
        key = (slot, told, area, reply)
        known = self._known.get(key)
        if known is None:
            order, branch = REPLIES[reply]
            drive = self._drive(slot, told)
            replied = Replied(drive.areas[area], order, branch)
            known = self._known[key] = self._stepped(self._functions.advance(drive, replied))
        return known

    def ticked(self, slot: Slot, told: Told) -> Stepped:
        """Time goes by."""
        key = (slot, told)
        known = self._known.get(key)
        if known is None:
            drive = self._drive(slot, told)
            known = self._known[key] = self._stepped(self._functions.advance(drive, Ticked()))
        return known

    def read(self, slot: Slot | None, told: Told, row: int) -> Stepped:
        """The row is read: by a sweep, a watch, or as the outcome of a Write."""
        key = (slot, told, row)
        known = self._known.get(key)
        if known is None:
            payment = self.rows.values[row]
            if slot is not None:
                step = self._functions.advance(self._drive(slot, told), Observed(payment))
            elif self._functions.is_taken_up(payment):
                step = self._functions.begin(payment)
            else:
                step = None
            known = Stepped(None, told, (0,) * len(told), (), 0) if step is None else self._stepped(step)
            self._known[key] = known
        return known

    def _drive(self, slot: Slot, told: Told) -> Drive:
        payment = self.rows.values[slot.row]
        replies = tuple(
            Replied(area, *REPLIES[code - 1]) if code else None for area, code in zip(payment.areas, told, strict=True)
        )
        return Drive(payment, payment.areas, replies, slot.is_writing)

    def _stepped(self, step: Advance) -> Stepped:
        drive, commands = step
        sent = [0] * len(drive.areas)
        writes, answered = [], 0
        for command in commands:
            match command:
                case Send():
                    sent[drive.areas.index(command.area)] |= ORDER_BIT[command.order]
                case Write():
                    writes.append(self.writes.of(bare_write(command)))
                case Answer(payment) if payment.kind in {PaymentKind.SETTLE, PaymentKind.TRANSFER}:
                    answered |= _told(payment)
                case Answer():
                    pass
        told = tuple(0 if reply is None else REPLY_CODE[reply.order, reply.branch] + 1 for reply in drive.replies)
        if drive.is_finished:
            # The engine lands a finished flight: nothing is remembered.
            return Stepped(None, (0,) * len(told), tuple(sent), tuple(writes), answered)
        slot = Slot(self.rows.of(bare_row(drive.payment)), drive.is_writing)
        return Stepped(slot, told, tuple(sent), tuple(writes), answered)
