"""Dynamic codes issued to a phone, whatever is shown at a desk decoded, and wards."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import credentials_pb2 as pb
from gongji.identity.v1.credentials_pb2_grpc import CredentialServiceServicer, add_CredentialServiceServicer_to_server
from kernel.failures import Failure
from kernel.ids import parsed_psn_no
from services.identity.api.room import Room, asked_by
from services.identity.domain.credential import CODE_TYPE, EC_TOKEN_TYPE, code_claims, ec_token_claims
from services.identity.domain.decoding import Shown, Visit
from services.identity.domain.person import Person
from services.identity.domain.signing import KeyRing
from services.identity.operations import credentials, wards
from services.identity.operations.credentials import Claimed, Presentation
from services.identity.wire import credentials as wire
from services.identity.wire.people import person_message
from services.identity.wire.values import timestamp_of


@dataclass(frozen=True, slots=True)
class CredentialApi(CredentialServiceServicer):
    """Serves ``gongji.identity.v1.CredentialService``; the chassis maps what is raised below."""

    room: Room
    presentation: Presentation

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_CredentialServiceServicer_to_server, self)

    async def IssueCode(self, request: pb.IssueCodeRequest, context: Context) -> pb.IssueCodeResponse:
        room, now = self.room, self.room.clock.now()
        guardian = request.guardian_psn_no
        signer = room.keys.ring.signer(now=now)
        code = await credentials.issue_code(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            guardian=parsed_psn_no(guardian, field="guardian_psn_no") if guardian else None,
            lifetime_s=room.code_lifetime_s,
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.IssueCodeResponse(
            code=signer.sign(code_claims(code), as_type=CODE_TYPE),
            expires_time=timestamp_of(code.expires_at),
        )

    async def DecodeCredential(self, request: pb.DecodeCredentialRequest, _: Context) -> pb.DecodeCredentialResponse:
        room, now, claimed = self.room, self.room.clock.now(), Claimed()
        visit = wire.visit(request, now=now)
        try:
            ring = await room.keys.ring_for(request.code) if request.code else room.keys.ring
            signer = ring.signer(now=now)  # Before a code is used up, or a PIN tried, for what it shall sign.
            shown, person = await self._presented(request, visit, claimed, ring, now)
        except Failure as failure:
            await self.presentation.decoder.keep_refused(failure, visit.desk, psn_no=claimed.psn_no, jti=claimed.jti)
            raise
        token = credentials.token_for(shown, now=now, lifetime=room.ec_token_lifetime)
        return pb.DecodeCredentialResponse(
            ec_token=signer.sign(ec_token_claims(token), as_type=EC_TOKEN_TYPE),
            expires_time=timestamp_of(token.expires_at),
            person=person_message(person, now=now),
            mdtrt_cert_type=token.mdtrt_cert_type.value,
        )

    async def ListSigningKeys(self, _request: pb.ListSigningKeysRequest, _: Context) -> pb.ListSigningKeysResponse:
        now = self.room.clock.now()
        return pb.ListSigningKeysResponse(
            keys=[wire.signing_key_message(key) for key in self.room.keys.ring.public_keys if now < key.not_after]
        )

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

    async def RemoveWard(self, request: pb.RemoveWardRequest, _: Context) -> pb.RemoveWardResponse:
        await wards.remove_ward(
            database=self.room.database,
            guardian=parsed_psn_no(request.guardian_psn_no, field="guardian_psn_no"),
            ward=parsed_psn_no(request.ward_psn_no, field="ward_psn_no"),
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

    async def _presented(
        self, request: pb.DecodeCredentialRequest, visit: Visit, claimed: Claimed, ring: KeyRing, now: datetime
    ) -> tuple[Shown, Person]:
        match request.WhichOneof("credential"):
            case "card":
                card = request.card
                return await self.presentation.card(card.card_no, card.pin, visit, claimed, now=now)
            case "identity_card":
                stated = wire.certificate_shown(request.identity_card, now=now)
                return await self.presentation.identity_card(stated, visit, claimed, now=now)
            case _:
                return await self.presentation.code(ring.verify(request.code, now=now), visit, claimed, now=now)
