"""The audit of look-ups: written in the transaction that shows somebody, read by whom it is about (domain §10)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import telemetry
from chassis.db import Database
from kernel.failures import Failure, Kind
from kernel.ids import PsnNo
from services.identity.domain.lookup import Lookup
from services.identity.domain.person import known
from services.identity.store import lookups as store
from services.identity.store import people

LISTED: Final = "LOOKUPS_LISTED"
"""The purpose in the audit when somebody asks who looked a person up: that too is a look-up."""
REFUSED: Final = "_REFUSED"
"""What stands behind the purpose of a look-up that was refused."""
_TELLS_NOTHING: Final = frozenset({Kind.UNAVAILABLE, Kind.DEADLINE, Kind.CONFLICT})
"""Refusals that are about us and not about anybody."""


@asynccontextmanager
async def on_record(
    database: Database, *, purpose: str, asked_by: str, now: datetime
) -> AsyncIterator[tuple[AsyncConnection, set[PsnNo]]]:
    """A transaction, and the people whom it meets: whoever stands in the set at its end was looked up.

    A refusal undoes everything but that (``refusals_on_record``).
    """
    async with (
        refusals_on_record(database, purpose=purpose, asked_by=asked_by, now=now) as met,
        database.transaction() as connection,
    ):
        yield connection, met
        await record(connection, met, purpose=purpose, asked_by=asked_by, now=now)


@asynccontextmanager
async def refusals_on_record(
    database: Database, *, purpose: str, asked_by: str, now: datetime
) -> AsyncIterator[set[PsnNo]]:
    """The people whom a call meets, whatever transactions it takes: if it is refused, each has a look-up of it.

    That somebody has died, is married already or has another name is told by a refusal too. The purpose has ``REFUSED``
    behind it; a number that nobody has leaves nothing.
    """
    met: set[PsnNo] = set()
    try:
        yield met
    except Failure as refusal:
        if met and refusal.kind not in _TELLS_NOTHING:
            async with database.transaction() as connection:
                await record(connection, met, purpose=purpose + REFUSED, asked_by=asked_by, now=now)
        raise


async def record(
    connection: AsyncConnection, psn_nos: Iterable[PsnNo], *, purpose: str, asked_by: str, now: datetime
) -> None:
    """Puts a look-up of each of these people on record, in the transaction in which they are shown."""
    await store.insert_lookups(
        connection, psn_nos, purpose=purpose, asked_by=asked_by, trace_id=telemetry.trace_id(), now=now
    )


async def record_by_driver(
    driver: Any,  # noqa: ANN401  The driver publishes no types.
    psn_nos: Iterable[PsnNo],
    *,
    purpose: str,
    asked_by: str,
    now: datetime,
) -> None:
    """The same by one statement of a raw connection, before what was read is shown."""
    await store.add_lookups(driver, psn_nos, purpose=purpose, asked_by=asked_by, trace_id=telemetry.trace_id(), now=now)


async def list_lookups(
    *, database: Database, psn_no: PsnNo, before: int | None, size: int, asked_by: str, now: datetime
) -> tuple[list[Lookup], bool]:
    """A page of a person's look-ups, newest first, and whether more follow; PERSON_UNKNOWN (NOT_FOUND).

    Those of doubles that were merged into him are among them.

    The look-up that this call is stands in no answer of its own: it is put on record after reading.
    """
    async with database.transaction() as connection:
        known(await people.load_person(connection, psn_no))
        numbers = await store.numbers_of(connection, psn_no)
        found = await store.lookups_before(connection, numbers, before, limit=size + 1)
        await record(connection, [psn_no], purpose=LISTED, asked_by=asked_by, now=now)
        return found[:size], len(found) > size
