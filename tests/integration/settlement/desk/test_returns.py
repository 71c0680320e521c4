"""Partial return of goods: what is shown before is what happens, with the money still there and with it gone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import pytest

from gongji.settlement.v1 import account_pb2, returns_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.msgid import next_msgid
from kernel.ids import FixmedinsCode
from tests.integration.settlement.desk.town import HAMI, HOSPITAL, OTHER_HOSPITAL, URUMQI, Town, bill

CALL_S: Final = 60.0
NUMBER: Final = 94
"""Stands in the msgids made here; no other terminal of these tests has it."""
_last: list[str] = []


def key(infno: pb.Infno.ValueType = pb.INFNO_2207, *, at: str = HOSPITAL) -> pb.RequestKey:
    """One that nobody has used."""
    last = _last[-1] if _last and _last[-1].startswith(at) else None
    _last.append(next_msgid(FixmedinsCode(at), NUMBER, now=datetime.now(UTC), last=last))
    return pb.RequestKey(fixmedins_code=at, infno=infno, msgid=_last[-1])


async def paid(town: Town, psn_no: str, total_fen: int, **visit: object) -> pb.Settlement:
    """A bill planned and paid."""
    request = town.presented(psn_no, total_fen, **visit)
    plan = (await town.desk.PreSettle(request, timeout=CALL_S)).plan
    settles = pb.INFNO_2304 if request.infno == pb.INFNO_2303 else pb.INFNO_2207
    settle = pb.SettleRequest(key=key(settles), plan_id=plan.plan_id, plan_digest=plan.digest)
    settled: pb.Settlement = (await town.desk.Settle(settle, timeout=CALL_S)).settlement
    await town.settled_down()
    return settled


async def revoked(town: Town, setl_id: str) -> None:
    """The whole settlement is taken back."""
    request = pb.RevokeSettleRequest(key=key(pb.INFNO_2208), setl_id=setl_id)
    await town.desk.RevokeSettle(request, timeout=CALL_S)
    await town.settled_down()


@dataclass(frozen=True)
class Bought:
    """A bill of 90.00: 10.00 + 5.00 of his own, 20.00 of his wallet, 30.00 of a funder in Hami, 25.00 in cash."""

    town: Town
    patient: str
    funder: str
    settled: pb.Settlement

    @classmethod
    async def by(cls, town: Town) -> Bought:
        """The funder has 50.00 and has authorised 30.00 a month, so nothing of that is left."""
        patient, funder = await town.person(past=1_000, current=500), await town.person(HAMI, past=4_000, current=1_000)
        await town.credit(patient, URUMQI, wallet=2_000)
        await town.bind(funder, patient, HAMI, order=1, authorised_fen=3_000, per_month_fen=3_000)
        settled = await paid(town, patient, 9_000)
        amounts = settled.amounts
        assert (amounts.acct_pay, amounts.wallet_pay, amounts.psn_cash_pay) == (4_500, 2_000, 2_500)
        return cls(town, patient, funder, settled)

    async def shown(self, rest_fen: int) -> returns_pb2.PlanReturnResponse:
        """What is shown for keeping so much."""
        request = returns_pb2.PlanReturnRequest(
            setl_id=self.settled.setl_id, rest=self.town.presented(self.patient, rest_fen)
        )
        answer: returns_pb2.PlanReturnResponse = await self.town.returns.PlanReturn(request, timeout=CALL_S)
        return answer

    async def planned(self, rest_fen: int) -> pb.Plan:
        """The plan that can be paid."""
        plan: pb.Plan = (
            await self.town.desk.PreSettle(self.town.presented(self.patient, rest_fen), timeout=CALL_S)
        ).plan
        return plan


async def test_what_is_shown_is_what_the_rest_costs_when_nobody_comes_between(town: Town) -> None:
    """Own parts, wallet, authorised amount and month are counted as back; showing it moved and stored nothing."""
    bought = await Bought.by(town)
    stored = await town.stored()
    shown = await bought.shown(6_800)
    assert await town.stored() == stored
    assert shown.original == bought.settled
    expected = shown.expected.amounts
    assert (expected.own_past_fen, expected.own_current_fen, expected.wallet_pay) == (1_000, 500, 2_000)
    assert (expected.acct_mulaid_pay, expected.psn_cash_pay, shown.expected.cash_back_fen) == (3_000, 300, 2_200)
    assert shown.to_suspense_fen == 0
    await revoked(town, bought.settled.setl_id)
    plan = await bought.planned(6_800)
    assert (plan.amounts, list(plan.funders)) == (expected, list(shown.expected.funders))


async def test_what_is_shown_at_worst_is_what_the_rest_costs_when_the_money_is_gone(town: Town) -> None:
    """All that went back is spent in between: the patient pays more than he gets, as he was shown."""
    bought = await Bought.by(town)
    shown = await bought.shown(6_800)
    await revoked(town, bought.settled.setl_id)
    await paid(town, bought.patient, 3_500, infno=pb.INFNO_2206)
    await paid(town, bought.funder, 3_000)
    plan = await bought.planned(6_800)
    assert (plan.amounts, list(plan.funders)) == (shown.at_worst.amounts, list(shown.at_worst.funders))
    assert (plan.amounts.acct_mulaid_pay, plan.amounts.psn_cash_pay) == (2_000, 4_800)
    assert shown.at_worst.cash_back_fen == 2_500 - 4_800


async def test_a_share_that_no_account_can_take_is_shown_and_pays_nothing(town: Town) -> None:
    """The funder has died: his 30.00 will wait for an officer, and the rest is planned without them."""
    bought = await Bought.by(town)
    closing = account_pb2.CloseAccountRequest(
        psn_no=bought.funder,
        area=HAMI,
        account_kind=account_pb2.ACCOUNT_KIND_PERSONAL,
        cause="DIED",
        request_id=str(uuid4()),
    )
    await town.accounts.CloseAccount(closing, timeout=CALL_S)
    shown = await bought.shown(6_800)
    assert (shown.to_suspense_fen, shown.expected.amounts.acct_mulaid_pay) == (3_000, 0)
    await revoked(town, bought.settled.setl_id)
    assert (await bought.planned(6_800)).amounts == shown.expected.amounts


async def test_a_return_is_refused_by_the_name_of_what_stands_against_it(town: Town) -> None:
    """As its revocation would be, or because it is no return."""
    patient, other = await town.person(past=3_000), await town.person(past=1_000)
    settled = await paid(town, patient, 1_000)
    of_stay = bill(1_000)
    of_stay.med_type = "21"
    stay = await paid(town, patient, 1_000, infno=pb.INFNO_2303, bill=of_stay)

    async def refused(setl_id: str, rest: pb.PreSettleRequest) -> str:
        request = returns_pb2.PlanReturnRequest(setl_id=setl_id, rest=rest)
        return await town.refused(town.returns.PlanReturn(request, timeout=CALL_S))

    less = town.presented(patient, 400)
    told = [
        await refused(str(uuid4()), less),
        await refused(settled.setl_id, town.presented(patient, 400, fixmedins_code=OTHER_HOSPITAL)),
        await refused(stay.setl_id, town.presented(patient, 400, infno=pb.INFNO_2303)),
        await refused(settled.setl_id, town.presented(patient, 400, infno=pb.INFNO_2303)),
        await refused(settled.setl_id, town.presented(other, 400)),
        await refused(settled.setl_id, town.presented(patient, 1_001)),
        await refused(settled.setl_id, town.presented(patient, 1_000)),
        await refused(settled.setl_id, town.presented(patient, 400, ec_token="a.b.c")),  # noqa: S106  No token at all.
    ]
    await revoked(town, settled.setl_id)
    told.append(await refused(settled.setl_id, less))
    assert told == [
        *("SETTLEMENT_UNKNOWN", "SETTLEMENT_UNKNOWN", "RETURN_NOT_POSSIBLE", "INFNO_DOES_NOT_FIT"),
        *("RETURN_OF_ANOTHER_PERSON", "RETURN_EXCEEDS_ORIGINAL", "RETURN_OF_NOTHING", "EC_TOKEN_INVALID"),
        "ALREADY_REVOKED",
    ]


@pytest.mark.parametrize("cost", ["fulamt_ownpay_amt", "overlmt_selfpay", "preselfpay_amt"])
async def test_no_cost_of_the_rest_is_above_that_of_the_whole(town: Town, cost: str) -> None:
    """A smaller total with more of one cost is another bill."""
    patient = await town.person(past=1_000)
    settled = await paid(town, patient, 1_000)
    rest = town.presented(patient, 400)
    setattr(rest.bill, cost, 1)
    rest.bill.inscp_scp_amt -= 1
    request = returns_pb2.PlanReturnRequest(setl_id=settled.setl_id, rest=rest)
    assert await town.refused(town.returns.PlanReturn(request, timeout=CALL_S)) == "RETURN_EXCEEDS_ORIGINAL"
