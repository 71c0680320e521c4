"""FamilyService: pledges, groups, invitations, bindings, and what a room that starts anew is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

from chassis.rpc.server import RpcServer
from gongji.family.v1 import family_pb2
from gongji.family.v1.family_pb2_grpc import FamilyServiceServicer, add_FamilyServiceServicer_to_server
from kernel.ids import AuthorisationId, BindingId, GroupId, PsnNo
from services.family import wire
from services.family.api.room import Context, Room, counter_of
from services.family.domain.counter import channel_of
from services.family.domain.pledges import LANGUAGE, Pledge
from services.family.operations import bindings, groups, invitations, pledges, snapshot

GROUPS_LISTED: Final = 20
"""How many groups a page has where nobody asked for another number."""


class FamilyApi(FamilyServiceServicer):
    """Serves ``gongji.family.v1.FamilyService``; refusals are raised by the operations and mapped by the chassis."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def add_to(self, server: RpcServer) -> None:
        """Hangs this servicer into a server."""
        server.add(add_FamilyServiceServicer_to_server, self)

    async def SignPledge(self, request: family_pb2.SignPledgeRequest, _: Context) -> family_pb2.SignPledgeResponse:
        room, counter = self._room, counter_of(request)
        pledge = await pledges.sign(
            database=room.database,
            people=room.people,
            policies=room.policies_now(),
            pledge=Pledge(
                pledge_id=room.new_id(),
                psn_no=PsnNo(request.psn_no),
                text_version=request.text_version,
                text_sha256=request.text_sha256,
                signed_at=room.clock.now(),
                language=request.language or LANGUAGE,
                channel=channel_of(counter),
            ),
            counter=counter,
        )
        return family_pb2.SignPledgeResponse(
            pledge_id=str(pledge.pledge_id), signed_time=wire.timestamp(pledge.signed_at)
        )

    async def CreateGroup(self, request: family_pb2.CreateGroupRequest, _: Context) -> family_pb2.CreateGroupResponse:
        room, founder = self._room, PsnNo(request.founder_psn_no)
        group_id = await groups.create_group(
            database=room.database,
            people=room.people,
            policies=room.policies_now(),
            founder=founder,
            counter=counter_of(request),
            request_id=UUID(request.request_id),
            group_id=GroupId(room.new_id()),
            now=room.clock.now(),
        )
        return family_pb2.CreateGroupResponse(group=await self._group(group_id, founder))

    async def InviteMember(
        self, request: family_pb2.InviteMemberRequest, _: Context
    ) -> family_pb2.InviteMemberResponse:
        room = self._room
        invitation = await invitations.invite_member(
            database=room.database,
            people=room.people,
            identity=room.identity,
            policies=room.policies_now(),
            asked=invitations.InviteAsked(
                group_id=GroupId(UUID(request.group_id)),
                inviter=PsnNo(request.inviter_psn_no),
                invitee=PsnNo(request.invitee_psn_no),
                relation=wire.relation_of(request.relation),
                request_id=UUID(request.request_id),
            ),
            counter=counter_of(request),
            invitation_id=room.new_id(),
            expiry_days=room.invitation_days,
            now=room.clock.now(),
        )
        return family_pb2.InviteMemberResponse(invitation=wire.invitation_message(invitation))

    async def AcceptInvitation(
        self, request: family_pb2.AcceptInvitationRequest, _: Context
    ) -> family_pb2.AcceptInvitationResponse:
        room, invitee = self._room, PsnNo(request.invitee_psn_no)
        group_id = await invitations.accept_invitation(
            database=room.database,
            people=room.people,
            identity=room.identity,
            policies=room.policies_now(),
            asked=invitations.AcceptAsked(
                invitation_id=UUID(request.invitation_id),
                invitee=invitee,
                attestation_id=UUID(request.attestation_id) if request.attestation_id else None,
                counter=counter_of(request),
            ),
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
            policies=room.policies_now(),
            asked=bindings.BindAsked(
                group_id=GroupId(UUID(request.group_id)),
                funder=PsnNo(request.funder_psn_no),
                beneficiary=PsnNo(request.beneficiary_psn_no),
                authorised_fen=request.authorised_fen if request.HasField("authorised_fen") else None,
                request_id=UUID(request.request_id),
                counter=counter_of(request),
                limits=wire.limits_of(request),
            ),
            binding_id=BindingId(self._room.new_id()),
            authorisation_id=AuthorisationId(self._room.new_id()),
            now=room.clock.now(),
        )
        return family_pb2.BindResponse(binding=wire.binding_message(binding))

    async def Unbind(self, request: family_pb2.UnbindRequest, _: Context) -> family_pb2.UnbindResponse:
        room = self._room
        binding = await bindings.unbind(
            database=room.database,
            people=room.people,
            identity=room.identity,
            ledgers=room.ledgers,
            policies=room.policies_now(),
            binding_id=BindingId(UUID(request.binding_id)),
            by=PsnNo(request.by_psn_no),
            counter=counter_of(request),
            now=room.clock.now(),
        )
        return family_pb2.UnbindResponse(binding=wire.binding_message(binding))

    async def AmendAuthorisedAmount(
        self, request: family_pb2.AmendAuthorisedAmountRequest, _: Context
    ) -> family_pb2.AmendAuthorisedAmountResponse:
        room = self._room
        binding = await bindings.amend_authorised_amount(
            database=room.database,
            people=room.people,
            ledgers=room.ledgers,
            policies=room.policies_now(),
            binding_id=BindingId(UUID(request.binding_id)),
            by=PsnNo(request.funder_psn_no),
            authorised_fen=request.authorised_fen if request.HasField("authorised_fen") else None,
            counter=counter_of(request),
            now=room.clock.now(),
        )
        return family_pb2.AmendAuthorisedAmountResponse(binding=wire.binding_message(binding))

    async def AmendLimits(self, request: family_pb2.AmendLimitsRequest, _: Context) -> family_pb2.AmendLimitsResponse:
        room = self._room
        binding = await bindings.amend_limits(
            database=room.database,
            people=room.people,
            ledgers=room.ledgers,
            policies=room.policies_now(),
            binding_id=BindingId(UUID(request.binding_id)),
            by=PsnNo(request.funder_psn_no),
            limits=wire.limits_of(request),
            counter=counter_of(request),
            now=room.clock.now(),
        )
        return family_pb2.AmendLimitsResponse(binding=wire.binding_message(binding))

    async def SetDeductOrder(
        self, request: family_pb2.SetDeductOrderRequest, _: Context
    ) -> family_pb2.SetDeductOrderResponse:
        room = self._room
        ordered = await bindings.set_deduct_order(
            database=room.database,
            people=room.people,
            identity=room.identity,
            policies=room.policies_now(),
            beneficiary=PsnNo(request.beneficiary_psn_no),
            by=PsnNo(request.by_psn_no or request.beneficiary_psn_no),
            funders=[PsnNo(psn_no) for psn_no in request.funder_psn_nos],
            counter=counter_of(request),
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
        async for departure in snapshot.departures(self._room.database):
            yield family_pb2.StreamSnapshotResponse(event=wire.departure_event(departure))
        async for invitation, at in snapshot.invitations(self._room.database):
            yield family_pb2.StreamSnapshotResponse(event=wire.invitation_event(invitation, at=at))
        async for binding, at in snapshot.bindings(self._room.database):
            yield family_pb2.StreamSnapshotResponse(event=wire.binding_event(binding, None, at=at))

    async def _group(self, group_id: GroupId, by: PsnNo) -> family_pb2.Group:
        view = await groups.view_group(database=self._room.database, group_id=group_id, by=by)
        return wire.group_message(view.group, view.names, view.bindings)
