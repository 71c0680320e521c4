"""Random lives of a small ledger: commands over few people and few ids, with repetitions and in any order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from hypothesis import strategies as st

from services.settlement.ledger.domain.commands import AmendAuthorisation, CloseAuthorisation, Command, SetFrozen
from services.settlement.ledger.domain.model import (
    AccountKey,
    AccountKind,
    Book,
    BranchState,
    CreditPurpose,
    Entry,
    FreezeId,
    Leg,
    Part,
    Parts,
)
from services.settlement.ledger.domain.state import State
from tests.unit.ledger.given import (
    BOTH,
    FUNDER,
    OTHER_FUNDER,
    OWN,
    PURSE,
    authorisation,
    cancel,
    confirm,
    credit,
    funder_leg,
    open_authorisation,
    own_leg,
    payment,
    refund,
    try_,
    wallet_leg,
)

PAYMENTS: Final = 6
_FUNDERS: Final = {1: FUNDER, 2: OTHER_FUNDER, 3: FUNDER}
_amounts: Final = st.integers(0, 30)
_years: Final = st.sampled_from([2026, 2026, 2026, 2027])
_payment_numbers: Final = st.integers(1, PAYMENTS)
_authorisation_ids: Final = st.integers(1, 3).map(authorisation)


@st.composite
def _legs(draw: st.DrawFn) -> tuple[Leg, ...]:
    legs: list[Leg] = []
    for leg_no in range(1, draw(st.integers(1, 3)) + 1):
        past, current, year = draw(_amounts), draw(_amounts), draw(_years)
        past = past or (not current)
        match draw(st.sampled_from(["own", "wallet", "funder", "funder"])):
            case "own":
                legs.append(own_leg(past, current, leg_no=leg_no, year=year))
            case "wallet":
                legs.append(wallet_leg(past + current, leg_no=leg_no))
            case _:
                under = draw(st.integers(1, 3))
                legs.append(
                    funder_leg(
                        past,
                        current,
                        leg_no=leg_no,
                        key=_FUNDERS[under],
                        under=under,
                        floor=draw(st.sampled_from([0, 0, 20])),
                        floor_parts=draw(st.sampled_from([BOTH, frozenset({Part.PAST})])),
                        year=year,
                    )
                )
    return tuple(legs)


@st.composite
def _credits(draw: st.DrawFn) -> Command:
    number, amount, year = draw(st.integers(1, 8)), draw(st.integers(1, 60)), draw(_years)
    key = draw(st.sampled_from([OWN, FUNDER, OTHER_FUNDER, PURSE]))
    if key is PURSE:
        return credit(number, (1, PURSE, amount, 0), purpose=CreditPurpose.WALLET)
    if draw(st.booleans()):
        return credit(number, (1, key, amount, 0), purpose=CreditPurpose.CARRIED_OVER)
    return credit(number, (1, key, 0, amount), year=year)


@st.composite
def _refunds(draw: st.DrawFn, tries: list[tuple[int, tuple[Leg, ...]]]) -> Command:
    """A refund of something that may have been tried: whole or in part, sometimes beyond."""
    number, of = draw(st.integers(9, 14)), draw(_payment_numbers)
    known = [legs for tried, legs in tries if tried == of]
    legs = draw(st.sampled_from(known)) if known else (own_leg(5),)
    share = draw(st.sampled_from([1, 1, 2]))
    rows = [(leg.leg_no, leg.account, -(-leg.amount.past // share), leg.amount.current // share) for leg in legs]
    rows = [row if row[2] + row[3] else (row[0], row[1], 1, 0) for row in rows]
    return refund(number, of, *rows, year=legs[0].year)


@st.composite
def lives(draw: st.DrawFn, *, commands_max: int = 40) -> list[Command]:
    """Commands in an order that no coordinator would choose: late, doubled, crossed."""
    tries = [(draw(_payment_numbers), draw(_legs())) for _ in range(draw(st.integers(1, 7)))]
    pool: list[Command] = [credit(100 + n, (1, key, 40, 40)) for n, key in enumerate([OWN, FUNDER, OTHER_FUNDER])]
    pool += [open_authorisation(n, draw(st.sampled_from([None, 40, 90])), key=key) for n, key in _FUNDERS.items()]
    start = list(pool) if draw(st.booleans()) else []
    pool += [try_(number, *legs) for number, legs in tries]
    others = st.one_of(
        st.builds(confirm, _payment_numbers),
        st.builds(confirm, _payment_numbers),
        st.builds(cancel, _payment_numbers),
        _credits(),
        _refunds(tries),
        st.builds(
            AmendAuthorisation, st.integers(1, 3).map(authorisation), st.integers(2, 4), st.none() | st.integers(0, 90)
        ),
        st.builds(CloseAuthorisation, _authorisation_ids),
        st.builds(
            SetFrozen,
            st.integers(1, 3).map(lambda n: FreezeId(payment(0x500 + n))),
            st.sampled_from([OWN.psn_no, FUNDER.psn_no]),
            st.booleans(),
            st.just("TEST"),
        ),
    )
    pool += draw(st.lists(others, min_size=1, max_size=commands_max // 2))
    return start + draw(st.lists(st.sampled_from(pool), min_size=1, max_size=commands_max))


def violations(state: State, entries: Iterable[Entry]) -> list[str]:
    """Every way in which the ledger breaks I1, I2, I5, I8 or I9, computed from scratch."""
    booked = list(entries)
    return [*_holds(state), *_books(state, booked), *_refunds_within_charge(state, booked), *_authorisations(state)]


def _holds(state: State) -> list[str]:
    wanted: defaultdict[AccountKey, Parts] = defaultdict(Parts)
    for branch in state.branches.values():
        if branch.state is BranchState.HELD:
            for leg in branch.legs:
                wanted[leg.account] += _read(leg, state)
    broken: list[str] = []
    for key, account in state.accounts.items():
        if account.held != wanted[key]:
            broken.append(f"I1: {key} holds {account.held}, its legs {wanted[key]}")
        for held, balance in (
            (account.held.past, account.balance.past),
            (account.held.current, account.balance.current),
        ):
            if not 0 <= held <= balance:
                broken.append(f"I1: {key}: {account}")
    return broken


def _read(leg: Leg, state: State) -> Parts:
    """The year's rule, told a second time and in other words than the domain's."""
    account = state.accounts[leg.account]
    still_current = leg.account.kind is AccountKind.PERSONAL and leg.year >= account.year
    return leg.amount if still_current else Parts(leg.amount.past + leg.amount.current, 0)


def _books(state: State, entries: list[Entry]) -> list[str]:
    broken: list[str] = []
    sums: Counter[object] = Counter()
    parts: Counter[tuple[AccountKey, Part | None]] = Counter()
    running: dict[AccountKey, int] = {}
    for entry in entries:
        sums[entry.source_id] += entry.amount_fen
        if entry.account is not None:
            parts[entry.account, entry.part] += entry.amount_fen
            running[entry.account] = running.get(entry.account, 0) + entry.amount_fen
            if entry.balance_after_fen != running[entry.account]:
                broken.append(f"I2: the statement of {entry.account} says {entry.balance_after_fen}")
    broken += [f"I2: {source} sums to {total}" for source, total in sums.items() if total]
    for key, account in state.accounts.items():
        booked = (parts[key, Part.PAST], parts[key, Part.CURRENT])
        if booked != (account.balance.past, account.balance.current):
            broken.append(f"I2: {key} has {account.balance}, booked {booked}")
    once = Counter((it.source_id, it.leg_no, it.kind, it.part, it.book if it.part is None else None) for it in entries)
    return broken + [f"I5: booked {times} times: {what}" for what, times in once.items() if times > 1]


def _refunds_within_charge(state: State, entries: list[Entry]) -> list[str]:
    charged: Mapping[object, Mapping[int, int]] = {
        it.payment_id: {leg.leg_no: leg.amount.total for leg in it.legs} for it in state.branches.values()
    }
    back: Counter[tuple[object, int]] = Counter()
    for credit_ in state.credits.values():
        if credit_.original_payment_id is not None:
            for leg in credit_.legs:
                back[credit_.original_payment_id, leg.leg_no] += leg.amount.total
    taken: Counter[tuple[object, int]] = Counter()
    for entry in entries:
        if entry.kind.value == "PAYMENT" and entry.book is not Book.CLEARING:
            taken[entry.source_id, entry.leg_no] -= entry.amount_fen
    return [
        f"I8: {original} leg {leg_no}: {fen} back"
        for (original, leg_no), fen in back.items()
        if fen > charged[original][leg_no] or fen > taken[original, leg_no]
    ]


def _authorisations(state: State) -> list[str]:
    used: Counter[object] = Counter()
    held: Counter[object] = Counter()
    for branch in state.branches.values():
        for leg in branch.legs:
            if branch.state is BranchState.CONFIRMED:
                used[leg.authorisation_id] += leg.amount.total - branch.refunded_fen.get(leg.leg_no, 0)
            elif branch.state is BranchState.HELD:
                held[leg.authorisation_id] += leg.amount.total
    broken: list[str] = []
    for number, it in state.authorisations.items():
        if (it.used_fen - it.opened_used_fen, it.held_fen) != (used[number], held[number]):
            broken.append(f"I9: {it}, its legs say used {used[number]} held {held[number]}")
        if it.left_fen is not None and it.left_fen < 0:
            broken.append(f"I9: {it}")
    return broken
