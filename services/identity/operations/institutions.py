"""Registering and changing institutions."""

from __future__ import annotations

from datetime import datetime

from chassis.db import Database
from kernel.randomness import Randomness
from services.identity.domain.institution import Institution, changed
from services.identity.operations.drawn import new_id
from services.identity.store import events, institutions
from services.identity.wire import institutions as wire


async def register_institution(
    *, database: Database, institution: Institution, now: datetime, randomness: Randomness
) -> Institution:
    """The institution as it is now; what is so already is not told again. INSTITUTION_ENDED as in ``changed``."""
    async with database.transaction() as connection:
        if not await institutions.insert_institution(connection, institution, now=now):
            before = await institutions.load_institution(connection, institution.fixmedins_code, lock=True)
            if before is None:
                raise RuntimeError("an institution vanished between two statements; none is ever deleted")
            institution = changed(before, institution)
            if institution is before:
                return before
            await institutions.save_institution(connection, institution, now=now)
        event_id = new_id(now, randomness)
        await events.tell(connection, [wire.institution_changed(institution, event_id=event_id, now=now)])
        return institution
