"""Acts of the premiums' desk: a relative's premium paid out of an account in another area, and taken back."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from gongji.settlement.v1 import premiums_pb2
from gongji.settlement.v1.account_pb2 import ACCOUNT_KIND_PERSONAL
from kernel.clock import business_date
from kernel.failures import Failure
from ops import household
from tests.e2e.town import HAMI, new_resident
from tests.fault.matrix.accounts import SingleAct
from tests.fault.matrix.scene import until
from tests.fault.matrix.wallets import ON_ITS_WAY, credited

BEGAN_FEN: Final = 60_000
PREMIUM_FEN: Final = 40_000
CALL_S: Final = 4.0
_ACCOUNT: Final = "SELECT past_fen FROM accounts WHERE psn_no = $1 AND kind = 'PERSONAL'"
_STANDS: Final = "SELECT count(*) FROM premium_payments WHERE insured_psn_no = $1 AND ended_at IS NULL"


class PayPremium(SingleAct):
    """Somebody with an account in Hami pays for a sibling in the residents' insurance of Ürümqi."""

    request: premiums_pb2.PayPremiumRequest

    async def prepare(self) -> None:
        """Two siblings whom nobody has dealt with, and what Ürümqi asks for."""
        town, today = self.scene.town, business_date(datetime.now(UTC))
        self.payer, self.insured = new_resident(HAMI, past_fen=BEGAN_FEN), new_resident()
        await asyncio.gather(town.moves_in(self.payer), town.moves_in(self.insured, insutype="390"))
        await household.prove_relation(
            town.desks, person=self.payer.psn_no, other=self.insured.psn_no, relation="SIBLING"
        )
        await until(lambda: credited(self.scene, self.payer), "settlement has heard of the payer")
        year = (today + timedelta(days=2)).year
        await town.desks.premiums.SetPremiumTariff(
            premiums_pb2.SetPremiumTariffRequest(
                area=self.insured.area,
                year=year,
                amount_fen=PREMIUM_FEN,
                opens_on=(today - timedelta(days=1)).isoformat(),
                closes_on=(today + timedelta(days=1)).isoformat(),
                revocable_until=(today + timedelta(days=2)).isoformat(),
                opter="matrix",
            ),
            timeout=CALL_S,
        )
        self.request = premiums_pb2.PayPremiumRequest(
            request_id=str(uuid4()),
            payer_psn_no=self.payer.psn_no,
            pay_from=ACCOUNT_KIND_PERSONAL,
            insured_psn_no=self.insured.psn_no,
            year=year,
            amount_fen=PREMIUM_FEN,
        )

    async def ask(self) -> bool:
        """The same payment each time."""
        try:
            paid = (await self.scene.town.desks.premiums.PayPremium(self.request, timeout=CALL_S)).premium
        except Failure as failure:
            if failure.reason not in {*ON_ITS_WAY, "INSURED_NOT_RESIDENT"}:
                raise
            return False
        return bool(paid.state == premiums_pb2.PREMIUM_STATE_PAID)

    async def check(self) -> None:
        """It was taken once, and stands once."""
        assert await self._left_and_standing() == (BEGAN_FEN - PREMIUM_FEN, 1)

    async def _left_and_standing(self) -> tuple[int, int]:
        left = await self.scene.far.fetchval(_ACCOUNT, self.payer.psn_no)
        return left, await self.scene.town.settlement.fetchval(_STANDS, self.insured.psn_no)


class RevokePremium(PayPremium):
    """It is taken back."""

    async def prepare(self) -> None:
        """It is paid."""
        await super().prepare()
        await until(super().ask, "the premium is paid")
        await self.scene.town.at_rest()

    async def ask(self) -> bool:
        """The same revocation each time."""
        desk, payer = self.scene.town.desks.premiums, self.payer.psn_no
        asked = premiums_pb2.GetPremiumRequest(payer_psn_no=payer, request_id=self.request.request_id)
        premium = (await desk.GetPremium(asked, timeout=CALL_S)).premium
        revoking = premiums_pb2.RevokePremiumRequest(payer_psn_no=payer, premium_id=premium.premium_id)
        revoked = (await desk.RevokePremium(revoking, timeout=CALL_S)).premium
        return bool(revoked.state == premiums_pb2.PREMIUM_STATE_REVOKED)

    async def check(self) -> None:
        """All of it is back, and the year is open."""
        await until(self._is_back, "the money is back")
        assert await self._left_and_standing() == (BEGAN_FEN, 0)

    async def _is_back(self) -> bool:
        return (await self._left_and_standing())[0] == BEGAN_FEN
