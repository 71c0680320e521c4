"""The coordinator of one payment: ``advance(drive, event) -> (drive, commands)``, the whole of protocol.md's table.

The saga is a list of steps, each done at every ledger of the payment at once: what is done, what completes it, what
undoes it. The durable row decides everything: a ``Write`` is a compare-and-set on its state, and its outcome, won or
lost, comes back as ``Observed`` with the row as it then stands. So a lost race, a repeated message, a restart and a
second coordinator are all the same event. Votes and acknowledgements live in memory only: they can be asked for again.

A person's vote cannot be asked for again, so it is durable. When every ledger of a transfer has voted HELD, that alone
is written down (``pending_accept``), with the receiver's deadline in place of the ledgers'; then only a request, the
deadline or a reversal moves the row on (protocol, "Acceptance"; ADR 12).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple, TypeAlias, assert_never

from kernel.ids import AdmDvs, PaymentId
from kernel.values import value
from services.settlement.saga.payment import (
    ACCEPTANCE_DEADLINE_PASSED,
    CANCELLED,
    OPEN_STATES,
    VOTE_DEADLINE_PASSED,
    AccountAfter,
    Payment,
    PaymentKind,
    State,
)


class Order(Enum):
    """What a ledger is told to do with a payment."""

    __hash__ = object.__hash__  # Each member is one object; Enum's own hash is a call of Python for each look-up.

    TRY = "TRY"
    CONFIRM = "CONFIRM"
    CANCEL = "CANCEL"
    CREDIT = "CREDIT"


class Branch(Enum):
    """Where a payment stands at one ledger, as it answers."""

    __hash__ = object.__hash__  # As Order's.

    UNKNOWN = "UNKNOWN"  # Never heard of, or an answer without a state: only ever an alarm.
    HELD = "HELD"
    REFUSED = "REFUSED"
    BLOCKED = "BLOCKED"
    CONFIRMED = "CONFIRMED"
    CANCELLED = "CANCELLED"
    CREDITED = "CREDITED"


class Step(NamedTuple):
    """One thing done at every ledger of a payment, what completes it, and what undoes it."""

    do: Order | None
    complete: Order | None
    undo: Order | None


SAGA: Final = {
    PaymentKind.SETTLE: Step(do=Order.TRY, complete=Order.CONFIRM, undo=Order.CANCEL),
    PaymentKind.TRANSFER: Step(do=Order.TRY, complete=Order.CONFIRM, undo=Order.CANCEL),
    PaymentKind.CHARGE: Step(do=Order.TRY, complete=Order.CONFIRM, undo=Order.CANCEL),
    PaymentKind.REFUND: Step(do=None, complete=Order.CREDIT, undo=None),
    PaymentKind.CREDIT: Step(do=None, complete=Order.CREDIT, undo=None),
    PaymentKind.TOMBSTONE: Step(do=None, complete=None, undo=None),
}

ACKNOWLEDGED_BY: Final = {
    Order.TRY: frozenset({Branch.HELD, Branch.CONFIRMED}),
    Order.CONFIRM: frozenset({Branch.CONFIRMED}),
    Order.CANCEL: frozenset({Branch.CANCELLED, Branch.BLOCKED, Branch.REFUSED}),
    Order.CREDIT: frozenset({Branch.CREDITED}),
}
"""The answers that settle an order. CONFIRMED answers a TRY when another coordinator has already decided."""

CONTRADICTIONS: Final = {
    Order.CONFIRM: "CONFIRM_CONTRADICTED",
    Order.CANCEL: "CONFIRMED_THOUGH_ABORTED",
    Order.CREDIT: "CREDIT_CONTRADICTED",
}
"""Why a payment goes to quarantine when a ledger answers an order as it never should."""


def order_of(payment: Payment) -> Order | None:
    """What every ledger of the payment must be told, as its row stands; None when nothing is left (rule 8).

    While a person is asked, nothing: every ledger holds, and goes on holding whatever becomes of the coordinators.
    """
    step = SAGA[payment.kind]
    match payment.state:
        case State.TRYING:
            return step.do if payment.is_voting else None
        case State.COMMITTED:
            return step.complete
        case State.ABORTED:
            return step.undo
        case State.DONE | State.CLOSED:
            return None
        case _:
            assert_never(payment.state)


@value
class Observed:
    """The row as it has just been read, or as a Write of ours, won or lost, has left it."""

    payment: Payment


@value
class Replied:
    """A ledger's answer to an order; it may be late, repeated, or belong to an order long past."""

    area: AdmDvs
    order: Order
    branch: Branch
    reason: str = ""  # Of a refusal.
    leg_no: int = 0  # The leg that was refused.
    balances: tuple[AccountAfter, ...] = ()


