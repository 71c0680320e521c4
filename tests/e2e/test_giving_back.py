"""Revocation and reversal, whole and through gRPC alone: where the money goes back to, and what may not be repeated."""

from __future__ import annotations

import pytest

from gongji.family.v1 import family_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from kernel.failures import Kind
from tests.e2e.asking import get, new_key, refusal, reverse, revoke, settle
from tests.e2e.town import HAMI, HOSPITAL, OTHER_HOSPITAL, URUMQI, Family, Town, new_resident


@pytest.fixture
async def family(town: Town) -> Family:
    """A patient and a funder in each area, each authorised for exactly what a first bill of 200.00 takes."""
    return await town.family(
        new_resident(past_fen=1_000, current_fen=2_000),
        new_resident(URUMQI, past_fen=6_000, current_fen=4_000),
        new_resident(HAMI, current_fen=10_000),
        authorised_fen=10_000,
    )


async def test_revoking_returns_every_fen_to_the_part_it_came_from(town: Town, family: Family) -> None:
    """After a revocation every account has its first balance in each part, and so have the authorised amounts."""
    before = await town.money(family)
    settled = await town.paid(family, 20_000)
    assert await town.money(family) == [(0, 0), (0, 0), (0, 3_000)]
    answer = await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))
    revoked = answer.revocation
    await town.at_rest()
    assert await town.money(family) == before
    assert revoked.original_setl_id == settled.setl_id
    assert [(funder.past_fen, funder.current_fen) for funder in revoked.funders] == [(-6_000, -4_000), (0, -7_000)]
    assert revoked.amounts.medfee_sumamt == -settled.amounts.medfee_sumamt
    assert (revoked.amounts.own_past_fen, revoked.amounts.own_current_fen) == (-1_000, -2_000)
    # The first funder gives all he authorised once more, so nothing of it counts as used.
    again = await town.paid(family, 20_000)
    assert [funder.past_fen + funder.current_fen for funder in again.funders] == [10_000, 7_000]
    await town.check()


async def test_a_revocation_sent_again_is_answered_again_and_another_is_refused(town: Town, family: Family) -> None:
    """The same key gives the same record; a second revocation of the settlement is ALREADY_REVOKED and names it."""
    settled = await town.paid(family, 5_000)
    request = revoke(settled.setl_id)
    first = (await town.desks.settlement.RevokeSettle(request)).revocation
    assert (await town.desks.settlement.RevokeSettle(request)).revocation == first
    refused = await refusal(town.desks.settlement.RevokeSettle(revoke(settled.setl_id)))
    assert (refused.kind, refused.reason, refused.metadata["setl_id"]) == (
        Kind.PRECONDITION,
        "ALREADY_REVOKED",
        first.setl_id,
    )
    found = await town.desks.settlement.GetSettlement(get(setl_id=settled.setl_id))
    assert found.settlement.state == pb.SETTLEMENT_STATE_REVOKED
    await town.check()


async def test_an_institution_revokes_its_own_settlements_only(town: Town, family: Family) -> None:
    """To every other institution the settlement is unknown, by its id as by its key."""
    settled = await town.paid(family, 5_000)
    elsewhere = new_key("2208", at=OTHER_HOSPITAL)
    assert (
        await refusal(town.desks.settlement.RevokeSettle(revoke(settled.setl_id, elsewhere)))
    ).reason == "SETTLEMENT_UNKNOWN"
    by_id = get(setl_id=settled.setl_id, at=OTHER_HOSPITAL)
    assert (await refusal(town.desks.settlement.GetSettlement(by_id))).reason == "SETTLEMENT_UNKNOWN"
    by_key = get(settled.key, at=OTHER_HOSPITAL)
    assert (await refusal(town.desks.settlement.GetSettlement(by_key))).reason == "SETTLEMENT_UNKNOWN"
    found = await town.desks.settlement.GetSettlement(get(setl_id=settled.setl_id, at=HOSPITAL))
    assert found.settlement.state == pb.SETTLEMENT_STATE_SETTLED
    await town.check()


async def test_an_outpatient_bill_is_not_revoked_as_an_inpatient_one(town: Town, family: Family) -> None:
    """2305 does not take back what 2207 paid."""
    settled = await town.paid(family, 5_000)
    wrong = revoke(settled.setl_id, new_key("2305"))
    assert (await refusal(town.desks.settlement.RevokeSettle(wrong))).reason == "INFNO_DOES_NOT_FIT"
    await town.check()


