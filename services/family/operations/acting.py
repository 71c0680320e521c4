"""Who speaks for whom, as identity knows them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from kernel.clock import business_date
from kernel.ids import PsnNo
from kernel.policy import PolicySet
from services.family.clients import Identity
from services.family.domain.acting import refuse_other
from services.family.domain.counter import Counter, refuse_unseen
from services.family.domain.people import Person, policy_of
from services.family.operations.people import People


async def refuse_stranger(
    *, people: People, identity: Identity, policies: PolicySet, person: PsnNo, by: PsnNo, now: datetime
) -> None:
    """As ``domain.acting.refuse_other``, with what they are to each other by identity's word; identity's refusals."""
    kinship = None if by == person else await identity.kinship(by, person, on=business_date(now))

    async def decide(known: Mapping[PsnNo, Person]) -> None:
        policy = policy_of(known[person], policies)
        refuse_other(known[person], by, kinship, policy=policy, today=business_date(now))

    await people.decide([person], decide)


async def refuse_unseen_at(
    *,
    people: People,
    policies: PolicySet,
    counter: Counter | None,
    sides: Sequence[PsnNo],
    beside: Collection[PsnNo] = (),
    now: datetime,
) -> None:
    """As ``domain.counter.refuse_unseen``; asks nobody about who comes with his own phone."""
    if counter is None:
        return

    async def decide(known: Mapping[PsnNo, Person]) -> None:
        refuse_unseen(counter, [known[side] for side in sides], beside=beside, policies=policies, now=now)

    await people.decide(sides, decide)
