"""Which point is reached by doing what, and where the process dies again while it recovers: one line for each cell.

A new fault point in the source needs a line here; ``tests/unit/fault/test_matrix_is_complete.py`` names it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tests.fault.victims import COORDINATOR, FAMILY, FAR_LEDGER


class Act(Enum):
    """What goes on when the process dies. ``ACTS`` in ``tests/fault/matrix/stage.py`` does each."""

    PAY = "pay"
    PAY_REFUSED = "pay-refused"
    """The patient's account is frozen, so the near ledger refuses."""
    REVOKE = "revoke"
    REVERSE_UNSEEN = "reverse-unseen"
    """A request that never arrived is reversed, and arrives afterwards."""
    PLAN = "plan"
    CREDIT = "credit"
    FREEZE = "freeze"
    FREEZE_LEFT = "freeze-left"
    """As FREEZE, and whoever asked goes away: only recovery can finish it."""
    OVERDUE = "overdue"
    """The coordinator that decided has died and another holds the lease and sleeps: the ledger must ask."""
    FAIL = "fail"
    """A CONFIRM fails at the ledger for a technical reason."""
    MENDED = "mended"
    """What failed is tried again after the mending."""
    OPEN = "open"
    """An authorisation is opened, amended, closed: by the family's service."""
    AMEND = "amend"
    CLOSE = "close"
    OPEN_WALLET = "open-wallet"
    TRANSFER = "transfer"
    """From an account in the far area to a wallet in the near one, and accepted."""
    PAY_PREMIUM = "pay-premium"
    """A relative's premium, out of an account in the far area."""
    REVOKE_PREMIUM = "revoke-premium"
    RECONCILE = "reconcile"
    """An institution's rows of a day (3202) are compared with ours."""
    RESOLVE = "resolve"
    """An officer settles what differs."""
    DECIDE_CLAIM = "decide-claim"
    """A claim is approved, and an account in the far area gives."""
    MOVE_WALLET = "move-wallet"
    """A wallet is used in another area, and its money follows."""
    MOVE_ACCOUNT = "move-account"
    """An account moves from the far area to the near one, with its money and with the binding that rests on it."""
    MOVE_LEFT = "move-left"
    """As MOVE_ACCOUNT, and whoever asked goes away: only recovery can finish it."""
    HEAR = "hear"
    """A person is registered elsewhere; the coordinator hears of it."""
    LOSE_STREAM = "lose-stream"
    """NATS loses all its data while the coordinator runs."""
    START_ANEW = "start-anew"
    """The coordinator starts without knowing what the others have said so far."""


@dataclass(frozen=True, slots=True)
class Line:
    """Who dies where and doing what; ``again`` is where the same process dies once more while it recovers."""

    victim: str
    point: str
    act: Act
    again: str


BEFORE: Final = "settlement.sweep.before_commit"
"""Recovery has taken nothing up yet: soon after the start."""
TAKEN: Final = "settlement.sweep.after_commit"
"""Recovery has taken the payment's lease and does no more."""

