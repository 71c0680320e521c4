"""Premiums through gRPC alone, with identity's own word on relatives: paid in one area for a relative in another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from gongji.identity.v1 import person_pb2
from gongji.settlement.v1 import account_pb2
from gongji.settlement.v1 import premiums_pb2 as pb
from kernel.clock import business_date
from ops import household
from tests.e2e.asking import refusal
from tests.e2e.town import HAMI, THEIR_PARENTS, Town, new_resident

AMOUNT_FEN = 4_000


async def test_a_mother_pays_her_sons_premium_and_takes_it_back(town: Town) -> None:
    """Her account in Hami pays what Ürümqi asks for; both are told; taken back it is hers again."""
    mother, son = new_resident(HAMI, past_fen=10_000, generation=THEIR_PARENTS), new_resident()
    await town.moves_in(mother)
    await town.moves_in(son, insutype="390")
    await town.told()
    await town.credited(mother)
    await household.prove_relation(town.desks, person=mother.psn_no, other=son.psn_no, relation="PARENT")
    desk, today = town.desks.premiums, business_date(datetime.now(UTC))
    year = (today + timedelta(days=2)).year
    days = {
        "opens_on": (today - timedelta(days=1)).isoformat(),
        "closes_on": (today + timedelta(days=1)).isoformat(),
        "revocable_until": (today + timedelta(days=2)).isoformat(),
    }
    await desk.SetPremiumTariff(
        pb.SetPremiumTariffRequest(area=son.area, year=year, amount_fen=AMOUNT_FEN, opter="zhang01", **days)
    )
    due = await desk.GetPremiumDue(pb.GetPremiumDueRequest(insured_psn_no=son.psn_no, year=year))
    asked = pb.PayPremiumRequest(
        request_id=str(uuid4()),
        payer_psn_no=mother.psn_no,
        pay_from=account_pb2.ACCOUNT_KIND_PERSONAL,
        insured_psn_no=son.psn_no,
        year=year,
        amount_fen=due.tariff.amount_fen,
    )
    paid = (await desk.PayPremium(asked)).premium
    assert (paid.state, paid.relation) == (pb.PREMIUM_STATE_PAID, person_pb2.RELATION_PARENT)
    again = pb.PayPremiumRequest()
    again.CopyFrom(asked)
    again.request_id = str(uuid4())
    assert (await refusal(desk.PayPremium(again))).reason == "PREMIUM_ALREADY_PAID"
    revoked = await desk.RevokePremium(pb.RevokePremiumRequest(payer_psn_no=mother.psn_no, premium_id=paid.premium_id))
    assert revoked.premium.state == pb.PREMIUM_STATE_REVOKED
    await town.at_rest()
    for resident in (mother, son):
        assert {"PREMIUM_PAID", "PREMIUM_REVOKED"} <= set(await town.topics(resident))
    statement = await town.desks.accounts.GetStatement(
        account_pb2.GetStatementRequest(psn_no=mother.psn_no, account_kind=account_pb2.ACCOUNT_KIND_PERSONAL, area=HAMI)
    )
    assert [line.amount_fen for line in statement.lines][-2:] == [-AMOUNT_FEN, AMOUNT_FEN]
    await town.check()
