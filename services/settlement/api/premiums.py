"""PremiumService: residents' premiums, what areas ask for and who pays it for whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.pages import id_of, page_size, token_of
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import premiums_pb2 as pb
from gongji.settlement.v1.premiums_pb2_grpc import PremiumServiceServicer, add_PremiumServiceServicer_to_server
from kernel.clock import Clock
from kernel.ids import AdmDvs, PaymentId, PsnNo
from services.settlement.operations import premiums
from services.settlement.operations.premium_list import paid_list
from services.settlement.operations.wallets import Room
from services.settlement.wire import premiums as wire


@dataclass(frozen=True, slots=True)
class PremiumApi(PremiumServiceServicer):
    """Premiums as people pay them, and as the officers of an area keep what they rest on."""

    room: Room
    clock: Clock

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_PremiumServiceServicer_to_server, self)

    async def SetPremiumTariff(self, request: pb.SetPremiumTariffRequest, _: Context) -> pb.SetPremiumTariffResponse:
        stands = await premiums.set_tariff(self.room, tariff=wire.tariff(request), now=self.clock.now())
        return pb.SetPremiumTariffResponse(tariff=wire.tariff_message(stands))

    async def ListPremiumTariffs(
        self, request: pb.ListPremiumTariffsRequest, _: Context
    ) -> pb.ListPremiumTariffsResponse:
        found = await premiums.list_tariffs(self.room, area=AdmDvs(request.area))
        return pb.ListPremiumTariffsResponse(tariffs=[wire.tariff_message(tariff) for tariff in found])

    async def FilePremiumPayer(self, request: pb.FilePremiumPayerRequest, _: Context) -> pb.FilePremiumPayerResponse:
        filing_id = await premiums.file_payer(
            self.room,
            filing_id=UUID(request.request_id),
            payer=PsnNo(request.payer_psn_no),
            insured=PsnNo(request.insured_psn_no),
            opter=request.opter,
        )
        return pb.FilePremiumPayerResponse(filing_id=str(filing_id))

    async def EndPremiumFiling(self, request: pb.EndPremiumFilingRequest, _: Context) -> pb.EndPremiumFilingResponse:
        await premiums.end_filing(self.room, filing_id=UUID(request.filing_id), opter=request.opter)
        return pb.EndPremiumFilingResponse()

    async def GetPremiumDue(self, request: pb.GetPremiumDueRequest, _: Context) -> pb.GetPremiumDueResponse:
        tariff, state = await premiums.due(
            self.room, insured=PsnNo(request.insured_psn_no), year=request.year, now=self.clock.now()
        )
        standing = pb.PREMIUM_STATE_UNSPECIFIED if state is None else wire.STATES[state]
        return pb.GetPremiumDueResponse(tariff=wire.tariff_message(tariff), state=standing)

    async def PayPremium(self, request: pb.PayPremiumRequest, _: Context) -> pb.PayPremiumResponse:
        paid = await premiums.pay(self.room, asked=wire.premium_asked(request), now=self.clock.now())
        return pb.PayPremiumResponse(premium=wire.premium_message(paid))

    async def GetPremium(self, request: pb.GetPremiumRequest, _: Context) -> pb.GetPremiumResponse:
        found = await premiums.what_became(
            self.room, payer=PsnNo(request.payer_psn_no), request_id=UUID(request.request_id)
        )
        return pb.GetPremiumResponse(premium=wire.premium_message(found))

    async def RevokePremium(self, request: pb.RevokePremiumRequest, _: Context) -> pb.RevokePremiumResponse:
        revoked = await premiums.revoke(
            self.room,
            payer=PsnNo(request.payer_psn_no),
            premium_id=PaymentId(UUID(request.premium_id)),
            now=self.clock.now(),
        )
        return pb.RevokePremiumResponse(premium=wire.premium_message(revoked))

    async def ListPremiums(self, request: pb.ListPremiumsRequest, _: Context) -> pb.ListPremiumsResponse:
        page, more = await premiums.list_premiums(
            self.room,
            psn_no=PsnNo(request.psn_no),
            before=id_of(request.page_token),
            size=page_size(request.page_size),
        )
        return pb.ListPremiumsResponse(
            premiums=[wire.premium_message(premium) for premium in page],
            next_page_token=token_of(str(page[-1].premium_id)) if more else "",
        )

    async def ExportPaidPremiums(
        self, request: pb.ExportPaidPremiumsRequest, _: Context
    ) -> AsyncIterator[pb.ExportPaidPremiumsResponse]:
        parts = paid_list(self.room, area=AdmDvs(request.area), year=request.year, now=self.clock.now())
        async with aclosing(parts):
            async for part in parts:
                yield wire.list_part(part)
