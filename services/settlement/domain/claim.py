"""Reimbursement claims (手工报销): a bill paid in cash, reviewed by officers, paid out with the family's part."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
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
    care_on: date
    """The day of the bill (Asia/Shanghai); its year's values count."""
    mdtrt_id: str = ""
    """就诊ID, where the papers have it."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What an officer has decided, and why."""

    approved: bool
    opter: str
    cause: str
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class Assessment:
    """An officer's approval, with what the pooled fund pays as he states it, in fen; None where he states nothing."""

    opter: str
    cause: str
    act_pay_dedc: Fen | None = None
    hifp_pay: Fen | None = None


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


def claim_key(claim: Claim, attempt: int) -> Key:
    """The key of the payment that this approval begins, counted from 1."""
    return Key(claim.area, CLAIM_INFNO, f"{claim.asked.claim_id}{_SEPARATOR}{attempt}")


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
    """CLAIM_ASSESSMENT_DIFFERS: where officers state the figures, two of them must come to the same.

    And what two have approved is approved anew with their figures: one alone has no others to give.
    """
    of_two = claim.state is ClaimState.SECOND_LOOK or (claim.state is ClaimState.NOT_TAKEN and _is_large(claim))
    if of_two and (claim.act_pay_dedc, claim.hifp_pay) != (assessment.act_pay_dedc or 0, assessment.hifp_pay or 0):
        raise Failure(Kind.PRECONDITION, "CLAIM_ASSESSMENT_DIFFERS")


def check_as_computed(assessment: Assessment, *, act_pay_dedc: Fen, hifp_pay: Fen) -> None:
    """CLAIM_FIGURES_COMPUTED, with the figures, where an officer states others than the benefit table gives."""
    stated = (assessment.act_pay_dedc, assessment.hifp_pay)
    computed = (act_pay_dedc, hifp_pay)
    if any(ours is not None and ours != theirs for ours, theirs in zip(stated, computed, strict=True)):
        raise Failure(Kind.PRECONDITION, "CLAIM_FIGURES_COMPUTED", act_pay_dedc_fen=act_pay_dedc, hifp_pay_fen=hifp_pay)


def check_care(care_on: date, *, today: date) -> None:
    """CLAIM_CARE_IN_FUTURE: a bill is claimed once there is one."""
    if care_on > today:
        raise Failure(Kind.INVALID, "CLAIM_CARE_IN_FUTURE", field="care_on")


def check_fits(claim: Claim, *, fund_fen: Fen, family_fen: Fen, is_taken: bool) -> None:
    """CLAIM_COMES_TO_NOTHING; CLAIM_ALREADY_TAKEN where what stands taken leaves no room for so much of the funds."""
    if not fund_fen + family_fen:
        raise Failure(Kind.PRECONDITION, "CLAIM_COMES_TO_NOTHING")
    if is_taken and fund_fen + family_fen > claim.asked.bill.medfee_sumamt:
        raise already_taken(family_fen)


def already_taken(taken_fen: Fen) -> Failure:
    """CLAIM_ALREADY_TAKEN: an approval that a restore has lost took so much, and it stands."""
    return Failure(Kind.PRECONDITION, "CLAIM_ALREADY_TAKEN", taken_fen=taken_fen)


def check_appeal(claim: Claim) -> None:
    """Refusals in this order: CLAIM_NOT_REFUSED; CLAIM_APPEALED (once is enough)."""
    if claim.state is not ClaimState.REFUSED:
        raise Failure(Kind.PRECONDITION, "CLAIM_NOT_REFUSED")
    if claim.appeal:
        raise Failure(Kind.PRECONDITION, "CLAIM_APPEALED")


def _is_large(claim: Claim) -> bool:
    return claim.asked.bill.medfee_sumamt > FOUR_EYES_ABOVE_FEN
