"""What happened elsewhere, as far as people are told of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TypeAlias
from uuid import UUID

from kernel.ids import PsnNo
from kernel.money import Fen


class Source(Enum):
    """Which account gave or got money."""

    OWN = "OWN"
    WALLET = "WALLET"
    FUNDER = "FUNDER"


class Place(Enum):
    """The kind of institution: more of it than that a funder is not told."""

    HOSPITAL = "HOSPITAL"
    PHARMACY = "PHARMACY"


@dataclass(frozen=True, slots=True)
class AccountChange:
    """What one account gave or got back; ``balance_fen`` is for its owner's eyes, None while it is not known."""

    psn_no: PsnNo
    source: Source
    amount_fen: Fen
    balance_fen: Fen | None


@dataclass(frozen=True, slots=True)
class BillSettled:
    """A bill was paid."""

    setl_id: str
    patient: PsnNo
    patient_name: str
    place: Place
    burden_fen: Fen
    cash_fen: Fen
    changes: Sequence[AccountChange]


@dataclass(frozen=True, slots=True)
class BillRefunded:
    """A bill's money went back to where it came from."""

    setl_id: str
    patient: PsnNo
    patient_name: str
    place: Place
    changes: Sequence[AccountChange]


@dataclass(frozen=True, slots=True)
class AccountCredited:
    """Money came into an account or a wallet."""

    psn_no: PsnNo
    wallet: bool
    amount_fen: Fen


@dataclass(frozen=True, slots=True)
class AccountFreezeChanged:
    """An account was frozen, or is free again."""

    psn_no: PsnNo
    frozen: bool


@dataclass(frozen=True, slots=True)
class AccountEnded:
    """An account takes no new payment; ``closed``: nothing is in flight on it, and it is closed.

    ``moved_fen`` is what has gone to the same person's account in another area; None of one that was not moved.
    """

    psn_no: PsnNo
    wallet: bool
    closed: bool
    moved_fen: Fen | None = None


@dataclass(frozen=True, slots=True)
class Invited:
    """Someone was asked to join a family group."""

    inviter: PsnNo
    invitee: PsnNo
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class InvitationAnswered:
    """An invitation was declined by the invitee, or taken back by the inviter."""

    inviter: PsnNo
    invitee: PsnNo
    declined: bool


@dataclass(frozen=True, slots=True)
class Joined:
    """Someone joined a family group in which ``others`` were already; none of them: he founded it.

    ``took_over``: another number of his was in it before, and was merged.
    """

    psn_no: PsnNo
    others: Sequence[PsnNo]
    took_over: bool = False


class Going(Enum):
    """Why somebody is in a group no more."""

    LEFT = "LEFT"
    REMOVED = "REMOVED"
    DISSOLVED = "DISSOLVED"


@dataclass(frozen=True, slots=True)
class Left:
    """Someone is in a family group no more; ``others`` still are."""

    psn_no: PsnNo
    going: Going
    others: Sequence[PsnNo]


@dataclass(frozen=True, slots=True)
class FounderChanged:
    """Someone is the founder of a family group from now on; ``others`` are in it as well."""

    psn_no: PsnNo
    others: Sequence[PsnNo]


class BindingChange(Enum):
    """What happened to a binding, as far as its two people are told."""

    BOUND = "BOUND"
    AMOUNT = "AMOUNT"
    LIMITS = "LIMITS"
    ORDER = "ORDER"
    ENDED = "ENDED"
    SUSPENDED = "SUSPENDED"
    MOVING = "MOVING"
    MOVED = "MOVED"


class StopCause(Enum):
    """Why a binding stopped by itself, by the names that family gives it (domain §2)."""

    NOT_INSURED = "NOT_INSURED"
    OTHER_PROVINCE = "OTHER_PROVINCE"
    DIED = "DIED"
    MERGED = "MERGED"
    SANCTIONED = "SANCTIONED"
    NO_KINSHIP = "KINSHIP_NOT_PROVEN"
    NOT_ALLOWED = "RELATION_NOT_ALLOWED"


