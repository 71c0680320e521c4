"""One ledger of the model: every state that one payment's commands can lead to, from the production domain.

A command goes the whole way: the coordinator's wire file writes it, the ledger's reads it, the domain decides, the
reply is rendered and read back. The table is exact: two ledger states with the same shape are the same state.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, NamedTuple
from uuid import UUID

from kernel.ids import AdmDvs, AuthorisationId, PaymentId, PsnNo
from services.family.domain.bindings import Binding, BindingState
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.ledger.domain.commands import Cancel, Request
from services.settlement.ledger.domain.model import (
    Account,
    AccountKey,
    AccountKind,
    Authorisation,
    AuthorisationEvent,
    AuthorisationState,
    BranchState,
    CreditId,
    Entry,
    Parts,
)
from services.settlement.ledger.domain.state import State as LedgerState
from services.settlement.ledger.wire.commands import parse_batch
from services.settlement.ledger.wire.replies import render_batch, render_reply
from services.settlement.saga.coordinator import Branch, Order
from services.settlement.saga.payment import Payment, PaymentKind, State
from services.settlement.saga.transfers import transfer_of
from services.settlement.wire import ledger as wire
from tests.model.bindings import Answered, Bond, Stand, agreed, commands
from tests.model.bindings import told as told_of_binding
from tests.model.functions import Functions

AMOUNT_FEN: Final = 1_000
YEAR: Final = 2026
_STATES_MAX: Final = 1_000
"""A ledger with one payment has about ten states, with a binding some hundreds; more grows without end."""

AREAS: Final = (AdmDvs("650100"), AdmDvs("650500"), AdmDvs("652300"))
PATIENT: Final = PsnNo("650000000001")
PAYMENT_ID: Final = PaymentId(UUID(int=1))
REFUND_ID: Final = PaymentId(UUID(int=2))
AUTHORISATION: Final = AuthorisationId(UUID(int=3))
KEY: Final = Key("H65010000001", "2207", "H65010000001202611211200000001")

REPLIES: Final = tuple((order, branch) for order in Order for branch in Branch)
"""Every answer there can be; the model speaks of them by their place here."""
REPLY_CODE: Final = {reply: code for code, reply in enumerate(REPLIES)}


class Money(Enum):
    """What the account of a ledger can do."""

    OWN = "own account"  # Exactly enough.
    FUNDER = "relative's account"  # Exactly enough, and authorised for exactly that.
    SHORT = "account that is one fen short"  # Its ledger refuses.
    GIVER = "giver's account"  # Exactly enough.
    RECEIVER = "receiver's wallet"  # Opened by what it receives.


def trying(accounts: tuple[Money, ...]) -> Payment:
    """The payment's row as it is inserted: one leg in each ledger; a transfer if one of them receives."""
    if Money.RECEIVER in accounts:
        return _transfer(accounts)
    legs = tuple(
        PlanLeg(
            leg_no=number,
            role=Role.FUNDER if money is Money.FUNDER else Role.OWN,
            psn_no=_owner(number),
            area=AREAS[number - 1],
            past_fen=AMOUNT_FEN,
            current_fen=0,
            authorisation_id=AUTHORISATION if money is Money.FUNDER else None,
            floor_fen=0,
            floor_parts=(),
        )
        for number, money in enumerate(accounts, 1)
    )
    return Payment(PAYMENT_ID, PaymentKind.SETTLE, State.TRYING, KEY, b"h" * 32, PATIENT, YEAR, legs)


def _transfer(accounts: tuple[Money, ...]) -> Payment:
    received_fen = AMOUNT_FEN * (len(accounts) - 1)
    legs = tuple(
        PlanLeg(number, Role.RECEIVER, _owner(number), AREAS[number - 1], received_fen, 0, None, 0, ())
        if money is Money.RECEIVER
        else PlanLeg(number, Role.OWN, PATIENT, AREAS[number - 1], AMOUNT_FEN, 0, None, 0, ())
        for number, money in enumerate(accounts, 1)
    )
    return transfer_of(legs, payment_id=PAYMENT_ID, key=KEY, request_hash=b"h" * 32, giver=PATIENT, year=YEAR)


def _owner(leg_no: int) -> PsnNo:
    return PsnNo(f"65000000001{leg_no}")


@dataclass(frozen=True, slots=True)
class Shape:
    """All that a ledger knows of the payment, without the names: equal for two ledgers that stand alike."""

    branch: BranchState | None
    refunded_fen: int
    balance_fen: int
    held_fen: int
    used_fen: int
    authorised_held_fen: int
    entries: tuple[tuple[bool, str, str, int], ...]  # (of the refund, kind, book, amount)
    is_credited: bool
    reason: str  # Why it refused.
    authorisation: Stand | None
    decided: tuple[tuple[str | int | None, ...], ...]  # What was ever decided on the authorisation.
    broken: tuple[str, ...]  # The invariants of one ledger that do not hold here.


