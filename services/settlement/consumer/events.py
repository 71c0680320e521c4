"""What identity and family say: their events as they come, and everything said so far for a room that starts anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import grpc
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
from gongji.identity.v1.identity_pb2 import StreamChangesRequest
from gongji.identity.v1.identity_pb2 import StreamSnapshotRequest as IdentitySnapshotRequest
from gongji.identity.v1.identity_pb2_grpc import IdentityServiceStub
from kernel.callers import service
from kernel.failures import Failure, Kind
from services.settlement.domain.facts import Caught, Fact
from services.settlement.operations import projecting
from services.settlement.wire.projections import caught_up, fact_of_family, fact_of_identity

_log = logger("events")

CONSUMER: Final = "settlement"
IDENTITY: Final = "identity"
FAMILY: Final = "family"
IDENTITY_SUBJECTS: Final = ("person_changed", "institution_changed", "terminal_changed", "signing_key_activated")
FAMILY_SUBJECTS: Final = ("binding_changed",)
WHOLE_ANSWER_MAX_S: Final = 12 * 3_600.0
"""A nation's people take their time. Whether the other side is still there is told by its silence."""
SNAPSHOT_SILENCE_MAX_S: Final = 30.0
"""Between two messages of a snapshot; after this it is asked for anew."""
SNAPSHOT_PAUSE_S: Final = 0.5
CHANGES_SILENCE_MAX_S: Final = 5.0
"""Between two messages of an answer to StreamChanges; after this identity counts as away."""
CURSOR_AHEAD: Final = "CHANGES_CURSOR_AHEAD"


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
    """A person, an institution, a terminal or a key as identity now tells of it."""
    if (fact := fact_of_identity(IdentityEvent.FromString(event.payload))) is not None:
        await projecting.apply(connection, [(fact, event.version)])


async def take_family_event(connection: AsyncConnection, event: IncomingEvent) -> None:
    """A binding as family now tells of it."""
    if (fact := fact_of_family(FamilyEvent.FromString(event.payload))) is not None:
        await projecting.apply(connection, [(fact, event.version)])


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
    database: Database, source: str, address: str, facts: Callable[[str], AsyncIterator[tuple[Fact, int] | Caught]]
) -> None:
    while not await projecting.snapshot_is_taken(database, source=source):
        try:
            count = await projecting.take_snapshot(database, source=source, facts=facts(address))
        except (Failure, TimeoutError) as error:
            if isinstance(error, Failure) and error.kind not in {Kind.UNAVAILABLE, Kind.DEADLINE}:
                raise
            problem = error.reason if isinstance(error, Failure) else "silence"
            _log.warning("the snapshot is not to be had yet", source=source, problem=problem)
            await asyncio.sleep(SNAPSHOT_PAUSE_S)
        else:
            _log.info("the snapshot was read", source=source, facts=count)


async def _identity_facts(address: str) -> AsyncIterator[tuple[Fact, int] | Caught]:
    async with channel(address, caller=service(CONSUMER)) as identity:
        stub = IdentityServiceStub(identity)
        call = stub.StreamSnapshot(IdentitySnapshotRequest(), timeout=WHOLE_ANSWER_MAX_S)
        async for answer in _spoken(call, silence_max_s=SNAPSHOT_SILENCE_MAX_S):
            if answer.cursor:
                yield caught_up(answer)
            if (fact := fact_of_identity(answer.event)) is not None:
                yield fact, answer.event.version


async def identity_changes(identity: grpc.aio.Channel, *, after: int) -> AsyncIterator[tuple[Fact, int] | Caught]:
    """What identity has said since the cursor, and last how far that reaches; TimeoutError when it falls silent."""
    stub = IdentityServiceStub(identity)
    request = StreamChangesRequest(after=str(after) if after else "")
    call = stub.StreamChanges(request, timeout=WHOLE_ANSWER_MAX_S)
    async for answer in _spoken(call, silence_max_s=CHANGES_SILENCE_MAX_S):
        if answer.cursor:
            yield caught_up(answer)
        elif (fact := fact_of_identity(answer.event)) is not None:
            yield fact, answer.event.version


async def _spoken(call: Any, *, silence_max_s: float) -> AsyncIterator[Any]:  # noqa: ANN401  Any message.
    """The messages of an answer; TimeoutError once nothing was said for so long."""
    answers = aiter(call)
    try:
        while True:
            try:
                async with asyncio.timeout(silence_max_s):
                    answer = await anext(answers)
            except StopAsyncIteration:
                return
            yield answer
    finally:
        call.cancel()


async def hear_identity(database: Database, identity: grpc.aio.Channel, *, after: int) -> Caught:
    """Asks identity what changed since the cursor and keeps it, whatever NATS has brought; how far that reaches.

    A cursor that identity no longer knows is forgotten, with every version that was passed, and it is asked from its
    beginning.
    """
    try:
        caught, count = await projecting.take_changes(
            database, source=IDENTITY, facts=identity_changes(identity, after=after)
        )
    except Failure as failure:
        if failure.reason != CURSOR_AHEAD:
            raise
        await begin_anew(database)
        caught, count = await projecting.take_changes(
            database, source=IDENTITY, facts=identity_changes(identity, after=0)
        )
    if count:
        _log.debug("identity was heard", facts=count)
    return caught


async def begin_anew(database: Database) -> None:
    """Identity is asked from its beginning the next time, and what it says then counts."""
    _log.warning("everything that identity says is read anew")
    await projecting.begin_anew(database, source=IDENTITY, consumer=CONSUMER)


async def _family_facts(address: str) -> AsyncIterator[tuple[Fact, int] | Caught]:
    async with channel(address, caller=service(CONSUMER)) as family:
        stub = FamilyServiceStub(family)
        call = stub.StreamSnapshot(FamilySnapshotRequest(), timeout=WHOLE_ANSWER_MAX_S)
        async for answer in _spoken(call, silence_max_s=SNAPSHOT_SILENCE_MAX_S):
            if (fact := fact_of_family(answer.event)) is not None:
                yield fact, answer.event.version
