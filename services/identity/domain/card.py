"""社会保障卡: issued, activated by its holder, lost, and the six digits that open it (domain §1).

A card is shown with its PIN. Five wrong ones in a row lock it; a try counts before the PIN is looked at, so that tries
at many desks at once count as well. What is kept of a PIN proves one that is typed, and cannot be searched for by
whoever has the database alone: beside its own salt it needs a pepper that stands in the secrets file.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import Enum
from typing import Final
from uuid import UUID

from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.person import Enrolment, InsuranceStatus, Insutype

PIN_TRIES_MAX: Final = 5
SALT_BYTES: Final = 16
SHOWN_CHARACTERS: Final = 4
_SCRYPT: Final = {"n": 1 << 14, "r": 8, "p": 1, "dklen": 32}
"""16 MiB and some 30 ms for each try."""
_DIGITS: Final = "0123456789"
_ROWS: Final = (_DIGITS + _DIGITS, (_DIGITS + _DIGITS)[::-1])


class CardState(Enum):
    """Where a card stands; the comment says who acts next."""

    ISSUED = "ISSUED"  # The holder activates it.
    ACTIVE = "ACTIVE"  # Nobody.
    LOST = "LOST"  # An officer issues another; final.
    ENDED = "ENDED"  # Nobody; final.


HELD: Final = frozenset({CardState.ISSUED, CardState.ACTIVE})
"""A person has one card at most in these states."""


@dataclass(frozen=True, slots=True)
class Pin:
    """What is kept of a PIN."""

    hash: bytes = field(repr=False)
    salt: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Card:
    """One card; ``pin_tries`` counts those begun since the last right one."""

    card_id: UUID
    psn_no: PsnNo
    card_no_masked: str
    state: CardState
    issued_at: datetime
    activated_at: datetime | None = None
    pin: Pin | None = None
    pin_tries: int = 0

    @property
    def is_locked(self) -> bool:
        """Whether no PIN is looked at any more."""
        return self.pin_tries >= PIN_TRIES_MAX


@dataclass(frozen=True, slots=True)
class LinkedAccount:
    """An enrolment that a card will stand for; 310 alone has an account with money of its own."""

    enrolment: Enrolment

    @property
    def has_personal_account(self) -> bool:
        """Whether a personal account stands in that area: with an employee's enrolment that was not ended."""
        return (
            self.enrolment.insutype is Insutype.EMPLOYEE and self.enrolment.psn_insu_stas is not InsuranceStatus.ENDED
        )


@dataclass(frozen=True, slots=True)
class Activation:
    """What the holder confirms before his card is active."""

    name_masked: str
    accounts: tuple[LinkedAccount, ...]
    digest: str


def masked_card_no(card_no: str) -> str:
    """``*****6789``: the last four characters, the length kept."""
    return "*" * (len(card_no) - SHOWN_CHARACTERS) + card_no[-SHOWN_CHARACTERS:]


def known_card(card: Card | None, *, field: str = "card_no") -> Card:
    """The card; CARD_UNKNOWN (NOT_FOUND) if there is none."""
    if card is None:
        raise Failure(Kind.NOT_FOUND, "CARD_UNKNOWN", field=field)
    return card


def check_active(card: Card) -> Card:
    """The card, if it can be shown; PRECONDITION CARD_NOT_ACTIVE, CARD_LOST, CARD_ENDED by its state."""
    match card.state:
        case CardState.ISSUED:
            raise Failure(Kind.PRECONDITION, "CARD_NOT_ACTIVE", field="card_no")
        case CardState.LOST:
            raise Failure(Kind.PRECONDITION, "CARD_LOST", field="card_no")
        case CardState.ENDED:
            raise Failure(Kind.PRECONDITION, "CARD_ENDED", field="card_no")
        case CardState.ACTIVE:
            return card


def check_can_be_activated(card: Card) -> Card:
    """The card, if its holder may activate it; PRECONDITION CARD_ALREADY_ACTIVE, CARD_LOST, CARD_ENDED."""
    if card.state is CardState.ISSUED:
        return card
    if card.state is CardState.ACTIVE:
        raise Failure(Kind.PRECONDITION, "CARD_ALREADY_ACTIVE", field="card_no")
    return check_active(card)


def linked_accounts(enrolments: Iterable[Enrolment]) -> tuple[LinkedAccount, ...]:
    """What the holder confirms: his enrolments, by insutype."""
    return tuple(LinkedAccount(each) for each in sorted(enrolments, key=lambda each: each.insutype.value))


def digest_of(card: Card, name_masked: str, accounts: Iterable[LinkedAccount]) -> str:
    """64 hexadecimal digits over exactly what the holder was shown of this card."""
    parts = [str(card.card_id), name_masked]
    for account in accounts:
        each = account.enrolment
        parts.append(f"{each.insutype.value}/{each.insuplc_admdvs}/{each.psn_insu_stas.value}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def check_digest(stated: str, digest: str) -> None:
    """ACTIVATION_STALE (CONFLICT) if what was confirmed is not what stands there now."""
    if stated != digest:
        raise Failure(Kind.CONFLICT, "ACTIVATION_STALE", field="digest")


def check_pin(pin: str, *, brdy: date, certno: str, field: str = "pin") -> str:
    """The PIN, if it is not the first that a thief would try; PIN_TRIVIAL (INVALID) otherwise.

    No row up or down (123456, 098765), nothing repeated (111111, 121212, 123123), no six digits out of the birth date
    in any of its orders, or out of the certificate's number.
    """
    repeats = any(pin == pin[:length] * (len(pin) // length) for length in (1, 2, 3))
    in_row = any(pin in row for row in _ROWS)
    dates = (f"{brdy:%Y%m%d}", f"{brdy:%d%m%Y}", f"{brdy:%m%d%Y}", f"{brdy:%d%m%y}", f"{brdy:%m%d%y}", f"{brdy:%y%m%d}")
    if repeats or in_row or any(pin in text for text in (*dates, certno)):
        raise Failure(Kind.INVALID, "PIN_TRIVIAL", field=field)
    return pin


def pin_of(card_id: UUID, pin: str, *, salt: bytes, pepper: Callable[[bytes], bytes]) -> Pin:
    """What is kept of a PIN: scrypt over what the pepper makes of card and PIN. Takes tens of milliseconds of CPU."""
    peppered = pepper(f"{card_id}:{pin}".encode())
    return Pin(hashlib.scrypt(peppered, salt=salt, **_SCRYPT), salt)


def is_right(kept: Pin, typed: Pin) -> bool:
    """Whether both prove the same PIN; takes as long for a wrong one."""
    return hmac.compare_digest(kept.hash, typed.hash)


def check_not_locked(card: Card) -> Card:
    """The card, if its PIN is looked at at all; PIN_LOCKED (PRECONDITION) otherwise."""
    if card.is_locked:
        raise pin_locked()
    return card


def pin_locked() -> Failure:
    """The refusal of every try after five wrong ones, of the right PIN too."""
    return Failure(Kind.PRECONDITION, "PIN_LOCKED", field="pin")


def pin_wrong(tries: int) -> Failure:
    """The refusal of a wrong PIN; ``tries`` counts this one."""
    return Failure(Kind.UNAUTHENTICATED, "PIN_WRONG", field="pin", tries_left=max(PIN_TRIES_MAX - tries, 0))
