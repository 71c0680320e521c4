"""Bills paid while their binding is being ended or lowered, on real processes; the model has every interleaving."""

from __future__ import annotations

import asyncio
from typing import Final

from gongji.family.v1 import binding_pb2, family_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from kernel.failures import Failure
from kernel.money import Fen
from tests.e2e.asking import revoke, settle
from tests.e2e.town import HAMI, Family, Town

PAIRS: Final = 16
BILL_FEN: Final[Fen] = 8_000
GIVEN_FEN: Final[Fen] = 5_000
"""What a funder gives for it: the patients have 30.00 of their own."""
APART_S: Final = 0.03
"""Of each pair the binding is ended by so much later, against its bills, than of the one before: the first half's end
is asked for before the bills, the other half's after them."""
CLOSED: Final = """
    SELECT closed.after_used_fen + closed.after_held_fen AS taken_fen, present.used_fen + present.held_fen AS now_fen
      FROM authorisation_events AS closed JOIN authorisations AS present USING (authorisation_id)
     WHERE closed.step = 'CLOSE' AND present.funder_psn_no = $1
"""


async def test_bills_that_race_an_unbinding_have_the_money_or_are_refused_and_none_begins_after_it(town: Town) -> None:
    """What a funder has given in the end was held when his ledger closed the binding; a refund comes back to him."""
    families = await town.pairs(PAIRS)
    plans = [[await town.planned(family, BILL_FEN) for _ in range(2)] for family in families]
    raced = await asyncio.gather(*(_raced(town, *one) for one in zip(families, plans, range(PAIRS), strict=True)))
    await town.at_rest()
    given = [settled for settled in raced if settled is not None and _by_funder(settled)]
    for family, settled in zip(families, raced, strict=True):
        closed = await town.ledgers[HAMI].fetchrow(CLOSED, family.funders[0].psn_no)
        gave_fen = 0 if settled is None else _by_funder(settled)
        assert closed is not None
        assert (closed["taken_fen"], closed["now_fen"]) == (gave_fen, gave_fen)
        assert (await town.balances(family))[1].past_fen == 10_000 - gave_fen
    assert 0 < len(given) < PAIRS, "every bill came before its unbinding, or every one after it"
    for settled in given:
        await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))
    await town.at_rest()
    assert {(await town.balances(family))[1].past_fen for family in families} == {10_000}
    await town.check()


async def test_of_a_bill_and_a_lowering_below_it_one_goes_through(town: Town) -> None:
    """Paid, and the amount stays; or lowered, and the bill is refused with a plan that keeps to the new amount."""
    families = await town.pairs(PAIRS)
    plans = [await town.planned(family, BILL_FEN) for family in families]
    paid = await asyncio.gather(*(_lowered(town, *one) for one in zip(families, plans, range(PAIRS), strict=True)))
    assert 0 < sum(paid) < PAIRS, "every bill came before its lowering, or every one after it"
    await town.check()


async def _lowered(town: Town, family: Family, plan: pb.Plan, number: int) -> bool:
    """Whether the bill was paid while its funder asked for one fen less than it takes."""
    ahead_s = (number - PAIRS // 2) * APART_S
    bill = asyncio.create_task(_answered(town, plan, after_s=max(0, -ahead_s)))
    await asyncio.sleep(max(0, ahead_s))
    funder = family.funders[0]
    amendment = family_pb2.AmendAuthorisedAmountRequest(
        binding_id=funder.binding_id, funder_psn_no=funder.psn_no, authorised_fen=GIVEN_FEN - 1
    )
    refused = ""
    try:
        await town.desks.family.AmendAuthorisedAmount(amendment)
    except Failure as failure:
        refused = failure.reason
    answer = await bill
    if answer.HasField("settlement"):
        assert refused == "AUTHORISED_AMOUNT_BELOW_USE"
        return True
    assert (refused, answer.replan.reason) == ("", "AUTHORISED_AMOUNT_EXCEEDED")
    again = (await _answered(town, answer.replan.plan, after_s=0)).settlement
    assert _by_funder(again) == GIVEN_FEN - 1
    return False


async def _answered(town: Town, plan: pb.Plan, *, after_s: float) -> pb.SettleResponse:
    await asyncio.sleep(after_s)
    return await town.desks.settlement.Settle(settle(plan))


async def _raced(town: Town, family: Family, plans: list[pb.Plan], number: int) -> pb.Settlement | None:
    """What was paid of two bills of one patient; once the unbinding is answered, another one without the funder."""
    ahead_s = (number - PAIRS // 2) * APART_S
    bills = [asyncio.create_task(_settled(town, plan, after_s=max(0, -ahead_s))) for plan in plans]
    await asyncio.sleep(max(0, ahead_s))
    funder = family.funders[0]
    ended = await town.desks.family.Unbind(
        family_pb2.UnbindRequest(binding_id=funder.binding_id, by_psn_no=funder.psn_no)
    )
    assert ended.binding.state == binding_pb2.BINDING_STATE_UNBOUND
    raced = [settled for settled in await asyncio.gather(*bills) if settled is not None]
    assert len(raced) <= 1
    late = await _settled(town, await town.planned(family, BILL_FEN), after_s=0)
    assert late is None or not _by_funder(late), "the funder paid a bill that began after the unbinding was answered"
    return raced[0] if raced else None


async def _settled(town: Town, plan: pb.Plan, *, after_s: float) -> pb.Settlement | None:
    """The bill paid as planned; None if a source has changed, or another bill of the patient came before it."""
    await asyncio.sleep(after_s)
    try:
        answer = await town.desks.settlement.Settle(settle(plan))
    except Failure as failure:
        if failure.reason not in {"PLAN_STALE", "PATIENT_BUSY"}:
            raise
        return None
    return answer.settlement if answer.HasField("settlement") else None


def _by_funder(settled: pb.Settlement) -> Fen:
    return sum(funder.past_fen + funder.current_fen for funder in settled.funders)
