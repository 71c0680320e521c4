"""VisitService: who stands at the desk (1101), and what was billed."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.settlement.v1 import visits_pb2 as pb
from gongji.settlement.v1.visits_pb2_grpc import VisitServiceServicer, add_VisitServiceServicer_to_server
from kernel.clock import Clock
from kernel.ids import FixmedinsCode, PaymentId
from services.settlement.operations import visiting
from services.settlement.operations.engine import Engine
from services.settlement.operations.planning import Desk
from services.settlement.wire import visits as wire
from services.settlement.wire.desk import line_message


@dataclass(frozen=True, slots=True)
class VisitApi(VisitServiceServicer):
    """What a terminal asks of a visit beside its money."""

    desk: Desk
    engine: Engine
    clock: Clock

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_VisitServiceServicer_to_server, self)

    async def GetPersonInfo(self, request: pb.GetPersonInfoRequest, _: Context) -> pb.GetPersonInfoResponse:
        now = self.clock.now()
        seen = await visiting.see_person(self.desk, shown=wire.at_desk(request), now=now)
        return wire.person_message(seen, as_of=now)

    async def ListBillLines(self, request: pb.ListBillLinesRequest, _: Context) -> pb.ListBillLinesResponse:
        lines = await visiting.bill_lines(
            self.engine,
            fixmedins_code=FixmedinsCode(request.fixmedins_code),
            setl_id=PaymentId(UUID(request.setl_id)),
        )
        return pb.ListBillLinesResponse(lines=[line_message(line) for line in lines])