@dataclass(frozen=True, slots=True)
class BindingChanged:
    """A binding began, changed or ended. An amount of None = no limit; ``deduct_order`` None = last.

    ``cause`` of one that stopped by itself; None of one whose cause people have no words for, a ledger's refusal say.
    """

    change: BindingChange
    funder: PsnNo
    beneficiary: PsnNo
    authorised_fen: Fen | None
    deduct_order: int | None
    cause: StopCause | None = None
    per_payment_fen: Fen | None = None
    per_month_fen: Fen | None = None


@dataclass(frozen=True, slots=True)
class Sanctioned:
    """A person is or will be suspended from online settlement. Identity repeats it with every change of the person."""

    psn_no: PsnNo
    sanction_id: UUID
    from_at: datetime
    to_at: datetime


class Use(Enum):
    """What was unusual."""

    OTHERS_CREDENTIAL = "OTHERS_CREDENTIAL"
    FAR_TERMINALS = "FAR_TERMINALS"
    SMALL_PHARMACY_BUYS = "SMALL_PHARMACY_BUYS"
    REFUSED_CODES = "REFUSED_CODES"


@dataclass(frozen=True, slots=True)
class UnusualUse:
    """A person's credential or account was used in an unusual way; an officer looks at it, nothing else follows."""

    psn_no: PsnNo
    use: Use


@dataclass(frozen=True, slots=True)
class WalletChanged:
    """A wallet was opened, by its person or by a relative for him, is used in another area, or takes over another."""

    psn_no: PsnNo
    opener: PsnNo | None
    opened: bool
    took_over: bool = False
    """It takes over the wallet of another number of the same person."""


class TransferChange(Enum):
    """What happened to a transfer to a relative's wallet."""

    AWAITS = "AWAITS"
    ACCEPTED = "ACCEPTED"
    RETURNED = "RETURNED"


class ReturnCause(Enum):
    """Why a transfer was returned."""

    DECLINED = "TRANSFER_DECLINED"
    NOT_IN_TIME = "TRANSFER_NOT_ACCEPTED_IN_TIME"
    WITHDRAWN = "PAYMENT_REVERSED"


@dataclass(frozen=True, slots=True)
class TransferChanged:
    """A transfer awaits its receiver, or is decided. ``cause`` of one that was returned, as far as it is known."""

    change: TransferChange
    giver: PsnNo
    receiver: PsnNo
    amount_fen: Fen
    accept_by: datetime
    cause: ReturnCause | None = None


@dataclass(frozen=True, slots=True)
class PremiumChanged:
    """A resident's premium was paid out of somebody's account or wallet, or taken back (``revoked``)."""

    payer: PsnNo
    insured: PsnNo
    year: int
    amount_fen: Fen
    balance_fen: Fen
    """Of what it was paid from; its owner's alone to know."""
    wallet: bool
    revoked: bool


@dataclass(frozen=True, slots=True)
class ClaimDecided:
    """A reimbursement claim was refused, or approved with these changes of the family's accounts."""

    claimant: PsnNo
    approved: bool
    changes: Sequence[AccountChange]


Fact: TypeAlias = (
    BillSettled
    | BillRefunded
    | AccountCredited
    | AccountFreezeChanged
    | AccountEnded
    | Invited
    | InvitationAnswered
    | Joined
    | Left
    | FounderChanged
    | BindingChanged
    | Sanctioned
    | UnusualUse
    | WalletChanged
    | TransferChanged
    | PremiumChanged
    | ClaimDecided
)


@dataclass(frozen=True, slots=True)
class Told:
    """A fact as an event told it."""

    fact: Fact
    event_id: UUID
    occurred_at: datetime


@dataclass(frozen=True, slots=True)
class PersonTold:
    """A person as identity tells him; ``merged_into`` is the number that counts, where his was found to be a double."""

    psn_no: PsnNo
    name_masked: str
    version: int
    sanctions: Sequence[Told] = ()
    merged_into: PsnNo | None = None
