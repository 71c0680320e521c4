"""Calls that notify makes: identity's snapshot, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import grpc

from gongji.identity.v1 import identity_pb2, identity_pb2_grpc
from kernel.ids import PsnNo
from services.notify import wire
from services.notify.domain.facts import Told

SNAPSHOT_TIMEOUT_S: Final = 600.0


class Identity:
    """The identity service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = identity_pb2_grpc.IdentityServiceStub(channel)

    async def snapshot(self) -> AsyncIterator[tuple[PsnNo, str, int, list[Told]]]:
        """Every person: number, masked name, version, sanctions."""
        async for answer in self._stub.StreamSnapshot(identity_pb2.StreamSnapshotRequest(), timeout=SNAPSHOT_TIMEOUT_S):
            if (told := wire.told_by_identity(answer.event)) is not None:
                yield told
