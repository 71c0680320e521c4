"""Dynamic codes issued to a phone, whatever is shown at a desk decoded, and wards."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import credentials_pb2 as pb
from gongji.identity.v1.credentials_pb2_grpc import CredentialServiceServicer, add_CredentialServiceServicer_to_server
from kernel.ids import parsed_psn_no
from services.identity.api.room import Room, asked_by
from services.identity.operations import credentials, wards
from services.identity.operations.credentials import Presentation
from services.identity.wire import credentials as wire
from services.identity.wire.people import person_message
from services.identity.wire.values import parsed_text, timestamp_of


@dataclass(frozen=True, slots=True)
class CredentialApi(CredentialServiceServicer):
    """Serves ``gongji.identity.v1.CredentialService``; the chassis maps what is raised below."""

    room: Room
    presentation: Presentation

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_CredentialServiceServicer_to_server, self)

    async def IssueCode(self, request: pb.IssueCodeRequest, context: Context) -> pb.IssueCodeResponse:
        room, guardian = self.room, request.guardian_psn_no
        signed, code = await credentials.issue_code(
            database=room.database,
            keys=room.keys,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            guardian=parsed_psn_no(guardian, field="guardian_psn_no") if guardian else None,
            lifetime_s=room.code_lifetime_s,
            asked_by=asked_by(context),
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.IssueCodeResponse(code=signed, expires_time=timestamp_of(code.expires_at))

    async def DecodeCredential(self, request: pb.DecodeCredentialRequest, _: Context) -> pb.DecodeCredentialResponse:
        now = self.room.clock.now()
        decoded = await self.presentation.decode(
            wire.presented(request, now=now), wire.visit(request, now=now), now=now
        )
        return pb.DecodeCredentialResponse(
            ec_token=decoded.ec_token,
            expires_time=timestamp_of(decoded.expires_at),
            person=person_message(decoded.person, now=now),
            mdtrt_cert_type=decoded.mdtrt_cert_type.value,
        )

    async def ListSigningKeys(self, _request: pb.ListSigningKeysRequest, _: Context) -> pb.ListSigningKeysResponse:
        keys = self.room.keys.standing(now=self.room.clock.now())
        return pb.ListSigningKeysResponse(keys=map(wire.signing_key_message, keys))

    async def EndSigningKey(self, request: pb.EndSigningKeyRequest, _: Context) -> pb.EndSigningKeyResponse:
        cause = parsed_text(request.cause, field="cause")
        key = await self.room.keys.end(request.kid, opter=request.opter, cause=cause)
        return pb.EndSigningKeyResponse(key=wire.signing_key_message(key))

    async def AddWard(self, request: pb.AddWardRequest, context: Context) -> pb.AddWardResponse:
        ward_attestation_id = request.ward_attestation_id
        ward = await wards.add_ward(
            database=self.room.database,
            guardian=parsed_psn_no(request.guardian_psn_no, field="guardian_psn_no"),
            ward=parsed_psn_no(request.ward_psn_no, field="ward_psn_no"),
            guardian_attestation_id=UUID(request.guardian_attestation_id),
            ward_attestation_id=UUID(ward_attestation_id) if ward_attestation_id else None,
            asked_by=asked_by(context),
            now=self.room.clock.now(),
        )
        return pb.AddWardResponse(ward=wire.ward_message(ward))

    async def RemoveWard(self, request: pb.RemoveWardRequest, context: Context) -> pb.RemoveWardResponse:
        await wards.remove_ward(
            database=self.room.database,
            guardian=parsed_psn_no(request.guardian_psn_no, field="guardian_psn_no"),
            ward=parsed_psn_no(request.ward_psn_no, field="ward_psn_no"),
            asked_by=asked_by(context),
            now=self.room.clock.now(),
        )
        return pb.RemoveWardResponse()

    async def ListWards(self, request: pb.ListWardsRequest, context: Context) -> pb.ListWardsResponse:
        found = await wards.list_wards(
            database=self.room.database,
            guardian=parsed_psn_no(request.guardian_psn_no, field="guardian_psn_no"),
            asked_by=asked_by(context),
            now=self.room.clock.now(),
        )
        return pb.ListWardsResponse(wards=map(wire.ward_message, found))
