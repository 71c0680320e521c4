"""A settlement's plan derived anew from the inputs kept beside it, and compared with what was charged. Reads only.

It goes through the same pure ``split`` as the desk and `gongji plan`, by the policy values that were kept, not by the
files of today. A release whose ``split`` decides otherwise than the one that settled shows up here as a difference.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from uuid import UUID

from kernel.failures import Failure
from kernel.policy import OpenBenefit
from ops.payments.databases import COORDINATOR, Databases, Row
from ops.payments.story import UnknownPaymentError, find_payment
from services.settlement.domain.plan import KnownFunder, Plan, canonical, digest_of, plan_of
from services.settlement.domain.plan_inputs import digest_of_inputs, policies_in, visit_in
from services.settlement.domain.split import Split, Visit, open_benefit, split

_PLAN: Final = "SELECT document, digest, inputs FROM plans WHERE plan_id = $1"
_REFUND: Final = "SELECT payment_id FROM payments WHERE original_id = $1"
_STRANGER: Final = KnownFunder("", "")


class NotExplainedError(Exception):
    """There is nothing to derive it from."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the derived plan is not the stored one; ``stored`` is None where it has no such field."""

    field: str
    stored: object
    derived: object


@dataclass(frozen=True, slots=True)
class Derived:
    """What the inputs give: the visit, what was open of the year, and who pays what."""

    visit: Visit
    benefit: OpenBenefit | None
    """None where the request gave the pooled part."""
    split: Split


@dataclass(frozen=True, slots=True)
class Explanation:
    """One settlement, its inputs, what they give, and whether that is what was charged."""

    setl_id: UUID
    state: str
    refund_id: UUID | None
    plan: Plan
    inputs: Mapping[str, Any]
    derived: Derived | None
    """None where the inputs cannot be computed by any more; a difference says why."""
    differences: tuple[Difference, ...] = field(default=())

    @property
    def agrees(self) -> bool:
        """Whether each fen that was charged is what the inputs give."""
        return not self.differences

    def as_json(self) -> dict[str, object]:
        """For machines; amounts in fen."""
        return {
            "setl_id": str(self.setl_id),
            "state": self.state,
            "refunded_by": None if self.refund_id is None else str(self.refund_id),
            "agrees": self.agrees,
            "differences": [
                {"field": one.field, "stored": one.stored, "derived": one.derived} for one in self.differences
            ],
            "policy_version": self.plan.policy_version,
            **({} if self.derived is None else _in_figures(self.derived)),
            "inputs": self.inputs,
        }


async def explained(databases: Databases, name: str) -> Explanation:
    """The explanation of a settlement; of a refund, that of what it gives back.

    UnknownPaymentError if nobody knows it; NotExplainedError if it has no plan, or one whose inputs were not kept.
    """
    payment_id, row = await find_payment(databases, name)
    if row is None:
        raise UnknownPaymentError(f"the coordinator does not know {payment_id}")
    if row["original_id"] is not None:
        payment_id, row = await find_payment(databases, str(row["original_id"]))
    if row is None or row["plan_id"] is None:
        raise NotExplainedError(f"{payment_id} is not a settlement: no bill was split for it")
    stored = (await databases.rows(COORDINATOR, _PLAN, row["plan_id"]))[0]
    if stored["inputs"] is None:
        raise NotExplainedError(
            f"the inputs of {payment_id} were not kept: it was planned by an older release, or its row was made anew "
            "by a restore"
        )
    refunds = await databases.rows(COORDINATOR, _REFUND, payment_id)
    document, inputs = json.loads(stored["document"]), json.loads(stored["inputs"])
    plan = Plan.of_document(document)
    derived: Derived | None = None
    try:
        derived = derive(inputs)
        differences = [
            *_kept(stored, document, plan, inputs),
            *_compared(plan, derived, inputs),
            *_charged(row, document),
        ]
    except Failure as refusal:
        differences = [Difference("inputs", "a plan", f"refused: {refusal.reason} {dict(refusal.metadata)}")]
    return Explanation(
        setl_id=payment_id,
        state=row["state"],
        refund_id=refunds[0]["payment_id"] if refunds else None,
        plan=plan,
        inputs=inputs,
        derived=derived,
        differences=tuple(differences),
    )


