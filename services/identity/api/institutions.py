"""Designated institutions and their terminals."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.rpc.interceptors import Context
from chassis.rpc.pages import page_size, parts_of, token_of
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import institutions_pb2 as pb
from gongji.identity.v1.institutions_pb2_grpc import (
    InstitutionServiceServicer,
    add_InstitutionServiceServicer_to_server,
)
from kernel.ids import FixmedinsCode
from kernel.policy import known_area
from services.identity.api.room import Room
from services.identity.domain.institution import Institution, InstitutionState
from services.identity.operations import institutions, terminals
from services.identity.wire import institutions as wire
from services.identity.wire.values import parsed_text, timestamp_of


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
            opter=request.opter,
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.RegisterInstitutionResponse(institution=wire.institution_message(institution))

    async def SuspendInstitution(
        self, request: pb.SuspendInstitutionRequest, _: Context
    ) -> pb.SuspendInstitutionResponse:
        suspended = await self._decided(request, InstitutionState.SUSPENDED)
        return pb.SuspendInstitutionResponse(institution=wire.institution_message(suspended))

    async def ResumeInstitution(self, request: pb.ResumeInstitutionRequest, _: Context) -> pb.ResumeInstitutionResponse:
        resumed = await self._decided(request, InstitutionState.DESIGNATED)
        return pb.ResumeInstitutionResponse(institution=wire.institution_message(resumed))

    async def EndInstitution(self, request: pb.EndInstitutionRequest, _: Context) -> pb.EndInstitutionResponse:
        ended = await self._decided(request, InstitutionState.ENDED)
        return pb.EndInstitutionResponse(institution=wire.institution_message(ended))

    async def GetInstitution(self, request: pb.GetInstitutionRequest, _: Context) -> pb.GetInstitutionResponse:
        room = self.room
        institution, decisions = await institutions.show_institution(
            database=room.database, fixmedins_code=wire.fixmedins_code(request.fixmedins_code)
        )
        return wire.institution_shown(institution, decisions, now=room.clock.now())

    async def ListInstitutions(self, request: pb.ListInstitutionsRequest, _: Context) -> pb.ListInstitutionsResponse:
        last = parts_of(request.page_token, 1)
        found, more = await institutions.list_institutions(
            database=self.room.database,
            area=known_area(request.admdvs, field="admdvs"),
            state=wire.state_asked(request.state),
            after=None if last is None else FixmedinsCode(last[0]),
            size=page_size(request.page_size),
        )
        return pb.ListInstitutionsResponse(
            institutions=map(wire.institution_message, found),
            next_page_token=token_of(found[-1].fixmedins_code) if more else "",
        )

    async def RegisterTerminal(self, request: pb.RegisterTerminalRequest, _: Context) -> pb.RegisterTerminalResponse:
        room = self.room
        terminal = await terminals.register_terminal(
            database=room.database,
            terminal=wire.terminal(request),
            opter=request.opter,
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.RegisterTerminalResponse(terminal=wire.terminal_message(terminal))

    async def RetireTerminal(self, request: pb.RetireTerminalRequest, _: Context) -> pb.RetireTerminalResponse:
        room = self.room
        terminal = await terminals.retire_terminal(
            database=room.database,
            fixmedins_code=wire.fixmedins_code(request.fixmedins_code),
            terminal_no=request.terminal_no,
            opter=request.opter,
            cause=parsed_text(request.cause, field="cause"),
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.RetireTerminalResponse(terminal=wire.terminal_message(terminal))

    async def ListTerminals(self, request: pb.ListTerminalsRequest, _: Context) -> pb.ListTerminalsResponse:
        last = parts_of(request.page_token, 1)
        found, more = await terminals.list_terminals(
            database=self.room.database,
            fixmedins_code=wire.fixmedins_code(request.fixmedins_code),
            after=None if last is None else last[0],
            size=page_size(request.page_size),
        )
        return pb.ListTerminalsResponse(
            terminals=map(wire.terminal_message, found), next_page_token=token_of(found[-1].terminal_no) if more else ""
        )

    async def SignIn(self, request: pb.SignInRequest, _: Context) -> pb.SignInResponse:
        room = self.room
        sign_in = await terminals.sign_in(
            database=room.database,
            fixmedins_code=wire.fixmedins_code(request.fixmedins_code),
            terminal_no=request.terminal_no,
            opter=request.opter,
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.SignInResponse(
            sign_no=sign_in.sign_no,
            sign_time=timestamp_of(sign_in.signed_in_at),
            ends_time=timestamp_of(sign_in.ends_at),
        )

    async def SignOut(self, request: pb.SignOutRequest, _: Context) -> pb.SignOutResponse:
        room = self.room
        ended_at = await terminals.sign_out(
            database=room.database,
            fixmedins_code=wire.fixmedins_code(request.fixmedins_code),
            sign_no=request.sign_no,
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.SignOutResponse(sign_time=timestamp_of(ended_at))

    async def _decided(
        self,
        request: pb.SuspendInstitutionRequest | pb.ResumeInstitutionRequest | pb.EndInstitutionRequest,
        state: InstitutionState,
    ) -> Institution:
        room = self.room
        return await institutions.decide_institution(
            database=room.database,
            fixmedins_code=wire.fixmedins_code(request.fixmedins_code),
            state=state,
            opter=request.opter,
            cause=parsed_text(request.cause, field="cause"),
            now=room.clock.now(),
            randomness=room.randomness,
        )
