"""ClaimService: reimbursement claims, from the papers to the order of payout."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.pages import page_size, parts_of, token_of
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import claims_pb2 as pb
from gongji.settlement.v1.claims_pb2_grpc import ClaimServiceServicer, add_ClaimServiceServicer_to_server
from kernel.clock import Clock
from kernel.ids import AdmDvs, PsnNo
from services.settlement.operations import claims
from services.settlement.operations.wallets import Room
from services.settlement.wire import claims as wire


@dataclass(frozen=True, slots=True)
class ClaimApi(ClaimServiceServicer):
    """Claims as people file them and officers decide them."""

    room: Room
    clock: Clock

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_ClaimServiceServicer_to_server, self)

    async def SubmitClaim(self, request: pb.SubmitClaimRequest, _: Context) -> pb.SubmitClaimResponse:
        claim = await claims.submit(self.room, asked=wire.claim_asked(request), now=self.clock.now())
        return pb.SubmitClaimResponse(claim=wire.claim_message(claim))

    async def GetClaim(self, request: pb.GetClaimRequest, _: Context) -> pb.GetClaimResponse:
        claim = await claims.view(self.room, claim_id=UUID(request.claim_id))
        return pb.GetClaimResponse(claim=wire.claim_message(claim))

    async def ListClaims(self, request: pb.ListClaimsRequest, _: Context) -> pb.ListClaimsResponse:
        page, more = await claims.queue(
            self.room,
            area=AdmDvs(request.area),
            states=wire.states_asked(request),
            after=wire.mark_asked(parts_of(request.page_token, 2)),
            size=page_size(request.page_size),
        )
        return pb.ListClaimsResponse(
            claims=[wire.claim_message(claim) for claim in page],
            next_page_token=token_of(*wire.mark_told(page[-1])) if more else "",
        )

    async def DecideClaim(self, request: pb.DecideClaimRequest, _: Context) -> pb.DecideClaimResponse:
        claim_id = UUID(request.claim_id)
        if request.approve:
            assessment, now = wire.assessment(request), self.clock.now()
            claim = await claims.approve(self.room, claim_id=claim_id, assessment=assessment, now=now)
        else:
            claim = await claims.refuse(self.room, claim_id=claim_id, opter=request.opter, cause=request.cause)
        return pb.DecideClaimResponse(claim=wire.claim_message(claim))

    async def AppealClaim(self, request: pb.AppealClaimRequest, _: Context) -> pb.AppealClaimResponse:
        claim = await claims.appeal(
            self.room,
            claim_id=UUID(request.claim_id),
            psn_no=PsnNo(request.psn_no),
            objection=request.objection,
        )
        return pb.AppealClaimResponse(claim=wire.claim_message(claim))

    async def OrderPayout(self, request: pb.OrderPayoutRequest, _: Context) -> pb.OrderPayoutResponse:
        order = await claims.order_payout(
            self.room, order_id=UUID(request.request_id), area=AdmDvs(request.area), opter=request.opter
        )
        return wire.order_message(order)
