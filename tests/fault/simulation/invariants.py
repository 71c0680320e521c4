"""What must hold (docs/protocol.md, "What must hold after any fault"), seen from outside and told in other words."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from kernel.ids import AuthorisationId, PaymentId
from services.settlement.domain.payment import Key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.ledger.domain.model import AccountKey, AccountKind, Book, Branch, BranchState, EntryKind, Parts
from services.settlement.ledger.domain.model import Role as LedgerRole
from services.settlement.ledger.domain.state import Outcome
from services.settlement.ledger.domain.state import State as LedgerState
from services.settlement.saga.payment import OPEN_STATES, PAID_STATES, REFUSED_STATES, Payment, PaymentKind, State
from tests.fault.simulation.ledger import Ledger
from tests.fault.simulation.rows import FOUNDING_IDS, PaymentRows, label, name_of
from tests.fault.simulation.terminal import Line, Terminal
from tests.fault.simulation.told import NEVER_BEGUN, Asked, Told
from tests.fault.simulation.wallet import Wallet
from tests.fault.simulation.world import Violation, World

FORWARD: Final = {
    None: frozenset(State),
    State.TRYING: frozenset({State.COMMITTED, State.ABORTED}),
    State.COMMITTED: frozenset({State.DONE}),
    State.ABORTED: frozenset({State.CLOSED}),
}
INQUIRED_WITHIN_MS: Final = 60_000
VOTED: Final = frozenset({PaymentKind.SETTLE, PaymentKind.TRANSFER})
"""What ledgers vote on."""
HELD, CONFIRMED = BranchState.HELD, BranchState.CONFIRMED


def require(holds: object, rule: str, what: str) -> None:
    """The rule is broken unless it holds."""
    if not holds:
        raise Violation(f"{rule}: {what}")


class Invariants:
    """Looks after every write at what it touched, at quiet points at everything."""

    def __init__(self, world: World, rows: PaymentRows, ledgers: Mapping[str, Ledger]) -> None:
        self._world = world
        self._rows = rows
        self._ledgers = ledgers
        self._states: dict[PaymentId, State] = {}
        self._asked: set[PaymentId] = set()
        self._keys: dict[Key, PaymentId] = {}
        self._stopped: set[Key] = set()
        self._booked: dict[str, set[object]] = defaultdict(set)

    # After a write.

    def row_written(self, row: Payment) -> None:
        """A row of the coordinators' database was inserted or moved on."""
        known = self._states.get(row.payment_id)
        was = "nothing" if known is None else known.value
        asks = row.pending_accept and row.payment_id not in self._asked and row.state is known is State.TRYING
        require(
            asks or row.state in FORWARD.get(known, frozenset()),
            "I10",
            f"{label(row)} goes from {was} to {row.state.value}",
        )
        if asks:
            self._asked.add(row.payment_id)
        if row.kind is PaymentKind.TRANSFER and row.state is State.COMMITTED:
            require(row.payment_id in self._asked, "acceptance", f"{label(row)} is accepted before it was asked about")
            in_time = row.accept_by is not None and self._world.now < row.accept_by
            require(in_time, "acceptance", f"{label(row)} is accepted after its deadline")
        require(
            self._keys.setdefault(row.key, row.payment_id) == row.payment_id,
            "I10",
            f"the key of {label(row)} stands for two payments",
        )
        if row.kind in {*VOTED, PaymentKind.REFUND} and known is None:
            require(
                row.key not in self._stopped,
                "I7",
                f"{label(row)} begins, though its terminal was told that it never can",
            )
        self._states[row.payment_id] = row.state
        self._one_payment(row.payment_id)

    def ledger_written(self, ledger: Ledger, outcomes: list[Outcome]) -> None:
        """A ledger committed a batch."""
        state = ledger.rows.state
        self._accounts(ledger, {key for outcome in outcomes for key in outcome.accounts})
        self._authorisations(ledger, {it for outcome in outcomes for it in outcome.authorisations})
        for outcome in outcomes:
            self._entries(ledger, outcome)
            for payment_id in outcome.branches:
                self._one_payment(payment_id)
                self._refunded(ledger, state.branches[payment_id])

    def _accounts(self, ledger: Ledger, keys: Iterable[AccountKey]) -> None:
        """I1."""
        state = ledger.rows.state
        wanted: defaultdict[AccountKey, Parts] = defaultdict(Parts)
        for branch in state.branches.values():
            if branch.state is HELD:
                for leg in branch.legs:
                    if leg.role is LedgerRole.RECEIVER:
                        continue
                    still = leg.account.kind is AccountKind.PERSONAL and leg.year >= state.accounts[leg.account].year
                    wanted[leg.account] += leg.amount if still else Parts(leg.amount.total, 0)
        for key in keys:
            account = state.accounts[key]
            require(
                account.held == wanted[key], "I1", f"{_name(key)} holds {account.held}, its legs hold {wanted[key]}"
            )
            within = account.balance.covers(account.held) and account.held.covers(Parts())
            require(within, "I1", f"{_name(key)} has {account.balance} and holds {account.held}")

    def _authorisations(self, ledger: Ledger, ids: Iterable[AuthorisationId]) -> None:
        """I9."""
        state = ledger.rows.state
        held: Counter[AuthorisationId] = Counter()
        used: Counter[AuthorisationId] = Counter()
        for branch in state.branches.values():
            for leg in branch.legs:
                if leg.authorisation_id is not None:
                    held[leg.authorisation_id] += leg.amount.total if branch.state is HELD else 0
                    taken = leg.amount.total if branch.state is CONFIRMED else 0
                    used[leg.authorisation_id] += taken - branch.refunded_fen.get(leg.leg_no, 0)
        for it in ids:
            known = state.authorisations[it]
            limit = known.authorised_fen
            figures = f"used {known.used_fen} + held {known.held_fen} of {limit}, by its legs {used[it]} + {held[it]}"
            require((known.used_fen, known.held_fen) == (used[it], held[it]), "I9", f"{name_of(it)}: {figures}")
            require(limit is None or known.used_fen + known.held_fen <= limit, "I9", f"{name_of(it)}: {figures}")
            self._months(state, it)

    def _months(self, state: LedgerState, authorisation_id: AuthorisationId) -> None:
        """I9 month by month: what each has used and held is the sum of its legs, and was within its limit."""
        if not state.authorisations[authorisation_id].counts_months:
            return
        wanted: Counter[tuple[int | None, bool]] = Counter()
        for branch in state.branches.values():
            if branch.state in {HELD, CONFIRMED}:
                for leg in branch.legs:
                    if leg.authorisation_id == authorisation_id:
                        fen = leg.amount.total - branch.refunded_fen.get(leg.leg_no, 0)
                        wanted[branch.month, branch.state is HELD] += fen
        counted: Counter[tuple[int | None, bool]] = Counter()
        for use in state.months.values():
            if use.authorisation_id == authorisation_id:
                counted[use.month, False], counted[use.month, True] = use.used_fen, use.held_fen
                within = use.limit_fen is None or use.total_fen <= use.limit_fen
                require(within, "I9", f"{name_of(authorisation_id)}: {use}")
        figures = f"{dict(counted)}, by its legs {dict(wanted)}"
        require(+counted == +wanted, "I9", f"{name_of(authorisation_id)}: months {figures}")

    def _entries(self, ledger: Ledger, outcome: Outcome) -> None:
        """I2 (every payment's entries sum to zero) and I5 (booked once)."""
        sums: Counter[object] = Counter()
        for entry in outcome.entries:
            sums[entry.source_id] += entry.amount_fen
            what = (entry.source_id, entry.leg_no, entry.kind, entry.part, entry.book)
            require(
                what not in self._booked[ledger.name], "I5", f"{ledger.name} books {name_of(entry.source_id)} twice"
            )
            self._booked[ledger.name].add(what)
        require(not any(sums.values()), "I2", f"{ledger.name}: entries of one payment do not sum to zero")

    def _refunded(self, ledger: Ledger, branch: Branch) -> None:
        """I8, per leg; money only goes back that was taken."""
        if branch.refunded_fen:
            what = f"{ledger.name} gives back {name_of(branch.payment_id)}"
            require(branch.state is CONFIRMED, "I8", f"{what}, which it has not taken ({branch.state.value})")
            charged = {leg.leg_no: leg.amount.total for leg in branch.legs}
            over = any(fen > charged[leg_no] for leg_no, fen in branch.refunded_fen.items())
            require(not over, "I8", f"{what}: more than was charged")

    def _one_payment(self, payment_id: PaymentId) -> None:
        """I3, and I4: every hold has a payment."""
        row = self._rows.payments.get(payment_id)
        if row is None or row.kind not in VOTED:
            held = any(payment_id in ledger.rows.state.branches for ledger in self._ledgers.values())
            require(not held or row is not None, "I4", f"a ledger knows {name_of(payment_id)}, no coordinator does")
            return
        states = {area: self._ledgers[area].rows.state.branches.get(payment_id) for area in row.areas}
        told = {it.state if it is not None else None for it in states.values()}
        seen = ", ".join(f"{area} {it.state.value if it else 'nothing'}" for area, it in states.items())
        what = f"{label(row)} is {row.state.value}, its branches are {seen}"
        match row.state:
            case State.TRYING if row.pending_accept:
                require(told == {HELD}, "I3", f"{what}, and its receiver is asked")
            case State.TRYING | State.ABORTED:
                require(CONFIRMED not in told, "I3", what)
            case State.COMMITTED:
                require(told <= {HELD, CONFIRMED}, "I3", what)
            case State.DONE:
                require(told == {CONFIRMED}, "I3", what)
            case State.CLOSED:
                require(not told & {HELD, CONFIRMED}, "I3", what)
        if row.state in PAID_STATES:
            legs = [leg for it in states.values() if it is not None for leg in it.legs]
            brought = sum(leg.amount.total for leg in legs if leg.role is LedgerRole.RECEIVER)
            charged = sum(leg.amount.total for leg in legs) - brought
            require(charged == row.amount_fen, "I3", f"{label(row)}: {row.amount_fen} asked, {charged} held or taken")
            wanted = charged if row.kind is PaymentKind.TRANSFER else 0
            require(brought == wanted, "I3", f"{label(row)} takes {charged} and brings {brought}")

    # What is told.

    def told(self, asked: Asked, told: Told) -> None:
        """I7, at the moment of the answer: nothing is told that is not durable."""
        self._world.seen[f"{asked.kind} told {told.outcome}"] += 1
        if told.outcome == "STOPPED":
            self._stopped.add(asked.key)
        row = None if told.payment_id is None else self._rows.by_id(told.payment_id)
        if told.payment_id is None:
            return
        stands = row is not None and _agrees(row, told)
        state = "nothing" if row is None else row.state.value
        require(stands, "I7", f"{asked.label} is told {told.outcome}, while {name_of(told.payment_id)} is {state}")

    # At quiet points, and at the end.

    def quiet(self) -> None:
        """Everything, whether it was touched or not."""
        for ledger in self._ledgers.values():
            state = ledger.rows.state
            self._accounts(ledger, state.accounts)
            self._authorisations(ledger, state.authorisations)
            self._books(ledger)
            for branch in state.branches.values():
                self._refunded(ledger, branch)
                self._inquired(ledger, branch)
        for payment_id in self._rows.payments:
            self._one_payment(payment_id)

    def _books(self, ledger: Ledger) -> None:
        """I2: an account is the sum of its entries, part by part; a whole ledger sums to zero."""
        parts: defaultdict[AccountKey, Counter[str]] = defaultdict(Counter)
        for entry in ledger.rows.entries:
            if entry.account is not None and entry.part is not None:
                parts[entry.account][entry.part.value] += entry.amount_fen
        for key, account in ledger.rows.state.accounts.items():
            booked = Parts(parts[key]["PAST"], parts[key]["CURRENT"])
            require(account.balance == booked, "I2", f"{_name(key)} has {account.balance}, booked are {booked}")
        require(not sum(entry.amount_fen for entry in ledger.rows.entries), "I2", f"{ledger.name} is not balanced")

    def _inquired(self, ledger: Ledger, branch: Branch) -> None:
        """I6."""
        if branch.state is HELD and branch.inquire_at is not None:
            overdue_ms = (self._world.now - branch.inquire_at).total_seconds() * 1000
            asked = ledger.rows.inquiries.get(branch.payment_id, 0)
            what = f"{name_of(branch.payment_id)} is held in {ledger.name} and nobody asks"
            require(overdue_ms < INQUIRED_WITHIN_MS or asked, "I6", what)

    @property
    def is_settled(self) -> bool:
        """Whether every row has reached its end."""
        return all(row.state not in OPEN_STATES for row in self._rows.payments.values())

    def end(self, terminals: Iterable[Terminal | Wallet]) -> None:
        """Everything has reached its end: nothing is held, and the money is where the rows say, to the fen."""
        open_rows = [f"{label(it)} {it.state.value}" for it in self._rows.payments.values() if it.state in OPEN_STATES]
        require(not open_rows, "stuck", f"when all is well again, these do not end: {open_rows}")
        for ledger in self._ledgers.values():
            held = [it.payment_id for it in ledger.rows.state.branches.values() if it.state is HELD]
            require(not held, "stuck", f"{ledger.name} still holds {[name_of(it) for it in held]}")
            self._money(ledger)
        for terminal in terminals:
            waiting = [it.key.msgid[-6:] for it in terminal.open_lines]
            require(not waiting, "stuck", f"{terminal.name} was never told what became of {waiting}")
            for line in terminal.journal:
                self._line(terminal, line)

    def _money(self, ledger: Ledger) -> None:
        """What this area paid for care and sent away is what the rows took here, less what they brought here."""
        wanted = 0
        for row in self._rows.payments.values():
            if row.state is State.DONE and row.kind is not PaymentKind.CREDIT:
                wanted -= sum(_moved_fen(row, leg) for leg in row.legs_at(ledger.area))
        cleared = sum(it.amount_fen for it in ledger.rows.entries if it.book is Book.CLEARING)
        require(cleared == wanted, "money", f"{ledger.name} paid or sent {cleared} fen, the rows say {wanted}")
        self._accounts_paid(ledger)

    def _accounts_paid(self, ledger: Ledger) -> None:
        """The same account by account: what moved on it since the founding is what the rows moved."""
        moved: Counter[AccountKey] = Counter()
        wanted: Counter[AccountKey] = Counter()
        for entry in ledger.rows.entries:
            if (
                entry.account is not None
                and entry.source_id.int < FOUNDING_IDS
                and entry.kind is not EntryKind.YEAR_TURN
            ):
                moved[entry.account] += entry.amount_fen
        for row in self._rows.payments.values():
            for leg in row.legs_at(ledger.area) if row.state is State.DONE else ():
                kind = AccountKind.WALLET if leg.role in {Role.WALLET, Role.RECEIVER} else AccountKind.PERSONAL
                wanted[AccountKey(leg.psn_no, kind)] += _moved_fen(row, leg)
        for key in ledger.rows.state.accounts:
            require(moved[key] == wanted[key], "money", f"{_name(key)} moved by {moved[key]}, rows say {wanted[key]}")

    def _line(self, terminal: Terminal | Wallet, line: Line) -> None:
        """I7 from a journal: every final answer about a key agrees with what stands there in the end."""
        row = self._rows.by_key(line.key)
        state = "nothing" if row is None else f"{label(row)} {row.state.value}"
        what = f"{terminal.name} was told of {line.key.infno}/{line.key.msgid[-6:]}"
        for told in line.told:
            if told.is_final and told.payment_id is not None:
                require(row is not None and _agrees(row, told), "I7", f"{what}: {told.outcome}, there is {state}")
            if told.outcome in NEVER_BEGUN:
                begun = row is not None and row.kind is PaymentKind.SETTLE
                require(not begun, "I7", f"{what}: {told.outcome}, there is {state}")
        for told in line.reversals:
            if told.outcome == "STOPPED":
                ended = row is not None and row.state in REFUSED_STATES
                require(ended, "I7", f"{what}: STOPPED, there is {state}")


def _moved_fen(row: Payment, leg: PlanLeg) -> int:
    """What a leg does to its account, once all is done."""
    taken = row.kind in VOTED and leg.role is not Role.RECEIVER
    return -leg.amount_fen if taken else leg.amount_fen


def _agrees(row: Payment, told: Told) -> bool:
    is_paid, is_refused = row.state in PAID_STATES, row.state in REFUSED_STATES
    agrees = {
        "PAID": row.kind is PaymentKind.SETTLE and is_paid,
        "REFUNDED": row.kind is PaymentKind.REFUND and is_paid,
        "CREDITED": row.kind is PaymentKind.CREDIT and row.state is State.DONE,
        "PENDING": row.pending_accept,
        "ACCEPTED": row.kind is PaymentKind.TRANSFER and is_paid,
        "TRANSFER_ACCEPTED": row.kind is PaymentKind.TRANSFER and is_paid,
        "DECLINED": is_refused and row.reason == "TRANSFER_DECLINED",
    }
    return agrees.get(told.outcome, is_refused)


def _name(key: AccountKey) -> str:
    return f"{key.kind.value.lower()} account {key.psn_no}"
