"""The comparison of coordinator and ledgers: what each knows that the other does not, and what follows from it.

It writes nothing and may be run at any time; what it finds while payments are in flight may be only that.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from uuid import UUID

from ops.restore import evidence
from ops.restore.evidence import BranchSeen, CreditSeen, PaymentSeen
from ops.sources import Sources
from services.settlement.saga.restoring import UNCLEAR, Found, Verdict, verdict_of
from services.settlement.wire.origin import Origin


class Difference(Enum):
    """What is not as it should be; the comment says which command heals it."""

    LOST_SETTLEMENT = "LOST_SETTLEMENT"  # Ledgers know it, the coordinator does not: finish.
    LOST_REFUND = "LOST_REFUND"  # As above: finish, so that nothing is given back twice.
    LOST_CREDIT = "LOST_CREDIT"  # As above: finish, so that nothing is credited twice.
    UNDECIDED = "UNDECIDED"  # The coordinator has it as TRYING, perhaps from before a lost decision: finish.
    UNCLEAR = "UNCLEAR"  # Put aside by a finish: decide.
    MISSING_CHARGE = "MISSING_CHARGE"  # Committed, but a ledger has not booked it: replay.
    MISSING_CREDIT = "MISSING_CREDIT"  # A credit or refund that its ledger does not have: replay.
    NO_ORIGIN = "NO_ORIGIN"  # Nothing tells which request it was: a person.
    CONTRADICTION = "CONTRADICTION"  # Paid here and given up there: a person.


ACT: Final = {
    Difference.LOST_SETTLEMENT: "gongji restore finish",
    Difference.LOST_REFUND: "gongji restore finish",
    Difference.LOST_CREDIT: "gongji restore finish",
    Difference.UNDECIDED: "gongji restore finish",
    Difference.UNCLEAR: "gongji restore decide ID commit|abort, by the terminal's record",
    Difference.MISSING_CHARGE: "gongji restore replay AREA",
    Difference.MISSING_CREDIT: "gongji restore replay AREA",
    Difference.NO_ORIGIN: "a person, with the engineers: the ledger's memo names institution and payment",
    Difference.CONTRADICTION: "a person, with the engineers: nothing is changed by a program",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One difference: how the coordinator has it, where it stands at its ledgers, and what would be done."""

    difference: Difference
    payment_id: UUID
    stored: str  # The coordinator's state; empty if it does not know the payment.
    found: dict[str, str]
    amount_fen: int
    key: str
    would: str
    verdict: Verdict | None = None
    branches: dict[str, BranchSeen] = field(default_factory=dict)
    credits: dict[str, CreditSeen] = field(default_factory=dict)
    origin: Origin | None = None

    def as_json(self) -> dict[str, object]:
        """For machines; amounts in fen."""
        return {
            "difference": self.difference.value,
            "payment_id": str(self.payment_id),
            "key": self.key,
            "coordinator": self.stored,
            "ledgers": self.found,
            "amount_fen": self.amount_fen,
            "would": self.would,
            "heals": ACT[self.difference],
        }


@dataclass
class Comparison:
    """All differences of one reading."""

    items: list[Item] = field(default_factory=list)
    compared: int = 0

    def of(self, *differences: Difference) -> list[Item]:
        """Those of these kinds, in the order in which they were found."""
        return [item for item in self.items if item.difference in differences]

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {"compared": self.compared, "differences": [item.as_json() for item in self.items]}


WOULD: Final = {
    Verdict.COMMIT: "COMMITTED: a ledger has confirmed it; the others get CONFIRM",
    Verdict.ABORT: "ABORTED: a ledger never held it or has let go, so nobody was told OK",
    Verdict.UNCLEAR: "put aside for a person: held everywhere, its terminal may have been told OK",
    Verdict.CONTRADICTION: "nothing",
}


