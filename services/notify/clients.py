"""Calls that notify makes to identity: its snapshot, once, and a name that has not arrived yet."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

import grpc

from gongji.identity.v1 import identity_pb2, identity_pb2_grpc
from kernel.failures import Failure
from kernel.ids import PsnNo
from services.notify import wire
from services.notify.domain.facts import PersonTold

SNAPSHOT_TIMEOUT_S: Final = 600.0
NAME_TIMEOUT_S: Final = 1.0
LOOK_UP_PURPOSE: Final = "NOTIFICATION"
"""Why identity is asked for a person; kept in its audit."""


class Identity:
    """The identity service."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = identity_pb2_grpc.IdentityServiceStub(channel)

    async def name(self, psn_no: PsnNo) -> str | None:
        """The person's masked name; None if identity does not know him or does not answer soon."""
        request = identity_pb2.GetPersonRequest(psn_no=psn_no, purpose=LOOK_UP_PURPOSE)
        try:
            answer = await self._stub.GetPerson(request, timeout=NAME_TIMEOUT_S)
        except Failure:
            return None
        return str(answer.person.name_masked)

    async def snapshot(self) -> AsyncIterator[PersonTold]:
        """Every person."""
        request = identity_pb2.StreamSnapshotRequest()
        async for answer in self._stub.StreamSnapshot(request, timeout=SNAPSHOT_TIMEOUT_S, wait_for_ready=True):
            if (told := wire.told_by_identity(answer.event)) is not None:
                yield told
