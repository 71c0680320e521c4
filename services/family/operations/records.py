"""Whatever names a person here, for his export (domain §10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.db import Database
from kernel.ids import PsnNo
from services.family.domain.bindings import Binding
from services.family.domain.endings import shown_to
from services.family.domain.groups import Invitation
from services.family.domain.leaving import Departure
from services.family.store import bindings as binding_store
from services.family.store import departures as departure_store
from services.family.store import groups as group_store
from services.family.store import people as people_store


@dataclass(frozen=True, slots=True)
class Records:
    """What names a person under any number of his, ended or not; bindings as he sees them."""

    invitations: Sequence[Invitation]
    bindings: Sequence[Binding]
    departures: Sequence[Departure]


async def of_person(*, database: Database, psn_no: PsnNo) -> Records:
    """Read at one instant; nothing of somebody who was never named."""
    async with database.snapshot() as connection:
        numbers = await people_store.numbers_of(connection, psn_no)
        found = await binding_store.of_person(connection, numbers)
        return Records(
            invitations=await group_store.invitations_of(connection, numbers),
            # Of his own affairs he reads all, under whichever number of his.
            bindings=[each if each.funder in numbers else shown_to(each, psn_no) for each in found],
            departures=await departure_store.of_person(connection, numbers),
        )
