"""What a ledger is told, and what it answers. Every command is idempotent by its own id."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import blake2b
from typing import Final, TypeAlias
from uuid import UUID

from kernel.ids import AuthorisationId, PaymentId, PsnNo
from kernel.money import Fen
from kernel.values import value
from services.settlement.ledger.domain.limits import CarriedMonth, Limits, MonthUse
from services.settlement.ledger.domain.model import (
    NO_MEMO,
    Account,
    AccountKey,
    Authorisation,
    BranchState,
    ClosingId,
    CreditId,
    CreditLeg,
    CreditPurpose,
    FreezeId,
    Leg,
    Memo,
    Refusal,
    year_turn_id,
)

_DIGEST_BYTES: Final = 16


@value
class Try:
    """Hold the money of every leg, all or none."""

    payment_id: PaymentId
    legs: tuple[Leg, ...]
    inquire_after_ms: int
    memo: Memo = NO_MEMO
    origin: bytes = b""
    month: int = 0
    """The civil month (yyyymm) of the payment's day, in which it counts; 0 = the one of the ledger's clock."""

    @property
    def digest(self) -> bytes:
        """Tells one content of a payment from another; a repetition has the same (``month`` follows from its row)."""
        return _digest([_leg_row(leg) for leg in self.legs])


@value
class Confirm:
    """What was held is spent. It cannot be refused."""

    payment_id: PaymentId


@value
class Cancel:
    """What was held is released; before any TRY, the TRY that may still come is blocked."""

    payment_id: PaymentId


@value
class PutCredit:
    """Money into accounts. It cannot be refused for a business reason.

    ``accepted_at`` is when the coordinator took it on: a credit later than an account's end opens it again.
    """

    credit_id: CreditId
    purpose: CreditPurpose
    legs: tuple[CreditLeg, ...]
    original_payment_id: PaymentId | None = None
    memo: Memo = NO_MEMO
    origin: bytes = b""
    accepted_at: datetime | None = None

    @property
    def digest(self) -> bytes:
        """Tells one content of a credit from another."""
        legs = [
            (leg.leg_no, leg.account.psn_no, leg.account.kind, leg.amount.past, leg.amount.current, leg.year)
            for leg in self.legs
        ]
        return _digest([(self.purpose.value, self.original_payment_id), *legs])


@value
class OpenAuthorisation:
    """An id is used once. ``used_fen`` and ``carried``, a month of it, come along when an account moves here."""

    authorisation_id: AuthorisationId
    funder_psn_no: PsnNo
    beneficiary_psn_no: PsnNo
    authorised_fen: Fen | None
    used_fen: Fen = 0
    per_payment_fen: Fen | None = None
    per_month_fen: Fen | None = None
    carried: CarriedMonth | None = None

    @property
    def limits(self) -> Limits:
        """What it lets be spent."""
        return Limits(self.authorised_fen, self.per_payment_fen, self.per_month_fen)


@value
class AmendAuthorisation:
    """New limits, all of them, with a version of their own (2 and up)."""

    authorisation_id: AuthorisationId
    version: int
    authorised_fen: Fen | None
    per_payment_fen: Fen | None = None
    per_month_fen: Fen | None = None

    @property
    def limits(self) -> Limits:
        """What it is to let be spent."""
        return Limits(self.authorised_fen, self.per_payment_fen, self.per_month_fen)


@value
class CloseAuthorisation:
    """No new hold under this id, ever."""

    authorisation_id: AuthorisationId


@value
class SetFrozen:
    """冻结 or its end: whether the account takes new holds as OWN or FUNDER."""

    freeze_id: FreezeId
    psn_no: PsnNo
    frozen: bool
    cause: str


@value
class CloseAccount:
    """Ends an account: from now on no new hold, and once none is left what remains goes to suspense."""

    closing_id: ClosingId
    account: AccountKey
    cause: str


@value
class Charge(Try):
    """An operator's: book what the coordinator has committed and a restored ledger has lost (``mending``)."""


@value
class ReleaseSuspense:
    """An officer's: bring a task's money from suspense onto this account; None = out of the ledger, to the fund."""

    credit_id: UUID
    leg_no: int
    to: AccountKey | None

    @property
    def digest(self) -> bytes:
        """Tells one release from another."""
        return _digest([(self.credit_id, self.leg_no, self.to and self.to.kind.value, self.to and self.to.psn_no)])


