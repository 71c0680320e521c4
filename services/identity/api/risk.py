"""Risk events: the officers' queue."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.pages import id_of, page_size, token_of
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import risk_pb2 as pb
from gongji.identity.v1.risk_pb2_grpc import RiskServiceServicer, add_RiskServiceServicer_to_server
from kernel.ids import parsed_psn_no
from services.identity.api.room import Room, asked_by
from services.identity.operations import objections, risk
from services.identity.wire import risk as wire


@dataclass(frozen=True, slots=True)
class RiskApi(RiskServiceServicer):
    """Serves ``gongji.identity.v1.RiskService``; the chassis maps what is raised below."""

    room: Room

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_RiskServiceServicer_to_server, self)

    async def ListRiskEvents(self, request: pb.ListRiskEventsRequest, context: Context) -> pb.ListRiskEventsResponse:
        room = self.room
        found, more = await risk.list_events(
            database=room.database,
            state=wire.state_asked(request.state),
            kind=wire.kind_asked(request.kind),
            psn_no=wire.person_asked(request.psn_no),
            after=id_of(request.page_token),
            size=page_size(request.page_size),
            asked_by=asked_by(context),
            now=room.clock.now(),
        )
        return pb.ListRiskEventsResponse(
            risk_events=map(wire.event_message, found),
            next_page_token=token_of(str(found[-1].risk_event_id)) if more else "",
        )

    async def GetRiskEvent(self, request: pb.GetRiskEventRequest, context: Context) -> pb.GetRiskEventResponse:
        room = self.room
        event, evidence = await risk.get_event(
            database=room.database,
            risk_event_id=UUID(request.risk_event_id),
            asked_by=asked_by(context),
            now=room.clock.now(),
        )
        return pb.GetRiskEventResponse(
            risk_event=wire.event_message(event), evidence=map(wire.evidence_message, evidence)
        )

    async def DecideRiskEvent(self, request: pb.DecideRiskEventRequest, context: Context) -> pb.DecideRiskEventResponse:
        room, now = self.room, self.room.clock.now()
        event = await risk.decide_event(
            database=room.database,
            risk_event_id=UUID(request.risk_event_id),
            judgement=wire.judgement(request, now=now),
            asked_by=asked_by(context),
            now=now,
        )
        return pb.DecideRiskEventResponse(risk_event=wire.event_message(event))

    async def ObjectToUse(self, request: pb.ObjectToUseRequest, context: Context) -> pb.ObjectToUseResponse:
        room = self.room
        event, existed = await objections.object_to_use(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            setl_id=UUID(request.setl_id),
            ground=wire.ground(request.ground),
            asked_by=asked_by(context),
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.ObjectToUseResponse(risk_event=wire.event_message(event), existed=existed)
