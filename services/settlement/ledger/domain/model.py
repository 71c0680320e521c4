"""What a ledger knows: accounts, authorisations, branches of payments, and the entries that only ever grow.

Every value is frozen; an operation on one gives a new one. Amounts are fen. Each kind and state is its own word in the
database.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType, TypeAlias
from uuid import UUID, uuid5

from kernel.ids import AuthorisationId, PaymentId, PsnNo
from kernel.money import Fen
from kernel.values import value
from services.settlement.ledger.domain.limits import CarriedMonth, Limits

CreditId = NewType("CreditId", UUID)
FreezeId = NewType("FreezeId", UUID)
ClosingId = NewType("ClosingId", UUID)

CONTRA_LEG_NO: Final = 0
"""Legs are numbered from 1; the one contra entry of a payment or credit stands at 0."""
_YEAR_TURNS: Final = UUID("5f6c1d1e-7a53-5c0e-9a64-0e2f3b8c2a10")


class Part(StrEnum):
    """Part of a personal account; a wallet has one part, kept as past."""

    PAST = "PAST"
    CURRENT = "CURRENT"


class AccountKind(StrEnum):
    """PERSONAL: 职工医保个人账户. WALLET: 医保钱包."""

    PERSONAL = "PERSONAL"
    WALLET = "WALLET"


class AccountState(StrEnum):
    """Whether an account takes part; the comment says who acts next."""

    OPEN = "OPEN"  # Nobody.
    CLOSING = "CLOSING"  # Its holds end first; no new one is placed.
    CLOSED = "CLOSED"  # Nobody; money that still comes goes to the area's suspense.


class Role(StrEnum):
    """In what capacity an account takes part in a payment."""

    OWN = "OWN"
    WALLET = "WALLET"
    FUNDER = "FUNDER"
    RECEIVER = "RECEIVER"  # Its leg holds nothing at TRY and brings its money at CONFIRM (protocol, "Acceptance").


class BranchState(StrEnum):
    """Where a payment stands in this ledger; the comment says who acts next."""

    HELD = "HELD"  # The coordinator decides; the ledger asks after the deadline, and never ends a hold by itself.
    REFUSED = "REFUSED"  # Final.
    BLOCKED = "BLOCKED"  # Final: cancelled before any TRY (protocol rule 5).
    CONFIRMED = "CONFIRMED"  # Final: only refunds follow (protocol rule 7).
    CANCELLED = "CANCELLED"  # Final.


class AuthorisationState(StrEnum):
    """Whether holds may be placed under an authorisation."""

    OPEN = "OPEN"
    CLOSED = "CLOSED"  # Final; holds placed before may still be confirmed.


class CreditPurpose(StrEnum):
    """Why money comes in; it is the kind of its entries too."""

    MONTHLY = "MONTHLY"
    WALLET = "WALLET"
    REFUND = "REFUND"
    CARRIED_OVER = "CARRIED_OVER"
    SUSPENSE = "SUSPENSE"  # Out of suspense, as an officer says; no coordinator sends it.


class EntryKind(StrEnum):
    """What a statement line says of an entry."""

    PAYMENT = "PAYMENT"
    TRANSFER_IN = "TRANSFER_IN"  # What another person's transfer brought; what it took there is a PAYMENT.
    REFUND = "REFUND"
    MONTHLY = "MONTHLY"
    WALLET = "WALLET"
    CARRIED_OVER = "CARRIED_OVER"
    YEAR_TURN = "YEAR_TURN"
    SUSPENSE = "SUSPENSE"  # What an officer brought out of suspense.
    CLOSING = "CLOSING"  # What was left on an account at its end, and went to suspense.


class Book(StrEnum):
    """Where an entry stands: on a person's account, or on a contra account that is only summed on demand."""

    PERSONAL = "PERSONAL"
    WALLET = "WALLET"
    CLEARING = "CLEARING"  # What this area's accounts have paid for care or to other areas, less what came back.
    FUND_INFLOW = "FUND_INFLOW"  # Where credits come from.
    SUSPENSE = "SUSPENSE"  # Money that found no account and waits for an officer.


@value
class Parts:
    """An amount in each part of an account, in fen."""

    past: Fen = 0
    current: Fen = 0

    @property
    def total(self) -> Fen:
        """Both parts together."""
        return self.past + self.current

    def __add__(self, other: Parts) -> Parts:
        return Parts(self.past + other.past, self.current + other.current)

    def __sub__(self, other: Parts) -> Parts:
        return Parts(self.past - other.past, self.current - other.current)

    def covers(self, other: Parts) -> bool:
        """Whether each part is at least the other's."""
        return self.past >= other.past and self.current >= other.current


NOTHING: Final = Parts()


@value
class AccountKey:
    """One account of this area: whose, and which kind."""

    psn_no: PsnNo
    kind: AccountKind

    def __hash__(self) -> int:
        # The number alone tells nearly all keys apart, and a batch looks up thousands of them.
        return hash(self.psn_no)


