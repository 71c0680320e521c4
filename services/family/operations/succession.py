"""A member takes the place of a founder who has died."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from chassis import outbox
from chassis.db import Database
from kernel.ids import GroupId, PsnNo
from kernel.policy import PolicySet
from services.family import wire
from services.family.domain.counter import Counter, Deed, refuse_unseen
from services.family.domain.people import Person
from services.family.domain.succession import refuse_taking_over
from services.family.operations.groups import known_group
from services.family.operations.people import People
from services.family.store import counter as counter_store
from services.family.store import groups as store
from services.family.store import pledges as pledge_store


async def take_over(
    *,
    database: Database,
    people: People,
    policies: PolicySet,
    group_id: GroupId,
    by: PsnNo,
    counter: Counter | None,
    now: datetime,
) -> None:
    """This member is the founder from now on; the same again changes nothing.

    GROUP_UNKNOWN; those of ``refuse_taking_over``, at a counter of ``refuse_unseen``. Who was founder stays a member
    until he is removed.
    """
    async with database.transaction() as connection:
        founder = (await known_group(connection, group_id)).founder

    async def decide(known: Mapping[PsnNo, Person]) -> None:
        async with database.transaction() as connection:
            group = await known_group(connection, group_id, lock=True)
            if group.founder == by:
                return
            # Somebody else may have taken over since: he is not known here, and lives.
            former = known.get(group.founder, Person(group.founder, "", None))
            pledges = await pledge_store.count_of(connection, by)
            refuse_taking_over(group, former, known[by], pledges=pledges, now=now)
            refuse_unseen(counter, [known[by]], beside={group.founder}, policies=policies, now=now)
            await counter_store.record(connection, counter, Deed.TAKE_OVER, f"group:{group_id}", now=now)
            await store.set_founder(connection, group_id, by)
            version = await store.next_member_version(connection, group_id, by)
            event = wire.founder_event(group, by, version=version, at=now)
            await outbox.put(connection, [wire.outgoing(event)])

    await people.decide([founder, by], decide)
