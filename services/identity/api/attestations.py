"""Verifiers registered and ended; attestations of a face verified and used."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc import pages
from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import attestations_pb2 as pb
from gongji.identity.v1.attestations_pb2_grpc import (
    AttestationServiceServicer,
    add_AttestationServiceServicer_to_server,
)
from kernel.ids import parsed_psn_no
from services.identity.api.room import Room
from services.identity.domain.attestation import USE_WITHIN
from services.identity.operations import attestations
from services.identity.wire import attestations as wire
from services.identity.wire.values import parsed_text, timestamp_of


@dataclass(frozen=True, slots=True)
class AttestationApi(AttestationServiceServicer):
    """Serves ``gongji.identity.v1.AttestationService``; the chassis maps what is raised below."""

    room: Room

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_AttestationServiceServicer_to_server, self)

    async def RegisterVerifier(self, request: pb.RegisterVerifierRequest, _: Context) -> pb.RegisterVerifierResponse:
        room = self.room
        is_new = await attestations.register_verifier(
            database=room.database,
            verifier=wire.verifier(request),
            kid=request.kid,
            public_key=request.public_key,
            sandbox_allowed=room.sandbox_verifiers,
            opter=request.opter,
            now=room.clock.now(),
        )
        return pb.RegisterVerifierResponse(is_new=is_new)

    async def EndVerifier(self, request: pb.EndVerifierRequest, _: Context) -> pb.EndVerifierResponse:
        room = self.room
        await attestations.end_verifier(
            database=room.database,
            verifier_no=request.verifier_no,
            kid=request.kid,
            opter=request.opter,
            cause=parsed_text(request.cause, field="cause"),
            now=room.clock.now(),
        )
        return pb.EndVerifierResponse()

    async def ListVerifiers(self, request: pb.ListVerifiersRequest, _: Context) -> pb.ListVerifiersResponse:
        after = pages.parts_of(request.page_token, 1)
        found, more = await attestations.list_verifiers(
            database=self.room.database,
            after="" if after is None else after[0],
            size=pages.page_size(request.page_size),
        )
        return pb.ListVerifiersResponse(
            verifiers=[wire.verifier_message(verifier, kids) for verifier, kids in found],
            next_page_token=pages.token_of(found[-1][0].verifier_no) if more else "",
        )

    async def VerifyAttestation(self, request: pb.VerifyAttestationRequest, _: Context) -> pb.VerifyAttestationResponse:
        room = self.room
        attestation = await attestations.verify(
            database=room.database,
            token=request.attestation,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            purpose=wire.purpose(request.purpose),
            sandbox_allowed=room.sandbox_verifiers,
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return pb.VerifyAttestationResponse(
            attestation_id=str(attestation.attestation_id),
            use_until_time=timestamp_of(attestation.attested_at + USE_WITHIN),
        )

    async def UseAttestation(self, request: pb.UseAttestationRequest, _: Context) -> pb.UseAttestationResponse:
        room = self.room
        attestation = await attestations.use_attestation(
            database=room.database,
            attestation_id=UUID(request.attestation_id),
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            purpose=wire.purpose(request.purpose),
            used_for=request.used_for,
            now=room.clock.now(),
        )
        return pb.UseAttestationResponse(
            attested_time=timestamp_of(attestation.attested_at), used_before=attestation.used_for is not None
        )
