"""Dynamic codes: issued to a phone, decoded once at a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import credentials_pb2 as pb
from gongji.identity.v1.credentials_pb2_grpc import CredentialServiceServicer, add_CredentialServiceServicer_to_server
from kernel.ids import parsed_fixmedins_code, parsed_psn_no
from services.identity.api.room import Room
from services.identity.domain.credential import (
    CODE_TYPE,
    EC_TOKEN_TYPE,
    EcToken,
    checked_code,
    code_claims,
    ec_token_claims,
    new_code,
)
from services.identity.domain.signing import key_id_of
from services.identity.operations import credentials
from services.identity.wire.people import person_message
from services.identity.wire.values import timestamp_of

_UUID_BITS: Final = 128


@dataclass(frozen=True, slots=True)
class CredentialApi(CredentialServiceServicer):
    """Serves ``gongji.identity.v1.CredentialService``; the chassis maps what is raised below."""

    room: Room

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_CredentialServiceServicer_to_server, self)

    async def IssueCode(self, request: pb.IssueCodeRequest, _: Context) -> pb.IssueCodeResponse:
        room, now = self.room, self.room.clock.now()
        psn_no = parsed_psn_no(request.psn_no, field="psn_no")
        await credentials.check_person_known(database=room.database, psn_no=psn_no)
        code = new_code(psn_no, jti=self._jti(), now=now, lifetime_s=room.code_lifetime_s)
        return pb.IssueCodeResponse(
            code=room.keys.ring.sign(code_claims(code), as_type=CODE_TYPE, now=now),
            expires_time=timestamp_of(code.expires_at),
        )

    async def DecodeCredential(self, request: pb.DecodeCredentialRequest, _: Context) -> pb.DecodeCredentialResponse:
        room, now = self.room, self.room.clock.now()
        fixmedins_code = parsed_fixmedins_code(request.fixmedins_code, field="fixmedins_code")
        ring = await room.keys.ring_with(key_id_of(request.code))
        signed = ring.verify(request.code, now=now)
        code = checked_code(signed.type, signed.claims, now=now)
        person = await credentials.use_code(
            database=room.database, code=code, fixmedins_code=fixmedins_code, terminal_no=request.terminal_no, now=now
        )
        issued_at = now.replace(microsecond=0)
        token = EcToken(
            psn_no=person.psn_no,
            fixmedins_code=fixmedins_code,
            terminal_no=request.terminal_no,
            jti=self._jti(),
            issued_at=issued_at,
            expires_at=issued_at + room.ec_token_lifetime,
        )
        return pb.DecodeCredentialResponse(
            ec_token=ring.sign(ec_token_claims(token), as_type=EC_TOKEN_TYPE, now=now),
            expires_time=timestamp_of(token.expires_at),
            person=person_message(person, now=now),
        )

    def _jti(self) -> UUID:
        """Random throughout: a code's id tells nobody when or how many were issued."""
        return UUID(int=self.room.randomness.getrandbits(_UUID_BITS), version=4)
