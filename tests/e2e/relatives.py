"""A mother and her son, for tests of wallets: what passes from her account to his."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from gongji.settlement.v1 import account_pb2
from gongji.settlement.v1 import wallets_pb2 as pb
from kernel.failures import Failure
from kernel.money import Fen
from ops import household
from tests.e2e.town import Family, Resident, Town

_DUE = "UPDATE payments SET deadline_at = now(), next_drive_at = now() WHERE payment_id = $1"


@dataclass
class Pair:
    """A mother with money in her account, and her son in another area."""

    town: Town
    mother: Resident
    son: Resident

    @classmethod
    async def living(cls, town: Town, *, mother: Resident, son: Resident) -> Pair:
        """Both registered, related, and the mother's money there; nobody has a wallet."""
        for resident in (mother, son):
            await town.moves_in(resident)
        await town.told()
        await town.credited(mother)
        await household.prove_relation(town.desks, person=mother.psn_no, other=son.psn_no, relation="PARENT")
        return cls(town, mother, son)

    async def opened(self, whose: Resident, *, by: Resident | None = None) -> pb.Wallet:
        """A wallet where its person is insured."""
        request = await household.wallet_opening(
            self.town.desks, psn_no=whose.psn_no, area=whose.area, opener=None if by is None else by.psn_no
        )
        return (await self.town.desks.wallets.OpenWallet(request)).wallet

    def asked(self, amount_fen: Fen = 3_000) -> pb.TransferRequest:
        """From the mother's account to the son's wallet."""
        return pb.TransferRequest(
            request_id=str(uuid4()),
            giver_psn_no=self.mother.psn_no,
            give_from=account_pb2.ACCOUNT_KIND_PERSONAL,
            receiver_psn_no=self.son.psn_no,
            amount_fen=amount_fen,
        )

    async def given(self, amount_fen: Fen = 3_000) -> pb.WalletTransfer:
        """A transfer that waits for the son."""
        return (await self.town.desks.wallets.Transfer(self.asked(amount_fen))).transfer

    async def accepted(self, transfer: pb.WalletTransfer) -> pb.WalletTransfer:
        """The son's Yes, and the money at rest."""
        request = pb.AcceptTransferRequest(transfer_id=transfer.transfer_id, receiver_psn_no=self.son.psn_no)
        answer = await self.town.desks.wallets.AcceptTransfer(request)
        await self.town.at_rest()
        return answer.transfer

    async def money(self) -> tuple[Fen, Fen]:
        """What the mother's account and the son's wallet have."""
        [balance] = await self.town.balances(Family(self.mother))
        wallet = await self.town.desks.wallets.GetWallet(pb.GetWalletRequest(psn_no=self.son.psn_no))
        return balance.past_fen, wallet.balance.past_fen

    async def wallet_of(self, whose: Resident) -> Fen:
        """What this resident's wallet has; 0 if there is none yet."""
        try:
            found = await self.town.desks.wallets.GetWallet(pb.GetWalletRequest(psn_no=whose.psn_no))
        except Failure as failure:
            if failure.reason != "WALLET_UNKNOWN":
                raise
            return 0
        return found.balance.past_fen

    async def morning_comes(self, transfer: pb.WalletTransfer) -> None:
        """The deadline of a transfer that nobody has accepted is now; the money at rest."""
        await self.town.settlement.execute(_DUE, transfer.transfer_id)
        await self.town.at_rest()
