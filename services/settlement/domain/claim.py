"""Reimbursement claims (手工报销): a bill paid in cash, reviewed by officers, paid out with the family's part."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Final
from uuid import UUID

from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, FixmedinsCode, PaymentId, PsnNo
from kernel.money import Fen
from services.settlement.domain.bill import Bill
from services.settlement.domain.payment import CLAIM_INFNO, Key
from services.settlement.saga.payment import PAID_STATES, State

FOUR_EYES_ABOVE_FEN: Final = 1_000_000
"""A bill above this is approved by two officers (10,000 yuan; our own choice)."""
_SEPARATOR: Final = "/"


class Stored(Enum):
    """A claim's own state; whether the family's part is taken is its payment's to say."""

    SUBMITTED = "SUBMITTED"
    SECOND_LOOK = "SECOND_LOOK"
    APPROVED = "APPROVED"
    ORDERED = "ORDERED"
    REFUSED = "REFUSED"


class ClaimState(Enum):
    """Where a claim stands; the comment says who acts next."""

    SUBMITTED = "SUBMITTED"  # An officer.
    SECOND_LOOK = "SECOND_LOOK"  # Another officer.
    PAYING = "PAYING"  # The ledgers.
    PAYABLE = "PAYABLE"  # Whoever orders the payout.
    ORDERED = "ORDERED"  # Nobody.
    REFUSED = "REFUSED"  # The claimant, who may appeal once.
    NOT_TAKEN = "NOT_TAKEN"  # An officer, who approves it anew.


@dataclass(frozen=True, slots=True)
class Document:
    """A paper's kind and digest; what it says is kept elsewhere."""

    kind: str
    sha256: bytes
    bytes_count: int


@dataclass(frozen=True, slots=True)
class ClaimAsked:
    """A claim as it is filed."""

    claim_id: UUID
    psn_no: PsnNo
    fixmedins_code: FixmedinsCode
    invoice_no: str
    med_type: str
    bill: Bill
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Decision:
    """What an officer has decided, and why."""

    approved: bool
    opter: str
    cause: str
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Assessment:
    """An officer's approval: what the pooled fund pays, as the area's core system has it."""

    opter: str
    cause: str
    act_pay_dedc: Fen
    hifp_pay: Fen


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim as it stands. ``attempt`` counts the approvals that asked the ledgers; ``payment`` is the last one's."""

    asked: ClaimAsked
    content: bytes
    area: AdmDvs
    stored: Stored
    attempt: int
    payment_id: PaymentId | None
    payment_state: State | None
    act_pay_dedc: Fen
    hifp_pay: Fen
    fund_fen: Fen
    family_fen: Fen
    appeal: str
    payout_order_id: UUID | None
    submitted_at: datetime
    decisions: tuple[Decision, ...]

    @property
    def state(self) -> ClaimState:
        """Where it stands, with its payment."""
        if self.stored is not Stored.APPROVED:
            return ClaimState(self.stored.value)
        if self.payment_state is None or self.payment_state in PAID_STATES:
            return ClaimState.PAYABLE
        return ClaimState.PAYING if self.payment_state is State.TRYING else ClaimState.NOT_TAKEN


def claim_key(claim: Claim) -> Key:
    """The key of the payment that the next approval begins."""
    return Key(claim.area, CLAIM_INFNO, f"{claim.asked.claim_id}{_SEPARATOR}{claim.attempt + 1}")


def claim_named_by(key: Key) -> tuple[UUID, int]:
    """Which claim a payment is for, and which of its approvals has asked for it."""
    claim_id, attempt = key.msgid.split(_SEPARATOR)
    return UUID(claim_id), int(attempt)


def is_answered(claim: Claim, *, approved: bool, opter: str) -> bool:
    """Whether this officer has already decided so, last of all: the same request again, which changes nothing."""
    if not claim.decisions:
        return False
    last = claim.decisions[-1]
    if (last.approved, last.opter) != (approved, opter) or claim.state is ClaimState.NOT_TAKEN:
        return False
    return claim.state is not ClaimState.SUBMITTED


def check_undecided(claim: Claim) -> None:
    """CLAIM_ALREADY_DECIDED unless an officer's word is wanted."""
    if claim.state not in {ClaimState.SUBMITTED, ClaimState.SECOND_LOOK, ClaimState.NOT_TAKEN}:
        raise Failure(Kind.PRECONDITION, "CLAIM_ALREADY_DECIDED")


def check_officer(claim: Claim, opter: str) -> None:
    """CLAIM_NEEDS_ANOTHER_OFFICER: who approved first does not look again, nor who refused judges the appeal."""
    looks_again = claim.state is ClaimState.SECOND_LOOK
    refused = any(each.opter == opter and not each.approved for each in claim.decisions)
    if (looks_again and claim.decisions[-1].opter == opter) or (claim.appeal and refused):
        raise Failure(Kind.PRECONDITION, "CLAIM_NEEDS_ANOTHER_OFFICER")


def wants_second_look(claim: Claim) -> bool:
    """Whether this approval is the first of two."""
    return claim.state is ClaimState.SUBMITTED and _is_large(claim)


def check_same_assessment(claim: Claim, assessment: Assessment) -> None:
    """CLAIM_ASSESSMENT_DIFFERS: two officers must come to the same figures.

    And what two have approved is approved anew with their figures: one alone has no others to give.
    """
    of_two = claim.state is ClaimState.SECOND_LOOK or (claim.state is ClaimState.NOT_TAKEN and _is_large(claim))
    if of_two and (claim.act_pay_dedc, claim.hifp_pay) != (assessment.act_pay_dedc, assessment.hifp_pay):
        raise Failure(Kind.PRECONDITION, "CLAIM_ASSESSMENT_DIFFERS")


def check_appeal(claim: Claim) -> None:
    """Refusals in this order: CLAIM_NOT_REFUSED; CLAIM_APPEALED (once is enough)."""
    if claim.state is not ClaimState.REFUSED:
        raise Failure(Kind.PRECONDITION, "CLAIM_NOT_REFUSED")
    if claim.appeal:
        raise Failure(Kind.PRECONDITION, "CLAIM_APPEALED")


def _is_large(claim: Claim) -> bool:
    return claim.asked.bill.medfee_sumamt > FOUR_EYES_ABOVE_FEN