class Step(NamedTuple):
    """What one command does: the next shape, the code of the answer (None = no answer), the alarm if one is raised."""

    shape: Shape
    reply: int | None
    alarm: str


class Told(NamedTuple):
    """What one command of the family room does: the next shape, and the answer."""

    shape: Shape
    answer: Answered


@dataclass(frozen=True, slots=True)
class Table:
    """A ledger with one payment, whole."""

    start: Shape
    steps: dict[tuple[Shape, Order], Step]
    expiries: dict[Shape, Shape]
    """A hold that ends by itself, which production never does."""
    told: dict[tuple[Shape, int], Told]
    """By the place of the command; empty where no binding is opened or ended."""


@dataclass(frozen=True, slots=True)
class _Books:
    """A ledger's rows and its journal."""

    state: LedgerState
    entries: tuple[Entry, ...]


def bound(payment: Payment, area: AdmDvs) -> Binding:
    """The binding under which this ledger's funder gives."""
    leg = payment.legs_at(area)[0]
    return agreed(
        authorisation_id=AUTHORISATION,
        funder=leg.psn_no,
        beneficiary=PATIENT,
        area=area,
        authorised_fen=AMOUNT_FEN,
    )


def tabulate(
    payment: Payment, refund: Payment, area: AdmDvs, money: Money, functions: Functions, bond: Bond | None = None
) -> Table:
    """The table of one ledger, worked out by the production functions; of its binding, if one is opened or ended."""
    books = _opened(payment.legs_at(area)[0], money, is_open=bond is None)
    told_by_family = () if bond is None else commands(bound(payment, area), bond)
    if bond is not None and bond.begins is BindingState.ACTIVE:
        books = _Books(told_of_binding(books.state, told_by_family[0], functions)[0], ())
    opening_fen = sum(account.balance.total for account in books.state.accounts.values())
    leg = payment.legs_at(area)[0]
    expected = -leg.amount_fen if money is Money.RECEIVER else leg.amount_fen
    start = _shape(books, opening_fen, expected)
    table, known, waiting = Table(start, {}, {}, {}), {start: books}, [start]
    while waiting:
        shape = waiting.pop()
        results = []
        for order in Order:
            after, reply, alarm = _told(
                known[shape], refund if order is Order.CREDIT else payment, area, order, functions
            )
            step = Step(_noticed(shape, _shape(after, opening_fen, expected)), reply, alarm)
            table.steps[shape, order] = step
            results.append((step.shape, after))
        for place, command in enumerate(told_by_family):
            state, outcome, answer = told_of_binding(known[shape].state, command, functions)
            after = _Books(state, known[shape].entries + outcome.entries)
            table.told[shape, place] = Told(_shape(after, opening_fen, expected), answer)
            results.append((table.told[shape, place].shape, after))
        if shape.branch is BranchState.HELD:
            state, outcome = functions.apply(known[shape].state, Request(Cancel(payment.payment_id)))
            after = _Books(state, known[shape].entries + outcome.entries)
            table.expiries[shape] = _shape(after, opening_fen, expected)
            results.append((table.expiries[shape], after))
        for reached, after in results:
            if known.setdefault(reached, after) != after:
                raise AssertionError(f"two ledger states look alike: {reached}")
            if reached is not shape and reached not in waiting and (reached, Order.TRY) not in table.steps:
                waiting.append(reached)
        if len(known) > _STATES_MAX:
            raise AssertionError("a ledger with one payment grows without end")
    return table


def _noticed(before: Shape, after: Shape) -> Shape:
    """The shape that a command leads to, with what only the way there shows."""
    is_taken = after.branch is BranchState.HELD and before.branch is None and after.authorised_held_fen
    if is_taken and not (before.authorisation and before.authorisation.is_open):
        return replace(
            after, broken=("a payment has taken hold under an authorisation that is not open", *after.broken)
        )
    return after


def _opened(leg: PlanLeg, money: Money, *, is_open: bool) -> _Books:
    if money is Money.RECEIVER:
        return _Books(LedgerState(), ())
    key = AccountKey(leg.psn_no, AccountKind.PERSONAL)
    account = Account(key, YEAR, Parts(AMOUNT_FEN - (money is Money.SHORT)))
    authorisations = {}
    if money is Money.FUNDER and is_open:
        authorisations[AUTHORISATION] = Authorisation(
            AUTHORISATION, AuthorisationState.OPEN, leg.psn_no, PATIENT, authorised_fen=AMOUNT_FEN, version=1
        )
    return _Books(LedgerState(accounts={key: account}, authorisations=authorisations), ())


