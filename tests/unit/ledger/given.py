"""Ledgers and commands in few words, for tests of the domain and of the database alike."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from kernel.clock import SHANGHAI
from kernel.ids import AuthorisationId, PaymentId, PsnNo
from services.settlement.ledger.domain.commands import (
    BranchReply,
    Cancel,
    Command,
    Confirm,
    CreditReply,
    OpenAuthorisation,
    PutCredit,
    Request,
    Try,
)
from services.settlement.ledger.domain.deciding import apply
from services.settlement.ledger.domain.model import (
    NOTHING,
    Account,
    AccountKey,
    AccountKind,
    AccountState,
    CreditId,
    CreditLeg,
    CreditPurpose,
    Entry,
    Leg,
    Part,
    Parts,
    Role,
)
from services.settlement.ledger.domain.state import Outcome, State

NOW: Final = datetime(2026, 6, 1, 4, 0, tzinfo=UTC)
YEAR: Final = 2026
MONTH: Final = 2026_06
BOTH: Final = frozenset(Part)


def personal(number: int) -> AccountKey:
    """The personal account of an invented person."""
    return AccountKey(PsnNo(f"{650100_000000000 + number}"), AccountKind.PERSONAL)


def wallet(number: int) -> AccountKey:
    """The wallet of an invented person."""
    return AccountKey(personal(number).psn_no, AccountKind.WALLET)


OWN: Final = personal(1)
FUNDER: Final = personal(2)
OTHER_FUNDER: Final = personal(3)
PURSE: Final = wallet(1)


def payment(number: int) -> PaymentId:
    """A payment's id."""
    return PaymentId(UUID(int=0x1000 + number))


def authorisation(number: int) -> AuthorisationId:
    """An authorisation's id."""
    return AuthorisationId(UUID(int=0x2000 + number))


def credit_id(number: int) -> CreditId:
    """A credit's id."""
    return CreditId(UUID(int=0x3000 + number))


def in_shanghai(year: int, month: int, day: int, hour: int = 12, minute: int = 0, second: int = 0) -> datetime:
    """An instant by the clock on the wall in Shanghai."""
    return datetime(year, month, day, hour, minute, second, tzinfo=SHANGHAI)


def account(
    key: AccountKey,
    *,
    past: int = 0,
    current: int = 0,
    held: Parts = NOTHING,
    year: int = YEAR,
    frozen: bool = False,
    state: AccountState = AccountState.OPEN,
) -> Account:
    """An account as it stands."""
    return Account(key, year, Parts(past, current), held, frozen, state)


def ledger(*accounts: Account) -> State:
    """A ledger that knows these accounts and nothing else."""
    return State(accounts={it.key: it for it in accounts})


def own_leg(past: int = 0, current: int = 0, *, leg_no: int = 1, key: AccountKey = OWN, year: int = YEAR) -> Leg:
    """The patient's own account."""
    return Leg(leg_no, key, Role.OWN, Parts(past, current), year)


def wallet_leg(past: int, *, leg_no: int = 1, key: AccountKey = PURSE) -> Leg:
    """The patient's own wallet."""
    return Leg(leg_no, key, Role.WALLET, Parts(past), YEAR)


def receiver_leg(past: int, *, leg_no: int = 9, key: AccountKey = PURSE) -> Leg:
    """A wallet that money comes to."""
    return Leg(leg_no, key, Role.RECEIVER, Parts(past), YEAR)


def funder_leg(
    past: int = 0,
    current: int = 0,
    *,
    leg_no: int = 1,
    key: AccountKey = FUNDER,
    under: int = 1,
    floor: int = 0,
    floor_parts: frozenset[Part] = BOTH,
    year: int = YEAR,
) -> Leg:
    """A relative's account."""
    return Leg(leg_no, key, Role.FUNDER, Parts(past, current), year, authorisation(under), floor, floor_parts)


def try_(number: int, *legs: Leg, inquire_after_ms: int = 5000, month: int = MONTH) -> Try:
    """TRY of a payment."""
    return Try(payment(number), legs, inquire_after_ms, month=month)


def confirm(number: int) -> Confirm:
    """CONFIRM of a payment."""
    return Confirm(payment(number))


def cancel(number: int) -> Cancel:
    """CANCEL of a payment."""
    return Cancel(payment(number))


def credit(
    number: int,
    *legs: tuple[int, AccountKey, int, int],
    purpose: CreditPurpose = CreditPurpose.MONTHLY,
    of: int | None = None,
    year: int = YEAR,
) -> PutCredit:
    """A credit; each leg is (leg_no, account, past, current)."""
    original = payment(of) if of is not None else None
    put = tuple(CreditLeg(leg_no, key, Parts(past, current), year) for leg_no, key, past, current in legs)
    return PutCredit(credit_id(number), purpose, put, original)


def refund(number: int, of: int, *legs: tuple[int, AccountKey, int, int], year: int = YEAR) -> PutCredit:
    """A refund of a payment; each leg is (leg_no of the original, account, past, current)."""
    return credit(number, *legs, purpose=CreditPurpose.REFUND, of=of, year=year)


def open_authorisation(
    number: int = 1,
    limit: int | None = None,
    *,
    key: AccountKey = FUNDER,
    used: int = 0,
    per_payment: int | None = None,
    per_month: int | None = None,
) -> OpenAuthorisation:
    """OPEN of an authorisation from a funder to the patient."""
    return OpenAuthorisation(authorisation(number), key.psn_no, OWN.psn_no, limit, used, per_payment, per_month)


class Story:
    """A ledger to which commands are given one after the other."""

    def __init__(self, *accounts: Account, now: datetime = NOW) -> None:
        self.state = ledger(*accounts)
        self.now = now
        self.outcomes: list[Outcome] = []

    def do(self, *commands: Command) -> Outcome:
        """Gives the commands; what the last one came to."""
        for command in commands:
            self.state, outcome = apply(self.state, Request(command), now=self.now)
            self.outcomes.append(outcome)
        return self.outcomes[-1]

    def branch(self, command: Command) -> BranchReply:
        """The reply to TRY, CONFIRM or CANCEL."""
        reply = self.do(command).reply
        assert isinstance(reply, BranchReply)
        return reply

    def credited(self, command: Command) -> CreditReply:
        """The reply to a credit."""
        reply = self.do(command).reply
        assert isinstance(reply, CreditReply)
        return reply

    def later(self, **delta: float) -> None:
        """Lets time pass."""
        self.now += timedelta(**delta)

    @property
    def entries(self) -> list[Entry]:
        """Every entry booked so far."""
        return [entry for outcome in self.outcomes for entry in outcome.entries]

    def balance(self, key: AccountKey) -> tuple[int, int]:
        """Past and current on the account."""
        return parts(self.state.accounts[key].balance)

    def held(self, key: AccountKey) -> tuple[int, int]:
        """Past and current held."""
        return parts(self.state.accounts[key].held)


def parts(amount: Parts) -> tuple[int, int]:
    """Past and current."""
    return amount.past, amount.current


def amounts(entries: Iterable[Entry]) -> list[tuple[str, int]]:
    """What was booked where."""
    return [(entry.book.value, entry.amount_fen) for entry in entries]
