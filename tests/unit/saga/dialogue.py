"""Rows and replies for the saga's tests, and a payment played as a dialogue between its row and its ledgers."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from kernel.ids import AdmDvs, PaymentId, PlanId, PsnNo
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.saga.coordinator import (
    Answer,
    Branch,
    Command,
    Drive,
    Event,
    Observed,
    Order,
    Replied,
    Send,
    Write,
    advance,
    applied,
    begin,
    wins,
)
from services.settlement.saga.payment import Payment, PaymentKind, State

HAMI: Final = AdmDvs("650500")
URUMQI: Final = AdmDvs("650100")
PAYMENT_ID: Final = PaymentId(UUID(int=1))
REFUND_ID: Final = PaymentId(UUID(int=2))
SETTLE_KEY: Final = Key("H65010000001", "2207", "H65010000001202611211200000001")
REVOKE_KEY: Final = Key("H65010000001", "2208", "H65010000001202611211200000002")
DECIDED_AT: Final = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


def leg(leg_no: int, area: AdmDvs, amount_fen: int = 1_000, role: Role = Role.OWN) -> PlanLeg:
    """A leg of past-year money."""
    return PlanLeg(leg_no, role, PsnNo(f"65000000{leg_no:04d}"), area, amount_fen, 0, None, 0, ())


TWO_LEDGERS: Final = (leg(1, HAMI), leg(2, URUMQI, 2_000), leg(3, HAMI, 500))
"""Three legs in two ledgers."""


def settlement(state: State, *, legs: tuple[PlanLeg, ...] = TWO_LEDGERS, overdue: bool = False) -> Payment:
    """A settlement's row in a state."""
    refused = state in {State.ABORTED, State.CLOSED}
    return Payment(
        payment_id=PAYMENT_ID,
        kind=PaymentKind.SETTLE,
        state=state,
        key=SETTLE_KEY,
        request_hash=b"h" * 32,
        psn_no=PsnNo("650000000001"),
        year=2026,
        legs=legs,
        plan_id=PlanId(UUID(int=9)),
        reason="INSUFFICIENT_FUNDS" if refused else "",
        overdue=overdue,
        decided_at=None if state is State.TRYING else DECIDED_AT,
    )


def refund(state: State = State.COMMITTED) -> Payment:
    """The refund of that settlement."""
    return replace(
        settlement(State.DONE),
        payment_id=REFUND_ID,
        kind=PaymentKind.REFUND,
        state=state,
        key=REVOKE_KEY,
        plan_id=None,
        original_id=PAYMENT_ID,
    )


def credit(state: State = State.COMMITTED) -> Payment:
    """A credit in one ledger."""
    key = Key(HAMI, "CREDIT", "row-1")
    made = replace(settlement(State.DONE), kind=PaymentKind.CREDIT, key=key, legs=(leg(1, HAMI),), plan_id=None)
    return replace(made, state=state)


def held(area: AdmDvs) -> Replied:
    """A vote for it."""
    return Replied(area, Order.TRY, Branch.HELD)


def refused(area: AdmDvs, reason: str = "ACCOUNT_FROZEN", leg_no: int = 1) -> Replied:
    """A vote against it."""
    return Replied(area, Order.TRY, Branch.REFUSED, reason, leg_no)


def acknowledged(area: AdmDvs, order: Order) -> Replied:
    """The answer that settles an order."""
    branch = {
        Order.TRY: Branch.HELD,
        Order.CONFIRM: Branch.CONFIRMED,
        Order.CANCEL: Branch.CANCELLED,
        Order.CREDIT: Branch.CREDITED,
    }[order]
    return Replied(area, order, branch)


def sent(commands: list[Command]) -> list[tuple[Order, AdmDvs]]:
    """What is sent to whom."""
    return [(command.order, command.area) for command in commands if isinstance(command, Send)]


def writes(commands: list[Command]) -> list[Write]:
    """What is written."""
    return [command for command in commands if isinstance(command, Write)]


def answers(commands: list[Command]) -> list[State]:
    """The states of the rows that are told."""
    return [command.payment.state for command in commands if isinstance(command, Answer)]


@dataclass
class Dialogue:
    """A row in a database and one coordinator that drives it; writes are carried out at once, sends are collected."""

    row: Payment
    drive: Drive = field(init=False)
    log: list[Command] = field(init=False)

    def __post_init__(self) -> None:
        self.drive, commands = begin(self.row)
        self.log = []
        self._carry_out(commands)

    def hear(self, event: Event) -> list[Command]:
        """Everything that follows from an event, the writes' outcomes included."""
        before = len(self.log)
        self.drive, commands = advance(self.drive, event)
        self._carry_out(commands)
        return self.log[before:]

    def _carry_out(self, commands: list[Command]) -> None:
        for command in commands:
            self.log.append(command)
            if isinstance(command, Write):
                if wins(self.row, command):
                    self.row = applied(self.row, command)
                self.drive, more = advance(self.drive, Observed(self.row))
                self._carry_out(more)
