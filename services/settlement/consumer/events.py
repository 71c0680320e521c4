"""What identity and family say: their events as they come, and everything said so far for a room that starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.bus import Bus, Stream
from chassis.db import Database
from chassis.inbox import Consumer, IncomingEvent
from chassis.rpc.client import channel
from chassis.telemetry import logger
from gongji.family.v1.events_pb2 import FamilyEvent
from gongji.family.v1.family_pb2 import StreamSnapshotRequest as FamilySnapshotRequest
from gongji.family.v1.family_pb2_grpc import FamilyServiceStub
from gongji.identity.v1.events_pb2 import IdentityEvent
from gongji.identity.v1.identity_pb2 import StreamSnapshotRequest as IdentitySnapshotRequest
from gongji.identity.v1.identity_pb2_grpc import IdentityServiceStub
from kernel.failures import Failure, Kind
from services.settlement.domain.facts import Fact
from services.settlement.operations import projecting
from services.settlement.wire.projections import fact_of_family, fact_of_identity

_log = logger("events")

CONSUMER: Final = "settlement"
IDENTITY: Final = "identity"
FAMILY: Final = "family"
IDENTITY_SUBJECTS: Final = ("person_changed", "institution_changed", "signing_key_activated")
FAMILY_SUBJECTS: Final = ("binding_changed",)
SNAPSHOT_TIMEOUT_S: Final = 600.0
SNAPSHOT_PAUSE_S: Final = 0.5


def consumers(database: Database, bus: Bus, *, ack_wait_s: float) -> list[Consumer]:
    """The readers of both streams; each event is kept at its aggregate's version."""
    return [
        Consumer(
            database,
            bus,
            Stream(bus.prefix, IDENTITY),
            name=CONSUMER,
            handle=take_identity_event,
            subjects=IDENTITY_SUBJECTS,
            ack_wait_s=ack_wait_s,
        ),
        Consumer(
            database,
            bus,
            Stream(bus.prefix, FAMILY),
            name=CONSUMER,
            handle=take_family_event,
            subjects=FAMILY_SUBJECTS,
            ack_wait_s=ack_wait_s,
        ),
    ]


async def take_identity_event(connection: AsyncConnection, event: IncomingEvent) -> None:
    """A person, an institution or a key as identity now tells of it."""
    if (fact := fact_of_identity(IdentityEvent.FromString(event.payload))) is not None:
        await projecting.apply(connection, fact=fact, version=event.version)


async def take_family_event(connection: AsyncConnection, event: IncomingEvent) -> None:
    """A binding as family now tells of it."""
    if (fact := fact_of_family(FamilyEvent.FromString(event.payload))) is not None:
        await projecting.apply(connection, fact=fact, version=event.version)


async def read_snapshots(database: Database, *, identity_address: str | None, family_address: str | None) -> None:
    """Reads each source's snapshot once in this database's life, before its stream is followed.

    The stream alone may be shorter than its history, and replaying it would show persons as they once were. Returns
    when both are read; a source that does not answer yet is waited for, one without an address is left to its stream.
    """
    sources = ((IDENTITY, identity_address, _identity_facts), (FAMILY, family_address, _family_facts))
    async with asyncio.TaskGroup() as group:
        for source, address, facts in sources:
            if address is not None:
                group.create_task(_read_snapshot(database, source, address, facts))


async def _read_snapshot(
    database: Database, source: str, address: str, facts: Callable[[str], AsyncIterator[tuple[Fact, int]]]
) -> None:
    while not await projecting.snapshot_is_taken(database, source=source):
        try:
            count = await projecting.take_snapshot(database, source=source, facts=facts(address))
        except Failure as failure:
            if failure.kind not in {Kind.UNAVAILABLE, Kind.DEADLINE}:
                raise
            _log.warning("the snapshot is not to be had yet", source=source, problem=failure.reason)
            await asyncio.sleep(SNAPSHOT_PAUSE_S)
        else:
            _log.info("the snapshot was read", source=source, facts=count)


async def _identity_facts(address: str) -> AsyncIterator[tuple[Fact, int]]:
    async with channel(address) as identity:
        stub = IdentityServiceStub(identity)
        async for answer in stub.StreamSnapshot(IdentitySnapshotRequest(), timeout=SNAPSHOT_TIMEOUT_S):
            if (fact := fact_of_identity(answer.event)) is not None:
                yield fact, answer.event.version


async def _family_facts(address: str) -> AsyncIterator[tuple[Fact, int]]:
    async with channel(address) as family:
        stub = FamilyServiceStub(family)
        async for answer in stub.StreamSnapshot(FamilySnapshotRequest(), timeout=SNAPSHOT_TIMEOUT_S):
            if (fact := fact_of_family(answer.event)) is not None:
                yield fact, answer.event.version
