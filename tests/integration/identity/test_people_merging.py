"""Two records that are one person, through gRPC."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from gongji.identity.v1 import identity_pb2, kinship_pb2, person_pb2
from kernel.failures import Failure
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity, StartIdentity, refusal
from tests.integration.identity.test_people import HAMI, UNKNOWN, count, enrol, status
from tests.integration.identity.test_people_deaths import died, married, relation, withdraw
from tests.integration.identity.test_people_particulars import change, update
from tests.integration.identity.test_sanctions import sanction

PERMIT: dict[str, Any] = {
    "psn_cert_type": person_pb2.CERTIFICATE_TYPE_TAIWAN_PERMIT,
    "certno": "01234567",
    "psn_name": "王建国",
    "brdy": "1985-03-12",
    "gend": "1",
}
KEEP = WANG["psn_no"]


async def merge(identity: Identity, keep: str, double: str) -> identity_pb2.MergePersonsResponse:
    """An officer finds two records to be one person."""
    request = identity_pb2.MergePersonsRequest(
        keep_psn_no=keep, double_psn_no=double, opter="zhang01", cause="同一人重复登记"
    )
    return await identity.stub.MergePersons(request)


async def two_records(identity: Identity) -> str:
    """The same man by ID number and by permit; the number of the second."""
    await identity.register(**WANG)
    return (await identity.register(**PERMIT)).psn_no


async def parent_of(identity: Identity, parent: str, child: str) -> str:
    """A verified fact; its id."""
    fact = await identity.kinship.SubmitKinshipFact(
        kinship_pb2.SubmitKinshipFactRequest(
            kind=person_pb2.KINSHIP_FACT_KIND_PARENT_OF,
            psn_no=parent,
            other_psn_no=child,
            evidence=kinship_pb2.EVIDENCE_HOUSEHOLD_REGISTER,
        )
    )
    await identity.kinship.ReviewKinshipFact(
        kinship_pb2.ReviewKinshipFactRequest(
            fact_id=fact.fact_id, state=person_pb2.KINSHIP_FACT_STATE_VERIFIED, opter="zhang01"
        )
    )
    return fact.fact_id


async def everything(identity: Identity) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of what a merging may touch."""
    tables = ("persons", "enrolments", "former_certificates", "sanctions", "kinship_facts", "person_changes")
    async with identity.database.driver_connection() as connection:
        return {
            table: sorted(
                (tuple(row) for row in await connection.fetch(f"SELECT * FROM {table}")),  # noqa: S608  Named above.
                key=str,
            )
            for table in tables
        }


async def test_the_double_ends_and_points_to_the_record_that_is_kept(identity: Identity) -> None:
    """Its insurance ends, both records are on record with the officer, and doing it again changes nothing."""
    double = await two_records(identity)
    await enrol(identity, KEEP)
    await enrol(identity, double, "390", HAMI)
    answer = await merge(identity, KEEP, double)
    assert await merge(identity, KEEP, double) == answer
    assert answer.keep == await identity.person(KEEP)
    assert (answer.double.merged_into, answer.double.enrolments[0].psn_insu_stas) == (KEEP, "4")
    events = await identity.told(f"person:{double}", 3)
    assert events[-1].person_changed.person == answer.double
    assert [event.version for event in await identity.told(f"person:{KEEP}", 2)] == [1, 2]
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT psn_no, kind, other_psn_no, opter FROM person_changes ORDER BY id")
    assert [tuple(row) for row in rows] == [
        (double, "MERGED", KEEP, "zhang01"),
        (KEEP, "DOUBLE_TAKEN_IN", double, "zhang01"),
    ]


async def test_every_certificate_finds_the_record_that_is_kept(identity: Identity) -> None:
    """The double's present and former certificates name the kept record, and it may take one as its own."""
    double = await two_records(identity)
    hong_kong = person_pb2.CERTIFICATE_TYPE_HK_MACAU_PERMIT
    await change(identity, double, "H12345678", psn_cert_type=hong_kong)
    await merge(identity, KEEP, double)
    for fields in (PERMIT, PERMIT | {"psn_cert_type": hong_kong, "certno": "H12345678"}, WANG):
        assert await identity.register(**fields) == identity_pb2.RegisterPersonResponse(psn_no=KEEP, existed=True)
    taken = await change(identity, KEEP, "H12345678", psn_cert_type=hong_kong)
    assert taken.certno_masked == "*****5678"
    assert (await identity.register(**PERMIT)).psn_no == KEEP


