"""A merge while everybody else works on both records: nothing stays with the double, and nothing gained goes untold."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable
from typing import Any

import pytest

from gongji.identity.v1 import identity_pb2, person_pb2
from kernel.failures import Failure
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity, StartIdentity
from tests.integration.identity.kinship_told import asked, replayed
from tests.integration.identity.test_kinship import OLD_LI, ZHAO, proven, review, submit
from tests.integration.identity.test_people import enrol, status
from tests.integration.identity.test_people_merging import KEEP, PERMIT, merge, two_records
from tests.integration.identity.test_people_particulars import change, update

TAIWAN = person_pb2.CERTIFICATE_TYPE_TAIWAN_PERMIT


async def registered_by_file(identity: Identity) -> None:
    """The double's certificate in a file, which enrols whoever holds it, unless his name was corrected meanwhile."""
    row = identity_pb2.PersonRow(
        psn_cert_type=TAIWAN, certno=PERMIT["certno"], psn_name=PERMIT["psn_name"], brdy=PERMIT["brdy"], gend="1",
        insutype="390", insuplc_admdvs="650500",
    )  # fmt: skip
    answer = await identity.stub.RegisterPeople(identity_pb2.RegisterPeopleRequest(rows=[row] * 3))
    assert {each.reason for each in answer.answers} <= {"", "PERSON_DIFFERS"}


async def outcome(work: Awaitable[Any]) -> str:
    """The refusal it ended in; anything but a refusal is a fault."""
    try:
        await work
    except Failure as failure:
        return failure.reason
    return ""


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_merge_among_everything_else_at_once(start_identity: StartIdentity, seed: int) -> None:
    """Enrolled, paused, registered again, corrected, given a certificate, a child and a mother meanwhile."""
    one, other = await start_identity(), await start_identity()
    for person in (LI, CHILD, OLD_LI, ZHAO):
        await one.register(**person)
    double = await two_records(one)
    record = {"psn_no": double}
    waiting = (await submit(one, record, CHILD)).fact_id
    mother = await proven(one, OLD_LI, record)
    works = [
        enrol(one, double),
        registered_by_file(other),
        review(other, waiting),
        merge(one, KEEP, double),
        registered_by_file(one),
        enrol(other, double, "390"),
        status(one, double, "2"),
        update(other, double, psn_name="王建军"),
        change(one, double, "76543210", psn_cert_type=TAIWAN),
        review(one, mother, person_pb2.KINSHIP_FACT_STATE_REVOKED, "误"),
        submit(other, record, ZHAO),
    ]
    random.Random(seed).shuffle(works)
    refused = {reason for reason in await asyncio.gather(*map(outcome, works)) if reason}
    assert refused <= {"PERSON_MERGED", "KINSHIP_BUSY", "NOT_ENROLLED", "SERVICE_BUSY"}
    await merge(one, KEEP, double)
    gone = await one.person(double)
    assert gone.merged_into == KEEP
    assert {each.psn_insu_stas for each in gone.enrolments} <= {"4"}
    for number in (KEEP, double):
        versions = [event.version for event in await one.told(f"person:{number}", 1)]
        assert versions == list(range(1, len(versions) + 1))
    everybody = [person["psn_no"] for person in (WANG, LI, CHILD, OLD_LI, ZHAO)]
    assert await replayed(one.database) == await asked(one, [*everybody, double])
