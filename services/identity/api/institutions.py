"""Designated institutions."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import institutions_pb2 as pb
from gongji.identity.v1.institutions_pb2_grpc import (
    InstitutionServiceServicer,
    add_InstitutionServiceServicer_to_server,
)
from services.identity.api.room import Room
from services.identity.operations import institutions
from services.identity.wire import institutions as wire


@dataclass(frozen=True, slots=True)
class InstitutionApi(InstitutionServiceServicer):
    """Serves ``gongji.identity.v1.InstitutionService``; the chassis maps what is raised below."""

    room: Room

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_InstitutionServiceServicer_to_server, self)

    async def RegisterInstitution(
        self, request: pb.RegisterInstitutionRequest, _: Context
    ) -> pb.RegisterInstitutionResponse:
        room = self.room
        institution = await institutions.register_institution(
            database=room.database,
            institution=wire.institution(request.institution),
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.RegisterInstitutionResponse(institution=wire.institution_message(institution))