async def test_every_write_to_the_double_is_refused(identity: Identity) -> None:
    """PERSON_MERGED is the answer to each, and tells nothing of the number that was kept."""
    double = await two_records(identity)
    await enrol(identity, double)
    await identity.register(**LI)
    await merge(identity, KEEP, double)
    writes = [
        enrol(identity, double),
        status(identity, double, "2"),
        update(identity, double, psn_name="王建军"),
        change(identity, double, "H12345678", psn_cert_type=person_pb2.CERTIFICATE_TYPE_HK_MACAU_PERMIT),
        died(identity, double),
        withdraw(identity, double),
        parent_of(identity, double, CHILD["psn_no"]),
        sanction(identity, psn_no=double, opter="zhang01"),
        identity.code(double),
        identity.register(**(PERMIT | {"psn_no": double})),
        merge(identity, LI["psn_no"], double),
        merge(identity, double, LI["psn_no"]),
    ]
    await identity.register(**CHILD)
    for write in writes:
        with pytest.raises(Failure) as refused:
            await write
        assert (refused.value.kind.value, refused.value.reason) == ("FAILED_PRECONDITION", "PERSON_MERGED")
        assert KEEP not in str(refused.value)


async def test_facts_and_sanctions_move_to_the_record_that_is_kept(identity: Identity) -> None:
    """The double's wife is the kept one's, a child of both is a child once, and a sanction is not shaken off."""
    double = await two_records(identity)
    for each in (LI, CHILD):
        await identity.register(**each)
    await married(identity, double, LI["psn_no"], "2010-05-20")
    for parent in (KEEP, double):
        await parent_of(identity, parent, CHILD["psn_no"])
    imposed = await sanction(identity, psn_no=double, opter="zhang01")
    answer = await merge(identity, KEEP, double)
    assert [each.sanction_id for each in answer.keep.sanctions] == [imposed.sanction_id]
    assert not answer.double.sanctions
    assert await relation(identity, KEEP, CHILD["psn_no"]) == person_pb2.RELATION_PARENT
    assert await relation(identity, KEEP, LI["psn_no"]) == person_pb2.RELATION_SPOUSE
    for other in (CHILD, LI):
        assert await relation(identity, double, other["psn_no"]) == person_pb2.RELATION_UNSPECIFIED
    async with identity.database.driver_connection() as connection:
        live = await connection.fetchval("SELECT count(*) FROM kinship_facts WHERE state = 'VERIFIED'")
    assert live == 2


async def test_a_contradiction_refuses_and_changes_nothing(identity: Identity) -> None:
    """Two spouses at once, or a marriage between the two records: not a row is another afterwards."""
    double = await two_records(identity)
    for each in (LI, CHILD):
        await identity.register(**each)
    await enrol(identity, double)
    await parent_of(identity, double, CHILD["psn_no"])
    await married(identity, KEEP, LI["psn_no"], "2010-05-20")
    zhao = {"certno": "650102199909092227", "psn_name": "赵敏", "psn_no": "650100000000005"}
    await identity.register(**zhao)
    await married(identity, double, zhao["psn_no"], "2015-01-01")
    before = await everything(identity)
    with pytest.raises(Failure) as refused:
        await merge(identity, KEEP, double)
    assert (refused.value.reason, refused.value.metadata) == ("MERGE_CONFLICT", {"conflict": "SPOUSE_ALREADY"})
    assert await everything(identity) == before


async def test_cards_of_the_double_end(identity: Identity) -> None:
    """A card that could have been shown under the double's number cannot any more, and that is on record."""
    double = await two_records(identity)
    async with identity.database.driver_connection() as connection:
        for number, psn_no in enumerate((KEEP, double)):
            await connection.execute(
                "INSERT INTO cards (card_id, psn_no, card_no_index, card_no_sealed, key_id, card_no_masked, state,"
                " issued_at, issued_by) VALUES (gen_random_uuid(), $1, decode(repeat($2, 32), 'hex'), '', 'k1', '*',"
                " 'ISSUED', now(), 'zhang01')",
                psn_no,
                f"0{number}",
            )
    await merge(identity, KEEP, double)
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT psn_no, state, ended_by, end_cause FROM cards ORDER BY card_no_index")
    assert [tuple(row) for row in rows] == [(KEEP, "ISSUED", None, None), (double, "ENDED", "zhang01", "MERGED")]
    assert await count(identity, "card_changes") == 1


