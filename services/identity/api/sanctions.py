"""Sanctions: imposed and lifted."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import sanctions_pb2 as pb
from gongji.identity.v1.sanctions_pb2_grpc import SanctionServiceServicer, add_SanctionServiceServicer_to_server
from kernel.ids import parsed_psn_no
from services.identity.api.room import Room
from services.identity.operations import sanctions
from services.identity.operations.drawn import new_id
from services.identity.wire import sanctions as wire
from services.identity.wire.people import person_message
from services.identity.wire.values import parsed_text


@dataclass(frozen=True, slots=True)
class SanctionApi(SanctionServiceServicer):
    """Serves ``gongji.identity.v1.SanctionService``; the chassis maps what is raised below."""

    room: Room

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_SanctionServiceServicer_to_server, self)

    async def ImposeSanction(self, request: pb.ImposeSanctionRequest, _: Context) -> pb.ImposeSanctionResponse:
        room, now = self.room, self.room.clock.now()
        sanction_id, person = await sanctions.impose_sanction(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            sanction=wire.sanction(request, sanction_id=new_id(now, room.randomness)),
            now=now,
            randomness=room.randomness,
        )
        return pb.ImposeSanctionResponse(sanction_id=str(sanction_id), person=person_message(person, now=now))

    async def LiftSanction(self, request: pb.LiftSanctionRequest, _: Context) -> pb.LiftSanctionResponse:
        room, now = self.room, self.room.clock.now()
        person = await sanctions.lift_sanction(
            database=room.database,
            sanction_id=UUID(request.sanction_id),
            cause=parsed_text(request.cause, field="cause"),
            now=now,
            randomness=room.randomness,
        )
        return pb.LiftSanctionResponse(person=person_message(person, now=now))
