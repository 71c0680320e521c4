"""Kinship facts, their review and the civil registry, and the question what two people are to each other."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc.interceptors import Context
from chassis.rpc.pages import id_of, page_size, token_of
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import kinship_pb2 as pb
from gongji.identity.v1.kinship_pb2_grpc import KinshipServiceServicer, add_KinshipServiceServicer_to_server
from kernel.clock import business_date
from kernel.ids import parsed_psn_no
from services.identity.api.room import Room, asked_by
from services.identity.operations import kinship
from services.identity.operations.drawn import new_id
from services.identity.operations.kinship import Registry
from services.identity.operations.registry import load_rows
from services.identity.wire import kinship as wire
from services.identity.wire.values import parsed_date


@dataclass(frozen=True, slots=True)
class KinshipApi(KinshipServiceServicer):
    """Serves ``gongji.identity.v1.KinshipService``; the chassis maps what is raised below."""

    room: Room
    registry: Registry

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_KinshipServiceServicer_to_server, self)

    async def SubmitKinshipFact(
        self, request: pb.SubmitKinshipFactRequest, context: Context
    ) -> pb.SubmitKinshipFactResponse:
        room, now = self.room, self.room.clock.now()
        checked = await kinship.submit_fact(
            database=room.database,
            registry=self.registry,
            fact=wire.submitted_fact(request, fact_id=new_id(now, room.randomness)),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.SubmitKinshipFactResponse(
            fact_id=str(checked.fact.fact_id),
            state=wire.fact_state_value(checked.fact.state),
            finding=wire.finding_value(checked.finding),
        )

    async def ReviewKinshipFact(
        self, request: pb.ReviewKinshipFactRequest, context: Context
    ) -> pb.ReviewKinshipFactResponse:
        room, now = self.room, self.room.clock.now()
        state = await kinship.review_fact(
            database=room.database,
            fact_id=UUID(request.fact_id),
            decision=wire.officers_decision(request),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.ReviewKinshipFactResponse(state=wire.fact_state_value(state))

    async def CheckWithRegistry(
        self, request: pb.CheckWithRegistryRequest, context: Context
    ) -> pb.CheckWithRegistryResponse:
        room, now = self.room, self.room.clock.now()
        checked = await kinship.check_with_registry(
            database=room.database,
            registry=self.registry,
            fact_id=UUID(request.fact_id),
            asked_by=asked_by(context),
            now=now,
            randomness=room.randomness,
        )
        return pb.CheckWithRegistryResponse(
            state=wire.fact_state_value(checked.fact.state),
            finding=wire.finding_value(checked.finding),
            obstacle=checked.obstacle,
        )

    async def ListReviews(self, request: pb.ListReviewsRequest, context: Context) -> pb.ListReviewsResponse:
        page, more = await kinship.list_reviews(
            database=self.room.database,
            after=wire.parsed_review_token(request.page_token),
            size=page_size(request.page_size),
            asked_by=asked_by(context),
            now=self.room.clock.now(),
        )
        return pb.ListReviewsResponse(
            facts=map(wire.fact_message, page),
            next_page_token=wire.review_token(page[-1]) if more else "",
        )

    async def GetKinshipFact(self, request: pb.GetKinshipFactRequest, context: Context) -> pb.GetKinshipFactResponse:
        shown = await kinship.get_fact(
            database=self.room.database,
            fact_id=UUID(request.fact_id),
            asked_by=asked_by(context),
            now=self.room.clock.now(),
        )
        return pb.GetKinshipFactResponse(fact=wire.fact_message(shown))

    async def ListKinshipFacts(
        self, request: pb.ListKinshipFactsRequest, context: Context
    ) -> pb.ListKinshipFactsResponse:
        page, more = await kinship.list_facts(
            database=self.room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            after=id_of(request.page_token),
            size=page_size(request.page_size),
            asked_by=asked_by(context),
            now=self.room.clock.now(),
        )
        return pb.ListKinshipFactsResponse(
            facts=map(wire.fact_message, page),
            next_page_token=token_of(str(page[-1].fact.fact_id)) if more else "",
        )

    async def LoadRegistryRows(
        self, request: pb.LoadRegistryRowsRequest, context: Context
    ) -> pb.LoadRegistryRowsResponse:
        room, now = self.room, self.room.clock.now()
        rows, refused = wire.registry_rows(request, today=business_date(now))
        loaded = await load_rows(
            database=room.database, seals=room.seals, rows=rows, asked_by=asked_by(context), now=now
        )
        await kinship.check_waiting(
            database=room.database,
            registry=self.registry,
            fact_ids=loaded.waiting,
            now=now,
            randomness=room.randomness,
        )
        return pb.LoadRegistryRowsResponse(taken=loaded.taken, known=len(rows) - loaded.taken, refused=refused)

    async def VerifyKinship(self, request: pb.VerifyKinshipRequest, context: Context) -> pb.VerifyKinshipResponse:
        room = self.room
        found = await kinship.verify_kinship(
            database=room.database,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            other_psn_no=parsed_psn_no(request.other_psn_no, field="other_psn_no"),
            now=room.clock.now(),
            on_date=parsed_date(request.on_date, field="on_date"),
            asked_by=asked_by(context),
        )
        return wire.kinship_message(found)
