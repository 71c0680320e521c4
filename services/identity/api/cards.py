"""Cards: issued, activated, lost; PINs changed and unlocked."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from chassis.rpc import pages
from chassis.rpc.interceptors import Context
from chassis.rpc.server import RpcServer
from gongji.identity.v1 import cards_pb2 as pb
from gongji.identity.v1.cards_pb2_grpc import CardServiceServicer, add_CardServiceServicer_to_server
from kernel.ids import parsed_psn_no
from services.identity.api.room import Room, asked_by
from services.identity.operations import cards
from services.identity.operations.cards import CardRoom
from services.identity.wire import cards as wire
from services.identity.wire.credentials import desk
from services.identity.wire.values import parsed_text


@dataclass(frozen=True, slots=True)
class CardApi(CardServiceServicer):
    """Serves ``gongji.identity.v1.CardService``; the chassis maps what is raised below."""

    room: Room
    cards: CardRoom

    def add_to(self, server: RpcServer) -> None:
        """Registers this face with the server."""
        server.add(add_CardServiceServicer_to_server, self)

    async def IssueCard(self, request: pb.IssueCardRequest, context: Context) -> pb.IssueCardResponse:
        card, existed = await cards.issue_card(
            self.cards,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            card_no=request.card_no,
            opter=request.opter,
            asked_by=asked_by(context),
            now=self.room.clock.now(),
        )
        return pb.IssueCardResponse(card=wire.card_message(card), existed=existed)

    async def BeginActivation(self, request: pb.BeginActivationRequest, _: Context) -> pb.BeginActivationResponse:
        activation = await cards.begin_activation(
            self.cards,
            card_no=request.card_no,
            desk=desk(request.fixmedins_code, request.terminal_no),
            now=self.room.clock.now(),
        )
        return wire.activation_message(activation)

    async def ActivateCard(self, request: pb.ActivateCardRequest, _: Context) -> pb.ActivateCardResponse:
        card = await cards.activate_card(
            self.cards,
            card_no=request.card_no,
            digest=request.digest,
            pin=request.pin,
            attestation_id=UUID(request.attestation_id),
            desk=desk(request.fixmedins_code, request.terminal_no),
            now=self.room.clock.now(),
        )
        return pb.ActivateCardResponse(card=wire.card_message(card))

    async def ReportCardLost(self, request: pb.ReportCardLostRequest, _: Context) -> pb.ReportCardLostResponse:
        card = await cards.report_lost(
            self.cards,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            card_id=UUID(request.card_id) if request.card_id else None,
            opter=request.opter,
            now=self.room.clock.now(),
        )
        return pb.ReportCardLostResponse(card=wire.card_message(card))

    async def ChangePin(self, request: pb.ChangePinRequest, _: Context) -> pb.ChangePinResponse:
        await cards.change_pin(
            self.cards,
            card_no=request.card_no,
            pin=request.pin,
            new_pin=request.new_pin,
            now=self.room.clock.now(),
        )
        return pb.ChangePinResponse()

    async def UnlockPin(self, request: pb.UnlockPinRequest, _: Context) -> pb.UnlockPinResponse:
        card = await cards.unlock_pin(
            self.cards,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            attestation_id=UUID(request.attestation_id),
            new_pin=request.new_pin,
            opter=request.opter,
            cause=parsed_text(request.cause, field="cause"),
            now=self.room.clock.now(),
        )
        return pb.UnlockPinResponse(card=wire.card_message(card))

    async def ListCards(self, request: pb.ListCardsRequest, context: Context) -> pb.ListCardsResponse:
        found, more = await cards.list_cards(
            self.cards,
            psn_no=parsed_psn_no(request.psn_no, field="psn_no"),
            before=pages.id_of(request.page_token),
            size=pages.page_size(request.page_size),
            asked_by=asked_by(context),
            now=self.room.clock.now(),
        )
        return pb.ListCardsResponse(
            cards=map(wire.card_message, found),
            next_page_token=pages.token_of(str(found[-1].card_id)) if more else "",
        )
