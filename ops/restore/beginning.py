"""Begin and end of a restore: the coordinator's one row says that it restores, and under which epoch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID, uuid4

from ops.consent import Change, Consent, record
from ops.sources import CannotMendError, Sources

BEGIN: Final = "restore begin"
FINISH: Final = "restore finish"

_READY: Final = """
    SELECT count(*) = 3 FROM information_schema.columns
     WHERE table_name = 'coordinator' AND column_name IN ('restore_id', 'restoring_since', 'restored_until')"""
_NOW: Final = "SELECT epoch, restore_id, restoring_since, restored_until FROM coordinator"
# A request made while nobody had begun yet may be lost: the later of two restores counts for it.
_BEGIN: Final = """
    UPDATE coordinator SET epoch = $1, restore_id = $2, restoring_since = clock_timestamp()
     WHERE restoring_since IS NULL RETURNING restoring_since"""
_DRAIN: Final = "LOCK TABLE payments IN SHARE MODE"
# What consumers had acknowledged after the backup is not told again: the snapshots are read anew.
_FORGET_SNAPSHOTS: Final = "DELETE FROM projection_sources"
_FINISH: Final = """
    UPDATE coordinator SET restored_until = restoring_since, restoring_since = NULL
     WHERE restore_id = $1 AND restoring_since IS NOT NULL RETURNING restored_until"""


@dataclass(frozen=True, slots=True)
class CoordinatorRow:
    """How the coordinator stands."""

    epoch: int
    restore_id: UUID | None
    restoring_since: datetime | None
    restored_until: datetime | None


async def read(sources: Sources) -> CoordinatorRow:
    """The coordinator's row; CannotMendError if the database is of an older release."""
    async with sources.coordinator.driver_connection() as connection:
        if not await connection.fetchval(_READY):
            raise CannotMendError("this settlement database knows no restore: migrate it first")
        return CoordinatorRow(**dict(await connection.fetchrow(_NOW)))


async def restoring(sources: Sources) -> CoordinatorRow:
    """The row of a coordinator that restores; CannotMendError if none has begun."""
    row = await read(sources)
    if row.restoring_since is None:
        raise CannotMendError("no restore has begun: `gongji restore begin` comes first")
    return row


async def begin(sources: Sources, consent: Consent, *, before: CoordinatorRow) -> CoordinatorRow:
    """The new epoch at the coordinator, then at every ledger. A restore that has begun is begun on: the fence again.

    When it returns, no write of before is under way: the lock waits for them, and what comes after sees the new row.
    """
    if before.restoring_since is None:
        epoch, restore_id = await sources.highest_epoch() + 1, uuid4()
        async with sources.coordinator.driver_transaction() as connection:
            since = await connection.fetchval(_BEGIN, epoch, restore_id)
            if since is None:
                raise CannotMendError("somebody else has begun a restore meanwhile; nothing was changed")
            await connection.execute(_FORGET_SNAPSHOTS)
            change = Change(
                restore_id,
                {"epoch": before.epoch, "restoring_since": None},
                {"epoch": epoch, "restoring_since": since.isoformat()},
            )
            await record(connection, BEGIN, consent, [change])
            await connection.execute(_DRAIN)
    row = await read(sources)
    await sources.fence(row.epoch)
    return row


async def finish(sources: Sources, consent: Consent, *, row: CoordinatorRow, left: int) -> datetime:
    """The coordinator serves again; from when requests that are unknown here are refused, as they may be lost."""
    if row.restore_id is None or row.restoring_since is None:
        raise CannotMendError("no restore has begun")
    async with sources.coordinator.driver_transaction() as connection:
        until: datetime | None = await connection.fetchval(_FINISH, row.restore_id)
        if until is None:
            raise CannotMendError("somebody else has finished this restore meanwhile")
        change = Change(
            row.restore_id,
            {"restoring_since": row.restoring_since.isoformat()},
            {"restoring_since": None, "restored_until": until.isoformat(), "left_to_a_person": left},
        )
        await record(connection, FINISH, consent, [change])
    return until
