"""Random lives of a small ledger: commands over few people and few ids, with repetitions and in any order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from random import Random
from typing import Final

from hypothesis import strategies as st

from services.settlement.ledger.domain.commands import (
    AmendAuthorisation,
    CloseAccount,
    CloseAuthorisation,
    Command,
    SetFrozen,
)
from services.settlement.ledger.domain.model import (
    AccountKey,
    AccountKind,
    Book,
    BranchState,
    ClosingId,
    CreditPurpose,
    Entry,
    EntryKind,
    FreezeId,
    Leg,
    Part,
    Parts,
    Role,
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
    receiver_leg,
    refund,
    try_,
    wallet,
    wallet_leg,
)

PAYMENTS: Final = 6
LENGTH_MAX: Final = 50
_FUNDERS: Final = {1: FUNDER, 2: OTHER_FUNDER, 3: FUNDER}
OTHER_PURSE: Final = wallet(2)
_YEARS: Final = (2026, 2026, 2026, 2027)
_MONTHS: Final = (2026_05, 2026_06, 2026_06, 2026_12, 2027_01)
_LIMITS: Final = ((None, None), (None, None), (20, None), (None, 30), (25, 45))


def lives() -> st.SearchStrategy[list[Command]]:
    """Commands in an order that no coordinator would choose: late, doubled, crossed.

    The content comes from a seed, so that every life is a full one; hypothesis makes a failing one shorter.
    """
    return st.builds(
        lambda seed, length: a_life(Random(seed))[:length], st.integers(0, 2**48), st.integers(1, LENGTH_MAX)
    )


def a_life(random: Random) -> list[Command]:
    """One life: mostly a well-founded ledger, then commands out of a small pool, over and over."""
    pool: list[Command] = [
        credit(100 + n, (1, key, 60, 60)) for n, key in enumerate([OWN, FUNDER, OTHER_FUNDER], start=1)
    ]
    pool.append(credit(104, (1, PURSE, 60, 0), purpose=CreditPurpose.WALLET))
    pool += [
        open_authorisation(n, random.choice([None, 50, 90]), key=key, per_payment=limits[0], per_month=limits[1])
        for (n, key), limits in zip(_FUNDERS.items(), random.choices(_LIMITS, k=len(_FUNDERS)), strict=True)
    ]
    life = [command for command in pool if random.random() < 0.9]
    tries = [(random.randint(1, PAYMENTS), _legs(random)) for _ in range(7)]
    pool += 2 * [try_(number, *legs, month=random.choice(_MONTHS)) for number, legs in tries]
    pool += [confirm(number) for number in range(1, PAYMENTS + 1)]
    pool += [cancel(number) for number in range(1, PAYMENTS + 1) if random.random() < 0.5]
    pool += [_refund(random, tries) for _ in range(6)]
    pool += [_credit(random) for _ in range(3)]
    pool += [
        AmendAuthorisation(authorisation(random.randint(1, 3)), version, random.choice([None, 40, 120]), *limits)
        for version, limits in zip((2, 3, 4, 5, 6), random.choices(_LIMITS, k=5), strict=True)
    ]
    pool.append(CloseAuthorisation(authorisation(random.randint(1, 3))))
    pool += [
        SetFrozen(
            FreezeId(payment(0x500 + n)),
            random.choice([OWN, FUNDER]).psn_no,
            frozen=n % 2 == 1,
            cause=random.choice(["COURT_ORDER", "FRAUD_SUSPECTED"]),
        )
        for n in (1, 2, 3, 4, 6)
    ]
    if random.random() < 0.3:
        pool += [_close(number, key) for number, key in enumerate([OWN, FUNDER, PURSE], start=1)]
    return life + random.choices(pool, k=LENGTH_MAX - len(life))


def _close(number: int, key: AccountKey) -> Command:
    return CloseAccount(ClosingId(payment(0x600 + number)), key, cause="TEST")


def _legs(random: Random) -> tuple[Leg, ...]:
    legs: list[Leg] = []
    for leg_no in range(1, random.randint(1, 3) + 1):
        past, current, year = random.randint(1, 25), random.choice([0, 0, 5, 20]), random.choice(_YEARS)
        match random.choice(["own", "wallet", "funder", "funder"]):
            case "own":
                legs.append(own_leg(past, current, leg_no=leg_no, year=year))
            case "wallet":
                legs.append(wallet_leg(past, leg_no=leg_no))
            case _:
                under = random.randint(1, 3)
                floor, parts = random.choice([(0, BOTH), (0, BOTH), (20, BOTH), (20, frozenset({Part.PAST}))])
                key = _FUNDERS[under]
                legs.append(
                    funder_leg(
                        past, current, leg_no=leg_no, key=key, under=under, floor=floor, floor_parts=parts, year=year
                    )
                )
    if random.random() < 0.25:
        # A receiver, as a transfer has it: here, or with what its giver has elsewhere.
        received = receiver_leg(random.randint(1, 40), key=random.choice([PURSE, OTHER_PURSE]))
        legs = [received] if random.random() < 0.3 else [*legs, received]
    return tuple(legs)


def _credit(random: Random) -> Command:
    number, amount = random.randint(1, 4), random.randint(1, 60)
    key = random.choice([OWN, FUNDER, OTHER_FUNDER, PURSE])
    if key is PURSE:
        return credit(number, (1, PURSE, amount, 0), purpose=CreditPurpose.WALLET)
    if random.random() < 0.5:
        return credit(number, (1, key, amount, 0), purpose=CreditPurpose.CARRIED_OVER)
    return credit(number, (1, key, 0, amount), year=random.choice(_YEARS))


def _refund(random: Random, tries: list[tuple[int, tuple[Leg, ...]]]) -> Command:
    """A refund of something that is tried: whole or in part, sometimes of another payment or beyond the charge."""
    of, legs = random.choice(tries)
    if random.random() < 0.1:
        of = random.randint(1, PAYMENTS)
    share, more = random.choice([(1, 0), (2, 0), (2, 0), (1, 1)])
    rows = [(leg.leg_no, leg.account, -(-leg.amount.past // share) + more, leg.amount.current // share) for leg in legs]
    return refund(random.randint(9, 20), of, *rows[: random.randint(1, 3)], year=legs[0].year)


def violations(state: State, entries: Iterable[Entry]) -> list[str]:
    """Every way in which the ledger breaks I1, I2, I5, I8 or I9, computed from scratch."""
    booked = list(entries)
    return [
        *_holds(state),
        *_books(state, booked),
        *_refunds_within_charge(state, booked),
        *_received(state, booked),
        *_authorisations(state),
        *_months(state),
    ]


def _holds(state: State) -> list[str]:
    wanted: defaultdict[AccountKey, Parts] = defaultdict(Parts)
    for branch in state.branches.values():
        if branch.state is BranchState.HELD:
            for leg in branch.legs:
                if leg.role is not Role.RECEIVER:
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


def _received(state: State, entries: list[Entry]) -> list[str]:
    """What a leg brings is booked once its payment is confirmed, once, and never before."""
    brought: Counter[tuple[object, int]] = Counter()
    for entry in entries:
        if entry.kind is EntryKind.TRANSFER_IN:
            brought[entry.source_id, entry.leg_no] += entry.amount_fen
    wanted: Counter[tuple[object, int]] = Counter()
    for branch in state.branches.values():
        for leg in branch.legs:
            if leg.role is Role.RECEIVER and branch.state is BranchState.CONFIRMED:
                wanted[branch.payment_id, leg.leg_no] += leg.amount.total
    return [] if brought == wanted else [f"received {brought}, confirmed {wanted}"]


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


def _months(state: State) -> list[str]:
    """A month's counter is the sum of its legs, for every authorisation that has or had a limit per month."""
    used: Counter[tuple[object, int | None]] = Counter()
    held: Counter[tuple[object, int | None]] = Counter()
    for branch in state.branches.values():
        for leg in branch.legs:
            counted = leg.authorisation_id and state.authorisations[leg.authorisation_id].counts_months
            if counted and branch.state is BranchState.CONFIRMED:
                used[leg.authorisation_id, branch.month] += leg.amount.total - branch.refunded_fen.get(leg.leg_no, 0)
            elif counted and branch.state is BranchState.HELD:
                held[leg.authorisation_id, branch.month] += leg.amount.total
    for number, it in state.authorisations.items():
        if it.opened_month is not None:
            used[number, it.opened_month.month] += it.opened_month.used_fen
    broken = [
        f"I9: {it}, its legs say used {used[key]} held {held[key]}"
        for key, it in state.months.items()
        if (it.used_fen, it.held_fen) != (used[key], held[key])
        or (it.limit_fen is not None and it.total_fen > it.limit_fen)
    ]
    missing = {key for key, fen in (used + held).items() if fen} - state.months.keys()
    return broken + [f"I9: nothing is counted of {key}" for key in missing]
