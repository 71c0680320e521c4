"""A payment as it is durable: one row, from which everything that must still be sent can be told (protocol rule 8)."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import Final, NamedTuple

from kernel.ids import AdmDvs, PaymentId, PlanId, PsnNo
from kernel.money import Fen
from kernel.values import value
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import PlanLeg


class PaymentKind(Enum):
    """What a payment does to its legs."""

    __hash__ = object.__hash__  # Each member is one object; Enum's own hash is a call of Python for each look-up.

    SETTLE = "SETTLE"  # Takes money for a bill: TRY, then CONFIRM or CANCEL.
    TRANSFER = "TRANSFER"  # Brings money to another person's wallet: the same, and that person votes last.
    CHARGE = "CHARGE"  # Takes money for something that no terminal settles: a premium, a claim's part. As SETTLE.
    REFUND = "REFUND"  # Gives an original's money back: begins decided, CREDIT cannot be refused.
    CREDIT = "CREDIT"  # Brings money into an account: begins decided as well.
    TOMBSTONE = "TOMBSTONE"  # Stands for a request that was reversed before it was seen (protocol rule 3).


class State(Enum):
    """Where a payment stands; the comment says who acts next."""

    __hash__ = object.__hash__  # As PaymentKind's.

    TRYING = "TRYING"  # The ledgers vote, then the receiver of a transfer; at the deadline the coordinator aborts.
    COMMITTED = "COMMITTED"  # The coordinator, until every ledger has booked it.
    DONE = "DONE"  # Nobody; only a refund follows.
    ABORTED = "ABORTED"  # The coordinator, until every ledger has let go.
    CLOSED = "CLOSED"  # Nobody.


OPEN_STATES: Final = (State.TRYING, State.COMMITTED, State.ABORTED)
"""Something must still be sent."""
PAID_STATES: Final = (State.COMMITTED, State.DONE)
REFUSED_STATES: Final = (State.ABORTED, State.CLOSED)

REVERSED: Final = "PAYMENT_REVERSED"
"""The reason of an abort that a reversal asked for."""
CANCELLED: Final = "PAYMENT_CANCELLED"
"""A ledger's reason for refusing a TRY after a CANCEL: another coordinator has aborted."""
VOTE_DEADLINE_PASSED: Final = "VOTE_DEADLINE_PASSED"
"""The reason of an abort because a ledger had not voted in time."""
DECLINED: Final = "TRANSFER_DECLINED"
"""The reason of an abort because the receiver did not want the money."""
ACCEPTANCE_DEADLINE_PASSED: Final = "TRANSFER_NOT_ACCEPTED_IN_TIME"
"""The reason of an abort because the receiver had not answered in time."""


class AccountAfter(NamedTuple):
    """A leg's account as its ledger told it right after the hold or the credit, in fen."""

    leg_no: int
    past_fen: Fen
    current_fen: Fen
    held_past_fen: Fen
    held_current_fen: Fen
    year: int
    frozen: bool

    @property
    def free_fen(self) -> Fen:
        """What can still be spent: the balance less what is held."""
        return self.past_fen + self.current_fen - self.held_past_fen - self.held_current_fen


@value
class Payment:
    """One row of the coordinator's database, as it was read.

    ``overdue`` is the database clock's judgement at the reading: the payment is TRYING and its deadline has passed
    (protocol rule 9). The times are the database's as well, but ``decided_at``, which the process's clock gives that
    follows it.

    ``pending_accept`` of a transfer says that every ledger has voted HELD and the receiver's vote alone is open. It is
    durable where the ledgers' votes are not, and may outlive them: a ledger never ends a hold by itself (rule 2).
    """

    payment_id: PaymentId
    kind: PaymentKind
    state: State
    key: Key
    request_hash: bytes
    psn_no: PsnNo | None  # The patient; of a credit, whose account it is; None of a tombstone.
    year: int  # "Current" in the legs means this year's current part; 0 of a tombstone.
    legs: tuple[PlanLeg, ...] = ()
    plan_id: PlanId | None = None
    original_id: PaymentId | None = None  # REFUND: the settlement or charge whose money it gives back.
    reason: str = ""  # Why it was aborted; empty otherwise.
    refused_leg_no: int = 0  # The leg that was refused, or the first leg of a silent ledger; 0 = none.
    balances_after: tuple[AccountAfter, ...] = ()  # As the ledgers told them with their votes, or after a credit.
    replanned: bool = False  # Whether the answer to the refusal is settled: a new plan, or none.
    replan_plan_id: PlanId | None = None
    quarantine: str = ""  # Why a person must look at it; empty otherwise.
    overdue: bool = False
    pending_accept: bool = False  # Stays true once the receiver has been asked.
    created_at: datetime | None = None
    deadline_at: datetime | None = None  # Until when the ledgers may vote, then the receiver.
    accept_by: datetime | None = None  # TRANSFER: the receiver's deadline.
    decided_at: datetime | None = None

    @property
    def areas(self) -> tuple[AdmDvs, ...]:
        """The ledgers of the legs, each once, in the order of the legs."""
        return tuple(dict.fromkeys(leg.area for leg in self.legs))

    def legs_at(self, area: AdmDvs) -> tuple[PlanLeg, ...]:
        """The legs that one ledger keeps."""
        return tuple(leg for leg in self.legs if leg.area == area)

    def account_after(self, leg_no: int) -> AccountAfter | None:
        """A leg's account right after it; None if its ledger has not told."""
        return next((after for after in self.balances_after if after.leg_no == leg_no), None)

    @property
    def is_answerable(self) -> bool:
        """Whether whoever asked for it can be told what became of it.

        A credit's answer is the ledger's balance; a transfer's giver learns first that its receiver is being asked.
        """
        if self.kind is PaymentKind.CREDIT:
            return self.state is State.DONE
        return self.state is not State.TRYING or self.pending_accept

    @property
    def is_voting(self) -> bool:
        """Whether the ledgers' votes are open."""
        return self.state is State.TRYING and not self.pending_accept

    @property
    def amount_fen(self) -> Fen:
        """Σ of the legs: what is charged, moved, returned or credited (what is received is not counted again)."""
        return sum(leg.amount_fen for leg in self.legs if not leg.role.is_receiving)
