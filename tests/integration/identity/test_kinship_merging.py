"""What two records' kinship becomes once they are one: every relation is told, and what contradicts is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gongji.identity.v1 import identity_pb2, kinship_pb2, person_pb2
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity
from tests.integration.identity.kinship_told import asked, replayed
from tests.integration.identity.test_kinship import (
    OLD_LI,
    REVOKED,
    SIBLING_OF,
    SUBMITTED,
    VERIFIED,
    ZHAO,
    answer,
    proven,
    submit,
    verify,
)
from tests.integration.identity.test_kinship_life import fact_of

DOUBLE = {"certno": "H12345678", "psn_name": "王建国", "psn_no": "650100000000009"}
GRANDMOTHER = {"certno": "01234567", "psn_name": "赵秀兰", "psn_no": "650100000000010"}
BROTHER = {"certno": "H22345678", "psn_name": "王建军", "psn_no": "650100000000011"}
PEOPLE = (WANG, LI, CHILD, OLD_LI, ZHAO, DOUBLE, GRANDMOTHER, BROTHER)
EVERYBODY = [person["psn_no"] for person in PEOPLE]


@pytest.fixture
async def family(identity: Identity) -> Identity:
    """A room that knows 王建国 by two records, and nothing of anybody's kinship."""
    for person in (WANG, LI, CHILD, OLD_LI, ZHAO):
        await identity.register(**person)
    permit = person_pb2.CERTIFICATE_TYPE_HK_MACAU_PERMIT
    await identity.register(**DOUBLE, psn_cert_type=permit, brdy="1985-03-12", gend="1")
    await identity.register(**BROTHER, psn_cert_type=permit, brdy="1988-08-08", gend="1")
    taiwan = person_pb2.CERTIFICATE_TYPE_TAIWAN_PERMIT
    await identity.register(**GRANDMOTHER, psn_cert_type=taiwan, brdy="1935-01-01", gend="2")
    return identity


async def merged(identity: Identity) -> None:
    """An officer finds the two records to be one person."""
    await identity.stub.MergePersons(
        identity_pb2.MergePersonsRequest(
            keep_psn_no=WANG["psn_no"], double_psn_no=DOUBLE["psn_no"], opter="zhang01", cause="同一人两个档案"
        )
    )


@pytest.mark.parametrize(
    "facts",
    [
        pytest.param([(DOUBLE, BROTHER, SIBLING_OF)], id="a sibling by a household register"),
        pytest.param([(OLD_LI, DOUBLE, None), (OLD_LI, BROTHER, None)], id="a sibling over a parent"),
        pytest.param([(OLD_LI, DOUBLE, None), (GRANDMOTHER, OLD_LI, None)], id="a grandmother"),
        pytest.param([(DOUBLE, BROTHER, SIBLING_OF), (WANG, BROTHER, SIBLING_OF)], id="the same sibling of both"),
        pytest.param([(OLD_LI, WANG, None), (DOUBLE, CHILD, None)], id="one's parent and the other's child"),
        pytest.param([(OLD_LI, WANG, None), (OLD_LI, DOUBLE, None), (OLD_LI, BROTHER, None)], id="a parent of both"),
    ],
)
async def test_every_relation_that_a_merging_moves_is_told(
    family: Identity, facts: Sequence[tuple[dict[str, str], dict[str, str], int | None]]
) -> None:
    """However far from the two records it reaches: replayed, the events give what the room answers about everybody."""
    for one, other, kind in facts:
        await proven(family, one, other, **({} if kind is None else {"kind": kind}))
    await merged(family)
    relations = await asked(family, EVERYBODY)
    assert not any(DOUBLE["psn_no"] in pair for pair in relations)
    assert await replayed(family.database) == relations


PROMISE = {"evidence": kinship_pb2.EVIDENCE_COMMITMENT}
BORN = {"evidence": kinship_pb2.EVIDENCE_BIRTH_CERTIFICATE}


@pytest.mark.parametrize(("ours", "theirs"), [(PROMISE, BORN), (BORN, PROMISE)])
async def test_of_two_proofs_the_longer_one_stays(
    family: Identity, ours: dict[str, Any], theirs: dict[str, Any]
) -> None:
    """A promise on the one record, a birth certificate on the other: the certificate proves it when a year is over."""
    facts = [await proven(family, WANG, CHILD, **ours), await proven(family, DOUBLE, CHILD, **theirs)]
    await merged(family)
    longer, shorter = facts if ours == BORN else facts[::-1]
    assert await verify(family, WANG, CHILD) == answer("PARENT", longer)
    assert (await fact_of(family, shorter)).state == REVOKED
    family.clock.advance(days=400)
    assert await verify(family, WANG, CHILD) == answer("PARENT", longer)
    assert await replayed(family.database) == await asked(family, EVERYBODY)


async def test_a_longer_proof_that_waits_goes_on_waiting(family: Identity) -> None:
    """Nothing that was brought to the officer's desk is thrown away because something shorter counts already."""
    promise = await proven(family, WANG, CHILD, **PROMISE)
    waiting = (await submit(family, DOUBLE, CHILD, **BORN)).fact_id
    await merged(family)
    kept = await fact_of(family, waiting)
    assert (kept.state, kept.person.psn_no) == (SUBMITTED, WANG["psn_no"])
    assert (await fact_of(family, promise)).state == VERIFIED