@value
class Account:
    """A person's account: what is on it, what of that is held, and the year its current part belongs to."""

    key: AccountKey
    year: int
    balance: Parts = NOTHING
    held: Parts = NOTHING
    frozen: bool = False
    state: AccountState = AccountState.OPEN

    @property
    def available(self) -> Parts:
        """What a new hold may take (I1: never below zero)."""
        return self.balance - self.held

    def reading(self, amount: Parts, year: int) -> Parts:
        """How an amount written in terms of ``year`` reads on this account now (protocol, "Year turn").

        "Current of Y" is past once the account has turned beyond Y; a wallet has one part, so all of it is past.
        """
        if amount.current and (year < self.year or self.key.kind is AccountKind.WALLET):
            return Parts(amount.total, 0)
        return amount

    def with_held(self, amount: Parts) -> Account:
        """A hold more."""
        return Account(self.key, self.year, self.balance, self.held + amount, self.frozen, self.state)

    def with_released(self, amount: Parts) -> Account:
        """A hold less."""
        return Account(self.key, self.year, self.balance, self.held - amount, self.frozen, self.state)

    def with_credited(self, amount: Parts) -> Account:
        """Money more, or less if negative."""
        return Account(self.key, self.year, self.balance + amount, self.held, self.frozen, self.state)

    def turned_to(self, year: int) -> Account:
        """Current into past, balance and held alike."""
        return replace(self, year=year, balance=Parts(self.balance.total, 0), held=Parts(self.held.total, 0))


@value
class Authorisation:
    """授权: what one funder lets one beneficiary spend: in all, per payment, per civil month; None means no limit.

    I9: ``used_fen + held_fen <= authorised_fen``. An id that was closed before it was opened knows no persons.
    ``counts_months``: since it first had a limit per month, each month's use is counted (``MonthUse``), for good.
    ``opened_month`` is the month of ``opened_used_fen`` that counts on here.
    """

    authorisation_id: AuthorisationId
    state: AuthorisationState
    funder_psn_no: PsnNo | None = None
    beneficiary_psn_no: PsnNo | None = None
    authorised_fen: Fen | None = None
    used_fen: Fen = 0
    held_fen: Fen = 0
    version: int = 0
    opened_used_fen: Fen = 0
    per_payment_fen: Fen | None = None
    per_month_fen: Fen | None = None
    counts_months: bool = False
    opened_month: CarriedMonth | None = None

    @property
    def limits(self) -> Limits:
        """What it lets be spent."""
        return Limits(self.authorised_fen, self.per_payment_fen, self.per_month_fen)

    @property
    def left_fen(self) -> Fen | None:
        """What new holds may still take; None = no limit."""
        return None if self.authorised_fen is None else self.authorised_fen - self.used_fen - self.held_fen

    def with_held(self, amount_fen: Fen) -> Authorisation:
        """A hold more."""
        return self._with(self.used_fen, self.held_fen + amount_fen)

    def with_released(self, amount_fen: Fen) -> Authorisation:
        """A hold less."""
        return self._with(self.used_fen, self.held_fen - amount_fen)

    def with_spent(self, amount_fen: Fen) -> Authorisation:
        """What was held is used."""
        return self._with(self.used_fen + amount_fen, self.held_fen - amount_fen)

    def with_returned(self, amount_fen: Fen) -> Authorisation:
        """What was used may be used again (a refund, also when closed)."""
        return self._with(self.used_fen - amount_fen, self.held_fen)

    def _with(self, used_fen: Fen, held_fen: Fen) -> Authorisation:
        return Authorisation(
            self.authorisation_id,
            self.state,
            self.funder_psn_no,
            self.beneficiary_psn_no,
            self.authorised_fen,
            used_fen,
            held_fen,
            self.version,
            self.opened_used_fen,
            self.per_payment_fen,
            self.per_month_fen,
            self.counts_months,
            self.opened_month,
        )


@value
class Refusal:
    """Why a command was refused; ``leg_no`` is the first leg that failed, 0 if it is not about a leg."""

    reason: str
    leg_no: int = 0
    metadata: Mapping[str, str] = field(default_factory=dict)


@value
class Memo:
    """What a statement line may say of a payment. Never a diagnosis or a drug."""

    fixmedins_code: str = ""
    setl_id: str = ""
    care_area: str = ""


NO_MEMO: Final = Memo()


@value
class Leg:
    """One account's share in a payment, in the words of the plan: ``amount.current`` is of ``year``."""

    leg_no: int
    account: AccountKey
    role: Role
    amount: Parts
    year: int
    authorisation_id: AuthorisationId | None = None
    floor_fen: Fen = 0
    floor_parts: frozenset[Part] = frozenset()

    @property
    def is_receiving(self) -> bool:
        """Whether it brings money instead of taking it."""
        return self.role is Role.RECEIVER


