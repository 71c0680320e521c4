"""What identity hears: settlement's events, as far as risk events are made of them (domain §8)."""

from __future__ import annotations

from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.bus import Bus, Stream
from chassis.db import Database
from chassis.inbox import Consumer, IncomingEvent
from services.identity.operations import risk
from services.identity.wire import risk as wire

CONSUMER: Final = "identity"
SETTLEMENT: Final = "settlement"
SUBJECTS: Final = (wire.BILL_SETTLED, wire.BILL_REFUNDED, wire.CREDENTIAL_REFUSED)


def settlements(database: Database, bus: Bus, *, small_buy_max_fen: int) -> Consumer:
    """The consumer of what settlement tells. Every event counts, once, in whatever order they come."""
    return Consumer(
        database,
        bus,
        Stream(bus.prefix, SETTLEMENT),
        name=CONSUMER,
        handle=partial(take_settlement_event, small_buy_max_fen),
        subjects=SUBJECTS,
        latest_only=False,
    )


async def take_settlement_event(small_buy_max_fen: int, connection: AsyncConnection, event: IncomingEvent) -> None:
    """A bill paid or taken back, a credential refused: kept until the clock has it judged."""
    await risk.keep(connection, wire.heard(event.payload, small_buy_max_fen=small_buy_max_fen))
