"""What a revocation restores, wherever the money came from and whatever became of those who gave it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final
from uuid import UUID, uuid4

import grpc

from chassis.db import Database
from gongji.settlement.v1 import account_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.failures import TerminalRefusal, failure_of
from gongji_terminal.msgid import next_msgid
from kernel.ids import FixmedinsCode
from tests.integration.settlement.desk.town import HAMI, HOSPITAL, URUMQI, Town

CALL_S: Final = 60.0
ROUNDS: Final = 6
WALLET: Final = account_pb2.ACCOUNT_KIND_WALLET
_last: list[str] = []


def key(infno: pb.Infno.ValueType) -> pb.RequestKey:
    """One that nobody has used."""
    _last.append(next_msgid(FixmedinsCode(HOSPITAL), 92, now=datetime.now(UTC), last=_last[-1] if _last else None))
    return pb.RequestKey(fixmedins_code=HOSPITAL, infno=infno, msgid=_last[-1])


async def paid(town: Town, patient: str, total_fen: int) -> pb.Settlement:
    """A bill planned and paid."""
    plan = (await town.desk.PreSettle(town.presented(patient, total_fen), timeout=CALL_S)).plan
    request = pb.SettleRequest(key=key(pb.INFNO_2207), plan_id=plan.plan_id, plan_digest=plan.digest)
    settled: pb.Settlement = (await town.desk.Settle(request, timeout=CALL_S)).settlement
    return settled


def revoking(setl_id: str) -> pb.RevokeSettleRequest:
    """Take it back, under a new key."""
    return pb.RevokeSettleRequest(key=key(pb.INFNO_2208), setl_id=setl_id)


async def answered(call: object) -> object:
    """The answer, or the refusal as a value."""
    try:
        return await call  # type: ignore[misc]  # The stub's calls have no types.
    except grpc.aio.AioRpcError as error:
        return failure_of(error)


async def test_wallet_parts_authorised_amount_and_month_are_as_before(town: Town) -> None:
    """Right after the answer: the same bill is planned as the first time, though it used up every limit."""
    patient, funder = await town.person(past=300, current=200), await town.person(HAMI, past=700, current=900)
    await town.credit(patient, URUMQI, wallet=400)
    await town.bind(funder, patient, HAMI, order=1, authorised_fen=1_000, per_month_fen=1_000)
    first = await paid(town, patient, 2_500)
    assert (first.amounts.wallet_pay, first.amounts.acct_mulaid_pay, first.amounts.psn_cash_pay) == (400, 1_000, 600)
    assert [(f.past_fen, f.current_fen) for f in first.funders] == [(700, 300)]
    await town.desk.RevokeSettle(revoking(first.setl_id), timeout=CALL_S)
    second = await paid(town, patient, 2_500)
    assert (second.amounts, list(second.funders)) == (first.amounts, list(first.funders))
    await town.desk.RevokeSettle(revoking(second.setl_id), timeout=CALL_S)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (300, 200)
    assert await town.balance(patient, URUMQI, WALLET) == (400, 0)
    assert await town.balance(funder, HAMI) == (700, 900)


async def test_the_share_of_a_funder_who_died_waits_for_an_officer_and_the_others_get_theirs(town: Town) -> None:
    """The revocation is made all the same; a repeated one and a reversal find it and add nothing to suspense."""
    patient, dead = await town.person(past=500), await town.person(HAMI, past=1_000)
    await town.bind(dead, patient, HAMI, order=1)
    settled = await paid(town, patient, 1_200)
    await town.settled_down()
    closing = account_pb2.CloseAccountRequest(
        psn_no=dead,
        area=HAMI,
        account_kind=account_pb2.ACCOUNT_KIND_PERSONAL,
        cause="DIED",
        request_id=str(uuid4()),
    )
    await town.accounts.CloseAccount(closing, timeout=CALL_S)
    request = revoking(settled.setl_id)
    answers = [(await town.desk.RevokeSettle(request, timeout=CALL_S)).revocation for _ in range(2)]
    assert answers[0] == answers[1]
    reversal = pb.ReverseTransactionRequest(fixmedins_code=HOSPITAL, oinfno=pb.INFNO_2207, omsgid=settled.key.msgid)
    assert (await town.desk.ReverseTransaction(reversal, timeout=CALL_S)).refund == answers[0]
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (500, 0)
    async with Database(town.ledger_urls[HAMI], pool_size=1) as ledger, ledger.driver_connection() as connection:
        tasks = await connection.fetch(
            "SELECT credit_id, amount_fen FROM suspense_tasks WHERE psn_no = $1 AND done_at IS NULL", dead
        )
    assert sorted(row["amount_fen"] for row in tasks) == [300, 700]
    assert UUID(answers[0].setl_id) in {row["credit_id"] for row in tasks if row["amount_fen"] == 700}


async def test_a_revocation_and_its_own_reversal_at_once_agree(town: Town) -> None:
    """Either it was made and stands, or it was stopped and is PAYMENT_REVERSED; the settlement shows the same."""
    patient = await town.person(past=1_000)
    seen = set()
    for round_ in range(ROUNDS):
        settled = await paid(town, patient, 100)
        request = revoking(settled.setl_id)
        reversal = pb.ReverseTransactionRequest(fixmedins_code=HOSPITAL, oinfno=pb.INFNO_2208, omsgid=request.key.msgid)
        calls = [
            answered(town.desk.RevokeSettle(request, timeout=CALL_S)),
            answered(town.desk.ReverseTransaction(reversal, timeout=CALL_S)),
        ]
        told = await asyncio.gather(*(calls if round_ % 2 else reversed(calls)))
        revoked, stopped = told if round_ % 2 else reversed(told)
        asked = pb.GetSettlementRequest(fixmedins_code=HOSPITAL, setl_id=settled.setl_id)
        state = (await town.desk.GetSettlement(asked, timeout=CALL_S)).settlement.state
        if isinstance(revoked, pb.RevokeSettleResponse):
            assert isinstance(stopped, TerminalRefusal)
            assert (stopped.reason, stopped.standing, state) == (
                "REVOCATION_STANDS",
                revoked.revocation,
                pb.SETTLEMENT_STATE_REVOKED,
            )
            seen.add("made")
        else:
            assert isinstance(revoked, TerminalRefusal)
            assert isinstance(stopped, pb.ReverseTransactionResponse)
            assert (revoked.reason, state) == ("PAYMENT_REVERSED", pb.SETTLEMENT_STATE_SETTLED)
            await town.desk.RevokeSettle(revoking(settled.setl_id), timeout=CALL_S)
            seen.add("stopped")
    assert seen
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (1_000, 0)
