"""A source that changed between plan and payment: refused whole, the plan that is possible now in the answer."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import account_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.msgid import next_msgid
from kernel.ids import FixmedinsCode
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk.town import HAMI, HOSPITAL, URUMQI, Town

CALL_S = 60.0
NUMBER = 93
"""Stands in the msgids made here; no other terminal of these tests has it."""
_last: list[str] = []


def key(infno: int = pb.INFNO_2207) -> pb.RequestKey:
    """One that nobody has used."""
    last = _last[-1] if _last else None
    _last.append(next_msgid(FixmedinsCode(HOSPITAL), NUMBER, now=datetime.now(UTC), last=last))
    return pb.RequestKey(fixmedins_code=HOSPITAL, infno=infno, msgid=_last[-1])  # type: ignore[arg-type]  # A number.


def paying(plan: pb.Plan) -> pb.SettleRequest:
    """Pay exactly this plan, under a new key."""
    return pb.SettleRequest(key=key(), plan_id=plan.plan_id, plan_digest=plan.digest)


async def planned(town: Town, patient: str, total_fen: int) -> pb.Plan:
    """A plan of the hospital's."""
    answer: pb.PreSettleResponse = await town.desk.PreSettle(town.presented(patient, total_fen), timeout=CALL_S)
    return answer.plan


async def pair(town: Town) -> tuple[str, str]:
    """A patient without money and a funder in Hami with 50.00: (patient, funder)."""
    patient, funder = await town.person(), await town.person(HAMI, past=5_000)
    await town.bind(funder, patient, HAMI, order=1, authorised_fen=4_000, per_payment_fen=3_000)
    return patient, funder


async def test_a_plan_that_another_payment_made_stale_brings_a_new_one(town: Town) -> None:
    """The answer is stored under its key: again the same bytes, found by the key, and never paid by it."""
    patient = await town.person(past=1_000)
    first, second = [await planned(town, patient, total_fen) for total_fen in (300, 900)]
    assert (await town.desk.Settle(paying(first), timeout=CALL_S)).HasField("settlement")
    late = paying(second)
    answers = await asyncio.gather(*(town.desk.Settle(late, timeout=CALL_S) for _ in range(5)))
    assert {answer.SerializeToString(deterministic=True) for answer in answers} == {
        answers[0].SerializeToString(deterministic=True)
    }
    replan = answers[0].replan
    assert (replan.reason, replan.plan.amounts.own_past_fen, replan.plan.amounts.psn_cash_pay) == (
        "PLAN_STALE",
        700,
        200,
    )
    found = await town.desk.GetSettlement(
        pb.GetSettlementRequest(fixmedins_code=HOSPITAL, key=late.key), timeout=CALL_S
    )
    assert (found.settlement.state, found.refusal_reason) == (pb.SETTLEMENT_STATE_REFUSED, "PLAN_STALE")
    assert found.replan == replan
    consent = pb.SettleRequest(key=late.key, plan_id=replan.plan.plan_id, plan_digest=replan.plan.digest)
    assert await town.refused(town.desk.Settle(consent, timeout=CALL_S)) == "KEY_REUSED_WITH_OTHER_CONTENT"
    assert (await town.desk.Settle(paying(replan.plan), timeout=CALL_S)).settlement.amounts == replan.plan.amounts
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (0, 0)


async def test_a_stale_plan_stays_refused_when_what_stood_against_it_is_over(town: Town) -> None:
    """The funder's sanction is lifted: the request that was told another plan is not paid by a late copy."""
    patient, funder = await pair(town)
    plan = await planned(town, patient, 2_000)
    now = datetime.now(UTC)
    sanctioned = said.person(
        funder, ("310", HAMI, "1"), version=2, sanctions=[(now - timedelta(hours=1), now + timedelta(days=90))]
    )
    await town.tell(sanctioned)
    request = paying(plan)
    told = await town.desk.Settle(request, timeout=CALL_S)
    assert [(one.psn_no, one.reason) for one in told.replan.plan.skipped] == [(funder, "SANCTIONED")]
    await town.tell(said.person(funder, ("310", HAMI, "1"), version=3))
    assert await town.desk.Settle(request, timeout=CALL_S) == told
    assert (await town.desk.Settle(paying(plan), timeout=CALL_S)).HasField("settlement")
    await town.settled_down()
    assert await town.balance(funder, HAMI) == (3_000, 0)


