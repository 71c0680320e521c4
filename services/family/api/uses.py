"""UseService: what was used of whose account for whom."""

from __future__ import annotations

from chassis.rpc.pages import page_size
from chassis.rpc.server import RpcServer
from gongji.family.v1 import uses_pb2
from gongji.family.v1.uses_pb2_grpc import UseServiceServicer, add_UseServiceServicer_to_server
from services.family import wire
from services.family.api.room import Context, Room
from services.family.operations import uses


class UseApi(UseServiceServicer):
    """Serves ``gongji.family.v1.UseService``; refusals are raised by the operations and mapped by the chassis."""

    def __init__(self, room: Room) -> None:
        self._room = room

    def add_to(self, server: RpcServer) -> None:
        """Hangs this servicer into a server."""
        server.add(add_UseServiceServicer_to_server, self)

    async def ListUses(self, request: uses_pb2.ListUsesRequest, _: Context) -> uses_pb2.ListUsesResponse:
        wanted = wire.wanted_uses(request)
        view = await uses.list_uses(
            database=self._room.database,
            wanted=wanted,
            before=wire.use_place(request.page_token),
            size=page_size(request.page_size),
        )
        return uses_pb2.ListUsesResponse(
            uses=[
                wire.use_message(listed.use, listed.group_id, names=view.names, by=wanted.by) for listed in view.uses
            ],
            sums=wire.use_sums(view.sums),
            next_page_token=wire.use_token(view.uses[-1].place) if view.more else "",
        )