_COORDINATOR: Final[Mapping[Act, Mapping[str, str]]] = {
    Act.PLAN: {
        "settlement.plan.before_commit": "settlement.plan.after_commit",
        "settlement.plan.after_commit": "settlement.plan.before_commit",
    },
    Act.PAY: {
        "settlement.begin.before_commit": "settlement.begin.after_commit",
        "settlement.begin.after_commit": "settlement.decide.before_commit",
        "settlement.try.before_send": "settlement.decide.before_commit",
        "settlement.try.after_reply": "settlement.decide.after_commit",
        "settlement.decide.before_commit": "settlement.decide.after_commit",
        "settlement.decide.after_commit": TAKEN,
        "settlement.confirm.before_send": TAKEN,
        "settlement.confirm.after_reply": "settlement.confirm.after_reply",
        "settlement.finish.before_commit": "settlement.finish.before_commit",
        "settlement.finish.after_commit": TAKEN,
        "settlement.sweep.before_commit": BEFORE,
        "outbox.publish.before_send": "outbox.publish.before_send",
        "outbox.publish.before_commit": "outbox.publish.before_commit",
        "outbox.publish.after_commit": BEFORE,
    },
    Act.PAY_REFUSED: {
        "settlement.abort.before_commit": "settlement.abort.after_commit",
        "settlement.abort.after_commit": TAKEN,
        "settlement.cancel.before_send": TAKEN,
        "settlement.cancel.after_reply": "settlement.cancel.after_reply",
        "settlement.replan.before_commit": "settlement.replan.before_commit",
        "settlement.replan.after_commit": BEFORE,
    },
    Act.REVOKE: {
        "settlement.refund.before_commit": "settlement.refund.after_commit",
        "settlement.refund.after_commit": TAKEN,
        "settlement.credit.before_send": TAKEN,
        "settlement.credit.after_reply": "settlement.credit.after_reply",
    },
    Act.REVERSE_UNSEEN: {
        "settlement.tombstone.before_commit": "settlement.tombstone.after_commit",
        "settlement.tombstone.after_commit": BEFORE,
    },
    Act.CREDIT: {
        "settlement.account_credit.before_commit": "settlement.account_credit.after_commit",
        "settlement.account_credit.after_commit": "settlement.credit.after_reply",
    },
    Act.FREEZE: {
        "settlement.freeze_request.before_commit": "settlement.freeze_request.after_commit",
        "settlement.freeze.after_reply": "settlement.freeze.after_reply",
        "settlement.freeze_answer.before_commit": "settlement.freeze_answer.before_commit",
        "settlement.freeze_answer.after_commit": "settlement.freeze_sweep.before_commit",
    },
    Act.FREEZE_LEFT: {
        "settlement.freeze_request.after_commit": "settlement.freeze_sweep.after_commit",
        "settlement.freeze.before_send": "settlement.freeze_sweep.after_commit",
    },
    Act.OPEN_WALLET: {
        "settlement.wallet_open.before_commit": "settlement.wallet_open.before_commit",
        "settlement.wallet_open.after_commit": BEFORE,
    },
    Act.TRANSFER: {
        "settlement.transfer.before_commit": "settlement.transfer.after_commit",
        "settlement.transfer.after_commit": "settlement.decide.before_commit",
        "settlement.try.after_reply": "settlement.decide.before_commit",
        "settlement.decide.before_commit": "settlement.decide.after_commit",
        "settlement.decide.after_commit": "settlement.confirm.after_reply",
    },
    Act.PAY_PREMIUM: {
        "settlement.charge.before_commit": "settlement.charge.after_commit",
        "settlement.charge.after_commit": "settlement.decide.before_commit",
        "settlement.try.after_reply": "settlement.decide.before_commit",
        "settlement.decide.before_commit": "settlement.decide.after_commit",
        "settlement.decide.after_commit": "settlement.confirm.after_reply",
    },
    Act.REVOKE_PREMIUM: {
        "settlement.charge_refund.before_commit": "settlement.charge_refund.after_commit",
        "settlement.charge_refund.after_commit": "settlement.credit.after_reply",
        "settlement.credit.before_send": "settlement.credit.after_reply",
    },
    Act.RECONCILE: {
        "settlement.reconcile_rows.before_commit": "settlement.reconcile_rows.after_commit",
        "settlement.reconcile_rows.after_commit": "settlement.reconcile_theirs.before_commit",
        "settlement.reconcile_theirs.before_commit": "settlement.reconcile_theirs.after_commit",
        "settlement.reconcile_theirs.after_commit": "settlement.reconcile_ours.before_commit",
        "settlement.reconcile_ours.before_commit": "settlement.reconcile_ours.after_commit",
        "settlement.reconcile_ours.after_commit": "settlement.reconcile_finish.before_commit",
        "settlement.reconcile_finish.before_commit": "settlement.reconcile_finish.after_commit",
        "settlement.reconcile_finish.after_commit": "settlement.reconcile_finish.before_commit",
    },
    Act.RESOLVE: {
        "settlement.difference.before_commit": "settlement.difference.after_commit",
        "settlement.difference.after_commit": BEFORE,
    },
    Act.DECIDE_CLAIM: {
        "settlement.charge.before_commit": "settlement.charge.after_commit",
        "settlement.charge.after_commit": "settlement.decide.before_commit",
        "settlement.decide.after_commit": "settlement.confirm.after_reply",
    },
    Act.MOVE_WALLET: {
        "settlement.wallet_area.before_commit": "settlement.wallet_area.after_commit",
        "settlement.wallet_area.after_commit": "settlement.wallet_look.before_commit",
        "settlement.wallet_look.after_commit": "settlement.wallet_look.after_commit",
        "settlement.wallet_carry.after_commit": "settlement.decide.after_commit",
        "settlement.transfer.after_commit": "settlement.wallet_look.after_commit",
        "settlement.decide.after_commit": "settlement.wallet_carried.after_commit",
        "settlement.wallet_carried.after_commit": BEFORE,
    },
    Act.MOVE_ACCOUNT: {
        "settlement.ending.before_commit": "settlement.ending.after_commit",
        "settlement.ending.after_commit": "settlement.transfer.after_commit",
        "settlement.transfer.after_commit": "settlement.decide.before_commit",
        "settlement.decide.after_commit": "settlement.ending_step.before_commit",
        "settlement.ending_step.before_commit": "settlement.ending_step.after_commit",
        "settlement.ending_step.after_commit": BEFORE,
        "settlement.ending_sweep.before_commit": "settlement.ending_sweep.before_commit",
    },
    Act.MOVE_LEFT: {
        "settlement.ending.after_commit": "settlement.ending_sweep.after_commit",
        "settlement.transfer.after_commit": "settlement.ending_sweep.after_commit",
        "settlement.ending_step.before_commit": "settlement.ending_sweep.after_commit",
    },
    Act.OVERDUE: {
        "settlement.freeze_sweep.before_commit": "settlement.freeze_sweep.before_commit",
        "bus.answer.before_send": "bus.answer.before_send",
        "bus.answer.after_send": BEFORE,
    },
    Act.HEAR: {
        "inbox.take.before_commit": "inbox.take.before_commit",
        "inbox.take.after_commit": "inbox.take.after_commit",
        "inbox.ack.after_send": BEFORE,
    },
    Act.LOSE_STREAM: {
        "outbox.stream_lost.before_commit": "outbox.stream_lost.after_commit",
        "outbox.stream_lost.after_commit": "outbox.reset.after_commit",
        "outbox.reset.after_commit": "outbox.stream_met.before_commit",
        "outbox.stream_met.before_commit": "outbox.stream_met.after_commit",
        "outbox.stream_met.after_commit": "outbox.publish.before_commit",
    },
    Act.START_ANEW: {
        "settlement.snapshot_part.before_commit": "settlement.snapshot_part.after_commit",
        "settlement.snapshot_part.after_commit": "settlement.snapshot.before_commit",
        "settlement.snapshot.before_commit": "settlement.snapshot.after_commit",
        "settlement.snapshot.after_commit": BEFORE,
    },
}