async def compare(sources: Sources, *, restored_areas: Collection[str] = ()) -> Comparison:
    """Everything the coordinator knows against the ledgers, then everything the ledgers know against the coordinator.

    In ``restored_areas`` a branch that is not there proves nothing: that ledger has lost some as well.
    """
    comparison = Comparison()
    async for part in evidence.payments(sources.coordinator):
        comparison.compared += len(part)
        await _compare_known(sources, part, restored_areas, comparison)
    await _compare_unknown_settlements(sources, restored_areas, comparison)
    await _compare_unknown_credits(sources, comparison)
    return comparison


async def _compare_known(
    sources: Sources, part: Sequence[PaymentSeen], restored_areas: Collection[str], comparison: Comparison
) -> None:
    seen: dict[str, dict[UUID, BranchSeen]] = {}
    booked: dict[str, dict[UUID, CreditSeen]] = {}
    for area, ledger in sources.ledgers.items():
        here = [payment for payment in part if area in payment.areas]
        holding = [payment.payment_id for payment in here if payment.kind in {"SETTLE", "TRANSFER", "CHARGE"}]
        seen[area] = await evidence.branches(ledger, holding)
        crediting = [payment.payment_id for payment in here if payment.kind in {"REFUND", "CREDIT"}]
        booked[area] = await evidence.credits_of(ledger, crediting)
    for payment in part:
        if missing := [area for area in payment.areas if area not in sources.ledgers]:
            comparison.items.append(_item(Difference.CONTRADICTION, payment, dict.fromkeys(missing, "NOT READ")))
        elif payment.kind in {"REFUND", "CREDIT"}:
            found = {area: "BOOKED" if payment.payment_id in booked[area] else "NONE" for area in payment.areas}
            if payment.state == "DONE" and "NONE" in found.values():
                comparison.items.append(_item(Difference.MISSING_CREDIT, payment, found))
        else:
            here_seen = {
                area: branch for area in payment.areas if (branch := seen[area].get(payment.payment_id)) is not None
            }
            comparison.items += settlement_items(payment, here_seen, restored_areas)


def settlement_items(
    payment: PaymentSeen, branches: dict[str, BranchSeen], restored_areas: Collection[str]
) -> list[Item]:
    """What is to be said of a settlement that the coordinator knows: one difference or none."""
    found = _found(payment.areas, branches, restored_areas)
    states = {area: state.value for area, state in found.items()}
    match payment.state:
        case "TRYING":
            verdict = verdict_of(found.values())
            put_aside = payment.quarantine == UNCLEAR and verdict is Verdict.UNCLEAR
            difference = Difference.UNCLEAR if put_aside else Difference.UNDECIDED
            if verdict is Verdict.CONTRADICTION:
                difference = Difference.CONTRADICTION
            return [_item(difference, payment, states, verdict, branches)]
        case "COMMITTED" | "DONE":
            if any(state in {Found.REFUSED, Found.BLOCKED, Found.CANCELLED} for state in found.values()):
                return [_item(Difference.CONTRADICTION, payment, states)]
            missing = {Found.NONE, Found.LOST} | ({Found.HELD} if payment.state == "DONE" else set())
            if any(state in missing for state in found.values()):
                return [_item(Difference.MISSING_CHARGE, payment, states, branches=branches)]
        case _:  # ABORTED, CLOSED: a hold that is left is asked about and released by itself.
            if Found.CONFIRMED in found.values():
                return [_item(Difference.CONTRADICTION, payment, states)]
    return []


def _found(areas: Sequence[str], branches: dict[str, BranchSeen], restored_areas: Collection[str]) -> dict[str, Found]:
    return {
        area: Found(branches[area].state) if area in branches else Found.LOST if area in restored_areas else Found.NONE
        for area in areas
    }


