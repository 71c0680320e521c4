"""The gRPC face of identity: parse, operation, render."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import grpc

from chassis.db import Database
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import identity_pb2
from gongji.identity.v1.identity_pb2_grpc import IdentityServiceServicer, add_IdentityServiceServicer_to_server
from kernel.clock import Clock, business_date
from kernel.ids import parsed_fixmedins_code, parsed_psn_no
from kernel.policy import known_area
from kernel.randomness import Randomness
from services.identity import wire
from services.identity.domain.credential import (
    CODE_TYPE,
    EC_TOKEN_TYPE,
    EcToken,
    checked_code,
    code_claims,
    ec_token_claims,
    new_code,
)
from services.identity.domain.person import InsuranceStatus, Insutype
from services.identity.domain.sealing import Seals
from services.identity.domain.signing import key_id_of
from services.identity.operations import credentials, institutions, kinship, people
from services.identity.operations.drawn import new_id
from services.identity.recovery import SigningKeys
from services.identity.store import events

Context = grpc.aio.ServicerContext[Any, Any]
NOBODY: Final = "unauthenticated"
_UUID_BITS: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the calls work with."""

    database: Database
    seals: Seals
    keys: SigningKeys
    clock: Clock
    randomness: Randomness
    code_lifetime_s: int
    ec_token_lifetime: timedelta


def asked_by(_: Context) -> str:
    """Who asks, for the audit. Officers and services sign in with a later release; then their name stands here."""
    return NOBODY


