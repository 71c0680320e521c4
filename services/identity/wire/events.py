"""The envelope of everything that identity tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from chassis.outbox import OutgoingEvent
from gongji.identity.v1 import events_pb2, identity_pb2
from services.identity.wire.values import timestamp_of


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be told, without its envelope. Whoever tells it holds the aggregate's row: ``version`` is its next."""

    message: events_pb2.IdentityEvent
    aggregate: str
    version: int


def enveloped(draft: Draft, *, event_id: UUID, now: datetime) -> OutgoingEvent:
    """The event in its envelope, for the outbox."""
    message = draft.message
    message.event_id = str(event_id)
    message.aggregate_id = draft.aggregate
    message.version = draft.version
    message.occurred_time.CopyFrom(timestamp_of(now))
    return OutgoingEvent(
        event_id=event_id,
        aggregate=draft.aggregate,
        version=draft.version,
        subject=message.WhichOneof("fact") or "",
        payload=message.SerializeToString(deterministic=True),
        occurred_at=now,
    )


def snapshot_message(payload: bytes) -> identity_pb2.StreamSnapshotResponse:
    """An event as it was told."""
    return identity_pb2.StreamSnapshotResponse(event=events_pb2.IdentityEvent.FromString(payload))


def first_of_snapshot(payload: bytes, *, cursor: int, as_of: datetime) -> identity_pb2.StreamSnapshotResponse:
    """The first event, and the moment that the snapshot shows."""
    message = snapshot_message(payload)
    message.cursor = str(cursor)
    message.as_of_time.CopyFrom(timestamp_of(as_of))
    return message


def change_message(payload: bytes) -> identity_pb2.StreamChangesResponse:
    """An event as it was told."""
    return identity_pb2.StreamChangesResponse(event=events_pb2.IdentityEvent.FromString(payload))


def caught_message(*, cursor: int, as_of: datetime) -> identity_pb2.StreamChangesResponse:
    """How far the answer reaches; the last message."""
    return identity_pb2.StreamChangesResponse(cursor=str(cursor), as_of_time=timestamp_of(as_of))
