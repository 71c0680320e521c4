"""ReconciliationService: 3201 and 3202, the difference file, and the officers' queue of what differs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.pages import malformed, page_size, parts_of, token_of
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import reconciliation_pb2 as pb
from gongji.settlement.v1.reconciliation_pb2_grpc import (
    ReconciliationServiceServicer,
    add_ReconciliationServiceServicer_to_server,
)
from kernel.clock import Clock
from kernel.ids import FixmedinsCode
from services.settlement.operations import reconciling
from services.settlement.operations.reconciling import Books
from services.settlement.wire import reconciliation as wire


@dataclass(frozen=True, slots=True)
class ReconciliationApi(ReconciliationServiceServicer):
    """Day's end as terminals and officers use it."""

    books: Books
    clock: Clock

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_ReconciliationServiceServicer_to_server, self)

    async def ReconcileTotal(self, request: pb.ReconcileTotalRequest, _: Context) -> pb.ReconcileTotalResponse:
        now = self.clock.now()
        period = wire.period_asked(request, now=now)
        groups = await reconciling.reconcile_totals(
            self.books,
            fixmedins_code=FixmedinsCode(request.fixmedins_code),
            period=period,
            theirs=wire.stated_totals(request.totals),
            stated_only=request.stated_only,
            now=now,
        )
        return wire.total_response(groups, period, now=now)

    async def ReconcileDetail(
        self, request_iterator: AsyncIterator[pb.ReconcileDetailRequest], _: Context
    ) -> pb.ReconcileDetailResponse:
        now = self.clock.now()
        announced = await wire.announced(request_iterator, now=now)
        compared = await reconciling.reconcile_rows(
            self.books, announced=announced, parts=wire.rows_in(request_iterator), now=now
        )
        return wire.detail_response(compared, announced.period)

    async def GetReconciliation(self, request: pb.GetReconciliationRequest, _: Context) -> pb.GetReconciliationResponse:
        now = self.clock.now()
        period = wire.day_asked(request.stmt_date, now=now)
        view = await reconciling.view_day(
            self.books, fixmedins_code=FixmedinsCode(request.fixmedins_code), period=period, now=now
        )
        return wire.day_response(view, period, now=now)

    async def StreamDifferences(
        self, request: pb.StreamDifferencesRequest, _: Context
    ) -> AsyncIterator[pb.StreamDifferencesResponse]:
        pages = reconciling.differences_of_day(
            self.books,
            fixmedins_code=FixmedinsCode(request.fixmedins_code),
            day=wire.day_asked(request.stmt_date, now=self.clock.now()).first,
            states=wire.states_asked(request.state),
        )
        async for page in pages:
            yield pb.StreamDifferencesResponse(differences=map(wire.difference_message, page))

    async def ListDifferences(self, request: pb.ListDifferencesRequest, _: Context) -> pb.ListDifferencesResponse:
        after = wire.after_of(parts_of(request.page_token, 2))
        if after is None:
            raise malformed()
        found, more = await reconciling.list_differences(
            self.books,
            area=request.area,
            fixmedins_code=request.fixmedins_code,
            state=wire.state_listed(request.state),
            after=after,
            size=page_size(request.page_size),
        )
        return pb.ListDifferencesResponse(
            differences=map(wire.difference_message, found),
            next_page_token=token_of(*wire.page_end(request, found[-1])) if more else "",
        )

    async def ResolveDifference(self, request: pb.ResolveDifferenceRequest, _: Context) -> pb.ResolveDifferenceResponse:
        difference = await reconciling.resolve_difference(
            self.books,
            difference_id=UUID(request.difference_id),
            decision=wire.decision_of(request),
            now=self.clock.now(),
        )
        return pb.ResolveDifferenceResponse(difference=wire.difference_message(difference))