@value
class Ticked:
    """Time has gone by: whatever has no answer is sent again."""


Event: TypeAlias = Observed | Replied | Ticked


@value
class Write:
    """Compare-and-set in one transaction: the row goes from ``expected`` to ``to`` if it still stands there (``wins``).

    To COMMITTED, the facts for other rooms are written beside it and the patient's version moves on. ``expected`` =
    ``to`` writes only the quarantine, or that the receiver of a transfer is being asked (``asks_receiver``).
    """

    payment_id: PaymentId
    expected: State
    to: State
    expected_pending: bool = False  # Of a row that is TRYING: whether its receiver is being asked.
    asks_receiver: bool = False
    in_time: bool = False  # Only as long as the deadline has not passed, by the database's clock at the write.
    reason: str = ""
    refused_leg_no: int = 0
    balances_after: tuple[AccountAfter, ...] = ()
    quarantine: str = ""


@value
class Send:
    """Tell one ledger, in a message that may be lost, doubled or late."""

    payment: Payment
    area: AdmDvs
    order: Order


@value
class Answer:
    """Tell whoever waits what the row says; only ever told of a row that is durable."""

    payment: Payment


Command: TypeAlias = Write | Send | Answer


@value
class Drive:
    """One coordinator's view of a payment: the row as last seen, and what the ledgers have answered since."""

    payment: Payment
    areas: tuple[AdmDvs, ...]  # The payment's ledgers, in the order of its legs.
    replies: tuple[Replied | None, ...]  # To the order of the row's state, in the order of the areas.
    is_writing: bool = False  # A Write is under way; its Observed has not come back.

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do or to hear."""
        return self.payment.state not in OPEN_STATES and not self.is_writing

    @property
    def silent_areas(self) -> tuple[AdmDvs, ...]:
        """The ledgers that have not settled the present order."""
        order = order_of(self.payment)
        if order is None:
            return ()
        settled_by = ACKNOWLEDGED_BY[order]
        return tuple(
            area
            for area, reply in zip(self.areas, self.replies, strict=True)
            if reply is None or reply.branch not in settled_by
        )


Advance: TypeAlias = tuple[Drive, list[Command]]


def begin(payment: Payment) -> Advance:
    """Takes up a payment from its row, newly written or found by recovery: there is no difference."""
    areas = payment.areas
    return _taken_up(Drive(payment, areas, (None,) * len(areas)))


def advance(drive: Drive, event: Event) -> Advance:
    """What follows from an event. Total: late, repeated and impossible events change nothing."""
    match event:
        case Observed():
            return _observed(drive, event.payment)
        case Replied():
            return _replied(drive, event)
        case Ticked():
            return drive, [] if drive.is_writing else _sends(drive)
        case _:
            assert_never(event)


def wins(row: Payment, write: Write) -> bool:
    """Whether a Write takes effect on the row as it is durable; the store's UPDATE says the same in SQL."""
    if row.state is State.TRYING and row.pending_accept is not write.expected_pending:
        return False
    return row.state is write.expected and not (write.in_time and row.overdue)


def applied(payment: Payment, write: Write, *, decided_at: datetime | None = None) -> Payment:
    """The row after a Write that was won; ``decided_at`` is the database's to say, and stays."""
    decided_at = decided_at or payment.decided_at
    if write.asks_receiver:
        return replace(
            payment,
            pending_accept=True,
            overdue=False,
            balances_after=write.balances_after,
            deadline_at=payment.accept_by,
            decided_at=decided_at,
        )
    if write.expected is write.to:
        return replace(payment, quarantine=write.quarantine, decided_at=decided_at)
    return replace(
        payment,
        state=write.to,
        overdue=False,
        reason=write.reason or payment.reason,
        refused_leg_no=write.refused_leg_no or payment.refused_leg_no,
        balances_after=write.balances_after or payment.balances_after,
        quarantine=write.quarantine,
        decided_at=decided_at,
    )


def _observed(drive: Drive, payment: Payment) -> Advance:
    known = drive.payment
    if (payment.state, payment.is_voting) == (known.state, known.is_voting):
        return _judged(Drive(payment, drive.areas, drive.replies))
    if _rank(payment) < _rank(known):
        # A stale read: the row has been seen further on, and it never goes back.
        return drive, []
    return _taken_up(Drive(payment, drive.areas, (None,) * len(drive.areas)))


