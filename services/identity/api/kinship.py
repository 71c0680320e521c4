"""Kinship facts, and the question what two people are to each other."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import kinship_pb2 as pb
from gongji.identity.v1.kinship_pb2_grpc import KinshipServiceServicer, add_KinshipServiceServicer_to_server
from kernel.clock import business_date
from kernel.ids import parsed_psn_no
from services.identity.api.room import Room
from services.identity.operations import kinship
from services.identity.operations.drawn import new_id
from services.identity.wire import kinship as wire
from services.identity.wire.values import parsed_date, parsed_text


@dataclass(frozen=True, slots=True)
class KinshipApi(KinshipServiceServicer):
    """Serves ``gongji.identity.v1.KinshipService``; the chassis maps what is raised below."""

    room: Room

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_KinshipServiceServicer_to_server, self)

    async def SubmitKinshipFact(self, request: pb.SubmitKinshipFactRequest, _: Context) -> pb.SubmitKinshipFactResponse:
        room, now = self.room, self.room.clock.now()
        fact = await kinship.submit_fact(
            database=room.database,
            fact=wire.submitted_fact(request, fact_id=new_id(now, room.randomness)),
            now=now,
        )
        return pb.SubmitKinshipFactResponse(fact_id=str(fact.fact_id), state=wire.fact_state_value(fact.state))

    async def ReviewKinshipFact(self, request: pb.ReviewKinshipFactRequest, _: Context) -> pb.ReviewKinshipFactResponse:
        room, now = self.room, self.room.clock.now()
        state = await kinship.review_fact(
            database=room.database,
            fact_id=UUID(request.fact_id),
            state=wire.fact_state(request.state),
            cause=parsed_text(request.cause, field="cause") if request.cause else "",
            now=now,
            randomness=room.randomness,
        )
        return pb.ReviewKinshipFactResponse(state=wire.fact_state_value(state))

    async def VerifyKinship(self, request: pb.VerifyKinshipRequest, _: Context) -> pb.VerifyKinshipResponse:
        room = self.room
        found = await kinship.verify_kinship(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            other_psn_no=parsed_psn_no(request.other_psn_no, field="other_psn_no"),
            on_date=parsed_date(request.on_date, field="on_date") or business_date(room.clock.now()),
        )
        return wire.kinship_message(found)
