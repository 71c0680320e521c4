"""People: registered, put right, dead, merged, looked up, insured (2001); and everything that was told of all."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import eligibility_pb2
from gongji.identity.v1 import identity_pb2 as pb
from gongji.identity.v1.identity_pb2_grpc import IdentityServiceServicer, add_IdentityServiceServicer_to_server
from kernel.clock import business_date
from kernel.ids import parsed_fixmedins_code, parsed_psn_no
from kernel.policy import known_area
from services.identity.api.room import Room, asked_by
from services.identity.domain.person import InsuranceStatus, Insutype
from services.identity.operations import deaths, eligibility, merging, particulars, people, registration
from services.identity.operations.particulars import Writing
from services.identity.store import events
from services.identity.wire import people as wire
from services.identity.wire.eligibility import eligibility_message
from services.identity.wire.events import caught_message, change_message, first_of_snapshot, snapshot_message
from services.identity.wire.registration import parsed_rows, people_message
from services.identity.wire.values import given_date, parsed_date, parsed_text


@dataclass(frozen=True, slots=True)
class IdentityApi(IdentityServiceServicer):
    """Serves ``gongji.identity.v1.IdentityService``; the chassis maps what is raised below."""

    room: Room

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_IdentityServiceServicer_to_server, self)

    async def RegisterPerson(self, request: pb.RegisterPersonRequest, context: Context) -> pb.RegisterPersonResponse:
        room, now = self.room, self.room.clock.now()
        psn_no, existed = await registration.register_person(
            database=room.database,
            seals=room.seals,
            registration=wire.registration(request, now=now),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.RegisterPersonResponse(psn_no=psn_no, existed=existed)

    async def GetPerson(self, request: pb.GetPersonRequest, context: Context) -> pb.GetPersonResponse:
        room, now = self.room, self.room.clock.now()
        seen = await people.look_up_person(
            database=room.database,
            seals=room.seals,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            purpose=request.purpose,
            asked_by=asked_by(context),
            now=now,
        )
        return pb.GetPersonResponse(person=wire.person_message(seen.person, now=now), certno_masked=seen.certno_masked)

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolResponse:
        room, now = self.room, self.room.clock.now()
        person = await people.enrol(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            insutype=Insutype(request.insutype),
            area=known_area(request.insuplc_admdvs, field="insuplc_admdvs"),
            psn_type=request.psn_type,
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.EnrolResponse(person=wire.person_message(person, now=now))

    async def ChangeInsuranceStatus(
        self, request: pb.ChangeInsuranceStatusRequest, context: Context
    ) -> pb.ChangeInsuranceStatusResponse:
        room, now = self.room, self.room.clock.now()
        person = await people.change_insurance_status(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            insutype=Insutype(request.insutype),
            status=InsuranceStatus(request.psn_insu_stas),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.ChangeInsuranceStatusResponse(person=wire.person_message(person, now=now))

    async def RegisterPeople(self, request: pb.RegisterPeopleRequest, context: Context) -> pb.RegisterPeopleResponse:
        room, now = self.room, self.room.clock.now()
        outcomes = await registration.register_people(
            database=room.database,
            seals=room.seals,
            rows=await parsed_rows(request, now=now),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return people_message(outcomes)

    async def UpdatePerson(self, request: pb.UpdatePersonRequest, context: Context) -> pb.UpdatePersonResponse:
        now = self.room.clock.now()
        person = await particulars.update_person(
            database=self.room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            wanted=wire.wanted(request),
            asked_by=asked_by(context),
            writing=self._writing(request.opter, request.cause, now),
        )
        return pb.UpdatePersonResponse(person=wire.person_message(person, now=now))

    async def ChangeCertificate(
        self, request: pb.ChangeCertificateRequest, context: Context
    ) -> pb.ChangeCertificateResponse:
        now = self.room.clock.now()
        seen = await particulars.change_certificate(
            database=self.room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            certificate=wire.certificate(request, now=now),
            wanted=wire.wanted(request),
            asked_by=asked_by(context),
            writing=self._writing(request.opter, request.cause, now),
        )
        person = wire.person_message(seen.person, now=now)
        return pb.ChangeCertificateResponse(person=person, certno_masked=seen.certno_masked)

    async def ReportDeath(self, request: pb.ReportDeathRequest, context: Context) -> pb.ReportDeathResponse:
        room, now = self.room, self.room.clock.now()
        person = await deaths.report_death(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            death_date=given_date(request.death_date, field="death_date"),
            evidence=wire.death_evidence(request.evidence),
            opter=request.opter,
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.ReportDeathResponse(person=wire.person_message(person, now=now))

    async def WithdrawDeath(self, request: pb.WithdrawDeathRequest, context: Context) -> pb.WithdrawDeathResponse:
        room, now = self.room, self.room.clock.now()
        person = await deaths.withdraw_death(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            opter=request.opter,
            cause=parsed_text(request.cause, field="cause"),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.WithdrawDeathResponse(person=wire.person_message(person, now=now))

    async def MergePersons(self, request: pb.MergePersonsRequest, context: Context) -> pb.MergePersonsResponse:
        now = self.room.clock.now()
        keep, double = await merging.merge_persons(
            database=self.room.database,
            keep=parsed_psn_no(request.keep_psn_no, field="keep_psn_no"),
            double=parsed_psn_no(request.double_psn_no, field="double_psn_no"),
            asked_by=asked_by(context),
            writing=self._writing(request.opter, request.cause, now),
        )
        return pb.MergePersonsResponse(
            keep=wire.person_message(keep, now=now), double=wire.person_message(double, now=now)
        )

    def _writing(self, opter: str, cause: str, now: datetime) -> Writing:
        return Writing(
            opter=opter,
            cause=parsed_text(cause, field="cause"),
            now=now,
            seals=self.room.seals,
            randomness=self.room.randomness,
        )

    async def CheckEligibility(
        self, request: eligibility_pb2.CheckEligibilityRequest, context: Context
    ) -> eligibility_pb2.CheckEligibilityResponse:
        room, now = self.room, self.room.clock.now()
        psn_no = parsed_psn_no(request.psn_no, field="psn_no")
        on_date = parsed_date(request.on_date, field="on_date") or business_date(now)
        code = request.fixmedins_code
        found = await eligibility.check_eligibility(
            database=room.database,
            psn_no=psn_no,
            on_date=on_date,
            fixmedins_code=parsed_fixmedins_code(code, field="fixmedins_code") if code else None,
            asked_by=asked_by(context),
            now=now,
        )
        return eligibility_message(psn_no, on_date, found)

    async def StreamSnapshot(
        self, _request: pb.StreamSnapshotRequest, _: Context
    ) -> AsyncIterator[pb.StreamSnapshotResponse]:
        is_first = True
        async for page, caught in events.snapshot(self.room.database):
            for payload in page:
                if is_first:
                    yield first_of_snapshot(payload, cursor=caught.cursor, as_of=caught.as_of)
                    is_first = False
                else:
                    yield snapshot_message(payload)

    async def StreamChanges(
        self, request: pb.StreamChangesRequest, _: Context
    ) -> AsyncIterator[pb.StreamChangesResponse]:
        async for part in events.changes(self.room.database, after=int(request.after or 0)):
            if isinstance(part, events.Caught):
                yield caught_message(cursor=part.cursor, as_of=part.as_of)
            else:
                for payload in part:
                    yield change_message(payload)
