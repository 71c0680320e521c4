"""What operations tell the other rooms, in the transaction that made it so."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import outbox
from kernel.randomness import Randomness
from services.identity.operations.drawn import new_id
from services.identity.store import events
from services.identity.wire.events import Draft, enveloped


async def tell(connection: AsyncConnection, drafts: Iterable[Draft], *, now: datetime, randomness: Randomness) -> None:
    """Tells how things are now, each an event of its own that stands in the snapshot until the next of its aggregate.

    The caller holds the aggregates' rows.
    """
    told = [enveloped(draft, event_id=new_id(now, randomness), now=now) for draft in drafts]
    await events.tell(connection, told)


async def tell_once(
    connection: AsyncConnection, drafts: Iterable[Draft], *, now: datetime, randomness: Randomness
) -> None:
    """Tells what happened and is over: whoever starts anew does not hear of it."""
    told = [enveloped(draft, event_id=new_id(now, randomness), now=now) for draft in drafts]
    if told:
        await outbox.put(connection, told)
