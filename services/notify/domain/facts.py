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
class Invited:
    """Someone was asked to join a family group."""

    inviter: PsnNo
    invitee: PsnNo
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Joined:
    """Someone joined a family group in which ``others`` were already; none of them: he founded it."""

    psn_no: PsnNo
    others: Sequence[PsnNo]


class BindingChange(Enum):
    """What happened to a binding, as far as its two people are told."""

    BOUND = "BOUND"
    AMOUNT = "AMOUNT"
    ORDER = "ORDER"
    ENDED = "ENDED"
    SUSPENDED = "SUSPENDED"


@dataclass(frozen=True, slots=True)
class BindingChanged:
    """A binding began, changed or ended. ``authorised_fen`` None = no limit; ``deduct_order`` None = last."""

    change: BindingChange
    funder: PsnNo
    beneficiary: PsnNo
    authorised_fen: Fen | None
    deduct_order: int | None


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


Fact: TypeAlias = (
    BillSettled
    | BillRefunded
    | AccountCredited
    | AccountFreezeChanged
    | Invited
    | Joined
    | BindingChanged
    | Sanctioned
    | UnusualUse
)


@dataclass(frozen=True, slots=True)
class Told:
    """A fact as an event told it."""

    fact: Fact
    event_id: UUID
    occurred_at: datetime
