"""What must hold in every state (protocol.md, "What must hold after any fault"), and when all is quiet."""

from __future__ import annotations

from collections.abc import Sequence

from services.settlement.ledger.domain.model import BranchState
from services.settlement.saga.payment import OPEN_STATES, PAID_STATES, REFUSED_STATES, Payment, PaymentKind, State
from tests.model.drives import TOLD_ASKED, TOLD_NOTHING, TOLD_PAID
from tests.model.ledgers import Shape


def broken_rule(row: Payment | None, refund: Payment | None, told: int, shapes: Sequence[Shape]) -> str:
    """The first rule that is broken; empty if all hold."""
    alone = next((broken for shape in shapes for broken in shape.broken), "")
    return _broken_promise(row, told) or _broken_settlement(row, shapes) or _broken_refund(row, refund, shapes) or alone


def _broken_promise(row: Payment | None, told: int) -> str:
    is_paid = row is not None and row.state in PAID_STATES
    if told & TOLD_PAID and not is_paid:
        return "rule 1, I7: the terminal was told OK, and the payment is not durably COMMITTED"
    if told & TOLD_ASKED and not (row is not None and row.pending_accept):
        return "I7: the giver was told that the receiver is asked, and no durable row says so"
    if told & TOLD_NOTHING and row is not None and row.state not in REFUSED_STATES:
        return "rule 3, I7: the terminal was told that nothing is taken and never will be, and the payment goes on"
    return ""


def _broken_settlement(row: Payment | None, shapes: Sequence[Shape]) -> str:
    branches = [shape.branch for shape in shapes]
    some_confirmed = BranchState.CONFIRMED in branches
    all_held = all(it in {BranchState.HELD, BranchState.CONFIRMED} for it in branches)
    if row is None or row.kind is PaymentKind.TOMBSTONE:
        known = "nothing is durable" if row is None else "the key has a tombstone"
        return f"I4, rule 3: {known}, and a ledger knows the payment" if any(branches) else ""
    if row.quarantine:
        return f"the payment is in quarantine: {row.quarantine}"
    if row.state is State.TRYING and row.pending_accept and not all_held:
        return "I3: the receiver is asked, and a ledger does not hold"
    broken = {
        State.TRYING: (some_confirmed, "I3: TRYING, and a ledger has taken the money"),
        State.COMMITTED: (not all_held, "I3: COMMITTED, and a ledger has neither a hold nor the money"),
        State.DONE: (set(branches) != {BranchState.CONFIRMED}, "I3: DONE, and a ledger has not booked it"),
        State.ABORTED: (some_confirmed, "I3: ABORTED, and a ledger has taken the money"),
        State.CLOSED: (
            some_confirmed or BranchState.HELD in branches,
            "I3: CLOSED, and a ledger holds or has taken the money",
        ),
    }
    is_broken, rule = broken[row.state]
    return rule if is_broken else ""


def _broken_refund(row: Payment | None, refund: Payment | None, shapes: Sequence[Shape]) -> str:
    credited = [shape.is_credited for shape in shapes]
    if refund is None:
        return "a ledger has given money back without a refund" if any(credited) else ""
    if row is None or row.state not in PAID_STATES:
        return "rule 7: a refund stands, and its original is not paid"
    if refund.quarantine:
        return f"the refund is in quarantine: {refund.quarantine}"
    if refund.amount_fen != row.amount_fen:
        return "I8: the refund is not what was charged"
    if refund.state is State.DONE and not all(credited):
        return "the refund is DONE, and a ledger has not given the money back"
    return ""


def outcome(row: Payment | None, refund: Payment | None) -> str:
    """How a payment that has come to rest ended, in a word or two."""
    if row is None:
        return "never asked for"
    if row.kind is PaymentKind.TOMBSTONE:
        return "reversed before it came"
    if row.kind is PaymentKind.TRANSFER:
        return "returned" if row.state in REFUSED_STATES else "accepted"
    if row.state in REFUSED_STATES:
        return "nothing taken"
    return "paid" if refund is None else "paid and given back"


def is_quiet(row: Payment | None, refund: Payment | None, shapes: Sequence[Shape]) -> bool:
    """Whether nothing is left to do and nothing is held."""
    rows = [it for it in (row, refund) if it is not None]
    return not any(it.state in OPEN_STATES for it in rows) and not any(shape.held_fen for shape in shapes)
