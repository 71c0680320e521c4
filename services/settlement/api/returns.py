"""ReturnService: what a partial return of goods would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import returns_pb2 as pb
from gongji.settlement.v1.returns_pb2_grpc import ReturnServiceServicer, add_ReturnServiceServicer_to_server
from kernel.clock import Clock
from kernel.ids import PaymentId
from services.settlement.operations import returning
from services.settlement.operations.engine import Engine
from services.settlement.operations.planning import Desk
from services.settlement.wire import desk as desk_wire
from services.settlement.wire import returns as wire


@dataclass(frozen=True, slots=True)
class ReturnApi(ReturnServiceServicer):
    """Returns at the desk."""

    desk: Desk
    engine: Engine
    clock: Clock
    new_id: Callable[[], UUID]

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_ReturnServiceServicer_to_server, self)

    async def PlanReturn(self, request: pb.PlanReturnRequest, _: Context) -> pb.PlanReturnResponse:
        planned = await returning.plan_return(
            self.desk,
            self.engine,
            setl_id=PaymentId(UUID(request.setl_id)),
            rest=desk_wire.presented(request.rest),
            new_id=self.new_id,
            now=self.clock.now(),
        )
        return wire.planned_return(planned)
