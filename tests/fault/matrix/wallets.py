"""Acts of the wallets' desk: a transfer to a relative in another province, a wallet opened, a wallet used elsewhere."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import uuid4

from gongji.settlement.v1 import wallets_pb2
from gongji.settlement.v1.account_pb2 import ACCOUNT_KIND_PERSONAL
from kernel.failures import Failure
from kernel.money import Fen
from ops import household
from tests.e2e.town import HAMI, LANZHOU, Resident, new_resident
from tests.fault.matrix.accounts import SingleAct
from tests.fault.matrix.scene import Scene, until

BEGAN_FEN: Final = 10_000
GIVEN_FEN: Final = 3_000
CALL_S: Final = 4.0
ON_ITS_WAY: Final = frozenset({"PERSON_UNKNOWN", "NOT_INSURED_IN_AREA"})
"""How settlement refuses somebody of whom identity's events have not arrived yet, or not all."""
_WALLET: Final = "SELECT coalesce(sum(past_fen), 0) FROM accounts WHERE psn_no = $1 AND kind = 'WALLET'"
_ACCOUNT: Final = "SELECT past_fen FROM accounts WHERE psn_no = $1 AND kind = 'PERSONAL'"


async def credited(scene: Scene, resident: Resident) -> bool:
    """Whether the money he begins with has come in: settlement may not have heard of him yet."""
    try:
        await scene.town.credited(resident)
    except Failure as failure:
        if failure.reason not in ON_ITS_WAY:
            raise
        return False
    return True


class OpenWallet(SingleAct):
    """A wallet is opened in Ürümqi, under one request id."""

    request: wallets_pb2.OpenWalletRequest

    async def prepare(self) -> None:
        """Two siblings whom nobody has dealt with: one with money in Lanzhou, one who is to have a wallet in Ürümqi."""
        town = self.scene.town
        self.giver, self.receiver = new_resident(LANZHOU, past_fen=BEGAN_FEN), new_resident()
        await asyncio.gather(town.moves_in(self.giver), town.moves_in(self.receiver))
        await household.prove_relation(
            town.desks, person=self.giver.psn_no, other=self.receiver.psn_no, relation="SIBLING"
        )
        await until(lambda: credited(self.scene, self.giver), "settlement has heard of the giver")
        self.request = await household.wallet_opening(town.desks, psn_no=self.receiver.psn_no, area=self.receiver.area)

    async def ask(self) -> bool:
        """The same request each time."""
        try:
            answer = await self.scene.town.desks.wallets.OpenWallet(self.request, timeout=CALL_S)
        except Failure as failure:
            if failure.reason not in ON_ITS_WAY:
                raise
            return False
        return bool(answer.wallet.area == self.receiver.area)

    async def check(self) -> None:
        """There is one wallet, and one change of it."""
        changes = "SELECT count(*) FROM wallet_changes WHERE psn_no = $1"
        assert await self.scene.town.settlement.fetchval(changes, self.receiver.psn_no) == 1


class Transfer(OpenWallet):
    """Money goes from an account in Lanzhou to a wallet in Ürümqi, asked for and accepted until both are answered."""

    async def prepare(self) -> None:
        """The wallet is there."""
        await super().prepare()
        await until(super().ask, "the wallet is open")
        self.transfer = wallets_pb2.TransferRequest(
            request_id=str(uuid4()),
            giver_psn_no=self.giver.psn_no,
            give_from=ACCOUNT_KIND_PERSONAL,
            receiver_psn_no=self.receiver.psn_no,
            amount_fen=GIVEN_FEN,
        )

    async def ask(self) -> bool:
        """The same transfer each time, and then the receiver's Yes."""
        begun = (await self.scene.town.desks.wallets.Transfer(self.transfer, timeout=CALL_S)).transfer
        accepting = wallets_pb2.AcceptTransferRequest(
            transfer_id=begun.transfer_id, receiver_psn_no=self.receiver.psn_no
        )
        accepted = (await self.scene.town.desks.wallets.AcceptTransfer(accepting, timeout=CALL_S)).transfer
        return bool(accepted.state == wallets_pb2.TRANSFER_STATE_ACCEPTED)

    async def check(self) -> None:
        """It was taken once and has arrived once, and it counts once."""
        left = await self.scene.town.ledgers[LANZHOU].fetchval(_ACCOUNT, self.giver.psn_no)
        arrived = await self.scene.near.fetchval(_WALLET, self.receiver.psn_no)
        counted = "SELECT count(*) FROM wallet_transfers WHERE giver_psn_no = $1"
        counts = await self.scene.town.settlement.fetchval(counted, self.giver.psn_no)
        assert (left, arrived, counts) == (BEGAN_FEN - GIVEN_FEN, GIVEN_FEN, 1)


class MoveWallet(Transfer):
    """A wallet with money is used in Hami from now on."""

    async def prepare(self) -> None:
        """The money is in the wallet in Ürümqi."""
        await super().prepare()
        await until(super().ask, "the money has arrived")
        await self.scene.town.at_rest()
        self.change = wallets_pb2.ChangeWalletAreaRequest(
            request_id=str(uuid4()), psn_no=self.receiver.psn_no, area=HAMI
        )

    async def ask(self) -> bool:
        """The same change each time."""
        answer = await self.scene.town.desks.wallets.ChangeWalletArea(self.change, timeout=CALL_S)
        return bool(answer.wallet.area == HAMI)

    async def learn(self) -> None:
        """Answered; and the money has followed."""
        await super().learn()
        await until(self._followed, "the money has followed its wallet")

    async def _followed(self) -> bool:
        return await self._in_wallets() == (0, GIVEN_FEN)

    async def check(self) -> None:
        """All of it is in Hami, once."""
        assert await self._in_wallets() == (0, GIVEN_FEN)

    async def _in_wallets(self) -> tuple[Fen, Fen]:
        near = await self.scene.near.fetchval(_WALLET, self.receiver.psn_no)
        return near, await self.scene.far.fetchval(_WALLET, self.receiver.psn_no)
