"""Kinship under many hands: two replicas decide about one family at once, and nothing gained or lost stays untold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import chain

import pytest
import sqlalchemy as sa

from gongji.identity.v1 import identity_pb2
from kernel.failures import Failure
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity, StartIdentity
from tests.integration.identity.kinship_told import asked, replayed, told_of_kinship
from tests.integration.identity.test_kinship import (
    MARRIED_TO,
    OLD_LI,
    REVOKED,
    SIBLING_OF,
    VERIFIED,
    WEDDING,
    ZHAO,
    none,
    proven,
    review,
    submit,
    verify,
)
from tests.integration.identity.test_kinship_life import died

PEOPLE = (WANG, LI, CHILD, OLD_LI, ZHAO)
EVERYBODY = [person["psn_no"] for person in PEOPLE]
ROUNDS = 8
"""Each race is run so often: one that is lost once in a while is lost."""


@pytest.fixture
async def replicas(start_identity: StartIdentity) -> Sequence[Identity]:
    """Two replicas of the room on one database, which knows five people."""
    started = [await start_identity(), await start_identity()]
    for person in PEOPLE:
        await started[0].register(**person)
    return started


async def nothing_untold(identity: Identity) -> None:
    """Whoever replayed the events knows what the room answers."""
    assert await replayed(identity.database) == await asked(identity, EVERYBODY)


async def test_a_fact_verified_twice_at_once_is_told_once(replicas: Sequence[Identity]) -> None:
    """Both officers get their answer; one event, one decision."""
    fact_id = (await submit(replicas[0], WANG, CHILD)).fact_id
    decided = await asyncio.gather(*(review(replica, fact_id) for replica in (*replicas, *replicas)))
    assert decided == [VERIFIED] * 4
    assert [event.version for event in await told_of_kinship(replicas[0].database)] == [1]
    await nothing_untold(replicas[0])


async def test_a_fact_falls_while_another_that_rests_on_it_is_verified(replicas: Sequence[Identity]) -> None:
    """The grandmother is told as gained and lost, or never: whoever comes second sees what the first has done."""
    for _ in range(ROUNDS):
        upper = await proven(replicas[0], OLD_LI, LI)
        lower = (await submit(replicas[0], LI, CHILD)).fact_id
        await asyncio.gather(review(replicas[0], upper, REVOKED, "误"), review(replicas[1], lower))
        assert await verify(replicas[0], OLD_LI, CHILD) == none("NO_CHAIN")
        await nothing_untold(replicas[0])
        await review(replicas[0], lower, REVOKED, "误")


async def test_both_facts_of_a_chain_verified_at_once_make_the_relation(replicas: Sequence[Identity]) -> None:
    """Neither decision sees the other's fact before it is verified, and yet the grandmother is told."""
    for _ in range(ROUNDS):
        upper = (await submit(replicas[0], OLD_LI, LI)).fact_id
        lower = (await submit(replicas[0], LI, CHILD)).fact_id
        await asyncio.gather(review(replicas[0], upper), review(replicas[1], lower))
        assert (await replayed(replicas[0].database))[OLD_LI["psn_no"], CHILD["psn_no"]] == "MATERNAL_GRANDPARENT"
        await nothing_untold(replicas[0])
        for fact_id in (upper, lower):
            await review(replicas[0], fact_id, REVOKED, "误")


async def test_two_proofs_of_one_relation_fall_at_once(replicas: Sequence[Identity]) -> None:
    """Siblings by the mother and by the father: each decision alone loses nothing, together they lose the siblings.

    The two facts name no person in common, so only the siblings themselves, locked by both, make one wait.
    """
    for _ in range(ROUNDS):
        facts = [await proven(replicas[0], parent, child) for parent in (WANG, LI) for child in (CHILD, ZHAO)]
        assert (await verify(replicas[0], CHILD, ZHAO)).relation
        by_father, by_mother = facts[0], facts[3]
        await asyncio.gather(
            review(replicas[0], by_father, REVOKED, "误"), review(replicas[1], by_mother, REVOKED, "误")
        )
        assert await verify(replicas[0], CHILD, ZHAO) == none("NO_CHAIN")
        await nothing_untold(replicas[0])
        for fact_id in facts[1:3]:
            await review(replicas[0], fact_id, REVOKED, "误")


