"""Requests that come early, late, twice or all at once: one key has one outcome, and one patient one payment."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable
from typing import Final

from gongji.settlement.v1 import settlement_pb2 as pb
from kernel.failures import Failure
from tests.e2e.asking import get, new_key, refusal, reverse, revoke, settle
from tests.e2e.town import HAMI, Town, new_resident

CALL_TIMEOUT_S: Final = 60.0
AT_ONCE: Final = 50
ROUNDS: Final = 8


async def answered(call: Awaitable[object]) -> object:
    """The answer, or the refusal as a value."""
    try:
        return await call
    except Failure as failure:
        return failure


async def test_a_reversal_that_overtakes_its_original_stops_it_for_ever(town: Town) -> None:
    """Nothing is stored but the tombstone; the late original is PAYMENT_REVERSED, with this content or any other."""
    family = await town.pair()
    before = await town.money(family)
    plan = await town.planned(family, 8_000)
    other = await town.planned(family, 500)
    late = settle(plan)
    first = await town.desks.settlement.ReverseTransaction(reverse(late.key))
    assert (first.state, first.HasField("refund")) == (pb.SETTLEMENT_STATE_REVERSED, False)
    for request in (late, late, settle(other, late.key)):
        assert (await refusal(town.desks.settlement.Settle(request))).reason == "PAYMENT_REVERSED"
    again = await town.desks.settlement.ReverseTransaction(reverse(late.key))
    assert again == first
    found = await town.desks.settlement.GetSettlement(get(late.key))
    assert found.settlement.state == pb.SETTLEMENT_STATE_REVERSED
    row = await town.payment(late.key)
    assert row is not None
    assert (row["kind"], row["state"], row["amount_fen"]) == ("TOMBSTONE", "CLOSED", 0)
    # The patient is not held up by it: the plan can be paid under another key.
    assert (await town.desks.settlement.Settle(settle(plan))).HasField("settlement")
    assert await town.money(family) != before
    await town.check()


async def test_a_reversal_at_the_same_moment_leaves_the_money_where_it_was(town: Town) -> None:
    """Whichever is first, the reversal is answered REVERSED and every account is as before."""
    family = await town.pair()
    before = await town.money(family)
    outcomes: Counter[str] = Counter()
    for round_ in range(ROUNDS):
        request = settle(await town.planned(family, 8_000))

        async def reversed_later(key: pb.RequestKey = request.key, wait_s: float = round_ * 0.003) -> object:
            await asyncio.sleep(wait_s)
            return await town.desks.settlement.ReverseTransaction(reverse(key))

        paid, gone = await asyncio.gather(
            answered(town.desks.settlement.Settle(request, timeout=CALL_TIMEOUT_S)), reversed_later()
        )
        assert isinstance(gone, pb.ReverseTransactionResponse)
        assert gone.state == pb.SETTLEMENT_STATE_REVERSED
        if isinstance(paid, pb.SettleResponse):
            assert paid.settlement.setl_id == gone.refund.original_setl_id
            outcomes["paid and returned"] += 1
        else:
            assert isinstance(paid, Failure)
            assert paid.reason == "PAYMENT_REVERSED"
            outcomes["stopped"] += 1
        await town.at_rest()
        assert await town.money(family) == before, outcomes
    await town.check()


async def test_the_same_request_fifty_times_at_once_is_one_payment(town: Town) -> None:
    """Fifty copies get one answer, and the money is taken once."""
    family = await town.pair()
    request = settle(await town.planned(family, 10_000))
    answers = await asyncio.gather(
        *(town.desks.settlement.Settle(request, timeout=CALL_TIMEOUT_S) for _ in range(AT_ONCE))
    )
    assert {answer.SerializeToString(deterministic=True) for answer in answers} == {
        answers[0].SerializeToString(deterministic=True)
    }
    assert answers[0].settlement.amounts.acct_mulaid_pay == 7_000
    await town.at_rest()
    assert await town.money(family) == [(0, 0), (3_000, 0)]
    stored = await town.settlement.fetchval("SELECT count(*) FROM payments WHERE msgid = $1", request.key.msgid)
    assert stored == 1
    await town.check()


async def test_the_same_key_with_other_content_is_never_executed(town: Town) -> None:
    """One of two contents under one key is paid; the other is KEY_REUSED_WITH_OTHER_CONTENT, at once and later."""
    family = await town.pair()
    key = new_key()
    one, other = [settle(await town.planned(family, amount_fen), key) for amount_fen in (3_000, 5_000)]
    answers = await asyncio.gather(
        *(answered(town.desks.settlement.Settle(request, timeout=CALL_TIMEOUT_S)) for request in (one, other) * 5)
    )
    paid = {answer.settlement.setl_id for answer in answers if isinstance(answer, pb.SettleResponse)}
    refused = {answer.reason for answer in answers if isinstance(answer, Failure)}
    assert (len(paid), refused) == (1, {"KEY_REUSED_WITH_OTHER_CONTENT"})
    await town.check()


async def test_one_plan_under_fifty_keys_at_once_is_paid_once(town: Town) -> None:
    """The others are told that the patient is busy or the plan paid; their keys stay free."""
    family = await town.pair()
    plan = await town.planned(family, 10_000)
    requests = [settle(plan) for _ in range(AT_ONCE)]
    answers = await asyncio.gather(
        *(answered(town.desks.settlement.Settle(request, timeout=CALL_TIMEOUT_S)) for request in requests)
    )
    refused = [answer.reason for answer in answers if isinstance(answer, Failure)]
    assert len(refused) == AT_ONCE - 1
    assert set(refused) <= {"PATIENT_BUSY", "PLAN_PAID"}
    stored = await town.settlement.fetchval(
        "SELECT count(*) FROM payments WHERE msgid = ANY($1)", [request.key.msgid for request in requests]
    )
    assert stored == 1
    await town.at_rest()
    assert await town.money(family) == [(0, 0), (3_000, 0)]
    await town.check()


async def test_two_revocations_and_two_reversals_at_once_return_the_money_once(town: Town) -> None:
    """One of the four makes the one refund; the reversals tell of it, a second revocation is ALREADY_REVOKED."""
    family = await town.pair()
    before = await town.money(family)
    settled = await town.paid(family, 10_000)
    calls: list[Awaitable[object]] = [
        town.desks.settlement.RevokeSettle(revoke(settled.setl_id), timeout=CALL_TIMEOUT_S),
        town.desks.settlement.ReverseTransaction(reverse(settled.key), timeout=CALL_TIMEOUT_S),
        town.desks.settlement.RevokeSettle(revoke(settled.setl_id), timeout=CALL_TIMEOUT_S),
        town.desks.settlement.ReverseTransaction(reverse(settled.key), timeout=CALL_TIMEOUT_S),
    ]
    refunds = set()
    for answer in await asyncio.gather(*(answered(call) for call in calls)):
        if isinstance(answer, Failure):
            assert answer.reason == "ALREADY_REVOKED"
            refunds.add(answer.metadata["setl_id"])
        elif isinstance(answer, pb.RevokeSettleResponse):
            refunds.add(answer.revocation.setl_id)
        else:
            assert isinstance(answer, pb.ReverseTransactionResponse)
            refunds.add(answer.refund.setl_id)
    assert len(refunds) == 1
    await town.at_rest()
    assert await town.money(family) == before
    await town.check()


async def test_a_funder_asked_by_six_patients_at_once_gives_what_he_has_and_no_more(town: Town) -> None:
    """Six plans each count on the same 100.00: what is paid sums to 100.00 at most, and nothing stays held."""
    funder = await town.moves_in(new_resident(HAMI, past_fen=10_000))
    patients = await asyncio.gather(*(town.moves_in(new_resident()) for _ in range(6)))
    await town.told()
    await town.credited(funder)
    families = [await town.bound_together(patient, funder) for patient in patients]
    await town.told()
    plans = [await town.planned(family, 4_000) for family in families]
    assert [plan.amounts.acct_mulaid_pay for plan in plans] == [4_000] * 6
    answers = await asyncio.gather(
        *(town.desks.settlement.Settle(settle(plan), timeout=CALL_TIMEOUT_S) for plan in plans)
    )
    paid = [answer.settlement for answer in answers if answer.HasField("settlement")]
    assert [one.amounts.acct_mulaid_pay for one in paid] == [4_000, 4_000]
    replanned = [answer.replan for answer in answers if answer.HasField("replan")]
    assert {one.reason for one in replanned} == {"INSUFFICIENT_FUNDS"}
    await town.at_rest()
    assert (await town.money(families[0]))[1] == (2_000, 0)
    await town.check()