def _item(
    difference: Difference,
    payment: PaymentSeen,
    found: dict[str, str],
    verdict: Verdict | None = None,
    branches: dict[str, BranchSeen] | None = None,
) -> Item:
    would = {
        Difference.MISSING_CHARGE: "booked again from the coordinator's row",
        Difference.MISSING_CREDIT: "booked again from the coordinator's row",
    }.get(difference, "nothing" if verdict is None else WOULD[verdict])
    return Item(
        difference, payment.payment_id, payment.state, found, payment.amount_fen, payment.key, would, verdict,
        branches or {},
    )  # fmt: skip


async def _compare_unknown_settlements(
    sources: Sources, restored_areas: Collection[str], comparison: Comparison
) -> None:
    ids: set[UUID] = set()
    for ledger in sources.ledgers.values():
        ids.update(await evidence.unknown_branches(sources.coordinator, ledger))
    seen = {area: await evidence.branches(ledger, ids) for area, ledger in sources.ledgers.items()}
    for payment_id in sorted(ids):
        branches = {area: here[payment_id] for area, here in seen.items() if payment_id in here}
        comparison.compared += 1
        if any(branch.origin or branch.state in {"HELD", "CONFIRMED"} for branch in branches.values()):
            comparison.items.append(_lost(payment_id, branches, restored_areas, read=sources.ledgers.keys()))
        # Else a CANCEL came before any TRY: no money, and a request so old cannot start again.


def _lost(
    payment_id: UUID, branches: dict[str, BranchSeen], restored_areas: Collection[str], *, read: Collection[str]
) -> Item:
    """A settlement that only ledgers know; of several origins the one with the plan says most.

    A part at a ledger that was not ``read`` may be confirmed there: then nothing is proved.
    """
    origins = [branch.origin for branch in branches.values() if branch.origin is not None]
    origin = next((one for one in origins if one.plan is not None), origins[0] if origins else None)
    states = {area: branch.state for area, branch in branches.items()}
    if origin is None:
        amount_fen = sum(branch.amount_fen for branch in branches.values())
        return Item(Difference.NO_ORIGIN, payment_id, "", states, amount_fen, "", "nothing")
    found = _found(origin.areas, branches, restored_areas)
    missing = [area for area in origin.areas if area not in read]
    verdict = Verdict.CONTRADICTION if missing else verdict_of(found.values())
    return Item(
        difference=Difference.CONTRADICTION if verdict is Verdict.CONTRADICTION else Difference.LOST_SETTLEMENT,
        payment_id=payment_id,
        stored="",
        found={area: state.value for area, state in found.items()} | dict.fromkeys(missing, "NOT READ"),
        amount_fen=sum(leg.amount_fen for leg in origin.legs),
        key="/".join(origin.key),
        would=WOULD[verdict],
        verdict=verdict,
        branches=branches,
        origin=origin,
    )


async def _compare_unknown_credits(sources: Sources, comparison: Comparison) -> None:
    ids: set[UUID] = set()
    for ledger in sources.ledgers.values():
        ids.update(await evidence.unknown_credits(sources.coordinator, ledger))
    seen = {area: await evidence.credits_of(ledger, ids) for area, ledger in sources.ledgers.items()}
    for credit_id in sorted(ids):
        credits_ = {area: here[credit_id] for area, here in seen.items() if credit_id in here}
        origin = next((one.origin for one in credits_.values() if one.origin is not None), None)
        first = next(iter(credits_.values()))
        kind = Difference.LOST_REFUND if first.purpose == "REFUND" else Difference.LOST_CREDIT
        comparison.items.append(
            Item(
                difference=kind if origin is not None else Difference.NO_ORIGIN,
                payment_id=credit_id,
                stored="",
                found=dict.fromkeys(credits_, "BOOKED"),
                amount_fen=sum(one.amount_fen for one in credits_.values()),
                key="" if origin is None else "/".join(origin.key),
                would="nothing" if origin is None else "its row made anew; ledgers without it get CREDIT",
                credits=credits_,
                origin=origin,
            )
        )
        comparison.compared += 1
