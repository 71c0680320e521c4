"""Acts of accounts that end: one moves to another area with its money and what it pays for others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final
from uuid import uuid4

from gongji.identity.v1 import identity_pb2
from gongji.settlement.v1 import account_pb2
from kernel.failures import Failure
from kernel.money import Fen
from ops import household
from tests.e2e.town import AUTHORISED_FEN, HAMI, URUMQI, Resident, new_resident
from tests.fault.matrix.accounts import Amending
from tests.fault.matrix.scene import until
from tests.fault.matrix.wallets import ON_ITS_WAY, credited

BEGAN_FEN: Final[Fen] = 10_000
OPENED_FEN: Final[Fen] = 1
CALL_S: Final = 4.0
_ACCOUNT: Final = "SELECT state, past_fen + current_fen FROM accounts WHERE psn_no = $1 AND kind = 'PERSONAL'"
_OPEN: Final = "SELECT authorised_fen FROM authorisations WHERE funder_psn_no = $1 AND state = 'OPEN'"
_UNFINISHED: Final = "SELECT count(*) FROM account_endings WHERE finished_at IS NULL"


class MoveAccount(Amending):
    """A funder is insured in Ürümqi by now, and his account is moved there from Hami; his binding follows it."""

    def resident(self) -> Resident:
        """With money."""
        return new_resident(HAMI, past_fen=BEGAN_FEN)

    async def prepare(self) -> None:
        """Bound for somebody, and with an account in Ürümqi too."""
        await super().prepare()
        town = self.scene.town
        await until(lambda: credited(self.scene, self.funder), "settlement has heard of him")
        await town.desks.identity.Enrol(
            identity_pb2.EnrolRequest(psn_no=self.funder.psn_no, insutype="310", insuplc_admdvs=URUMQI)
        )
        await until(self._opened, "an account is open in Ürümqi")
        await town.at_rest()
        self._move = account_pb2.MoveAccountRequest(
            psn_no=self.funder.psn_no, from_area=HAMI, to_area=URUMQI, request_id=str(uuid4())
        )

    async def _opened(self) -> bool:
        try:
            await household.credit(self.scene.town.desks, psn_no=self.funder.psn_no, area=URUMQI, past_fen=OPENED_FEN)
        except Failure as failure:
            if failure.reason not in ON_ITS_WAY:
                raise
            return False
        return True

    async def ask(self) -> bool:
        """The same move each time."""
        await self.scene.town.desks.accounts.MoveAccount(self._move, timeout=CALL_S)
        return True

    async def learn(self) -> None:
        """Answered; and the binding has followed."""
        await super().learn()
        await until(self._followed, "account and binding are in Ürümqi")

    async def _followed(self) -> bool:
        unfinished = await self.scene.town.settlement.fetchval(_UNFINISHED)
        return not unfinished and await self._open() == ([], [AUTHORISED_FEN])

    async def _open(self) -> tuple[list[Fen], list[Fen]]:
        return (
            [row[0] for row in await self.scene.far.fetch(_OPEN, self.funder.psn_no)],
            [row[0] for row in await self.scene.near.fetch(_OPEN, self.funder.psn_no)],
        )

    async def check(self) -> None:
        """All of the money is in Ürümqi, once; nothing is open in Hami."""
        accounts = [
            tuple(await ledger.fetchrow(_ACCOUNT, self.funder.psn_no)) for ledger in (self.scene.far, self.scene.near)
        ]
        assert accounts == [("CLOSED", 0), ("OPEN", BEGAN_FEN + OPENED_FEN)]
        assert await self._open() == ([], [AUTHORISED_FEN])


class MoveLeft(MoveAccount):
    """Whoever asked goes away; what was stored is carried out all the same."""

    async def begin(self) -> None:
        """Asked once."""
        self._asked = asyncio.create_task(self._ask_once())

    async def _ask_once(self) -> None:
        with suppress(Failure):
            await self.ask()

    async def learn(self) -> None:
        """Nobody asks again: what is stored comes to its end."""
        await self._asked
        await until(self._followed, "account and binding are in Ürümqi")
