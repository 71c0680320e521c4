"""Bills of every kind through gRPC alone: paid, looked up, and planned anew when a source has changed."""

from __future__ import annotations

import pytest

from gongji.family.v1 import family_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.client import Care
from kernel.ids import FixmedinsCode
from tests.e2e.asking import get, new_key, refusal, settle
from tests.e2e.town import HAMI, HOSPITAL, INPATIENT, OUTPATIENT, PHARMACY, URUMQI, Town, bill_of, new_resident

KINDS_OF_BILL = (
    (HOSPITAL, OUTPATIENT, Care.OUTPATIENT, pb.INFNO_2207),
    (HOSPITAL, INPATIENT, Care.INPATIENT, pb.INFNO_2304),
    (PHARMACY, OUTPATIENT, Care.PHARMACY, pb.INFNO_2102),
)


@pytest.mark.parametrize(
    ("at", "med_type", "care", "infno"), KINDS_OF_BILL, ids=["outpatient", "inpatient", "pharmacy"]
)
async def test_a_bill_of_each_kind_is_paid_and_revoked(
    town: Town, at: FixmedinsCode, med_type: str, care: Care, infno: pb.Infno.ValueType
) -> None:
    """The bill is paid by own account, two areas and cash under its own transaction number, and wholly revoked."""
    family = await town.couple()
    before = await town.money(family)
    settled = await town.paid(family, 30_000, at=at, med_type=med_type)
    amounts = settled.amounts
    assert (settled.key.infno, settled.med_type, settled.fixmedins_code) == (infno, med_type, at)
    assert (amounts.own_past_fen, amounts.own_current_fen) == (1_000, 2_000)
    assert [(funder.area, funder.past_fen, funder.current_fen) for funder in settled.funders] == [
        (URUMQI, 10_000, 0),
        (HAMI, 0, 10_000),
    ]
    assert (amounts.acct_mulaid_pay, amounts.psn_cash_pay, settled.balc) == (20_000, 7_000, 0)
    await town.at_rest()
    assert await town.money(family) == [(0, 0), (0, 0), (0, 0)]
    revoked = await town.counters[at].terminal.revoke(settled.setl_id, care=care)
    assert isinstance(revoked, pb.Settlement)
    assert revoked.amounts.psn_cash_pay == -7_000
    await town.at_rest()
    assert await town.money(family) == before
    await town.check()


async def test_a_settlement_is_found_by_its_id_and_by_its_msgid(town: Town) -> None:
    """Both ways of asking give the record that was answered; an id or a msgid nobody used is SETTLEMENT_UNKNOWN."""
    family = await town.couple()
    settled = await town.paid(family, 5_000)
    by_id = await town.desks.settlement.GetSettlement(get(setl_id=settled.setl_id))
    by_key = await town.desks.settlement.GetSettlement(get(settled.key))
    assert by_id.settlement == by_key.settlement == settled
    unknown_id = get(setl_id="00000000-0000-7000-8000-000000000000")
    assert (await refusal(town.desks.settlement.GetSettlement(unknown_id))).reason == "SETTLEMENT_UNKNOWN"
    assert (await refusal(town.desks.settlement.GetSettlement(get(new_key())))).reason == "SETTLEMENT_UNKNOWN"
    await town.check()


async def test_a_frozen_funder_brings_a_new_plan_and_the_same_answer_again(town: Town) -> None:
    """Nothing is taken; the new plan leaves the funder out, is the answer to every repetition, and can be paid."""
    family = await town.couple()
    plan = await town.planned(family, 20_000)
    before = await town.money(family)
    await town.freeze(family.funders[1])
    request = settle(plan)
    first = (await town.desks.settlement.Settle(request)).replan
    assert (first.reason, [skipped.reason for skipped in first.plan.skipped]) == ("ACCOUNT_FROZEN", ["FROZEN"])
    assert [funder.psn_no for funder in first.plan.funders] == [family.funders[0].psn_no]
    assert first.plan.amounts.psn_cash_pay == 7_000
    assert (await town.desks.settlement.Settle(request)).replan == first
    found = await town.desks.settlement.GetSettlement(get(request.key))
    assert (found.settlement.state, found.refusal_reason) == (pb.SETTLEMENT_STATE_REFUSED, "ACCOUNT_FROZEN")
    assert found.replan == first
    await town.at_rest()
    assert await town.money(family) == before
    assert [balance.held_fen for balance in await town.balances(family)] == [0, 0, 0]
    paid = (await town.desks.settlement.Settle(settle(first.plan))).settlement
    assert (paid.amounts.acct_mulaid_pay, paid.amounts.psn_cash_pay) == (10_000, 7_000)
    await town.check()


async def test_a_funder_who_spent_his_money_meanwhile_brings_a_new_plan_with_the_rest(town: Town) -> None:
    """The funder's own bill came between: INSUFFICIENT_FUNDS, and the new plan takes what he has left."""
    family = await town.couple()
    funder = family.funders[1]
    plan = await town.planned(family, 20_000)
    own = await town.counters[HOSPITAL].plan(
        patient=funder.psn_no, med_type=OUTPATIENT, bill=bill_of(9_000), mdtrt_id="OWN"
    )
    assert (await town.desks.settlement.Settle(settle(own))).settlement.amounts.own_current_fen == 9_000
    replan = (await town.desks.settlement.Settle(settle(plan))).replan
    assert replan.reason == "INSUFFICIENT_FUNDS"
    assert [funder.past_fen + funder.current_fen for funder in replan.plan.funders] == [10_000, 1_000]
    await town.check()


async def test_unbinding_between_plan_and_payment_brings_a_new_plan_without_that_funder(town: Town) -> None:
    """The authorisation is closed at the ledger at once, whatever settlement has heard so far."""
    family = await town.couple()
    unbound, remaining = family.funders
    plan = await town.planned(family, 20_000)
    await town.desks.family.Unbind(family_pb2.UnbindRequest(binding_id=unbound.binding_id, by_psn_no=unbound.psn_no))
    request = settle(plan)
    replan = (await town.desks.settlement.Settle(request)).replan
    assert replan.reason == "AUTHORISATION_NOT_OPEN"
    assert [funder.psn_no for funder in replan.plan.funders] == [remaining.psn_no]
    paid = (await town.desks.settlement.Settle(settle(replan.plan))).settlement
    assert (paid.amounts.acct_mulaid_pay, paid.amounts.psn_cash_pay) == (10_000, 7_000)
    await town.at_rest()
    assert (await town.money(family))[1] == (10_000, 0)
    await town.told()
    later = await town.planned(family, 1_000)
    assert [(skipped.psn_no, skipped.reason) for skipped in later.skipped] == [(unbound.psn_no, "UNBOUND")]
    await town.check()


async def test_of_two_plans_of_one_patient_one_is_paid(town: Town) -> None:
    """The second plan was made before the first was paid: nothing is taken, and a new plan knows what is left."""
    family = await town.family(new_resident(past_fen=1_000))
    first, second = await town.planned(family, 600), await town.planned(family, 700)
    assert (await town.desks.settlement.Settle(settle(first))).HasField("settlement")
    late = settle(second)
    replan = (await town.desks.settlement.Settle(late)).replan
    assert replan.reason == "PLAN_STALE"
    assert (replan.plan.amounts.own_past_fen, replan.plan.amounts.psn_cash_pay) == (400, 300)
    assert await town.money(family) == [(400, 0)]
    await town.check()
