"""What `restore finish` and `restore decide` do: one item after the other; one that fails leaves the others alone."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from uuid import UUID

from ops.consent import Consent
from ops.restore import evidence
from ops.restore.beginning import FINISH
from ops.restore.comparing import Comparison, Difference, Item, settlement_items
from ops.restore.rebuilding import Rebuilder, rebuilt_first
from ops.sources import CannotMendError, Sources
from services.settlement.saga.restoring import UNCLEAR

DECIDE: Final = "restore decide"
HEALED_BY_FINISH: Final = (
    Difference.LOST_SETTLEMENT,
    Difference.UNDECIDED,
    Difference.LOST_CREDIT,
    Difference.LOST_REFUND,
)


async def heal(sources: Sources, comparison: Comparison, consent: Consent) -> dict[UUID, str]:
    """Carries out what the comparison proves; by payment, what could not be, in words."""
    rebuilder = Rebuilder(sources, consent, FINISH)
    problems: dict[UUID, str] = {}
    for item in sorted(comparison.of(*HEALED_BY_FINISH), key=rebuilt_first):
        try:
            if item.difference in {Difference.LOST_CREDIT, Difference.LOST_REFUND}:
                await rebuilder.booked(item)
            else:
                await rebuilder.settlement(item)
        except CannotMendError as problem:
            problems[item.payment_id] = str(problem)
    return problems


async def unclear_item(sources: Sources, payment_id: UUID, *, restored_areas: Collection[str] = ()) -> Item:
    """A settlement that was put aside, as it stands at its ledgers; CannotMendError if it is none.

    In ``restored_areas`` a branch that is not there proves nothing, as in a comparison.
    """
    payment = await evidence.payment(sources.coordinator, payment_id)
    if payment is None or payment.state != "TRYING" or payment.quarantine != UNCLEAR:
        raise CannotMendError(f"payment {payment_id} was not put aside by a restore: there is nothing to decide")
    branches: dict[str, evidence.BranchSeen] = {}
    for area in payment.areas:
        if area not in sources.ledgers:
            raise CannotMendError(f"ledger {area} is not among those given, and the payment has a part there")
        if seen := await evidence.branches(sources.ledgers[area], [payment_id]):
            branches[area] = seen[payment_id]
    return settlement_items(payment, branches, restored_areas)[0]


async def decide(sources: Sources, item: Item, consent: Consent, *, commit: bool) -> None:
    """What the person has found out, as the one decision; the coordinator then tells the ledgers."""
    await Rebuilder(sources, consent, DECIDE).decide(item, commit=commit)
