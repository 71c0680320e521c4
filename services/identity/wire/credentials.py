"""Keys that sign, as others are told of them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from chassis.outbox import OutgoingEvent
from gongji.identity.v1 import events_pb2
from services.identity.domain.credential import SigningKey
from services.identity.wire.events import event
from services.identity.wire.values import timestamp_of


def signing_key_activated(key: SigningKey, *, event_id: UUID, now: datetime) -> OutgoingEvent:
    """A key will sign from its time on."""
    fact = events_pb2.IdentityEvent(
        signing_key_activated=events_pb2.SigningKeyActivated(
            kid=key.kid,
            public_key=key.public_key,
            not_before_time=timestamp_of(key.not_before),
            not_after_time=timestamp_of(key.not_after),
        )
    )
    return event(fact, f"key:{key.kid}", 1, event_id, now)
