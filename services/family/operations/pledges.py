"""The pledge: its texts are put on record, and people sign one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chassis.db import Database
from kernel.clock import business_date
from kernel.ids import PsnNo
from kernel.policy import PolicySet
from services.family.domain.counter import Counter, Deed, refuse_unseen
from services.family.domain.people import Person, policy_of, refuse_child
from services.family.domain.pledges import Pledge, PledgeText, known_text, refuse_other_text, refuse_unread
from services.family.operations.people import People
from services.family.store import counter as counter_store
from services.family.store import pledges as store


async def register_text(*, database: Database, text: PledgeText, opter: str) -> tuple[PledgeText, bool]:
    """The text as it is on record, and whether it is new. PLEDGE_TEXT_DIFFERS: there is another one of that name."""
    async with database.transaction() as connection:
        if await store.insert_text(connection, text, opter=opter):
            return text, True
        known = known_text(await store.load_text(connection, text.text_version, text.language))
    refuse_other_text(known, text)
    return known, False


async def get_text(*, database: Database, text_version: str, language: str) -> PledgeText:
    """The text under this version, or the one registered last where it is empty. PLEDGE_TEXT_UNKNOWN."""
    async with database.transaction() as connection:
        return known_text(await store.load_text(connection, text_version, language))


async def sign(
    *, database: Database, people: People, policies: PolicySet, pledge: Pledge, counter: Counter | None
) -> Pledge:
    """The pledge as it is kept: signing the same text again gives the first signature.

    PLEDGE_TEXT_UNKNOWN, PLEDGE_TEXT_ALTERED; MINOR_ACTS_THROUGH_PARENT, of a child; at a counter those of
    ``refuse_unseen``; identity's for people it does not know.
    """

    async def decide(known: Mapping[PsnNo, Person]) -> Pledge:
        async with database.transaction() as connection:
            refuse_unread(pledge, await store.load_text(connection, pledge.text_version, pledge.language))
            signer = known[pledge.psn_no]
            refuse_child(signer, policy_of(signer, policies), today=business_date(pledge.signed_at))
            refuse_unseen(counter, [signer], policies=policies, now=pledge.signed_at)
            kept = await store.put(connection, pledge)
            if kept.pledge_id == pledge.pledge_id:
                subject = f"pledge:{kept.pledge_id}"
                await counter_store.record(connection, counter, Deed.SIGN_PLEDGE, subject, now=pledge.signed_at)
            return kept

    return await people.decide([pledge.psn_no], decide)


async def list_pledges(*, database: Database, psn_no: PsnNo) -> Sequence[Pledge]:
    """What this person has signed, in the order of time."""
    async with database.transaction() as connection:
        return await store.of_person(connection, psn_no)