_LEDGER: Final[Mapping[Act, Mapping[str, str]]] = {
    Act.PAY: {
        "ledger.try.before_commit": "ledger.try.after_commit",
        "ledger.try.after_commit": "ledger.try.before_commit",
        "bus.answer.before_send": "bus.answer.before_send",
        "bus.answer.after_send": "bus.answer.before_send",
        "ledger.confirm.before_commit": "ledger.confirm.after_commit",
        "ledger.confirm.after_commit": "ledger.confirm.before_commit",
        "ledger.seal.before_commit": "ledger.seal.before_commit",
        "ledger.seal.after_commit": "ledger.seal.after_commit",
    },
    Act.PAY_REFUSED: {
        "ledger.cancel.before_commit": "ledger.cancel.after_commit",
        "ledger.cancel.after_commit": "ledger.cancel.before_commit",
    },
    Act.REVOKE: {
        "ledger.credit.before_commit": "ledger.credit.after_commit",
        "ledger.credit.after_commit": "ledger.credit.before_commit",
    },
    Act.FREEZE: {
        "ledger.freeze.before_commit": "ledger.freeze.after_commit",
        "ledger.freeze.after_commit": "ledger.freeze.before_commit",
    },
    Act.OVERDUE: {
        "ledger.inquire.before_commit": "ledger.inquire.before_send",
        "ledger.inquire.before_send": "ledger.inquire.before_commit",
        "ledger.inquire.after_reply": "ledger.confirm.before_commit",
    },
    Act.FAIL: {
        "ledger.quarantine.before_commit": "ledger.quarantine.after_commit",
        "ledger.quarantine.after_commit": "ledger.quarantine.before_commit",
    },
    Act.MENDED: {
        "ledger.quarantine_end.before_commit": "ledger.quarantine_end.before_commit",
        "ledger.quarantine_end.after_commit": "ledger.confirm.after_commit",
    },
    Act.OPEN: {
        "ledger.open_authorisation.before_commit": "ledger.open_authorisation.after_commit",
        "ledger.open_authorisation.after_commit": "ledger.open_authorisation.before_commit",
    },
    Act.AMEND: {
        "ledger.amend_authorisation.before_commit": "ledger.amend_authorisation.after_commit",
        "ledger.amend_authorisation.after_commit": "ledger.amend_authorisation.before_commit",
    },
    Act.CLOSE: {
        "ledger.close_authorisation.before_commit": "ledger.close_authorisation.after_commit",
        "ledger.close_authorisation.after_commit": "ledger.close_authorisation.before_commit",
    },
    Act.MOVE_ACCOUNT: {
        "ledger.try.after_commit": "ledger.try.before_commit",
        "ledger.confirm.before_commit": "ledger.close_account.before_commit",
        "ledger.close_account.before_commit": "ledger.close_account.after_commit",
        "ledger.close_account.after_commit": "ledger.close_authorisation.before_commit",
        "ledger.close_authorisation.before_commit": "ledger.close_authorisation.after_commit",
        "ledger.close_authorisation.after_commit": "ledger.close_authorisation.before_commit",
    },
}


_FAMILY: Final[Mapping[Act, Mapping[str, str]]] = {
    Act.OPEN: {
        "family.bind.before_commit": "family.bind.after_commit",
        "family.bind.after_commit": "family.follow.before_commit",
        "family.follow.before_commit": "family.follow.after_commit",
        "family.follow.after_commit": "outbox.publish.before_commit",
    },
    Act.CLOSE: {
        "family.unbind.before_commit": "family.unbind.after_commit",
        "family.unbind.after_commit": "family.follow.before_commit",
        "family.follow.before_commit": "family.follow.after_commit",
    },
    Act.MOVE_ACCOUNT: {
        "inbox.take.after_commit": "family.judge.before_commit",
        "family.judge.before_commit": "family.follow.before_commit",
        "family.follow.before_commit": "family.follow.after_commit",
        "family.follow.after_commit": "family.follow.before_commit",
    },
}


def _lines() -> Iterator[Line]:
    for victim, acts in ((COORDINATOR, _COORDINATOR), (FAR_LEDGER, _LEDGER), (FAMILY, _FAMILY)):
        for act, points in acts.items():
            for point, again in points.items():
                yield Line(victim, point, act, again)


LINES: Final = tuple(_lines())
