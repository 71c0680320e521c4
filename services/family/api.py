"""The gRPC face of family: parse, operation, render."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import grpc

from chassis.db import Database
from chassis.rpc.server import RpcServer
from gongji.family.v1 import family_pb2
from gongji.family.v1.family_pb2_grpc import FamilyServiceServicer, add_FamilyServiceServicer_to_server
from kernel.clock import Clock
from kernel.ids import AuthorisationId, BindingId, GroupId, PsnNo, time_ordered_uuid
from kernel.policy import PolicySet
from kernel.randomness import Randomness
from services.family import wire
from services.family.clients import Identity, Ledgers
from services.family.domain.groups import Pledge
from services.family.operations import bindings, groups, snapshot
from services.family.operations.people import People

GROUPS_LISTED: Final = 20
"""How many groups a page has where nobody asked for another number."""

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the calls work with."""

    database: Database
    identity: Identity
    ledgers: Ledgers
    policies: PolicySet
    people: People
    clock: Clock
    randomness: Randomness
    invitation_days: int


class FamilyApi(FamilyServiceServicer):
    """Serves ``gongji.family.v1.FamilyService``; refusals are raised by the operations and mapped by the chassis."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def add_to(self, server: RpcServer) -> None:
        """Hangs this servicer into a server."""
        server.add(add_FamilyServiceServicer_to_server, self)

    async def SignPledge(self, request: family_pb2.SignPledgeRequest, _: Context) -> family_pb2.SignPledgeResponse:
        room, now = self._room, self._room.clock.now()
        pledge = await groups.sign_pledge(
            database=room.database,
            people=room.people,
            pledge=Pledge(
                pledge_id=self._new_id(),
                psn_no=PsnNo(request.psn_no),
                text_version=request.text_version,
                text_sha256=request.text_sha256,
                signed_at=now,
            ),
        )
        return family_pb2.SignPledgeResponse(
            pledge_id=str(pledge.pledge_id), signed_time=wire.timestamp(pledge.signed_at)
        )

    async def CreateGroup(self, request: family_pb2.CreateGroupRequest, _: Context) -> family_pb2.CreateGroupResponse:
        room, founder = self._room, PsnNo(request.founder_psn_no)
        group_id = await groups.create_group(
            database=room.database,
            people=room.people,
            founder=founder,
            request_id=UUID(request.request_id),
            group_id=GroupId(self._new_id()),
            now=room.clock.now(),
        )
        return family_pb2.CreateGroupResponse(group=await self._group(group_id, founder))

    async def InviteMember(
        self, request: family_pb2.InviteMemberRequest, _: Context
    ) -> family_pb2.InviteMemberResponse:
        room = self._room
        invitation = await groups.invite_member(
            database=room.database,
            people=room.people,
            identity=room.identity,
            policies=room.policies,
            asked=groups.InviteAsked(
                group_id=GroupId(UUID(request.group_id)),
                inviter=PsnNo(request.inviter_psn_no),
                invitee=PsnNo(request.invitee_psn_no),
                relation=wire.relation_of(request.relation),
                request_id=UUID(request.request_id),
            ),
            invitation_id=self._new_id(),
            expiry_days=room.invitation_days,
            now=room.clock.now(),
        )
        return family_pb2.InviteMemberResponse(invitation=wire.invitation_message(invitation))

    async def AcceptInvitation(
        self, request: family_pb2.AcceptInvitationRequest, _: Context
    ) -> family_pb2.AcceptInvitationResponse:
        """The invited person joins, once, before the expiry.

        A face attestation (domain §1) is not asked for yet: it comes with the identity room's completion.
        """
        room, invitee = self._room, PsnNo(request.invitee_psn_no)
        group_id = await groups.accept_invitation(
            database=room.database,
            people=room.people,
            policies=room.policies,
            invitation_id=UUID(request.invitation_id),
            invitee=invitee,
            now=room.clock.now(),
        )
        return family_pb2.AcceptInvitationResponse(group=await self._group(group_id, invitee))

    async def Bind(self, request: family_pb2.BindRequest, _: Context) -> family_pb2.BindResponse:
        room = self._room
        binding = await bindings.bind(
            database=room.database,
            people=room.people,
            identity=room.identity,
            ledgers=room.ledgers,
            policies=room.policies,
            asked=bindings.BindAsked(
                group_id=GroupId(UUID(request.group_id)),
                funder=PsnNo(request.funder_psn_no),
                beneficiary=PsnNo(request.beneficiary_psn_no),
                authorised_fen=request.authorised_fen if request.HasField("authorised_fen") else None,
                request_id=UUID(request.request_id),
            ),
            binding_id=BindingId(self._new_id()),
            authorisation_id=AuthorisationId(self._new_id()),
            now=room.clock.now(),
        )
        return family_pb2.BindResponse(binding=wire.binding_message(binding))

    async def Unbind(self, request: family_pb2.UnbindRequest, _: Context) -> family_pb2.UnbindResponse:
        room = self._room
        binding = await bindings.unbind(
            database=room.database,
            ledgers=room.ledgers,
            binding_id=BindingId(UUID(request.binding_id)),
            by=PsnNo(request.by_psn_no),
            now=room.clock.now(),
        )
        return family_pb2.UnbindResponse(binding=wire.binding_message(binding))

    async def AmendAuthorisedAmount(
        self, request: family_pb2.AmendAuthorisedAmountRequest, _: Context
    ) -> family_pb2.AmendAuthorisedAmountResponse:
        room = self._room
        binding = await bindings.amend_authorised_amount(
            database=room.database,
            ledgers=room.ledgers,
            policies=room.policies,
            binding_id=BindingId(UUID(request.binding_id)),
            by=PsnNo(request.funder_psn_no),
            authorised_fen=request.authorised_fen if request.HasField("authorised_fen") else None,
            now=room.clock.now(),
        )
        return family_pb2.AmendAuthorisedAmountResponse(binding=wire.binding_message(binding))

    async def SetDeductOrder(
        self, request: family_pb2.SetDeductOrderRequest, _: Context
    ) -> family_pb2.SetDeductOrderResponse:
        room = self._room
        ordered = await bindings.set_deduct_order(
            database=room.database,
            beneficiary=PsnNo(request.beneficiary_psn_no),
            funders=[PsnNo(psn_no) for psn_no in request.funder_psn_nos],
            now=room.clock.now(),
        )
        return family_pb2.SetDeductOrderResponse(bindings=[wire.binding_message(binding) for binding in ordered])

    async def GetGroup(self, request: family_pb2.GetGroupRequest, _: Context) -> family_pb2.GetGroupResponse:
        group = await self._group(GroupId(UUID(request.group_id)), PsnNo(request.by_psn_no))
        return family_pb2.GetGroupResponse(group=group)

    async def ListGroups(self, request: family_pb2.ListGroupsRequest, _: Context) -> family_pb2.ListGroupsResponse:
        views, more = await groups.list_groups(
            database=self._room.database,
            psn_no=PsnNo(request.psn_no),
            after=GroupId(UUID(request.page_token)) if request.page_token else None,
            size=request.page_size or GROUPS_LISTED,
        )
        found = [wire.group_message(view.group, view.names, view.bindings) for view in views]
        return family_pb2.ListGroupsResponse(groups=found, next_page_token=found[-1].group_id if more else "")

    async def StreamSnapshot(
        self, _request: family_pb2.StreamSnapshotRequest, _: Context
    ) -> AsyncIterator[family_pb2.StreamSnapshotResponse]:
        """Every membership, invitation and binding, ended ones too, as its latest event."""
        async for group_id, member in snapshot.members(self._room.database):
            yield family_pb2.StreamSnapshotResponse(event=wire.member_event(group_id, member))
        async for invitation, at in snapshot.invitations(self._room.database):
            yield family_pb2.StreamSnapshotResponse(event=wire.invitation_event(invitation, at=at))
        async for binding, at in snapshot.bindings(self._room.database):
            yield family_pb2.StreamSnapshotResponse(event=wire.binding_event(binding, None, at=at))

    async def _group(self, group_id: GroupId, by: PsnNo) -> family_pb2.Group:
        view = await groups.view_group(database=self._room.database, group_id=group_id, by=by)
        return wire.group_message(view.group, view.names, view.bindings)

    def _new_id(self) -> UUID:
        return time_ordered_uuid(self._room.clock.now(), self._room.randomness)
