"""Alarms of the ledgers: listed with what they mean, and closed once a person has settled their cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from ops.consent import Change, Consent, record
from ops.payments.meaning import ALARM, UNKNOWN_ALARM
from ops.sources import Sources
from services.settlement.ledger.store.locking import lock_area
from services.settlement.ledger.store.mending import close_alarms

COMMAND: Final = "alarms close"
_OPEN: Final = """
    SELECT kind, subject_id, raised_at, last_raised_at, times FROM alarms
     WHERE done_at IS NULL AND ($1::uuid IS NULL OR subject_id = $1) ORDER BY raised_at"""


@dataclass(frozen=True, slots=True)
class OpenAlarm:
    """An alarm of one ledger that nobody has closed."""

    area: str
    kind: str
    subject_id: UUID
    raised_at: datetime
    last_raised_at: datetime
    times: int

    def as_json(self) -> dict[str, object]:
        """For machines."""
        meaning = ALARM.get(self.kind, UNKNOWN_ALARM)
        return {
            "area": self.area,
            "kind": self.kind,
            "subject_id": str(self.subject_id),
            "raised_at": self.raised_at.isoformat(),
            "last_raised_at": self.last_raised_at.isoformat(),
            "times": self.times,
            "means": meaning.means,
            "act": meaning.act,
        }


async def find(sources: Sources, subject_id: UUID | None = None) -> list[OpenAlarm]:
    """The open alarms of every ledger, or those about one payment or credit."""
    found = []
    for area, ledger in sources.ledgers.items():
        async with ledger.driver_connection() as connection:
            found += [OpenAlarm(area=area, **dict(row)) for row in await connection.fetch(_OPEN, subject_id)]
    return found


async def close(sources: Sources, alarms: Sequence[OpenAlarm], consent: Consent) -> int:
    """Closes them, the audit records first; how many were still open. The same contradiction raises it again."""
    async with sources.coordinator.driver_transaction() as connection:
        changes = [
            Change(alarm.subject_id, {f"{alarm.area} {alarm.kind}": "open"}, {f"{alarm.area} {alarm.kind}": "closed"})
            for alarm in alarms
        ]
        await record(connection, COMMAND, consent, changes)
    closed = 0
    for alarm in alarms:
        async with sources.ledgers[alarm.area].driver_transaction() as connection:
            await lock_area(connection, alarm.area)
            closed += len(await close_alarms(connection, alarm.subject_id, [alarm.kind]))
    return closed