async def test_who_is_not_one_person_is_not_merged(identity: Identity) -> None:
    """Oneself, a stranger, another birth date, one dead and one alive: each by name."""
    double = await two_records(identity)
    for each in (LI, CHILD):
        await identity.register(**each)
    third = (await identity.register(**(PERMIT | {"certno": "76543210"}))).psn_no
    assert await refusal(merge(identity, KEEP, KEEP)) == ("INVALID_ARGUMENT", "MERGE_WITH_SELF", "double_psn_no")
    assert await refusal(merge(identity, KEEP, UNKNOWN)) == ("NOT_FOUND", "PERSON_UNKNOWN", "double_psn_no")
    assert await refusal(merge(identity, UNKNOWN, KEEP)) == ("NOT_FOUND", "PERSON_UNKNOWN", "keep_psn_no")
    assert await refusal(merge(identity, KEEP, LI["psn_no"])) == ("FAILED_PRECONDITION", "MERGE_DIFFERS", "brdy")
    await merge(identity, third, double)
    await died(identity, KEEP)
    assert (await refusal(merge(identity, third, KEEP)))[1] == "MERGE_CONFLICT"


async def test_a_record_with_doubles_of_its_own_takes_them_along(identity: Identity) -> None:
    """Two who both have doubles are one person all the same: every number leads to the one that counts in one step."""
    first = await two_records(identity)
    other, second = [
        (await identity.register(**(PERMIT | {"certno": certno}))).psn_no for certno in ("76543210", "11111111")
    ]
    await merge(identity, KEEP, first)
    await merge(identity, other, second)
    answer = await merge(identity, KEEP, other)
    assert answer.double.merged_into == KEEP
    for number in (first, other, second):
        assert (await identity.person(number)).merged_into == KEEP
    assert [event.person_changed.person.merged_into for event in await identity.told(f"person:{second}", 3)] == [
        "", other, KEEP,
    ]  # fmt: skip
    for certno in ("01234567", "76543210", "11111111"):
        assert (await identity.register(**(PERMIT | {"certno": certno}))).psn_no == KEEP
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch(
            "SELECT kind, other_psn_no FROM person_changes WHERE psn_no = $1 ORDER BY id", second
        )
    assert [tuple(row) for row in rows] == [("MERGED", other), ("MERGED", KEEP)]


async def test_a_chain_of_merges_at_once_ends_in_one_record(start_identity: StartIdentity) -> None:
    """Whoever comes first, over two replicas: nothing is locked for good, and no number leads to a double."""
    replicas = [await start_identity(), await start_identity()]
    certificates = [PERMIT | {"certno": certno} for certno in ("76543210", "11111111", "22222222")]
    others = [(await replicas[0].register(**each)).psn_no for each in certificates]
    numbers = [KEEP, await two_records(replicas[0]), *others]
    pairs = list(pairwise(numbers))
    for _ in pairs:
        await asyncio.gather(
            *(merge(replicas[place % 2], *pair) for place, pair in enumerate(pairs)), return_exceptions=True
        )
    people = [await replicas[0].person(number) for number in numbers]
    standing = {person.psn_no for person in people if not person.merged_into}
    assert {person.merged_into for person in people if person.merged_into} <= standing


async def test_merging_both_ways_at_once_keeps_one(start_identity: StartIdentity) -> None:
    """Of two officers who merge the same two in opposite directions over two replicas, one succeeds."""
    replicas = [await start_identity(), await start_identity()]
    double = await two_records(replicas[0])
    answers = await asyncio.gather(
        merge(replicas[0], KEEP, double), merge(replicas[1], double, KEEP), return_exceptions=True
    )
    refused = [str(answer).split()[0] for answer in answers if isinstance(answer, BaseException)]
    assert refused == ["PERSON_MERGED"]
    people = [await replicas[0].person(psn_no) for psn_no in (KEEP, double)]
    assert sorted(bool(person.merged_into) for person in people) == [False, True]


async def test_registering_while_merging_finds_one_of_the_two(start_identity: StartIdentity) -> None:
    """Nobody new comes to be by the double's certificate, before, during or after the merging."""
    replicas = [await start_identity(), await start_identity()]
    double = await two_records(replicas[0])
    answers = await asyncio.gather(
        *(replicas[1].register(**PERMIT) for _ in range(10)),
        merge(replicas[0], KEEP, double),
        *(replicas[1].register(**PERMIT) for _ in range(10)),
    )
    numbers = {answer.psn_no for answer in answers if isinstance(answer, identity_pb2.RegisterPersonResponse)}
    assert numbers <= {KEEP, double}
    assert await count(replicas[0], "persons") == 2
    assert (await replicas[0].register(**PERMIT)).psn_no == KEEP
