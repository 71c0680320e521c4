"""The rows a batch touches, what one command does to them, and the draft in which a command is worked out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime
from typing import Final, Self, TypeAlias
from uuid import UUID

from kernel.clock import business_year
from kernel.ids import AuthorisationId, PaymentId
from kernel.money import Fen
from kernel.values import value
from services.settlement.ledger.domain.commands import Reply
from services.settlement.ledger.domain.limits import MonthUse
from services.settlement.ledger.domain.model import (
    CONTRA_LEG_NO,
    Account,
    AccountKey,
    AccountKind,
    Alarm,
    AlarmKind,
    Authorisation,
    AuthorisationEvent,
    AuthorisationEventKey,
    Book,
    Branch,
    BranchState,
    Closing,
    ClosingId,
    Credit,
    CreditId,
    Entry,
    EntryKind,
    FreezeId,
    FreezeRecord,
    Part,
    Parts,
    SuspenseTask,
    year_turn_id,
)

MonthKey: TypeAlias = tuple[AuthorisationId, int]

_BOOKS: Final = {AccountKind.PERSONAL: Book.PERSONAL, AccountKind.WALLET: Book.WALLET}


@value
class State:
    """What is known of everything that some commands touch; a key that is missing does not exist in the ledger.

    ``epoch`` is the newest coordinator epoch heard of.
    """

    epoch: int = 0
    accounts: dict[AccountKey, Account] = field(default_factory=dict)
    authorisations: dict[AuthorisationId, Authorisation] = field(default_factory=dict)
    branches: dict[PaymentId, Branch] = field(default_factory=dict)
    credits: dict[CreditId, Credit] = field(default_factory=dict)
    freezes: dict[FreezeId, FreezeRecord] = field(default_factory=dict)
    standing_freezes: dict[AccountKey, frozenset[str]] = field(default_factory=dict)
    """Why an account is frozen, where a command freezes or unfreezes it; one that is missing is not."""
    authorisation_events: dict[AuthorisationEventKey, AuthorisationEvent] = field(default_factory=dict)
    closings: dict[ClosingId, Closing] = field(default_factory=dict)
    """Those that commands name, and those of accounts that are being closed or are closed."""
    suspense_tasks: dict[tuple[UUID, int], SuspenseTask] = field(default_factory=dict)
    """By credit and leg, those that a command is to end."""
    months: dict[MonthKey, MonthUse] = field(default_factory=dict)
    """Of authorisations that count months; a month that is missing has no use."""

    def copy(self) -> State:
        """The same rows in containers of their own."""
        return State(
            epoch=self.epoch,
            accounts=dict(self.accounts),
            authorisations=dict(self.authorisations),
            branches=dict(self.branches),
            credits=dict(self.credits),
            freezes=dict(self.freezes),
            standing_freezes=dict(self.standing_freezes),
            authorisation_events=dict(self.authorisation_events),
            closings=dict(self.closings),
            suspense_tasks=dict(self.suspense_tasks),
            months=dict(self.months),
        )

    def absorb(self, outcome: Outcome) -> None:
        """Puts what a command changed into this state's own containers; only for the owner of a copy."""
        self.accounts.update(outcome.accounts)
        self.authorisations.update(outcome.authorisations)
        self.branches.update(outcome.branches)
        self.credits.update(outcome.credits)
        self.freezes.update(outcome.freezes)
        self.standing_freezes.update(outcome.standing_freezes)
        self.authorisation_events.update(outcome.authorisation_events)
        self.closings.update(outcome.closings)
        self.suspense_tasks.update(((task.credit_id, task.leg_no), task) for task in outcome.ended_tasks)
        self.months.update(outcome.months)


@value
class Outcome:
    """What one command answers and writes: rows as they stand afterwards, and lines that are only ever added."""

    reply: Reply
    accounts: Mapping[AccountKey, Account] = field(default_factory=dict)
    authorisations: Mapping[AuthorisationId, Authorisation] = field(default_factory=dict)
    branches: Mapping[PaymentId, Branch] = field(default_factory=dict)
    credits: Mapping[CreditId, Credit] = field(default_factory=dict)
    freezes: Mapping[FreezeId, FreezeRecord] = field(default_factory=dict)
    standing_freezes: Mapping[AccountKey, frozenset[str]] = field(default_factory=dict)
    authorisation_events: Mapping[AuthorisationEventKey, AuthorisationEvent] = field(default_factory=dict)
    closings: Mapping[ClosingId, Closing] = field(default_factory=dict)
    months: Mapping[MonthKey, MonthUse] = field(default_factory=dict)
    entries: tuple[Entry, ...] = ()
    suspense_tasks: tuple[SuspenseTask, ...] = ()
    ended_tasks: tuple[SuspenseTask, ...] = ()
    alarms: tuple[Alarm, ...] = ()


