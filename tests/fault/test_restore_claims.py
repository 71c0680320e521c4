"""A coordinator comes back as it was before a claim was approved; the ledgers remember what the family gave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import pytest

from gongji.settlement.v1 import claims_pb2 as pb
from gongji.settlement.v1 import settlement_pb2
from kernel.clock import business_date
from ops.embedded.databases import Databases
from tests.e2e.asking import refusal
from tests.e2e.town import HAMI, HOSPITAL, Resident, Town, new_resident
from tests.fault import restores
from tests.fault.restores import Backups
from tests.fault.victims import COORDINATOR, revive

pytestmark = pytest.mark.long

BILL_FEN: Final = 10_000
FUND_FEN: Final = 4_000
_LEFT: Final = "SELECT past_fen FROM accounts WHERE psn_no = $1 AND kind = 'PERSONAL'"
_USED: Final = "SELECT sum(fund_fen)::bigint FROM benefit_years WHERE psn_no = $1"


@pytest.fixture
async def backups(town: Town, postgres: Databases) -> AsyncIterator[Backups]:
    """Backups of this town."""
    made = Backups(town, postgres)
    yield made
    await made.drop()


async def filed(town: Town, claimant: Resident) -> pb.Claim:
    """A claim over a bill in scope."""
    request = pb.SubmitClaimRequest(
        request_id=str(uuid4()),
        psn_no=claimant.psn_no,
        fixmedins_code=HOSPITAL,
        invoice_no=uuid4().hex.upper(),
        bill=settlement_pb2.Bill(med_type="11", medfee_sumamt=BILL_FEN, inscp_scp_amt=BILL_FEN),
        documents=[pb.ClaimDocument(kind="INVOICE", sha256=bytes(32), bytes_count=1)],
        care_on=business_date(datetime.now(UTC)).isoformat(),
    )
    return (await town.desks.claims.SubmitClaim(request)).claim


def decision(claim: pb.Claim, *, approve: bool = True, hifp_pay: int = FUND_FEN) -> pb.DecideClaimRequest:
    """An officer's word."""
    return pb.DecideClaimRequest(
        claim_id=claim.claim_id, opter="zhang01", approve=approve, cause="as decided", hifp_pay=hifp_pay
    )


async def test_a_claim_that_lost_its_approval_is_approved_anew_with_what_was_taken(
    town: Town, backups: Backups
) -> None:
    """Whatever the account holds now: its payment is the claim's, nothing is taken twice, and it cannot be refused."""
    claimant = new_resident(HAMI, past_fen=9_000)
    await town.moves_in(claimant)
    await town.told()
    await town.credited(claimant)
    claim = await filed(town, claimant)
    await town.at_rest()
    backup = await backups.of_coordinator()
    desk = town.desks.claims
    approved = (await desk.DecideClaim(decision(claim))).claim
    assert (approved.state, approved.family_pay_fen) == (pb.CLAIM_STATE_PAYABLE, 6_000)
    await town.at_rest()

    await backups.restore_coordinator(backup)
    await restores.begin(town)
    assert await restores.finish(town) == 0
    await revive(town.world, COORDINATOR)
    await town.reached()
    await town.told()
    assert (await desk.GetClaim(pb.GetClaimRequest(claim_id=claim.claim_id))).claim.state == pb.CLAIM_STATE_SUBMITTED
    assert (await refusal(desk.DecideClaim(decision(claim, approve=False)))).reason == "CLAIM_ALREADY_TAKEN"
    too_much = await refusal(desk.DecideClaim(decision(claim, hifp_pay=FUND_FEN + 1)))
    assert (too_much.reason, too_much.metadata["taken_fen"]) == ("CLAIM_ALREADY_TAKEN", "6000")
    for _ in range(2):
        anew = (await desk.DecideClaim(decision(claim))).claim
        assert (anew.state, anew.fund_pay_sumamt, anew.family_pay_fen) == (pb.CLAIM_STATE_PAYABLE, FUND_FEN, 6_000)
    await town.at_rest()
    assert await town.ledgers[HAMI].fetchval(_LEFT, claimant.psn_no) == 3_000
    assert await town.settlement.fetchval(_USED, claimant.psn_no) == FUND_FEN
    await restores.close_alarms(town)
    await town.check()