@value
class TurnAccount:
    """The year-end job's: an account that no command has touched in ``year`` yet is turned into it."""

    account: AccountKey
    year: int

    @property
    def turn_id(self) -> UUID:
        """The source of the entries that it books."""
        return year_turn_id(self.account, self.year)


PaymentCommand: TypeAlias = Try | Confirm | Cancel | PutCredit
"""What only a coordinator says; it carries the coordinator's epoch."""
AuthorisationCommand: TypeAlias = OpenAuthorisation | AmendAuthorisation | CloseAuthorisation
MendingCommand: TypeAlias = Charge | ReleaseSuspense
"""What only an operator's command says, past the bus."""
Command: TypeAlias = PaymentCommand | AuthorisationCommand | SetFrozen | CloseAccount | MendingCommand | TurnAccount


@value
class Request:
    """A command and the epoch of the coordinator that sent it; None means that nobody's epoch is concerned.

    ``trace_id`` is for the log alone.
    """

    command: Command
    epoch: int | None = None
    trace_id: str = ""


_IDENTITIES: Final[Mapping[type, tuple[str, str]]] = {
    Try: ("TRY", "payment_id"),
    Charge: ("CHARGE", "payment_id"),
    Confirm: ("CONFIRM", "payment_id"),
    Cancel: ("CANCEL", "payment_id"),
    PutCredit: ("CREDIT", "credit_id"),
    OpenAuthorisation: ("OPEN_AUTHORISATION", "authorisation_id"),
    AmendAuthorisation: ("AMEND_AUTHORISATION", "authorisation_id"),
    CloseAuthorisation: ("CLOSE_AUTHORISATION", "authorisation_id"),
    SetFrozen: ("FREEZE", "freeze_id"),
    CloseAccount: ("CLOSE_ACCOUNT", "closing_id"),
    ReleaseSuspense: ("RELEASE_SUSPENSE", "credit_id"),
    TurnAccount: ("TURN_ACCOUNT", "turn_id"),
}


def identity_of(command: Command) -> tuple[str, UUID]:
    """What sort of command it is, and the id by which it is idempotent."""
    kind, field = _IDENTITIES[type(command)]
    return kind, getattr(command, field)


@value
class BranchReply:
    """The answer to TRY, CONFIRM and CANCEL. ``state`` None means that the payment was never heard of."""

    payment_id: PaymentId
    state: BranchState | None
    refusal: Refusal | None = None
    alarm: bool = False
    balances: tuple[Account, ...] = ()


@value
class CreditReply:
    """The answer to a credit: each leg's account afterwards, or a missing one where the money went to suspense."""

    credit_id: CreditId
    legs: tuple[CreditLeg, ...] = ()
    balances: tuple[Account | None, ...] = ()
    refusal: Refusal | None = None
    alarm: bool = False

    @property
    def suspense_leg_nos(self) -> tuple[int, ...]:
        """The legs whose money waits for an officer."""
        return tuple(leg.leg_no for leg, after in zip(self.legs, self.balances, strict=True) if after is None)


@value
class AuthorisationReply:
    """How the authorisation stands after the command; with a refusal, what stands in spite of it.

    ``month`` is what the present month took, told with CLOSE where months are counted.
    """

    authorisation_id: AuthorisationId
    authorisation: Authorisation | None
    refusal: Refusal | None = None
    month: MonthUse | None = None


@value
class AccountReply:
    """The account as it stands after the command."""

    key: AccountKey
    account: Account | None
    refusal: Refusal | None = None


@value
class CommandRefused:
    """The command was not looked at: it cannot be read, or comes from an older epoch."""

    refusal: Refusal


Reply: TypeAlias = BranchReply | CreditReply | AuthorisationReply | AccountReply | CommandRefused


def _leg_row(leg: Leg) -> tuple[object, ...]:
    account, amount = leg.account, leg.amount
    whose = (leg.leg_no, account.psn_no, account.kind, leg.role)
    floor = (leg.floor_fen, *sorted(leg.floor_parts))
    return (*whose, amount.past, amount.current, leg.year, leg.authorisation_id, *floor)


def _digest(rows: list[tuple[object, ...]]) -> bytes:
    text = "\n".join("|".join(map(str, row)) for row in rows)
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