async def test_reversing_a_paid_bill_returns_it_once(town: Town, family: Family) -> None:
    """2601 of a paid request gives the money back under one refund, however often it is sent."""
    before = await town.money(family)
    settled = await town.paid(family, 20_000)
    first = await town.desks.settlement.ReverseTransaction(reverse(settled.key))
    again = await town.desks.settlement.ReverseTransaction(reverse(settled.key))
    assert first.state == again.state == pb.SETTLEMENT_STATE_REVERSED
    assert first.refund == again.refund
    assert first.refund.original_setl_id == settled.setl_id
    await town.at_rest()
    assert await town.money(family) == before
    found = await town.desks.settlement.GetSettlement(get(settled.key))
    assert found.settlement.state == pb.SETTLEMENT_STATE_REVERSED
    refused = await refusal(town.desks.settlement.RevokeSettle(revoke(settled.setl_id)))
    assert refused.reason == "ALREADY_REVOKED"
    await town.check()


async def test_reversing_what_was_revoked_tells_of_the_revocation(town: Town, family: Family) -> None:
    """2601 after 2208 is answered REVERSED with the revocation's record, and returns nothing a second time."""
    before = await town.money(family)
    settled = await town.paid(family, 20_000)
    revoked = (await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))).revocation
    answer = await town.desks.settlement.ReverseTransaction(reverse(settled.key))
    assert (answer.state, answer.refund.setl_id) == (pb.SETTLEMENT_STATE_REVERSED, revoked.setl_id)
    await town.at_rest()
    assert await town.money(family) == before
    await town.check()


async def test_a_revocation_that_was_made_stands(town: Town, family: Family) -> None:
    """2601 of a revocation that was made is REVOCATION_STANDS."""
    settled = await town.paid(family, 5_000)
    revoked = (await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))).revocation
    refused = await refusal(town.desks.settlement.ReverseTransaction(reverse(revoked.key)))
    assert (refused.kind, refused.reason) == (Kind.PRECONDITION, "REVOCATION_STANDS")
    await town.check()


async def test_a_revocation_reversed_before_it_arrives_never_happens(town: Town, family: Family) -> None:
    """A late 2208 whose key was reversed is PAYMENT_REVERSED, and the settlement stays paid."""
    settled = await town.paid(family, 5_000)
    left = await town.money(family)
    late = revoke(settled.setl_id)
    answer = await town.desks.settlement.ReverseTransaction(reverse(late.key))
    assert (answer.state, answer.HasField("refund")) == (pb.SETTLEMENT_STATE_REVERSED, False)
    assert (await refusal(town.desks.settlement.RevokeSettle(late))).reason == "PAYMENT_REVERSED"
    found = await town.desks.settlement.GetSettlement(get(settled.key))
    assert found.settlement.state == pb.SETTLEMENT_STATE_SETTLED
    assert await town.money(family) == left
    await town.check()


async def test_a_plan_made_before_a_revocation_is_stale(town: Town, family: Family) -> None:
    """A refund comes between plan and payment: a new plan by the money that is back, paid under a new msgid."""
    settled = await town.paid(family, 3_000)
    plan = await town.planned(family, 2_000)
    await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))
    request = settle(plan)
    replan = (await town.desks.settlement.Settle(request)).replan
    assert (replan.reason, replan.plan.amounts.acct_mulaid_pay) == ("PLAN_STALE", 0)
    same_key = settle(replan.plan, request.key)
    assert (await refusal(town.desks.settlement.Settle(same_key))).reason == "KEY_REUSED_WITH_OTHER_CONTENT"
    assert (await town.desks.settlement.Settle(settle(replan.plan))).HasField("settlement")
    await town.check()


async def test_money_goes_back_to_a_funder_who_was_unbound_and_one_who_was_frozen(town: Town, family: Family) -> None:
    """Neither the end of a binding nor a freeze keeps a funder's money from coming back."""
    before = await town.money(family)
    settled = await town.paid(family, 20_000)
    unbound, frozen = family.funders
    await town.at_rest()
    await town.desks.family.Unbind(
        family_pb2.UnbindRequest(binding_id=unbound.binding_id, by_psn_no=family.patient.psn_no)
    )
    await town.freeze(frozen)
    await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))
    await town.at_rest()
    assert await town.money(family) == before
    await town.check()
