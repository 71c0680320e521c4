"""Sanctions: imposed, lifted, listed, appealed against."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.pages import id_of, page_size, token_of
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import sanctions_pb2 as pb
from gongji.identity.v1.sanctions_pb2_grpc import SanctionServiceServicer, add_SanctionServiceServicer_to_server
from services.identity.api.room import Room, asked_by
from services.identity.domain.institution import Institution
from services.identity.operations import sanctions
from services.identity.operations.drawn import new_id
from services.identity.wire import sanctions as wire
from services.identity.wire.institutions import institution_message
from services.identity.wire.people import person_message
from services.identity.wire.values import parsed_text


@dataclass(frozen=True, slots=True)
class SanctionApi(SanctionServiceServicer):
    """Serves ``gongji.identity.v1.SanctionService``; the chassis maps what is raised below."""

    room: Room

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_SanctionServiceServicer_to_server, self)

    async def ImposeSanction(self, request: pb.ImposeSanctionRequest, context: Context) -> pb.ImposeSanctionResponse:
        room, now = self.room, self.room.clock.now()
        sanction_id, subject = await sanctions.impose_sanction(
            database=room.database,
            sanctioned=wire.sanctioned(request),
            sanction=wire.sanction(request, sanction_id=new_id(now, room.randomness)),
            opter=request.opter,
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        if isinstance(subject, Institution):
            return pb.ImposeSanctionResponse(sanction_id=str(sanction_id), institution=institution_message(subject))
        return pb.ImposeSanctionResponse(sanction_id=str(sanction_id), person=person_message(subject, now=now))

    async def LiftSanction(self, request: pb.LiftSanctionRequest, context: Context) -> pb.LiftSanctionResponse:
        room, now = self.room, self.room.clock.now()
        subject = await sanctions.lift_sanction(
            database=room.database,
            sanction_id=UUID(request.sanction_id),
            cause=parsed_text(request.cause, field="cause"),
            opter=request.opter,
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        if isinstance(subject, Institution):
            return pb.LiftSanctionResponse(institution=institution_message(subject))
        return pb.LiftSanctionResponse(person=person_message(subject, now=now))

    async def ListSanctions(self, request: pb.ListSanctionsRequest, context: Context) -> pb.ListSanctionsResponse:
        room, now = self.room, self.room.clock.now()
        found, more = await sanctions.list_sanctions(
            database=room.database,
            sanctioned=wire.sanctioned(request),
            past=request.past,
            after=id_of(request.page_token),
            size=page_size(request.page_size),
            asked_by=asked_by(context),
            now=now,
        )
        return pb.ListSanctionsResponse(
            sanctions=[wire.record_message(each, now=now) for each in found],
            next_page_token=token_of(str(found[-1].sanction.sanction_id)) if more else "",
        )

    async def FileAppeal(self, request: pb.FileAppealRequest, context: Context) -> pb.FileAppealResponse:
        room, now = self.room, self.room.clock.now()
        appeal = await sanctions.file_appeal(
            database=room.database,
            appeal=wire.appeal(request, appeal_id=new_id(now, room.randomness), now=now),
            asked_by=asked_by(context),
            now=now,
        )
        return pb.FileAppealResponse(appeal=wire.appeal_message(appeal))

    async def DecideAppeal(self, request: pb.DecideAppealRequest, context: Context) -> pb.DecideAppealResponse:
        room, now = self.room, self.room.clock.now()
        record = await sanctions.decide_appeal(
            database=room.database,
            appeal_id=UUID(request.appeal_id),
            decision=wire.decision(request, now=now),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.DecideAppealResponse(sanction=wire.record_message(record, now=now))

    async def ListAppeals(self, request: pb.ListAppealsRequest, _: Context) -> pb.ListAppealsResponse:
        found, more = await sanctions.list_appeals(
            database=self.room.database, after=id_of(request.page_token), size=page_size(request.page_size)
        )
        return pb.ListAppealsResponse(
            appeals=map(wire.appeal_message, found),
            next_page_token=token_of(str(found[-1].appeal_id)) if more else "",
        )
