"""The rows of clearing: until when areas have cleared."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, TypeAlias

from services.settlement.domain import clearing as domain

Connection: TypeAlias = Any
"""A raw asyncpg connection (the driver publishes no types)."""

_CLEARED_UNTIL: Final = "SELECT max(ends_at) FROM clearing_runs"


async def cleared_until(connection: Connection) -> datetime | None:
    """The end of the last period that was run; None where none was."""
    end: datetime | None = await connection.fetchval(_CLEARED_UNTIL)
    return end


async def is_cleared(connection: Connection, decided_at: datetime) -> bool:
    """Whether the period of a payment decided then is run, so that only a later period can give it back.

    A run that commits meanwhile does no harm: a refund belongs to the day of its own decision, which is past any period
    that can be run.
    """
    return domain.is_cleared(decided_at, await cleared_until(connection))
