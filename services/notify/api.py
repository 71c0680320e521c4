"""The gRPC face of notify: parse, operation, render."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Final

import grpc

from chassis.db import Database
from chassis.rpc.server import RpcServer
from gongji.notify.v1 import notify_pb2
from gongji.notify.v1.notify_pb2_grpc import NotifyServiceServicer, add_NotifyServiceServicer_to_server
from kernel.ids import PsnNo
from services.notify import store, wire
from services.notify.operations.watching import Watchers

MESSAGES_DEFAULT: Final = 50
Context = grpc.aio.ServicerContext[Any, Any]


class NotifyApi(NotifyServiceServicer):
    """Serves ``gongji.notify.v1.NotifyService``."""

    def __init__(self, database: Database, watchers: Watchers) -> None:
        self._database = database
        self._watchers = watchers

    def add_to(self, server: RpcServer) -> None:
        """Hangs this servicer into a server."""
        server.add(add_NotifyServiceServicer_to_server, self)

    async def ListMessages(
        self, request: notify_pb2.ListMessagesRequest, _: Context
    ) -> notify_pb2.ListMessagesResponse:
        """A page, newest first; empty for someone who was never told anything."""
        rows_max = request.messages_max or MESSAGES_DEFAULT
        page = await store.before(
            self._database,
            PsnNo(request.psn_no),
            message_no=request.before_message_no or None,
            rows_max=rows_max + 1,
        )
        messages = [wire.message(stored) for stored in page[:rows_max]]
        return notify_pb2.ListMessagesResponse(messages=messages, more=len(page) > rows_max)

    async def WatchMessages(
        self, request: notify_pb2.WatchMessagesRequest, _: Context
    ) -> AsyncIterator[notify_pb2.WatchMessagesResponse]:
        """Ends at the client's deadline, when its connection has grown old, and cleanly when the process stops.

        The client then watches again, after the last number it saw.
        """
        watching = self._watchers.watch(PsnNo(request.psn_no), after_message_no=request.after_message_no)
        async with aclosing(watching):
            async for stored in watching:
                yield notify_pb2.WatchMessagesResponse(message=wire.message(stored))
