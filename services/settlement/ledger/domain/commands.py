"""What a ledger is told, and what it answers. Every command is idempotent by its own id."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final, TypeAlias
from uuid import UUID

from kernel.ids import AuthorisationId, PaymentId, PsnNo
from kernel.money import Fen
from kernel.values import value
from services.settlement.ledger.domain.model import (
    NO_MEMO,
    Account,
    AccountKey,
    Authorisation,
    BranchState,
    CreditId,
    CreditLeg,
    CreditPurpose,
    FreezeId,
    Leg,
    Memo,
    Refusal,
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

    @property
    def digest(self) -> bytes:
        """Tells one content of a payment from another; a repetition has the same."""
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
    """Money into accounts. It cannot be refused for a business reason."""

    credit_id: CreditId
    purpose: CreditPurpose
    legs: tuple[CreditLeg, ...]
    original_payment_id: PaymentId | None = None
    memo: Memo = NO_MEMO
    origin: bytes = b""

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
    """An id is used once. ``used_fen`` is carried over when an account moves to this area."""

    authorisation_id: AuthorisationId
    funder_psn_no: PsnNo
    beneficiary_psn_no: PsnNo
    authorised_fen: Fen | None
    used_fen: Fen = 0


@value
class AmendAuthorisation:
    """A new limit, with a version of its own (2 and up)."""

    authorisation_id: AuthorisationId
    version: int
    authorised_fen: Fen | None


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


PaymentCommand: TypeAlias = Try | Confirm | Cancel | PutCredit
"""What only a coordinator says; it carries the coordinator's epoch."""
AuthorisationCommand: TypeAlias = OpenAuthorisation | AmendAuthorisation | CloseAuthorisation
MendingCommand: TypeAlias = Charge | ReleaseSuspense
"""What only an operator's command says, past the bus."""
Command: TypeAlias = PaymentCommand | AuthorisationCommand | SetFrozen | MendingCommand


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
    ReleaseSuspense: ("RELEASE_SUSPENSE", "credit_id"),
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
    """How the authorisation stands after the command; with a refusal, what stands in spite of it."""

    authorisation_id: AuthorisationId
    authorisation: Authorisation | None
    refusal: Refusal | None = None


@value
class FreezeReply:
    """The account as it stands after the command."""

    key: AccountKey
    account: Account | None
    refusal: Refusal | None = None


@value
class CommandRefused:
    """The command was not looked at: it cannot be read, or comes from an older epoch."""

    refusal: Refusal


Reply: TypeAlias = BranchReply | CreditReply | AuthorisationReply | FreezeReply | CommandRefused


def _leg_row(leg: Leg) -> tuple[object, ...]:
    account, amount = leg.account, leg.amount
    whose = (leg.leg_no, account.psn_no, account.kind, leg.role)
    floor = (leg.floor_fen, *sorted(leg.floor_parts))
    return (*whose, amount.past, amount.current, leg.year, leg.authorisation_id, *floor)


def _digest(rows: list[tuple[object, ...]]) -> bytes:
    text = "\n".join("|".join(map(str, row)) for row in rows)
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest()
