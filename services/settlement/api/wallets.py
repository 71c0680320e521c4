"""WalletService: wallets, and what relatives transfer to one another's."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.pages import id_of, page_size, token_of
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import wallets_pb2 as pb
from gongji.settlement.v1.wallets_pb2_grpc import WalletServiceServicer, add_WalletServiceServicer_to_server
from kernel.clock import Clock
from kernel.ids import AdmDvs, PaymentId, PsnNo
from services.settlement.operations import giving, wallets
from services.settlement.operations.wallets import Room
from services.settlement.wire import wallets as wire
from services.settlement.wire.accounts import balance_message


@dataclass(frozen=True, slots=True)
class WalletApi(WalletServiceServicer):
    """Wallets as people and the officers who act for them use them."""

    room: Room
    clock: Clock

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_WalletServiceServicer_to_server, self)

    async def OpenWallet(self, request: pb.OpenWalletRequest, _: Context) -> pb.OpenWalletResponse:
        opened = await wallets.open_wallet(self.room, asked=wire.opening(request), now=self.clock.now())
        return pb.OpenWalletResponse(wallet=wire.wallet_message(opened))

    async def GetWallet(self, request: pb.GetWalletRequest, _: Context) -> pb.GetWalletResponse:
        view = await wallets.view_wallet(self.room, psn_no=PsnNo(request.psn_no), now=self.clock.now())
        return pb.GetWalletResponse(
            wallet=wire.wallet_message(view.wallet),
            balance=balance_message(view.balance),
            limits=wire.limits_message(view.limits, left_today=view.left_today),
            under_way=wire.under_way_message(view.under_way),
            former_areas=view.former_areas,
        )

    async def ChangeWalletArea(self, request: pb.ChangeWalletAreaRequest, _: Context) -> pb.ChangeWalletAreaResponse:
        changed = await wallets.change_area(
            self.room,
            request_id=UUID(request.request_id),
            psn_no=PsnNo(request.psn_no),
            area=AdmDvs(request.area),
            now=self.clock.now(),
        )
        return pb.ChangeWalletAreaResponse(wallet=wire.wallet_message(changed))

    async def Transfer(self, request: pb.TransferRequest, _: Context) -> pb.TransferResponse:
        begun = await giving.transfer(self.room, gift=wire.gift(request), now=self.clock.now())
        return pb.TransferResponse(transfer=wire.transfer_message(begun))

    async def AcceptTransfer(self, request: pb.AcceptTransferRequest, _: Context) -> pb.AcceptTransferResponse:
        accepted = await giving.accept(
            self.room, transfer_id=PaymentId(UUID(request.transfer_id)), receiver=PsnNo(request.receiver_psn_no)
        )
        return pb.AcceptTransferResponse(transfer=wire.transfer_message(accepted))

    async def DeclineTransfer(self, request: pb.DeclineTransferRequest, _: Context) -> pb.DeclineTransferResponse:
        declined = await giving.decline(
            self.room, transfer_id=PaymentId(UUID(request.transfer_id)), receiver=PsnNo(request.receiver_psn_no)
        )
        return pb.DeclineTransferResponse(transfer=wire.transfer_message(declined))

    async def WithdrawTransfer(self, request: pb.WithdrawTransferRequest, _: Context) -> pb.WithdrawTransferResponse:
        withdrawn = await giving.withdraw(
            self.room,
            giver=PsnNo(request.giver_psn_no),
            request_id=UUID(request.request_id),
            now=self.clock.now(),
        )
        return pb.WithdrawTransferResponse(transfer=None if withdrawn is None else wire.transfer_message(withdrawn))

    async def ListTransfers(self, request: pb.ListTransfersRequest, _: Context) -> pb.ListTransfersResponse:
        page, more = await giving.list_transfers(
            self.room,
            psn_no=PsnNo(request.psn_no),
            before=id_of(request.page_token),
            size=page_size(request.page_size),
        )
        return pb.ListTransfersResponse(
            transfers=[wire.transfer_message(transfer) for transfer in page],
            next_page_token=token_of(str(page[-1].transfer_id)) if more else "",
        )