def derive(inputs: Mapping[str, Any]) -> Derived:
    """Who pays what by these inputs; the refusals of ``split``."""
    visit, policies = visit_in(inputs), policies_in(inputs)
    benefit = open_benefit(visit, policies.for_area(visit.patient.area))
    return Derived(visit, benefit if isinstance(benefit, OpenBenefit) else None, split(visit, policies))


def _kept(stored: Row, document: Mapping[str, Any], plan: Plan, inputs: Mapping[str, Any]) -> Iterator[Difference]:
    """Whether both are those that were written: the plan's digest was consented to, and it names the inputs'."""
    if (digest := digest_of(document)) != stored["digest"]:
        yield Difference("plan.digest", stored["digest"].hex(), digest.hex())
    if (digest_text := digest_of_inputs(canonical(inputs))) != plan.inputs_digest:
        yield Difference("plan.inputs_digest", plan.inputs_digest, digest_text)


def _compared(plan: Plan, derived: Derived, inputs: Mapping[str, Any]) -> Iterator[Difference]:
    """The stored plan against the one that the inputs give, field by field."""
    shown = {each.psn_no: KnownFunder(each.name_masked, each.relation) for each in plan.funders}
    shown |= {each.psn_no: KnownFunder(each.name_masked, "") for each in plan.skipped}
    visit, case = derived.visit, derived.visit.case
    again = plan_of(
        derived.split,
        plan_id=plan.plan_id,
        visit=plan.visit,
        year=plan.year,
        patient_version=plan.patient_version,
        own_balance_fen=None if plan.own_balance_fen is None else visit.patient.past_fen + visit.patient.current_fen,
        funders={each.funder.psn_no: shown.get(each.funder.psn_no, _STRANGER) for each in visit.bindings},
        pool="" if case is None else case.pool,
        inputs_digest=plan.inputs_digest,
    )
    again = replace(  # All that is computed; the rest of the plan is what the terminal stated.
        plan,
        visit=replace(plan.visit, bill=visit.bill, psn_no=visit.patient.psn_no, insuplc_admdvs=visit.patient.area),
        policy_version=inputs["policy_version"],
        own_balance_fen=again.own_balance_fen,
        amounts=again.amounts,
        legs=again.legs,
        funders=again.funders,
        skipped=again.skipped,
        pool=again.pool,
    )
    yield from _different("plan", plan.document(), again.document())


def _charged(row: Row, document: Mapping[str, Any]) -> Iterator[Difference]:
    """The payment's legs against the plan's."""
    legs = json.loads(row["legs"])
    yield from _different("payment.legs", legs, document["legs"])
    planned_fen = sum(leg["past_fen"] + leg["current_fen"] for leg in document["legs"])
    if row["amount_fen"] != planned_fen:
        yield Difference("payment.amount_fen", row["amount_fen"], planned_fen)


def _different(path: str, stored: object, derived: object) -> Iterator[Difference]:
    """Every leaf that is not the same, in the order of the derived one."""
    if isinstance(stored, Mapping) and isinstance(derived, Mapping):
        for key in dict.fromkeys((*derived, *stored)):
            yield from _different(f"{path}.{key}", stored.get(key), derived.get(key))
    elif isinstance(stored, list | tuple) and isinstance(derived, list | tuple) and len(stored) == len(derived):
        for place, (one, other) in enumerate(zip(stored, derived, strict=True)):
            yield from _different(f"{path}[{place}]", one, other)
    elif stored != derived:
        yield Difference(path, stored, derived)


def _in_figures(derived: Derived) -> dict[str, object]:
    """What was computed, in fen."""
    result, burden = derived.split, derived.split.burden
    benefit = derived.benefit
    return {
        "benefit": {
            "computed_by": "request" if benefit is None else "table",
            "act_pay_dedc": burden.act_pay_dedc,
            "hifp_pay": burden.hifp_pay,
            "hifob_pay": burden.hifob_pay,
            "hifmi_pay": burden.hifmi_pay,
        },
        "burden": {kind.value: fen for kind, fen in burden.by_kind.items()},
        "sources": [
            {
                "role": source.role.value,
                "psn_no": source.psn_no,
                "area": source.area,
                "past_fen": source.past_fen,
                "current_fen": source.current_fen,
                "by_kind": {kind.value: fen for kind, fen in source.by_kind.items() if fen},
            }
            for source in result.contributions
        ],
        "skipped": [{"psn_no": each.psn_no, "reason": each.reason.value} for each in result.skipped],
        "cash": {kind.value: fen for kind, fen in result.cash_by_kind.items()},
    }