async def test_a_plan_is_paid_once_and_payable_again_once_it_was_given_back(town: Town) -> None:
    """Under a second msgid it is PLAN_PAID, and nothing is stored; after a reversal it is planned anew."""
    patient = await town.person(past=1_000)
    request = paying(await planned(town, patient, 400))
    settled = (await town.desk.Settle(request, timeout=CALL_S)).settlement
    again = pb.SettleRequest(key=key(), plan_id=request.plan_id, plan_digest=request.plan_digest)
    stored = await town.stored()
    assert await town.refused(town.desk.Settle(again, timeout=CALL_S)) == "PLAN_PAID"
    assert await town.stored() == stored
    reversal = pb.ReverseTransactionRequest(fixmedins_code=HOSPITAL, oinfno=pb.INFNO_2207, omsgid=request.key.msgid)
    answer = await town.desk.ReverseTransaction(reversal, timeout=CALL_S)
    assert answer.refund.original_setl_id == settled.setl_id
    await town.settled_down()
    replan = (await town.desk.Settle(again, timeout=CALL_S)).replan
    assert (replan.reason, replan.plan.amounts.own_past_fen) == ("PLAN_STALE", 400)


async def test_a_terminal_whose_clock_is_days_slow_does_not_have_a_bill_paid_twice(town: Town) -> None:
    """Its msgid is old and good; under the next one the same plan is PLAN_PAID, and no second plan is offered."""
    patient = await town.person(past=1_000)
    plan = await planned(town, patient, 400)
    slow = next_msgid(FixmedinsCode(HOSPITAL), NUMBER, now=datetime.now(UTC) - timedelta(days=3), last=None)
    old_key = pb.RequestKey(fixmedins_code=HOSPITAL, infno=pb.INFNO_2207, msgid=slow)
    request = pb.SettleRequest(key=old_key, plan_id=plan.plan_id, plan_digest=plan.digest)
    assert (await town.desk.Settle(request, timeout=CALL_S)).HasField("settlement")
    assert await town.refused(town.desk.Settle(paying(plan), timeout=CALL_S)) == "PLAN_PAID"
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (600, 0)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ("frozen", "ACCOUNT_FROZEN"),
        ("unbound", "AUTHORISATION_NOT_OPEN"),
        ("spent", "INSUFFICIENT_FUNDS"),
        ("authorised less", "AUTHORISED_AMOUNT_EXCEEDED"),
        ("limited", "PAYMENT_LIMIT_EXCEEDED"),
        ("closed", "ACCOUNT_NOT_FOUND"),
    ],
)
async def test_each_change_of_a_funder_takes_nothing_and_brings_a_plan_by_what_is_left(
    town: Town, changed: str, reason: str
) -> None:
    """The patient's own share, voted for in another area, is free again in the new plan; consent to it pays."""
    patient = await town.person(past=500)
    funder = await town.person(HAMI, past=5_000)
    await town.bind(funder, patient, HAMI, order=1, authorised_fen=4_000)
    plan = await planned(town, patient, 3_500)
    assert (plan.amounts.own_past_fen, plan.amounts.acct_mulaid_pay) == (500, 3_000)
    left_fen = await made_to(changed, town, patient, funder)
    replan = (await town.desk.Settle(paying(plan), timeout=CALL_S)).replan
    assert replan.reason == reason
    amounts = replan.plan.amounts
    assert (amounts.own_past_fen, amounts.acct_mulaid_pay, amounts.psn_cash_pay) == (500, left_fen, 3_000 - left_fen)
    assert (await town.desk.Settle(paying(replan.plan), timeout=CALL_S)).settlement.amounts == amounts
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (0, 0)


async def made_to(changed: str, town: Town, patient: str, funder: str) -> int:
    """Lets it happen to the funder; what he can still give."""
    leave = said.authorisation_id(funder, patient).bytes
    match changed:
        case "frozen":
            await town.set_frozen(funder, HAMI, frozen=True)
            return 0
        case "unbound":
            await town.command(
                HAMI,
                ledger_pb2.Command(
                    close_authorisation_command=ledger_pb2.CloseAuthorisationCommand(authorisation_id=leave)
                ),
            )
            return 0
        case "spent":
            assert (await town.desk.Settle(paying(await planned(town, funder, 4_000)), timeout=CALL_S)).HasField(
                "settlement"
            )
            await town.settled_down()
            return 1_000
        case "authorised less" | "limited":
            amended = ledger_pb2.AmendAuthorisationCommand(authorisation_id=leave, version=2, authorised_fen=4_000)
            if changed == "limited":
                amended.per_payment_fen = 700
            else:
                amended.authorised_fen = 700
            await town.command(HAMI, ledger_pb2.Command(amend_authorisation_command=amended))
            return 700
        case _:
            closing = account_pb2.CloseAccountRequest(
                psn_no=funder,
                area=HAMI,
                account_kind=account_pb2.ACCOUNT_KIND_PERSONAL,
                cause="DIED",
                request_id=str(uuid4()),
            )
            await town.accounts.CloseAccount(closing, timeout=CALL_S)
            return 0
