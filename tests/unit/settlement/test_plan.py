"""The stored plan: what a split becomes, and what the cashier consents to."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest

from chassis.files import read_yaml
from kernel.ids import FixmedinsCode, PlanId
from kernel.policy import Part
from ops.scenario import parsed_scenario
from services.settlement.domain.plan import KnownFunder, Plan, PlannedVisit, plan_of
from services.settlement.domain.split import Role, Split, split
from tests.unit.split.contents import SCENARIOS

SKIPPED_FUNDERS: Final = next(file for file in SCENARIOS if file.stem == "08-skipped-funders")


def planned(file: Path) -> tuple[Plan, Split]:
    """The plan of a scenario's visit, and the split it stands for."""
    scenario = parsed_scenario(read_yaml(file).data)
    patient = scenario.visit.patient
    found = split(scenario.visit, scenario.policies)
    visit = PlannedVisit(
        fixmedins_code=FixmedinsCode(f"H{scenario.visit.area}00001"),
        infno="2206",
        mdtrt_id="m1",
        med_type="11",
        psn_no=patient.psn_no,
        psn_name_masked="王*国",
        insutype=patient.insutype,
        insuplc_admdvs=patient.area,
        bill=scenario.visit.bill,
    )
    known = {b.funder.psn_no: KnownFunder("李*", "SPOUSE") for b in scenario.visit.bindings}
    plan = plan_of(
        found,
        plan_id=PlanId(UUID(int=5)),
        visit=visit,
        year=2026,
        patient_version=3,
        own_balance_fen=patient.past_fen + patient.current_fen,
        funders=known,
    )
    return plan, found


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_a_plan_survives_its_storage(file: Path) -> None:
    """Through JSON and back it is the same plan with the same digest."""
    plan, _ = planned(file)
    again = Plan.of_document(json.loads(json.dumps(plan.document())))
    assert (again, again.digest) == (plan, plan.digest)


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda file: file.stem)
def test_legs_and_cash_are_the_personal_burden(file: Path) -> None:
    """Σ legs + cash = psn_part_amt, each role's legs its own figure, and legs are numbered from 1."""
    plan, found = planned(file)
    amounts = plan.amounts
    assert sum(leg.amount_fen for leg in plan.legs) + amounts.psn_cash_pay == amounts.psn_part_amt
    assert [leg.leg_no for leg in plan.legs] == list(range(1, len(plan.legs) + 1))
    by_role = {role: sum(leg.amount_fen for leg in plan.legs if leg.role is role) for role in Role}
    assert by_role == {
        Role.OWN: amounts.own_past_fen + amounts.own_current_fen,
        Role.WALLET: amounts.wallet_pay,
        Role.FUNDER: amounts.acct_mulaid_pay,
        Role.RECEIVER: 0,  # Nobody receives anything by a bill.
        Role.MOVED_TO: 0,
    }
    assert amounts.acct_pay == found.acct_pay


OTHER: Final[dict[str, Any]] = {
    "plan_id": str(UUID(int=6)),
    "authorisation_id": str(UUID(int=7)),
    "role": Role.WALLET.value,
    "floor_parts": [Part.CURRENT.value],
}
"""Another value, where not any text or number will do."""


def with_one_change(document: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401  Whatever JSON holds.
    """(where, the document with that one figure, word or name changed), for all there is in it."""
    places = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in places:
        if key in OTHER:
            changes = [(str(key), OTHER[key])]
        elif isinstance(value, dict | list):
            changes = [(f"{key}.{where}", changed) for where, changed in with_one_change(value)]
        else:
            changes = [(str(key), f"{value}x" if isinstance(value, str) else (value or 0) + 1)]
        for where, changed in changes:
            whole = copy.copy(document)
            whole[key] = changed
            yield where, whole


def test_any_change_is_another_digest() -> None:
    """The digest covers every figure, word and name of plan, visit, bill, legs, funders and those left out."""
    plan, _ = planned(SKIPPED_FUNDERS)
    assert plan.legs
    assert plan.funders
    assert plan.skipped
    digests = {where: Plan.of_document(changed).digest for where, changed in with_one_change(plan.document())}
    digests["nothing"] = plan.digest
    assert len(digests) > 80
    assert len(set(digests.values())) == len(digests)


def test_a_negated_result_is_the_same_with_every_sign_turned() -> None:
    """A revocation's record has the figures of the settlement, each negative."""
    amounts = planned(SCENARIOS[0])[0].amounts
    assert amounts.negated().negated() == amounts
    assert amounts.negated().medfee_sumamt == -amounts.medfee_sumamt