async def test_two_who_are_each_others_parent_at_once_are_not(replicas: Sequence[Identity]) -> None:
    """Both facts wait, one of them as only an older release could have left it; verified at once, one is refused."""
    forth = (await submit(replicas[0], OLD_LI, LI)).fact_id
    back = (await submit(replicas[0], OLD_LI, ZHAO)).fact_id
    async with replicas[0].database.transaction() as connection:
        await connection.execute(
            sa.text("UPDATE kinship_facts SET psn_no = :li, other_psn_no = :old WHERE fact_id = CAST(:fact AS uuid)"),
            {"li": LI["psn_no"], "old": OLD_LI["psn_no"], "fact": back},
        )
    answers = await asyncio.gather(review(replicas[0], forth), review(replicas[1], back), return_exceptions=True)
    refused = [each.reason for each in answers if isinstance(each, Failure)]
    assert VERIFIED in answers
    assert refused in (["KINSHIP_CYCLE"], ["PARENT_NOT_OLDER"])
    await nothing_untold(replicas[0])


async def test_a_death_and_a_wedding_at_once_leave_no_marriage_with_the_dead(replicas: Sequence[Identity]) -> None:
    """Either the wedding is refused, or the death ends it, told in this order."""
    wedding = (await submit(replicas[0], WANG, LI, **WEDDING)).fact_id
    answers = await asyncio.gather(
        died(replicas[0], WANG, "2026-06-15"), review(replicas[1], wedding), return_exceptions=True
    )
    assert answers[0] is None
    assert not (await verify(replicas[0], WANG, LI)).relation
    await nothing_untold(replicas[0])


async def test_a_merge_and_a_verification_at_once_lose_no_fact(replicas: Sequence[Identity]) -> None:
    """The double's fact is verified before or after it moves, or its officer is asked to try again."""
    fact_id = (await submit(replicas[0], ZHAO, CHILD, kind=SIBLING_OF)).fact_id
    double = {"certno": "H12345678", "psn_name": "赵敏", "psn_no": "650100000000009"}
    await replicas[0].register(**double, psn_cert_type=3, brdy="1999-09-09", gend="2")
    merge = identity_pb2.MergePersonsRequest(
        keep_psn_no=double["psn_no"], double_psn_no=ZHAO["psn_no"], opter="zhang01", cause="同一人两个档案"
    )
    answers = await asyncio.gather(
        replicas[0].stub.MergePersons(merge), review(replicas[1], fact_id), return_exceptions=True
    )
    assert [str(each) for each in answers if isinstance(each, BaseException)] in ([], ["KINSHIP_BUSY"])
    await review(replicas[0], fact_id)
    assert (await verify(replicas[0], double, CHILD)).relation
    assert await replayed(replicas[0].database) == await asked(replicas[0], [*EVERYBODY, double["psn_no"]])


async def test_a_whole_family_decided_upon_at_once_ends_in_one_piece(replicas: Sequence[Identity]) -> None:
    """Ten facts that all touch each other, verified, revoked and verified again by both replicas: no deadlock."""
    parents = [(OLD_LI, LI), (OLD_LI, ZHAO), (WANG, CHILD), (LI, CHILD), (OLD_LI, WANG)]
    siblings = [(WANG, LI), (LI, ZHAO), (WANG, ZHAO)]
    facts = [(await submit(replicas[0], older, younger)).fact_id for older, younger in parents]
    facts += [(await submit(replicas[0], one, other, kind=SIBLING_OF)).fact_id for one, other in siblings]
    facts.append((await submit(replicas[0], WANG, LI, kind=MARRIED_TO, from_date="2010-05-20")).fact_id)
    work = [review(replicas[place % 2], fact_id) for place, fact_id in enumerate(chain(facts, reversed(facts)))]
    assert set(await asyncio.gather(*work)) == {VERIFIED}
    await nothing_untold(replicas[0])
    work = [review(replicas[place % 2], fact_id, REVOKED, "误") for place, fact_id in enumerate(facts)]
    assert set(await asyncio.gather(*work)) == {REVOKED}
    assert await replayed(replicas[0].database) == {}
