"""GroupService: the texts of the pledge, what becomes of invitations, and how people go from a group."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from chassis.rpc.server import RpcServer
from gongji.family.v1 import groups_pb2
from gongji.family.v1.groups_pb2_grpc import GroupServiceServicer, add_GroupServiceServicer_to_server
from kernel.ids import GroupId, PsnNo
from services.family import wire
from services.family.api.room import Context, Room, counter_of
from services.family.domain.leaving import Cause
from services.family.domain.pledges import PledgeText
from services.family.operations import groups, invitations, leaving, pledges, records, succession
from services.family.operations.leaving import Desk, LeaveAsked


class GroupApi(GroupServiceServicer):
    """Serves ``gongji.family.v1.GroupService``; refusals are raised by the operations and mapped by the chassis."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def add_to(self, server: RpcServer) -> None:
        """Hangs this servicer into a server."""
        server.add(add_GroupServiceServicer_to_server, self)

    async def RegisterPledgeText(
        self, request: groups_pb2.RegisterPledgeTextRequest, _: Context
    ) -> groups_pb2.RegisterPledgeTextResponse:
        room = self._room
        asked = PledgeText(request.text_version, request.language, request.text, room.clock.now())
        text, is_new = await pledges.register_text(database=room.database, text=asked, opter=request.opter)
        return groups_pb2.RegisterPledgeTextResponse(registered=wire.text_message(text), is_new=is_new)

    async def GetPledgeText(
        self, request: groups_pb2.GetPledgeTextRequest, _: Context
    ) -> groups_pb2.GetPledgeTextResponse:
        text = await pledges.get_text(
            database=self._room.database, text_version=request.text_version, language=request.language
        )
        return groups_pb2.GetPledgeTextResponse(registered=wire.text_message(text), text=text.content)

    async def ListPledges(self, request: groups_pb2.ListPledgesRequest, _: Context) -> groups_pb2.ListPledgesResponse:
        signed = await pledges.list_pledges(database=self._room.database, psn_no=PsnNo(request.psn_no))
        return groups_pb2.ListPledgesResponse(pledges=[wire.pledge_message(pledge) for pledge in signed])

    async def StreamRecords(
        self, request: groups_pb2.StreamRecordsRequest, _: Context
    ) -> AsyncIterator[groups_pb2.StreamRecordsResponse]:
        found = await records.of_person(database=self._room.database, psn_no=PsnNo(request.psn_no))
        for invitation in found.invitations:
            yield groups_pb2.StreamRecordsResponse(invitation=wire.invitation_message(invitation))
        for binding in found.bindings:
            yield groups_pb2.StreamRecordsResponse(binding=wire.binding_message(binding))
        for departure in found.departures:
            yield groups_pb2.StreamRecordsResponse(departure=wire.departure_message(departure))

    async def DeclineInvitation(
        self, request: groups_pb2.DeclineInvitationRequest, _: Context
    ) -> groups_pb2.DeclineInvitationResponse:
        room = self._room
        invitation = await invitations.decline_invitation(
            database=room.database,
            people=room.people,
            policies=room.policies_now(),
            invitation_id=UUID(request.invitation_id),
            invitee=PsnNo(request.invitee_psn_no),
            counter=counter_of(request),
            now=room.clock.now(),
        )
        return groups_pb2.DeclineInvitationResponse(invitation=wire.invitation_message(invitation))

    async def WithdrawInvitation(
        self, request: groups_pb2.WithdrawInvitationRequest, _: Context
    ) -> groups_pb2.WithdrawInvitationResponse:
        room = self._room
        invitation = await invitations.withdraw_invitation(
            database=room.database,
            people=room.people,
            policies=room.policies_now(),
            invitation_id=UUID(request.invitation_id),
            inviter=PsnNo(request.inviter_psn_no),
            counter=counter_of(request),
            now=room.clock.now(),
        )
        return groups_pb2.WithdrawInvitationResponse(invitation=wire.invitation_message(invitation))

    async def LeaveGroup(self, request: groups_pb2.LeaveGroupRequest, _: Context) -> groups_pb2.LeaveGroupResponse:
        asked = LeaveAsked(
            group_id=GroupId(UUID(request.group_id)),
            psn_no=PsnNo(request.psn_no),
            cause=Cause.LEFT,
            by=PsnNo(request.by_psn_no or request.psn_no),
            counter=counter_of(request),
        )
        departure = await leaving.leave(self._desk(), asked=asked, now=self._room.clock.now())
        return groups_pb2.LeaveGroupResponse(departure=wire.departure_message(departure))

    async def RemoveMember(
        self, request: groups_pb2.RemoveMemberRequest, _: Context
    ) -> groups_pb2.RemoveMemberResponse:
        asked = LeaveAsked(
            group_id=GroupId(UUID(request.group_id)),
            psn_no=PsnNo(request.psn_no),
            cause=Cause.REMOVED,
            by=PsnNo(request.founder_psn_no),
            counter=counter_of(request),
        )
        departure = await leaving.leave(self._desk(), asked=asked, now=self._room.clock.now())
        return groups_pb2.RemoveMemberResponse(departure=wire.departure_message(departure))

    async def DissolveGroup(
        self, request: groups_pb2.DissolveGroupRequest, _: Context
    ) -> groups_pb2.DissolveGroupResponse:
        state, departures = await leaving.dissolve(
            self._desk(),
            group_id=GroupId(UUID(request.group_id)),
            by=PsnNo(request.founder_psn_no),
            counter=counter_of(request),
            now=self._room.clock.now(),
        )
        return groups_pb2.DissolveGroupResponse(
            state=wire.group_state(state), departures=[wire.departure_message(departure) for departure in departures]
        )

    async def TakeOverGroup(
        self, request: groups_pb2.TakeOverGroupRequest, _: Context
    ) -> groups_pb2.TakeOverGroupResponse:
        room, group_id, by = self._room, GroupId(UUID(request.group_id)), PsnNo(request.psn_no)
        await succession.take_over(
            database=room.database,
            people=room.people,
            policies=room.policies_now(),
            group_id=group_id,
            by=by,
            counter=counter_of(request),
            now=room.clock.now(),
        )
        view = await groups.view_group(database=room.database, group_id=group_id, by=by)
        return groups_pb2.TakeOverGroupResponse(group=wire.group_message(view.group, view.names, view.bindings))

    def _desk(self) -> Desk:
        room = self._room
        return Desk(
            database=room.database,
            people=room.people,
            identity=room.identity,
            ledgers=room.ledgers,
            policies=room.policies_now(),
            randomness=room.randomness,
        )