@value
class Branch:
    """A payment's part in this ledger; ``legs`` and ``balances`` stand once it was held.

    The balances are those after the hold, one for each leg that takes: nobody is told what a receiver has.
    """

    payment_id: PaymentId
    state: BranchState
    created_at: datetime
    decided_at: datetime | None = None
    digest: bytes = b""
    legs: tuple[Leg, ...] = ()
    balances: tuple[Account, ...] = ()
    refusal: Refusal | None = None
    inquire_at: datetime | None = None
    memo: Memo = NO_MEMO
    origin: bytes = b""  # The coordinator's own; written once and not loaded again.
    refunded_fen: Mapping[int, Fen] = field(default_factory=dict)
    """What came back so far, by leg (I8)."""
    month: int | None = None
    """The civil month (yyyymm) in which it counts; None, which is none, of one that a release without months held."""

    @property
    def takings(self) -> tuple[Leg, ...]:
        """The legs that hold money and then take it."""
        return tuple(leg for leg in self.legs if not leg.is_receiving)

    def decided(self, state: BranchState, at: datetime) -> Branch:
        """The same in its final state."""
        return Branch(
            self.payment_id,
            state,
            self.created_at,
            at,
            self.digest,
            self.legs,
            self.balances,
            self.refusal,
            self.inquire_at,
            self.memo,
            self.origin,
            self.refunded_fen,
            self.month,
        )


@value
class Entry:
    """One line of the books; it is written once and never changed. ``balance_after_fen`` is of the whole account."""

    source_id: UUID
    leg_no: int
    kind: EntryKind
    book: Book
    amount_fen: Fen
    booked_at: datetime
    account: AccountKey | None = None
    part: Part | None = None
    balance_after_fen: Fen | None = None


@value
class CreditLeg:
    """Money for one account; for a refund, ``leg_no`` is the original's leg."""

    leg_no: int
    account: AccountKey
    amount: Parts
    year: int


@value
class Credit:
    """A credit that was booked, and what was answered. ``balances`` has None where the money went to suspense."""

    credit_id: CreditId
    purpose: CreditPurpose
    digest: bytes
    legs: tuple[CreditLeg, ...]
    balances: tuple[Account | None, ...]
    booked_at: datetime
    original_payment_id: PaymentId | None = None
    memo: Memo = NO_MEMO
    origin: bytes = b""  # As a branch's.


@value
class FreezeRecord:
    """A freeze or unfreeze that was carried out, and the account as it stood afterwards."""

    freeze_id: FreezeId
    frozen: bool
    cause: str
    account: Account
    booked_at: datetime


@value
class Closing:
    """That an account was to be closed, and when its last hold had ended and it was."""

    closing_id: ClosingId
    account: AccountKey
    cause: str
    booked_at: datetime
    finished_at: datetime | None = None


class AuthorisationStep(StrEnum):
    """What was done to an authorisation."""

    OPEN = "OPEN"
    AMEND = "AMEND"
    CLOSE = "CLOSE"


@value
class AuthorisationEventKey:
    """OPEN is version 1 and CLOSE version 0, so that each can be said once; AMEND carries its own."""

    authorisation_id: AuthorisationId
    step: AuthorisationStep
    version: int


@value
class AuthorisationEvent:
    """A command on an authorisation that was decided: what it asked, and how the authorisation stood afterwards."""

    key: AuthorisationEventKey
    asked: Limits
    after: Authorisation
    refusal: Refusal | None
    booked_at: datetime


@value
class SuspenseTask:
    """Money in the area's suspense that an officer must bring to its owner.

    ``credit_id`` is what brought it there: a credit, a transfer, or the closing of the account it was on.
    """

    credit_id: CreditId | PaymentId | ClosingId
    leg_no: int
    account: AccountKey
    amount_fen: Fen
    created_at: datetime
    done_at: datetime | None = None


class AlarmKind(StrEnum):
    """A contradiction that no rule can mend; someone is called."""

    CONFIRM_WITHOUT_HOLD = "CONFIRM_WITHOUT_HOLD"
    CANCEL_AFTER_CONFIRM = "CANCEL_AFTER_CONFIRM"
    TRY_WITH_OTHER_CONTENT = "TRY_WITH_OTHER_CONTENT"
    CREDIT_WITH_OTHER_CONTENT = "CREDIT_WITH_OTHER_CONTENT"
    REFUND_WITHOUT_CHARGE = "REFUND_WITHOUT_CHARGE"
    REFUND_BEYOND_CHARGE = "REFUND_BEYOND_CHARGE"
    INQUIRE_UNKNOWN = "INQUIRE_UNKNOWN"  # The coordinator does not know a payment that is held here (protocol rule 4).


@value
class Alarm:
    """An alarm about one payment or credit."""

    kind: AlarmKind
    subject_id: UUID
    raised_at: datetime


SourceId: TypeAlias = UUID


def year_turn_id(key: AccountKey, year: int) -> SourceId:
    """The source of an account's turn into ``year``: the same each time, so that it cannot be booked twice (I5)."""
    return uuid5(_YEAR_TURNS, f"{key.kind.value}/{key.psn_no}/{year}")
