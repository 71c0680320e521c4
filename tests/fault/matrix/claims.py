"""An act of the claims' desk: approved, with the fund's part and what an account in the far area gives."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from gongji.settlement.v1 import claims_pb2, settlement_pb2
from kernel.clock import business_date
from kernel.failures import Failure
from tests.e2e.town import HAMI, HOSPITAL, new_resident
from tests.fault.matrix.accounts import SingleAct
from tests.fault.matrix.scene import until
from tests.fault.matrix.wallets import credited

BEGAN_FEN: Final = 60_000
BILL_FEN: Final = 50_000
FUND_FEN: Final = 10_000
CALL_S: Final = 4.0
_ACCOUNT: Final = "SELECT past_fen FROM accounts WHERE psn_no = $1 AND kind = 'PERSONAL'"
_USED: Final = "SELECT sum(fund_fen)::bigint FROM benefit_years WHERE psn_no = $1"
_DECISIONS: Final = """
SELECT count(*) - max(c.attempt) FROM claim_decisions d JOIN claims c USING (claim_id) WHERE claim_id = $1"""
"""More decisions than approvals that asked the ledgers."""


class DecideClaim(SingleAct):
    """Somebody with an account in Hami has paid a bill in cash; an officer approves it."""

    claim: claims_pb2.Claim

    async def prepare(self) -> None:
        """The claim is filed."""
        self.claimant = new_resident(HAMI, past_fen=BEGAN_FEN)
        await self.scene.town.moves_in(self.claimant)
        await until(lambda: credited(self.scene, self.claimant), "settlement has heard of the claimant")
        asked = claims_pb2.SubmitClaimRequest(
            request_id=str(uuid4()),
            psn_no=self.claimant.psn_no,
            fixmedins_code=HOSPITAL,
            invoice_no=uuid4().hex.upper(),
            bill=settlement_pb2.Bill(med_type="11", medfee_sumamt=BILL_FEN, inscp_scp_amt=BILL_FEN),
            documents=[claims_pb2.ClaimDocument(kind="INVOICE", sha256=bytes(32), bytes_count=1)],
            care_on=business_date(datetime.now(UTC)).isoformat(),
        )

        async def filed() -> bool:
            try:
                self.claim = (await self.scene.town.desks.claims.SubmitClaim(asked, timeout=CALL_S)).claim
            except Failure as failure:
                if failure.reason not in {"PERSON_UNKNOWN", "CLAIMANT_NOT_INSURED"}:
                    raise
                return False
            return True

        await until(filed, "the claim is filed")

    async def ask(self) -> bool:
        """The same approval each time."""
        request = claims_pb2.DecideClaimRequest(
            claim_id=self.claim.claim_id, opter="matrix", approve=True, cause="in order", hifp_pay=FUND_FEN
        )
        try:
            claim = (await self.scene.town.desks.claims.DecideClaim(request, timeout=CALL_S)).claim
        except Failure as failure:
            if failure.reason != "VOTE_DEADLINE_PASSED":
                raise
            return False  # Nothing was taken: the officer approves it anew.
        return bool(claim.state == claims_pb2.CLAIM_STATE_PAYABLE)

    async def check(self) -> None:
        """It was taken once, decided as often as the ledgers were asked, and counts once in the year."""
        settlement = self.scene.town.settlement
        left = await self.scene.far.fetchval(_ACCOUNT, self.claimant.psn_no)
        used = await settlement.fetchval(_USED, self.claimant.psn_no)
        more = await settlement.fetchval(_DECISIONS, self.claim.claim_id)
        assert (left, used, more) == (BEGAN_FEN - BILL_FEN + FUND_FEN, FUND_FEN, 0)