class IdentityApi(IdentityServiceServicer):
    """Serves ``gongji.identity.v1.IdentityService``; the chassis maps what is raised below."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def add_to(self, server: RpcServer) -> None:
        """Hangs this servicer into a server."""
        server.add(add_IdentityServiceServicer_to_server, self)

    async def RegisterPerson(
        self, request: identity_pb2.RegisterPersonRequest, context: Context
    ) -> identity_pb2.RegisterPersonResponse:
        room, now = self._room, self._room.clock.now()
        psn_no, existed = await people.register_person(
            database=room.database,
            seals=room.seals,
            registration=wire.registration(request, now=now),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return identity_pb2.RegisterPersonResponse(psn_no=psn_no, existed=existed)

    async def GetPerson(
        self, request: identity_pb2.GetPersonRequest, context: Context
    ) -> identity_pb2.GetPersonResponse:
        room, now = self._room, self._room.clock.now()
        seen = await people.look_up_person(
            database=room.database,
            seals=room.seals,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            purpose=request.purpose,
            asked_by=asked_by(context),
            now=now,
        )
        return identity_pb2.GetPersonResponse(
            person=wire.person_message(seen.person, now=now), certno_masked=seen.certno_masked
        )

    async def Enrol(self, request: identity_pb2.EnrolRequest, _: Context) -> identity_pb2.EnrolResponse:
        room, now = self._room, self._room.clock.now()
        person = await people.enrol(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            insutype=Insutype(request.insutype),
            area=known_area(request.insuplc_admdvs, field="insuplc_admdvs"),
            now=now,
            randomness=room.randomness,
        )
        return identity_pb2.EnrolResponse(person=wire.person_message(person, now=now))

    async def ChangeInsuranceStatus(
        self, request: identity_pb2.ChangeInsuranceStatusRequest, _: Context
    ) -> identity_pb2.ChangeInsuranceStatusResponse:
        room, now = self._room, self._room.clock.now()
        person = await people.change_insurance_status(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            insutype=Insutype(request.insutype),
            status=InsuranceStatus(request.psn_insu_stas),
            now=now,
            randomness=room.randomness,
        )
        return identity_pb2.ChangeInsuranceStatusResponse(person=wire.person_message(person, now=now))

    async def SubmitKinshipFact(
        self, request: identity_pb2.SubmitKinshipFactRequest, _: Context
    ) -> identity_pb2.SubmitKinshipFactResponse:
        room, now = self._room, self._room.clock.now()
        fact = await kinship.submit_fact(
            database=room.database,
            fact=wire.submitted_fact(request, fact_id=new_id(now, room.randomness)),
            now=now,
        )
        return identity_pb2.SubmitKinshipFactResponse(
            fact_id=str(fact.fact_id), state=wire.fact_state_value(fact.state)
        )

    async def ReviewKinshipFact(
        self, request: identity_pb2.ReviewKinshipFactRequest, _: Context
    ) -> identity_pb2.ReviewKinshipFactResponse:
        room, now = self._room, self._room.clock.now()
        state = await kinship.review_fact(
            database=room.database,
            fact_id=UUID(request.fact_id),
            state=wire.fact_state(request.state),
            cause=wire.parsed_text(request.cause, field="cause") if request.cause else "",
            now=now,
            randomness=room.randomness,
        )
        return identity_pb2.ReviewKinshipFactResponse(state=wire.fact_state_value(state))

    async def VerifyKinship(
        self, request: identity_pb2.VerifyKinshipRequest, _: Context
    ) -> identity_pb2.VerifyKinshipResponse:
        room = self._room
        found = await kinship.verify_kinship(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            other_psn_no=parsed_psn_no(request.other_psn_no, field="other_psn_no"),
            on_date=wire.parsed_date(request.on_date, field="on_date") or business_date(room.clock.now()),
        )
        return wire.kinship_message(found)

    async def IssueCode(self, request: identity_pb2.IssueCodeRequest, _: Context) -> identity_pb2.IssueCodeResponse:
        room, now = self._room, self._room.clock.now()
        psn_no = parsed_psn_no(request.psn_no, field="psn_no")
        await credentials.check_person_known(database=room.database, psn_no=psn_no)
        code = new_code(psn_no, jti=self._jti(), now=now, lifetime_s=room.code_lifetime_s)
        return identity_pb2.IssueCodeResponse(
            code=room.keys.ring.sign(code_claims(code), as_type=CODE_TYPE, now=now),
            expires_time=wire.timestamp_of(code.expires_at),
        )

    async def DecodeCredential(
        self, request: identity_pb2.DecodeCredentialRequest, _: Context
    ) -> identity_pb2.DecodeCredentialResponse:
        room, now = self._room, self._room.clock.now()
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
        return identity_pb2.DecodeCredentialResponse(
            ec_token=ring.sign(ec_token_claims(token), as_type=EC_TOKEN_TYPE, now=now),
            expires_time=wire.timestamp_of(token.expires_at),
            person=wire.person_message(person, now=now),
        )

    async def ImposeSanction(
        self, request: identity_pb2.ImposeSanctionRequest, _: Context
    ) -> identity_pb2.ImposeSanctionResponse:
        room, now = self._room, self._room.clock.now()
        sanction_id, person = await people.impose_sanction(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            sanction=wire.sanction(request, sanction_id=new_id(now, room.randomness)),
            now=now,
            randomness=room.randomness,
        )
        return identity_pb2.ImposeSanctionResponse(
            sanction_id=str(sanction_id), person=wire.person_message(person, now=now)
        )

    async def LiftSanction(
        self, request: identity_pb2.LiftSanctionRequest, _: Context
    ) -> identity_pb2.LiftSanctionResponse:
        room, now = self._room, self._room.clock.now()
        person = await people.lift_sanction(
            database=room.database,
            sanction_id=UUID(request.sanction_id),
            cause=wire.parsed_text(request.cause, field="cause"),
            now=now,
            randomness=room.randomness,
        )
        return identity_pb2.LiftSanctionResponse(person=wire.person_message(person, now=now))

    async def RegisterInstitution(
        self, request: identity_pb2.RegisterInstitutionRequest, _: Context
    ) -> identity_pb2.RegisterInstitutionResponse:
        room = self._room
        institution = await institutions.register_institution(
            database=room.database,
            institution=wire.institution(request.institution),
            now=room.clock.now(),
            randomness=room.randomness,
        )
        return identity_pb2.RegisterInstitutionResponse(institution=wire.institution_message(institution))

    async def StreamSnapshot(
        self, _request: identity_pb2.StreamSnapshotRequest, _: Context
    ) -> AsyncIterator[identity_pb2.StreamSnapshotResponse]:
        async for page in events.snapshot(self._room.database):
            for payload in page:
                yield wire.snapshot_message(payload)

    def _jti(self) -> UUID:
        """Random throughout: a code's id tells nobody when or how many were issued."""
        return UUID(int=self._room.randomness.getrandbits(_UUID_BITS), version=4)
