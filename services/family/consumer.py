"""What family hears: of identity persons and relations that are no longer what they were, of settlement uses."""

from __future__ import annotations

import asyncio
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import telemetry
from chassis.bus import Bus, Stream
from chassis.db import Database
from chassis.inbox import Consumer, IncomingEvent
from kernel.failures import Failure, Kind
from services.family import wire
from services.family.clients import Identity
from services.family.operations import projecting, uses

_log = telemetry.logger("consumer")

CONSUMER: Final = "family"
KINSHIP_CONSUMER: Final = "family-kinship"
USES_CONSUMER: Final = "family-uses"
MOVES_CONSUMER: Final = "family-moves"
SETTLEMENT: Final = "settlement"
SNAPSHOT_PAUSE_S: Final = 1.0


def persons(database: Database, bus: Bus) -> Consumer:
    """The consumer of what identity tells about persons."""
    stream = Stream(bus.prefix, projecting.IDENTITY)
    return Consumer(database, bus, stream, name=CONSUMER, handle=take_person_event, subjects=(wire.PERSON_CHANGED,))


async def take_person_event(connection: AsyncConnection, event: IncomingEvent) -> None:
    """A person as identity now tells of him."""
    if (told := wire.told_person(event.payload)) is not None:
        person, version = told
        await projecting.keep_person(connection, person=person, version=version)


def kinship(database: Database, bus: Bus) -> Consumer:
    """The consumer of relations lost; of each change, since another one of the same fact need not name these people."""
    stream = Stream(bus.prefix, projecting.IDENTITY)
    return Consumer(
        database,
        bus,
        stream,
        name=KINSHIP_CONSUMER,
        handle=take_kinship_event,
        subjects=(wire.KINSHIP_CHANGED,),
        latest_only=False,
    )


async def take_kinship_event(connection: AsyncConnection, event: IncomingEvent) -> None:
    """Bindings that rest on what it changes are in doubt; identity is asked how things stand (``recovery.py``)."""
    if pairs := wire.told_losses(event.payload):
        await projecting.doubt_kinship(connection, pairs=pairs)


def settlements(database: Database, bus: Bus) -> Consumer:
    """The consumer of bills paid and given back. Every event counts, once, in whatever order they come."""
    return Consumer(
        database,
        bus,
        Stream(bus.prefix, SETTLEMENT),
        name=USES_CONSUMER,
        handle=take_settlement_event,
        subjects=(wire.BILL_SETTLED, wire.BILL_REFUNDED),
        latest_only=False,
    )


async def take_settlement_event(connection: AsyncConnection, event: IncomingEvent) -> None:
    """What each funder gave for a bill, or got back."""
    await uses.keep(connection, wire.told_uses(event.payload))


def moves(database: Database, bus: Bus) -> Consumer:
    """The consumer of accounts that have moved. Every event counts: of two moves the later one stands."""
    return Consumer(
        database,
        bus,
        Stream(bus.prefix, SETTLEMENT),
        name=MOVES_CONSUMER,
        handle=take_move_event,
        subjects=(wire.ACCOUNT_MOVED,),
        latest_only=False,
    )


async def take_move_event(connection: AsyncConnection, event: IncomingEvent) -> None:
    """The bindings of whose account has moved are judged anew: they follow it (``recovery.py``)."""
    if (told := wire.told_move(event.payload)) is not None:
        psn_no, area, moved_at = told
        await projecting.keep_move(connection, psn_no=psn_no, area=area, moved_at=moved_at)


async def read_snapshot(database: Database, identity: Identity) -> None:
    """Everyone identity knows, once in this database's life, before its stream is followed; waits for identity."""
    while True:
        try:
            await projecting.read_snapshot(database=database, identity=identity)
        except Failure as failure:
            if failure.kind not in {Kind.UNAVAILABLE, Kind.DEADLINE}:
                raise
            _log.warning("identity's snapshot is not to be had yet", problem=failure.reason)
            await asyncio.sleep(SNAPSHOT_PAUSE_S)
        else:
            return
