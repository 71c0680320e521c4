"""A person's rights: the export, who looked, corrections."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, field
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.pages import id_of, page_size, token_of
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import rights_pb2 as pb
from gongji.identity.v1.rights_pb2_grpc import RightsServiceServicer, add_RightsServiceServicer_to_server
from kernel.clock import business_date
from kernel.ids import parsed_psn_no
from services.identity.api.room import Room, asked_by
from services.identity.operations import corrections, lookups, rights
from services.identity.wire import rights as wire
from services.identity.wire.values import parsed_text


@dataclass(frozen=True, slots=True)
class RightsApi(RightsServiceServicer):
    """Serves ``gongji.identity.v1.RightsService``; the chassis maps what is raised below."""

    room: Room
    exports: rights.Exports = field(default_factory=rights.Exports)

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_RightsServiceServicer_to_server, self)

    async def ExportPerson(
        self, request: pb.ExportPersonRequest, context: Context
    ) -> AsyncIterator[pb.ExportPersonResponse]:
        room, now = self.room, self.room.clock.now()
        psn_no = parsed_psn_no(request.psn_no, field="psn_no")
        async with self.exports.place():
            await rights.begin_export(
                database=room.database,
                psn_no=psn_no,
                attestation_id=UUID(request.attestation_id),
                asked_by=asked_by(context),
                now=now,
                randomness=room.randomness,
            )
            pieces = rights.exported(database=room.database, seals=room.seals, psn_no=psn_no, now=now)
            async with aclosing(pieces):
                async for piece in pieces:
                    yield pb.ExportPersonResponse(content=piece)

    async def ListLookups(self, request: pb.ListLookupsRequest, context: Context) -> pb.ListLookupsResponse:
        room = self.room
        page, more = await lookups.list_lookups(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            before=wire.last_lookup(request.page_token),
            size=page_size(request.page_size),
            asked_by=asked_by(context),
            now=room.clock.now(),
        )
        return pb.ListLookupsResponse(
            lookups=map(wire.lookup_message, page), next_page_token=token_of(str(page[-1].number)) if more else ""
        )

    async def RequestCorrection(
        self, request: pb.RequestCorrectionRequest, context: Context
    ) -> pb.RequestCorrectionResponse:
        room, now = self.room, self.room.clock.now()
        seen = await corrections.request_correction(
            database=room.database,
            seals=room.seals,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            wanted=wire.wanted(request, today=business_date(now)),
            evidence=wire.evidence(request.evidence),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.RequestCorrectionResponse(correction=wire.correction_message(seen))

    async def ListCorrections(self, request: pb.ListCorrectionsRequest, context: Context) -> pb.ListCorrectionsResponse:
        room = self.room
        page, more = await corrections.list_corrections(
            database=room.database,
            seals=room.seals,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no") if request.psn_no else None,
            state=wire.correction_state(request.state),
            after=id_of(request.page_token),
            size=page_size(request.page_size),
            asked_by=asked_by(context),
            now=room.clock.now(),
        )
        return pb.ListCorrectionsResponse(
            corrections=map(wire.correction_message, page),
            next_page_token=token_of(str(page[-1].correction.correction_id)) if more else "",
        )

    async def DecideCorrection(
        self, request: pb.DecideCorrectionRequest, context: Context
    ) -> pb.DecideCorrectionResponse:
        room = self.room
        seen = await corrections.decide_correction(
            database=room.database,
            seals=room.seals,
            correction_id=UUID(request.correction_id),
            state=wire.decision(request.state),
            opter=request.opter,
            cause=parsed_text(request.cause, field="cause") if request.cause else "",
            read=request.value_on_evidence,
            asked_by=asked_by(context),
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.DecideCorrectionResponse(correction=wire.correction_message(seen))