_RANK: Final = {State.TRYING: 1, State.COMMITTED: 2, State.ABORTED: 2, State.DONE: 3, State.CLOSED: 3}


def _rank(payment: Payment) -> int:
    return 0 if payment.is_voting else _RANK[payment.state]


def _taken_up(drive: Drive) -> Advance:
    answers: list[Command] = [Answer(drive.payment)] if drive.payment.is_answerable else []
    judged, commands = _judged(drive)
    sends = [] if judged.is_writing else _sends(judged)
    return judged, [*answers, *commands, *sends]


def _sends(drive: Drive) -> list[Command]:
    """The present order, to every ledger that has not settled it (a contradiction is asked about again as well)."""
    order = order_of(drive.payment)
    return [] if order is None else [Send(drive.payment, area, order) for area in drive.silent_areas]


def _replied(drive: Drive, reply: Replied) -> Advance:
    order = order_of(drive.payment)
    if reply.order is not order or reply.area not in drive.areas:
        return drive, []
    position = drive.areas.index(reply.area)
    known = drive.replies[position]
    if known is not None and known.branch in ACKNOWLEDGED_BY[order]:
        return drive, []
    replies = (*drive.replies[:position], reply, *drive.replies[position + 1 :])
    return _judged(Drive(drive.payment, drive.areas, replies, drive.is_writing))


def _judged(drive: Drive) -> Advance:
    """The one Write that the row and the replies ask for now, if any; never two at a time."""
    write = None if drive.is_writing else _write_due(drive)
    if write is None:
        return drive, []
    return Drive(drive.payment, drive.areas, drive.replies, is_writing=True), [write]


def _write_due(drive: Drive) -> Write | None:
    match drive.payment.state:
        case State.TRYING:
            return _decision(drive)
        case State.COMMITTED:
            return _completion(drive, State.DONE)
        case State.ABORTED:
            return _completion(drive, State.CLOSED)
        case State.DONE | State.CLOSED:
            return None
        case _:
            assert_never(drive.payment.state)


def _decision(drive: Drive) -> Write | None:
    """One refusal aborts; every vote commits, or has the receiver asked; the deadline aborts (rules 1, 2 and 9)."""
    payment, accepted = drive.payment, ACKNOWLEDGED_BY[Order.TRY]
    if payment.pending_accept:
        return overdue_abort(payment) if payment.overdue else None
    refusal = next((reply for reply in drive.replies if reply is not None and reply.branch not in accepted), None)
    if refusal is not None:
        return abort(payment, refusal.reason or CANCELLED, refusal.leg_no)
    if not drive.silent_areas:
        balances = tuple(balance for reply in drive.replies if reply is not None for balance in reply.balances)
        if payment.kind is PaymentKind.TRANSFER:
            return Write(payment.payment_id, State.TRYING, State.TRYING, asks_receiver=True, balances_after=balances)
        return Write(payment.payment_id, State.TRYING, State.COMMITTED, balances_after=balances)
    if payment.overdue:
        first_silent = next(leg.leg_no for leg in payment.legs if leg.area in drive.silent_areas)
        return overdue_abort(payment, first_silent)
    return None


def abort(payment: Payment, reason: str, refused_leg_no: int = 0) -> Write:
    """The one way out of TRYING beside the commit: by compare-and-set as well."""
    return Write(
        payment.payment_id,
        State.TRYING,
        State.ABORTED,
        expected_pending=payment.pending_accept,
        reason=reason,
        refused_leg_no=refused_leg_no,
    )


def overdue_abort(payment: Payment, silent_leg_no: int = 0) -> Write:
    """The abort of a payment whose deadline has passed: the ledgers' while they vote, then the receiver's."""
    reason = ACCEPTANCE_DEADLINE_PASSED if payment.pending_accept else VOTE_DEADLINE_PASSED
    return abort(payment, reason, silent_leg_no)


def _completion(drive: Drive, to: State) -> Write | None:
    """The last state once every ledger has settled the order; quarantine when one contradicts it, never the end."""
    payment, order, silent = drive.payment, order_of(drive.payment), drive.silent_areas
    contradicted = any(reply is not None and reply.area in silent for reply in drive.replies)
    if contradicted and order is not None:
        quarantine = CONTRADICTIONS[order]
        known = payment.quarantine == quarantine
        return None if known else Write(payment.payment_id, payment.state, payment.state, quarantine=quarantine)
    if silent:
        return None
    told = payment.kind is PaymentKind.CREDIT
    balances = tuple(balance for reply in drive.replies if reply is not None for balance in reply.balances)
    return Write(payment.payment_id, payment.state, to, balances_after=balances if told else ())
