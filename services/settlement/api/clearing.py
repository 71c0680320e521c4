"""ClearingService: what areas owe each other, month by month."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chassis.db import Database
from chassis.rpc.client import CALLER
from chassis.rpc.interceptors import Context, header
from chassis.rpc.pages import page_size, token_of
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import clearing_pb2 as pb
from gongji.settlement.v1.clearing_pb2_grpc import ClearingServiceServicer, add_ClearingServiceServicer_to_server
from kernel.callers import parsed_caller
from kernel.clock import Clock
from services.settlement.domain.clearing import parsed_period
from services.settlement.operations import clearing
from services.settlement.wire import clearing as wire

NOBODY: Final = "unauthenticated"


@dataclass(frozen=True, slots=True)
class ClearingApi(ClearingServiceServicer):
    """Clearing as officers and the areas' own systems use it."""

    database: Database
    clock: Clock

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_ClearingServiceServicer_to_server, self)

    async def RunClearing(self, request: pb.RunClearingRequest, context: Context) -> pb.RunClearingResponse:
        declared = header(context, CALLER)
        ran = await clearing.run(
            self.database,
            period=parsed_period(request.period, field="period"),
            carry_reason=request.carry_reason.strip(),
            run_by=NOBODY if declared is None else parsed_caller(declared),
        )
        return pb.RunClearingResponse(run=wire.run_message(ran.run), existed=ran.existed)

    async def GetClearing(self, request: pb.GetClearingRequest, _: Context) -> pb.GetClearingResponse:
        run, positions = await clearing.view(self.database, parsed_period(request.period, field="period"))
        return pb.GetClearingResponse(
            run=wire.run_message(run), positions=[wire.position_message(position) for position in positions]
        )

    async def ListClearings(self, request: pb.ListClearingsRequest, _: Context) -> pb.ListClearingsResponse:
        page, more, next_period = await clearing.list_runs(
            self.database,
            before=wire.last_period(request.page_token),
            size=page_size(request.page_size),
            now=self.clock.now(),
        )
        return pb.ListClearingsResponse(
            runs=[wire.run_message(run) for run in page],
            next_page_token=token_of(str(page[-1].period)) if more else "",
            next_period=str(next_period),
        )

    async def ListClearingPairs(self, request: pb.ListClearingPairsRequest, _: Context) -> pb.ListClearingPairsResponse:
        page, more = await clearing.list_pairs(
            self.database,
            parsed_period(request.period, field="period"),
            debtor=request.debtor_area,
            creditor=request.creditor_area,
            after=wire.last_pair(request.page_token),
            size=page_size(request.page_size),
        )
        return pb.ListClearingPairsResponse(
            pairs=[wire.pair_message(pair) for pair in page],
            next_page_token=token_of(*page[-1].mark) if more else "",
        )

    async def ExportClearing(
        self, request: pb.ExportClearingRequest, _: Context
    ) -> AsyncIterator[pb.ExportClearingResponse]:
        period = parsed_period(request.period, field="period")
        parts = clearing.exported(self.database, period, debtor=request.debtor_area, creditor=request.creditor_area)
        async with aclosing(parts):
            async for part in parts:
                yield pb.ExportClearingResponse(csv=part.encode())

    async def TraceClearing(self, request: pb.TraceClearingRequest, _: Context) -> pb.TraceClearingResponse:
        lines = await clearing.trace(self.database, UUID(request.setl_id))
        return pb.TraceClearingResponse(lines=[wire.line_message(line) for line in lines])