class Draft:
    """One command being worked out: reads fall through to the state, writes stay here until the outcome is made.

    An account read through a draft has already been turned into the present year (protocol, "Year turn").
    """

    def __init__(self, state: State, now: datetime) -> None:
        self.state = state
        self.now = now
        self.year = business_year(now)
        self._accounts: dict[AccountKey, Account] = {}
        self._authorisations: dict[AuthorisationId, Authorisation] = {}
        self._branches: dict[PaymentId, Branch] = {}
        self._credits: dict[CreditId, Credit] = {}
        self._freezes: dict[FreezeId, FreezeRecord] = {}
        self._standing: dict[AccountKey, frozenset[str]] = {}
        self._events: dict[AuthorisationEventKey, AuthorisationEvent] = {}
        self._closings: dict[ClosingId, Closing] = {}
        self._months: dict[MonthKey, MonthUse] = {}
        self._entries: list[Entry] = []
        self._tasks: list[SuspenseTask] = []
        self._ended: list[SuspenseTask] = []
        self._alarms: list[Alarm] = []

    def account(self, key: AccountKey) -> Account | None:
        """The account as it stands in the present year; None if there is none."""
        account = self._accounts.get(key) or self.state.accounts.get(key)
        if account is not None and account.year < self.year:
            account = self._turn(account)
        return account

    def authorisation(self, authorisation_id: AuthorisationId | None) -> Authorisation | None:
        """The authorisation as it stands; None if the id is unknown."""
        if authorisation_id is None:
            return None
        return self._authorisations.get(authorisation_id) or self.state.authorisations.get(authorisation_id)

    def month_use(self, authorisation_id: AuthorisationId, month: int) -> MonthUse:
        """What the month took; only of an authorisation that counts months."""
        key = (authorisation_id, month)
        return self._months.get(key) or self.state.months.get(key) or MonthUse(authorisation_id, month)

    def branch(self, payment_id: PaymentId) -> Branch | None:
        """The payment's part here as it stands; None if it was never heard of."""
        return self._branches.get(payment_id) or self.state.branches.get(payment_id)

    def closing_of(self, key: AccountKey) -> Closing | None:
        """The closing that waits for the account's last hold to end; None if there is none."""
        for closing in (self.state.closings | self._closings).values():
            if closing.account == key and closing.finished_at is None:
                return closing
        return None

    def ended_by(self, key: AccountKey) -> Closing | None:
        """The closing by which an account was last ended; None if it never was, or nobody has noted it."""
        ends = [it for it in self.state.closings.values() if it.account == key and it.finished_at is not None]
        return max(ends, key=lambda it: it.finished_at or it.booked_at, default=None)

    def put_account(self, account: Account) -> None:
        """Writes an account."""
        self._accounts[account.key] = account

    def put_authorisation(self, authorisation: Authorisation) -> None:
        """Writes an authorisation."""
        self._authorisations[authorisation.authorisation_id] = authorisation

    def put_use(self, after: Authorisation, month: int | None, *, limit_fen: Fen | None = None) -> None:
        """Writes an authorisation of which a payment of this month uses, holds or gives back another amount.

        The month goes the same way, where months are counted. A hold says under which limit it is placed, if any.
        """
        before = self.authorisation(after.authorisation_id)
        self.put_authorisation(after)
        if not after.counts_months or month is None or before is None:
            return
        use = self.month_use(after.authorisation_id, month)
        self._months[after.authorisation_id, month] = MonthUse(
            after.authorisation_id,
            month,
            use.used_fen + after.used_fen - before.used_fen,
            use.held_fen + after.held_fen - before.held_fen,
            limit_fen if after.held_fen > before.held_fen else use.limit_fen,
        )

    def put_month(self, use: MonthUse) -> None:
        """Writes what a month took."""
        self._months[use.authorisation_id, use.month] = use

    def begin_months(self, authorisation_id: AuthorisationId) -> None:
        """Counts what payments have taken under it so far, each in its month; the state knows all of them."""
        for branch in self.state.branches.values():
            if branch.month is None or branch.state not in {BranchState.HELD, BranchState.CONFIRMED}:
                continue
            fen = sum(
                leg.amount.total - branch.refunded_fen.get(leg.leg_no, 0)
                for leg in branch.takings
                if leg.authorisation_id == authorisation_id
            )
            if not fen:
                continue
            use = self.month_use(authorisation_id, branch.month)
            held_fen = fen if branch.state is BranchState.HELD else 0
            self._months[authorisation_id, branch.month] = replace(
                use, used_fen=use.used_fen + fen - held_fen, held_fen=use.held_fen + held_fen
            )

    def put_branch(self, branch: Branch) -> None:
        """Writes a payment's branch."""
        self._branches[branch.payment_id] = branch

    def put_credit(self, credit: Credit) -> None:
        """Records a credit that was booked."""
        self._credits[credit.credit_id] = credit

    def put_freeze(self, freeze: FreezeRecord, standing: frozenset[str]) -> None:
        """Records a freeze or unfreeze, and why the account is frozen from now on."""
        self._freezes[freeze.freeze_id] = freeze
        self._standing[freeze.account.key] = standing

    def put_closing(self, closing: Closing) -> None:
        """Records that an account is to be closed, or is."""
        self._closings[closing.closing_id] = closing

    def put_event(self, event: AuthorisationEvent) -> None:
        """Records what was decided about an authorisation."""
        self._events[event.key] = event

    def add_task(self, task: SuspenseTask) -> None:
        """Leaves work for an officer."""
        self._tasks.append(task)

    def end_task(self, task: SuspenseTask) -> None:
        """Ends an officer's work: its money has left suspense."""
        self._ended.append(replace(task, done_at=self.now))

    def add_alarm(self, kind: AlarmKind, subject_id: UUID) -> Self:
        """Calls someone; the draft itself, to end with its outcome."""
        self._alarms.append(Alarm(kind, subject_id, self.now))
        return self

    def book(self, account: Account, amount: Parts, *, source_id: UUID, leg_no: int, kind: EntryKind) -> Account:
        """Adds ``amount`` (negative = taken) to the account's balance, one entry for each part that moves."""
        running = account.balance.total
        for part, amount_fen in ((Part.PAST, amount.past), (Part.CURRENT, amount.current)):
            if amount_fen:
                running += amount_fen
                book = _BOOKS[account.key.kind]
                self._entries.append(
                    Entry(source_id, leg_no, kind, book, amount_fen, self.now, account.key, part, running)
                )
        return account.with_credited(amount)

    def book_contra(self, book: Book, amount_fen: Fen, *, source_id: UUID, leg_no: int, kind: EntryKind) -> None:
        """The other side of a payment or credit (``CONTRA_LEG_NO``), or a leg's share that found no account."""
        if amount_fen:
            self._entries.append(Entry(source_id, leg_no, kind, book, amount_fen, self.now))

    def outcome(self, reply: Reply) -> Outcome:
        """Everything written here, with this reply."""
        return Outcome(
            reply=reply,
            accounts=self._accounts,
            authorisations=self._authorisations,
            branches=self._branches,
            credits=self._credits,
            freezes=self._freezes,
            standing_freezes=self._standing,
            authorisation_events=self._events,
            closings=self._closings,
            months=self._months,
            entries=tuple(self._entries),
            suspense_tasks=tuple(self._tasks),
            ended_tasks=tuple(self._ended),
            alarms=tuple(self._alarms),
        )

    def _turn(self, account: Account) -> Account:
        moved_fen = account.balance.current
        source_id = year_turn_id(account.key, self.year)
        turn = Parts(moved_fen, -moved_fen)
        if moved_fen:
            self.book(account, turn, source_id=source_id, leg_no=CONTRA_LEG_NO, kind=EntryKind.YEAR_TURN)
        turned = account.turned_to(self.year)
        self.put_account(turned)
        return turned
