"""Listens in on the commands to one world's ledgers, and says them again: late, twice, in another order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg

from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.ids import AdmDvs
from ops.embedded.world import World

ANSWER_MAX_S: Final = 10.0
EPOCH: Final = 1
"""The epoch of a coordinator that was never restored."""
_OF_A_PAYMENT: Final = ("try_command", "confirm_command", "cancel_command")


@dataclass
class Wiretap:
    """What was said to the ledgers since the tap was laid, in the order in which it was said."""

    client: Client
    prefix: str
    heard: list[tuple[AdmDvs, pb.Command]] = field(default_factory=list)

    async def listen(self) -> None:
        """Hears every command from now on."""
        await self.client.subscribe(f"{self.prefix}.ledger.*.command", cb=self._hear)
        await self.client.flush()

    async def _hear(self, message: Msg) -> None:
        area = AdmDvs(message.subject.split(".")[-2])
        self.heard += [(area, command) for command in pb.CommandBatch.FromString(message.data).commands]

    def of_payment(self, payment_id: UUID) -> list[tuple[AdmDvs, pb.Command]]:
        """What was said of one payment."""
        return [
            (area, command)
            for area, command in self.heard
            if (kind := command.WhichOneof("kind")) in _OF_A_PAYMENT
            and getattr(command, str(kind)).payment_id == payment_id.bytes
        ]

    async def said(self, payment_id: UUID, kind: str, *, area: AdmDvs) -> pb.Command:
        """The first such command of the payment, as soon as it has been said."""
        async with asyncio.timeout(ANSWER_MAX_S):
            while True:
                for heard_area, command in self.of_payment(payment_id):
                    if heard_area == area and command.WhichOneof("kind") == kind:
                        return command
                await asyncio.sleep(0.01)

    async def say(self, area: AdmDvs, *commands: pb.Command) -> Sequence[pb.Reply]:
        """Says commands as the coordinator would; the ledger's replies. Nobody else knows of it."""
        batch = pb.CommandBatch(commands=commands, epoch=EPOCH)
        answer = await self.client.request(
            f"{self.prefix}.ledger.{area}.command", batch.SerializeToString(), timeout=ANSWER_MAX_S
        )
        return list(pb.ReplyBatch.FromString(answer.data).replies)


@asynccontextmanager
async def wiretap_of(world: World) -> AsyncIterator[Wiretap]:
    """A connection of its own to the world's NATS."""
    client = await nats.connect(world.nats_url)
    try:
        tap = Wiretap(client, world.bus_prefix)
        await tap.listen()
        yield tap
    finally:
        await client.close()
