"""The stored plan: what a split becomes, and what the cashier consents to."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from uuid import UUID

import pytest

from chassis.files import read_yaml
from kernel.ids import FixmedinsCode, PlanId
from ops.scenario import parsed_scenario
from services.settlement.domain.plan import KnownFunder, Plan, PlannedVisit, ResultAmounts, plan_of
from services.settlement.domain.split import Role, Split, split
from tests.unit.split.contents import SCENARIOS


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
    }
    assert amounts.acct_pay == found.acct_pay


def test_any_changed_figure_is_another_digest() -> None:
    """The digest covers plan, visit, versions, every amount, every leg and every name that was shown."""
    plan, _ = planned(SCENARIOS[2])
    others = [
        replace(plan, plan_id=PlanId(UUID(int=6))),
        replace(plan, patient_version=4),
        replace(plan, policy_version="other"),
        replace(plan, year=2027),
        replace(plan, visit=replace(plan.visit, mdtrt_id="m2")),
        replace(plan, legs=(replace(plan.legs[0], past_fen=plan.legs[0].past_fen + 1), *plan.legs[1:])),
        replace(plan, funders=(replace(plan.funders[0], relation="CHILD"), *plan.funders[1:])),
        *(
            replace(plan, amounts=replace(plan.amounts, **{field.name: getattr(plan.amounts, field.name) + 1}))
            for field in fields(ResultAmounts)
        ),
    ]
    digests = {other.digest for other in others}
    assert len(digests) == len(others)
    assert plan.digest not in digests


def test_a_negated_result_is_the_same_with_every_sign_turned() -> None:
    """A revocation's record has the figures of the settlement, each negative."""
    amounts = planned(SCENARIOS[0])[0].amounts
    assert amounts.negated().negated() == amounts
    assert amounts.negated().medfee_sumamt == -amounts.medfee_sumamt
