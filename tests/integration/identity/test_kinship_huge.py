"""Families larger and older than any: the answers stay right."""

from __future__ import annotations

from gongji.identity.v1 import person_pb2
from tests.integration.identity.conftest import WANG, Identity, refusal
from tests.integration.identity.test_kinship import answer, none, proven, submit, verify

CHILDREN = 200
GENERATIONS = 50
_PEOPLE = """
    INSERT INTO persons (psn_no, certificate_kind, certno_sealed, name_sealed, key_id, certno_index, name_masked, brdy,
        gend, version, registered_at)
    SELECT (650200000000000 + place)::text, 'TAIWAN_PERMIT', '', '', 'k1', sha256(place::text::bytea), '王*', {born},
        '1', 1, now()
    FROM generate_series(1, {many}) AS place"""
_FACTS = """
    INSERT INTO kinship_facts (fact_id, kind, psn_no, other_psn_no, evidence, state, version, submitted_at)
    SELECT gen_random_uuid(), 'PARENT_OF', {parent}, (650200000000000 + place)::text, 'BIRTH_CERTIFICATE', 'VERIFIED',
        1, now()
    FROM generate_series({first}, {many}) AS place"""


def somebody(place: int) -> dict[str, str]:
    """One of them."""
    return {"psn_no": str(650200000000000 + place)}


async def test_two_hundred_children_of_one_father(identity: Identity) -> None:
    """The last one is told to be everybody's sibling, and each of them finds the other."""
    await identity.register(**WANG)
    async with identity.database.driver_connection() as connection:
        await connection.execute(_PEOPLE.format(born="date '2000-01-01' + place", many=CHILDREN))
        await connection.execute(_FACTS.format(parent=f"'{WANG['psn_no']}'", first=2, many=CHILDREN))
    father = await proven(identity, WANG, somebody(1))
    (event,) = await identity.told(f"fact:{father}", 1)
    relations = event.kinship_changed.relations
    assert sum(each.after == person_pb2.RELATION_SIBLING for each in relations) == 2 * (CHILDREN - 1)
    assert len(relations) == 2 * CHILDREN
    found = await verify(identity, somebody(1), somebody(CHILDREN))
    assert found.relation == person_pb2.RELATION_SIBLING
    assert found.fact_ids[0] == father


async def test_fifty_generations_in_one_line(identity: Identity) -> None:
    """Nobody is his own ancestor, however far up; and a great-grandfather is no relative that counts."""
    async with identity.database.driver_connection() as connection:
        born = "date '1850-01-01' + place * 1000"
        await connection.execute(_PEOPLE.format(born=born, many=GENERATIONS))
        await connection.execute(_FACTS.format(parent="(650200000000000 + place - 1)::text", first=2, many=GENERATIONS))
    first, last = somebody(1), somebody(GENERATIONS)
    assert await refusal(submit(identity, last, first)) == ("FAILED_PRECONDITION", "KINSHIP_CYCLE", "other_psn_no")
    assert await verify(identity, first, last) == none("NO_CHAIN")
    assert await verify(identity, somebody(1), somebody(4)) == none("NO_CHAIN")
    assert (await verify(identity, somebody(1), somebody(3))).relation == person_pb2.RELATION_PATERNAL_GRANDPARENT
    child = await proven(identity, first, somebody(3))
    assert await verify(identity, first, somebody(3)) == answer("PARENT", child)