def _told(
    books: _Books, payment: Payment, area: AdmDvs, order: Order, functions: Functions
) -> tuple[_Books, int | None, str]:
    """One command, over both wire files."""
    command = wire.command_of(payment, area, order, inquire_after_ms=10_000)
    parsed = parse_batch(wire.batch_of([command], epoch=0))
    [(index, request)] = parsed.writes
    state, outcome = functions.apply(books.state, request)
    payload = render_batch([render_reply(index, outcome.reply)])
    [reply] = wire.replies_of(payload, 1)
    told = None if reply is None else wire.replied(payment, area, order, reply)
    code = None if told is None else REPLY_CODE[told.order, told.branch]
    alarm = outcome.alarms[0].kind.value if outcome.alarms else ""
    return _Books(state, books.entries + outcome.entries), code, alarm


def _shape(books: _Books, opening_fen: int, leg_fen: int) -> Shape:
    """How a ledger stands; ``leg_fen`` is what its leg takes, negative if it brings."""
    state = books.state
    branch = state.branches.get(PAYMENT_ID)
    balance = sum((it.balance for it in state.accounts.values()), Parts())
    held = sum((it.held for it in state.accounts.values()), Parts())
    authorisation = state.authorisations.get(AUTHORISATION)
    shape = Shape(
        branch=branch.state if branch else None,
        refunded_fen=sum(branch.refunded_fen.values()) if branch else 0,
        balance_fen=balance.total,
        held_fen=held.total,
        used_fen=authorisation.used_fen if authorisation else 0,
        authorised_held_fen=authorisation.held_fen if authorisation else 0,
        entries=tuple(
            (entry.source_id == REFUND_ID, entry.kind.value, entry.book.value, entry.amount_fen)
            for entry in books.entries
        ),
        is_credited=CreditId(REFUND_ID) in state.credits,
        reason=branch.refusal.reason if branch and branch.refusal else "",
        authorisation=Stand(authorisation.state is AuthorisationState.OPEN, authorisation.authorised_fen)
        if authorisation
        else None,
        decided=tuple(sorted(map(_line, state.authorisation_events.values()))),
        broken=(),
    )
    return replace(shape, broken=tuple(_broken(shape, books, opening_fen, leg_fen)))


def _line(event: AuthorisationEvent) -> tuple[str | int | None, ...]:
    """One decision about the authorisation, with how it stood then: a repeated command is answered by that."""
    after, reason = event.after, event.refusal.reason if event.refusal else ""
    stood = (after.state.value, -1 if after.authorised_fen is None else after.authorised_fen, after.used_fen)
    return (event.key.step.value, event.key.version, event.asked.authorised_fen or -1, *stood, after.held_fen, reason)


def _broken(shape: Shape, books: _Books, opening_fen: int, leg_fen: int) -> list[str]:
    """The invariants that one ledger can be held to by itself."""
    held_fen = max(leg_fen, 0) if shape.branch is BranchState.HELD else 0
    spent_fen = leg_fen if shape.branch is BranchState.CONFIRMED else 0
    authorisation = books.state.authorisations.get(AUTHORISATION)
    of_refund = [entry for entry in shape.entries if entry[0]]
    sources = [sum(entry[3] for entry in shape.entries if entry[0] is refund) for refund in (False, True)]
    on_account = sum(entry.amount_fen for entry in books.entries if entry.account is not None)
    lines = [(entry.source_id, entry.leg_no, entry.kind, entry.book, entry.part) for entry in books.entries]
    checks = {
        "I1: held is not the sum of what is held, or not within the balance": (
            shape.held_fen == held_fen and shape.held_fen <= shape.balance_fen
        ),
        "I2: the entries of the account are not its balance": on_account == shape.balance_fen - opening_fen,
        "I2: the entries of a payment do not sum to zero": sources == [0, 0],
        "I5: an entry stands twice": len(set(lines)) == len(lines),
        "I8: more is refunded than was charged": shape.refunded_fen <= AMOUNT_FEN,
        "a refund is credited, but its original is not confirmed in this ledger": (
            not (of_refund or shape.is_credited or shape.refunded_fen) or shape.branch is BranchState.CONFIRMED
        ),
        "money is made or lost: the balance is not the opening less what is confirmed plus what is refunded": (
            shape.balance_fen == opening_fen - spent_fen + shape.refunded_fen
        ),
    }
    if authorisation is not None:
        used_fen = spent_fen - shape.refunded_fen
        limit_fen = authorisation.authorised_fen
        within = limit_fen is None or shape.used_fen + shape.authorised_held_fen <= limit_fen
        checks["I9: used and held are more than authorised"] = within
        checks["I9: used is not what is confirmed less what is refunded"] = (
            shape.used_fen == used_fen and shape.authorised_held_fen == held_fen
        )
    return [name for name, holds in checks.items() if not holds]
