"""What notify hears: events of settlement, family and identity."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import telemetry
from chassis.bus import Bus, Stream
from chassis.db import Database
from chassis.inbox import Consumer, IncomingEvent
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.notify import wire
from services.notify.clients import Identity
from services.notify.operations import telling

_log = telemetry.logger("consumer")

CONSUMER: Final = "notify"
SETTLEMENT: Final = "settlement"
FAMILY: Final = "family"
SNAPSHOT_PAUSE_S: Final = 1.0


Write = Callable[[AsyncConnection, bytes], Awaitable[set[PsnNo]]]
"""Writes an event's messages; the people who got one."""
Ring = Callable[[Iterable[PsnNo]], None]


class Listener:
    """Takes one stream's events in and, after the commit, rings for the people who got a message."""

    def __init__(self, write: Write, ring: Ring) -> None:
        self._write = write
        self._ring = ring
        self._got: set[PsnNo] = set()

    async def take(self, connection: AsyncConnection, event: IncomingEvent) -> None:
        """Writes the event's messages in this transaction."""
        self._got |= await self._write(connection, event.payload)

    def committed(self, _events: Sequence[IncomingEvent]) -> None:
        """Rings. One stream's transactions follow each other, so what was got belongs to what was committed."""
        got, self._got = self._got, set()
        self._ring(got)


async def take_settlement_event(identity: Identity, connection: AsyncConnection, payload: bytes) -> set[PsnNo]:
    """A bill paid or taken back, money that came in, a freeze, a wallet, a transfer to one."""
    return await telling.tell(connection, identity=identity, told=wire.told_by_settlement(payload))


async def take_family_event(identity: Identity, connection: AsyncConnection, payload: bytes) -> set[PsnNo]:
    """An invitation, a new member, a binding that changed."""
    return await telling.tell(connection, identity=identity, told=wire.told_by_family(payload))


async def take_identity_event(identity: Identity, connection: AsyncConnection, payload: bytes) -> set[PsnNo]:
    """A person's name, and his sanctions; unusual use of what is his."""
    person = wire.told_by_identity(payload)
    if person is not None:
        return await telling.keep_person(connection, identity=identity, person=person)
    return await telling.tell(connection, identity=identity, told=wire.told_of_risk(payload))


def consumers(database: Database, bus: Bus, identity: Identity, ring: Ring) -> list[Consumer]:
    """One for each stream. Every event of settlement and family counts; of a person or a risk the latest suffices."""
    sources = (
        (SETTLEMENT, take_settlement_event, (">",), False),
        (FAMILY, take_family_event, (">",), False),
        (telling.IDENTITY, take_identity_event, (wire.PERSON_CHANGED, wire.RISK_EVENT_RAISED), True),
    )
    found = []
    for service, write, subjects, latest_only in sources:
        listener = Listener(partial(write, identity), ring)
        found.append(
            Consumer(
                database,
                bus,
                Stream(bus.prefix, service),
                name=CONSUMER,
                handle=listener.take,
                subjects=subjects,
                latest_only=latest_only,
                after_commit=listener.committed,
            )
        )
    return found


async def read_snapshot(database: Database, identity: Identity) -> None:
    """Everyone identity knows, once in this database's life, before its stream is followed; waits for identity."""
    while True:
        try:
            await telling.read_snapshot(database=database, identity=identity)
        except Failure as failure:
            if failure.kind not in {Kind.UNAVAILABLE, Kind.DEADLINE}:
                raise
            _log.warning("identity's snapshot is not to be had yet", problem=failure.reason)
            await asyncio.sleep(SNAPSHOT_PAUSE_S)
        else:
            return
