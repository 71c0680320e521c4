"""Objecting to a use of one's money: a case in the officers' queue of risk events."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from chassis.db import Database
from kernel.ids import PsnNo
from kernel.randomness import Randomness
from services.identity.domain import objection as rules
from services.identity.domain.objection import Ground
from services.identity.domain.person import writable
from services.identity.domain.risk import RiskEvent, known
from services.identity.operations import lookups
from services.identity.operations.drawn import new_id
from services.identity.store import objections as store
from services.identity.store import people, risk
from services.identity.store.lookups import numbers_of

OBJECTED: Final = "USE_OBJECTED"
"""The purpose in the audit."""


async def object_to_use(
    *,
    database: Database,
    psn_no: PsnNo,
    setl_id: UUID,
    ground: Ground,
    asked_by: str,
    now: datetime,
    randomness: Randomness,
) -> tuple[RiskEvent, bool]:
    """The case that the objection is part of, and whether it was made before; there is one for each bill of a person.

    PERSON_UNKNOWN (NOT_FOUND), PERSON_MERGED (PRECONDITION), USE_UNKNOWN (NOT_FOUND). For somebody who has died whoever
    speaks for him objects. Bills under numbers of merged doubles are his as well. Nobody is told: he said it himself.
    """
    async with lookups.on_record(database, purpose=OBJECTED, asked_by=asked_by, now=now) as (connection, met):
        met.add(psn_no)
        writable(await people.load_person(connection, psn_no, lock=True))
        numbers = await numbers_of(connection, psn_no)
        earlier = await store.objected(connection, numbers, setl_id)
        if earlier is not None:
            return known(await risk.load_event(connection, earlier)), True
        bill = rules.known_use(await store.funded_bill(connection, numbers, setl_id))
        finding = rules.objection(psn_no, bill, ground, now=now)
        made, _ = await risk.raise_event(connection, finding, risk_event_id=new_id(now, randomness), now=now)
        return known(await risk.load_event(connection, made)), False
