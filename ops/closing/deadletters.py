"""Dead letters: events that a room's consumer gave up; tried again by that consumer, or given up for good."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chassis.db import DRIVER_ERRORS
from ops.consent import Change, Consent, record
from ops.payments.databases import COORDINATOR, connect, described
from ops.places import Places
from ops.sources import CannotMendError

REDRIVE: Final = "deadletters redrive"
CLOSE: Final = "deadletters close"

_DEAD: Final = """
    SELECT d.consumer, d.event_id, d.subject, d.aggregate, d.version, d.problem, d.died_at, d.stream, d.redrive_at,
           v.version AS newest_version
      FROM inbox_dead d LEFT JOIN inbox_version v ON v.consumer = d.consumer AND v.aggregate = d.aggregate
     WHERE $1::uuid IS NULL OR d.event_id = $1 ORDER BY d.died_at"""
_REDRIVE: Final = """
    UPDATE inbox_dead SET redrive_at = now() WHERE consumer = $1 AND event_id = $2 AND stream IS NOT NULL
    RETURNING event_id"""
_CLOSE: Final = "DELETE FROM inbox_dead WHERE consumer = $1 AND event_id = $2 RETURNING event_id"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a room's consumer could not take in; ``newest_version`` is what it has of the aggregate now."""

    room: str
    consumer: str
    event_id: UUID
    subject: str
    aggregate: str
    version: int
    problem: str
    died_at: datetime
    stream: str | None
    redrive_at: datetime | None
    newest_version: int | None

    @property
    def is_healed(self) -> bool:
        """Whether a newer event of the same aggregate has said all that this one said, and more."""
        return self.newest_version is not None and self.newest_version >= self.version

    def as_json(self) -> dict[str, object]:
        """For machines. The payload stays where it is: it may hold more than a screen should."""
        return {
            "room": self.room,
            "consumer": self.consumer,
            "event_id": str(self.event_id),
            "subject": self.subject,
            "aggregate": self.aggregate,
            "version": self.version,
            "problem": self.problem,
            "died_at": self.died_at.isoformat(),
            "healed_by_a_newer_one": self.is_healed,
            "tried_again": self.redrive_at is not None,
        }


@asynccontextmanager
async def rooms(places: Places) -> AsyncIterator[Mapping[str, Any]]:
    """A connection to each room's database that is known; CannotMendError names one that does not answer."""
    urls = {COORDINATOR: places.coordinator_url, **places.room_urls}
    connections: dict[str, Any] = {}
    try:
        for room, url in urls.items():
            try:
                connections[room] = await connect(url, read_only=False)
            except DRIVER_ERRORS as problem:
                raise CannotMendError(f"the database of {room} cannot be reached: {described(problem)}") from problem
        yield connections
    finally:
        for connection in connections.values():
            await connection.close()


async def find(connections: Mapping[str, Any], event_id: UUID | None = None) -> list[DeadLetter]:
    """The dead letters of every room, or those of one event (it may have died at several consumers)."""
    found = []
    for room, connection in connections.items():
        if await connection.fetchval("SELECT to_regclass('inbox_dead') IS NOT NULL"):
            found += [DeadLetter(room=room, **dict(row)) for row in await connection.fetch(_DEAD, event_id)]
    return found


async def redrive(connections: Mapping[str, Any], letter: DeadLetter, consent: Consent) -> None:
    """Asks the consumer to try it again, within a second if it runs; the audit record first."""
    if letter.stream is None:
        raise CannotMendError("it died under a release that did not note its stream: it cannot be tried again")
    await _record(connections, REDRIVE, letter, consent, "to be tried again")
    await connections[letter.room].fetchval(_REDRIVE, letter.consumer, letter.event_id)


async def close(connections: Mapping[str, Any], letter: DeadLetter, consent: Consent) -> None:
    """Gives it up; the audit record keeps what it was."""
    await _record(connections, CLOSE, letter, consent, "given up")
    await connections[letter.room].fetchval(_CLOSE, letter.consumer, letter.event_id)


async def _record(
    connections: Mapping[str, Any], command: str, letter: DeadLetter, consent: Consent, after: str
) -> None:
    name = f"{letter.room} {letter.consumer}"
    change = Change(letter.event_id, {name: f"dead: {letter.subject} {letter.problem}"}, {name: after})
    await record(connections[COORDINATOR], command, consent, [change])
