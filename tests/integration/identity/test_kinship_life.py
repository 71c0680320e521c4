"""The life of a kinship fact: it waits in a queue, is decided by somebody who is named, runs out, follows a death."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from gongji.identity.v1 import identity_pb2, kinship_pb2, person_pb2
from kernel.randomness import SYSTEM_RANDOMNESS
from services.identity.recovery import ExpiringFacts
from tests.integration.identity.conftest import CHILD, LI, START, WANG, Identity, StartIdentity, refusal
from tests.integration.identity.kinship_told import asked, replayed, told_of_kinship
from tests.integration.identity.test_kinship import (
    MARRIED_TO,
    OLD_LI,
    PARENT_OF,
    REJECTED,
    REVOKED,
    SIBLING_OF,
    SUBMITTED,
    UNKNOWN,
    VERIFIED,
    WEDDING,
    ZHAO,
    answer,
    changed,
    none,
    proven,
    review,
    submit,
    verify,
)

EXPIRED = person_pb2.KINSHIP_FACT_STATE_EXPIRED
COMMITMENT = {"evidence": kinship_pb2.EVIDENCE_COMMITMENT}
EVERYBODY = [person["psn_no"] for person in (WANG, LI, CHILD, OLD_LI, ZHAO)]
CALLER = (("gongji-caller", "officer:650100/zhang01"),)


@pytest.fixture
async def family(identity: Identity) -> Identity:
    """A room that knows five people and nothing of their kinship."""
    for person in (WANG, LI, CHILD, OLD_LI, ZHAO):
        await identity.register(**person)
    return identity


async def sweep(identity: Identity) -> int:
    """One look of the clock's at what has run out."""
    facts = ExpiringFacts(database=identity.database, clock=identity.clock, randomness=SYSTEM_RANDOMNESS)
    return await facts.sweep()


async def fact_of(identity: Identity, fact_id: str) -> kinship_pb2.KinshipFact:
    """The fact as an officer sees it."""
    request = kinship_pb2.GetKinshipFactRequest(fact_id=fact_id)
    return (await identity.kinship.GetKinshipFact(request, metadata=CALLER)).fact


async def test_a_commitment_proves_a_relation_for_a_year(family: Identity) -> None:
    """It counts until the 365th day in Shanghai is over; then it ends, told with all that rested on it."""
    await proven(family, OLD_LI, LI)
    mother = await proven(family, LI, CHILD, **COMMITMENT)
    shown = await fact_of(family, mother)
    assert (shown.issued_on, shown.expires_on) == ("2026-07-01", "2027-07-01")
    family.clock.instant = datetime(2027, 6, 30, 15, 59, 59, tzinfo=UTC)
    assert await sweep(family) == 0
    assert await verify(family, LI, CHILD) == answer("PARENT", mother)
    family.clock.instant = datetime(2027, 6, 30, 16, 0, tzinfo=UTC)
    assert await verify(family, LI, CHILD) == none("NO_CHAIN")
    assert await sweep(family) == 1
    assert await sweep(family) == 0
    shown = await fact_of(family, mother)
    assert shown.state == EXPIRED
    assert [(each.state, each.decider, each.cause) for each in shown.decisions[1:]] == [
        (EXPIRED, kinship_pb2.KINSHIP_DECIDER_ROOM, "EXPIRED")
    ]
    events = await family.told(f"fact:{mother}", 2)
    assert events[-1].kinship_changed.state == EXPIRED
    assert list(events[-1].kinship_changed.relations) == [
        changed(CHILD, OLD_LI, "DAUGHTERS_CHILD", gained=False),
        changed(CHILD, LI, "CHILD", gained=False),
        changed(OLD_LI, CHILD, "MATERNAL_GRANDPARENT", gained=False),
        changed(LI, CHILD, "PARENT", gained=False),
    ]
    assert await replayed(family.database) == await asked(family, EVERYBODY)


async def test_a_document_proves_nothing_of_the_days_behind_its_own(family: Identity) -> None:
    """Asked about a day to come, it counts if it will still count then; of the past it speaks as of any other day."""
    mother = await proven(family, LI, CHILD, **COMMITMENT)
    for day in ("2020-01-01", "2026-07-01", "2027-06-30"):
        assert await verify(family, LI, CHILD, day) == answer("PARENT", mother)
    assert await verify(family, LI, CHILD, "2027-07-01") == none("NO_CHAIN")


async def test_a_renewed_commitment_loses_nothing(family: Identity) -> None:
    """A commitment made anew before the first ran out takes its place when it is verified; no relation falls."""
    first = await proven(family, WANG, ZHAO, kind=SIBLING_OF, **COMMITMENT)
    family.clock.advance(days=300)
    second = await submit(family, WANG, ZHAO, kind=SIBLING_OF, **COMMITMENT)
    assert (second.fact_id != first, second.state) == (True, SUBMITTED)
    assert (await submit(family, ZHAO, WANG, kind=SIBLING_OF, **COMMITMENT)).fact_id == second.fact_id
    await review(family, second.fact_id)
    assert await verify(family, WANG, ZHAO) == answer("SIBLING", second.fact_id)
    fallen = await fact_of(family, first)
    assert (fallen.state, fallen.decisions[-1].cause) == (REVOKED, "REPLACED")
    assert [len(event.kinship_changed.relations) for event in await told_of_kinship(family.database)] == [2, 0, 0]
    family.clock.advance(days=66)
    assert await sweep(family) == 0


async def test_what_waits_with_a_document_that_ran_out_ends_untold(family: Identity) -> None:
    """Nothing ever rested on it; it leaves the queue, cannot be verified, and the same statement is a new fact."""
    waiting = await submit(family, WANG, ZHAO, kind=SIBLING_OF, issued_on="2026-06-01", expires_on="2026-07-03")
    family.clock.advance(days=2)
    assert await refusal(review(family, waiting.fact_id)) == ("FAILED_PRECONDITION", "EVIDENCE_EXPIRED", "expires_on")
    assert await sweep(family) == 1
    assert (await fact_of(family, waiting.fact_id)).state == EXPIRED
    assert f"fact:{waiting.fact_id}" not in await family.snapshot()
    assert (await refusal(review(family, waiting.fact_id)))[1] == "FACT_NOT_REVIEWABLE"
    assert (await submit(family, WANG, ZHAO, kind=SIBLING_OF)).fact_id != waiting.fact_id


async def test_two_replicas_end_a_fact_once(start_identity: StartIdentity) -> None:
    """Both sweep at the same time; one event is told."""
    replicas = [await start_identity(), await start_identity()]
    for person in (WANG, ZHAO):
        await replicas[0].register(**person)
    fact_id = await proven(replicas[0], WANG, ZHAO, kind=SIBLING_OF, **COMMITMENT)
    for replica in replicas:
        replica.clock.advance(days=365)
    ended = await asyncio.gather(*(sweep(replica) for replica in replicas))
    assert sum(ended) == 1
    assert [event.version for event in await told_of_kinship(replicas[0].database)] == [1, 2]
    assert (await fact_of(replicas[1], fact_id)).state == EXPIRED


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"issued_on": "2026-07-02"}, ("INVALID_ARGUMENT", "EVIDENCE_DATES_WRONG", "issued_on")),
        (
            {"issued_on": "2026-06-01", "expires_on": "2026-05-31"},
            ("INVALID_ARGUMENT", "EVIDENCE_DATES_WRONG", "expires_on"),
        ),
        ({"expires_on": "2026-07-01"}, ("FAILED_PRECONDITION", "EVIDENCE_EXPIRED", "expires_on")),
        ({"issued_on": "2026-02-30"}, ("INVALID_ARGUMENT", "DATE_MALFORMED", "issued_on")),
        (
            {"issued_on": "2026-07-01", "expires_on": "2027-07-02", **COMMITMENT},
            ("INVALID_ARGUMENT", "EVIDENCE_DATES_WRONG", "expires_on"),
        ),
        ({"issued_on": "9999-12-31", **COMMITMENT}, ("INVALID_ARGUMENT", "EVIDENCE_DATES_WRONG", "issued_on")),
    ],
)
async def test_a_document_whose_days_are_wrong_is_refused(
    family: Identity, fields: dict[str, Any], refused: tuple[str, str, str]
) -> None:
    """Of a day to come, over before it began, run out, or a promise for more than a year."""
    assert await refusal(submit(family, WANG, CHILD, **fields)) == refused


async def test_the_queue_shows_who_waits_longest_first(family: Identity) -> None:
    """Submitted facts alone, oldest first, in pages, with both people masked; every look-up is on record."""
    pairs = [(WANG, CHILD), (LI, CHILD), (OLD_LI, LI), (OLD_LI, ZHAO), (ZHAO, CHILD)]
    submitted = []
    for older, younger in pairs:
        submitted.append((await submit(family, older, younger)).fact_id)
        family.clock.advance(minutes=1)
    await review(family, submitted[1])
    await review(family, submitted[3], REJECTED, "照片不清")
    waiting = [submitted[0], submitted[2], submitted[4]]
    pages: list[list[kinship_pb2.KinshipFact]] = []
    token = ""
    while True:
        request = kinship_pb2.ListReviewsRequest(page_size=2, page_token=token)
        page = await family.kinship.ListReviews(request, metadata=CALLER)
        pages.append(list(page.facts))
        token = page.next_page_token
        if not token:
            break
    assert [[fact.fact_id for fact in page] for page in pages] == [waiting[:2], waiting[2:]]
    oldest = pages[0][0]
    assert oldest.person == kinship_pb2.KinshipParty(psn_no=WANG["psn_no"], name_masked="王*国", brdy="1985-03-12")
    assert oldest.other == kinship_pb2.KinshipParty(psn_no=CHILD["psn_no"], name_masked="王*明", brdy="2018-05-06")
    assert oldest.evidence == kinship_pb2.EVIDENCE_HOUSEHOLD_REGISTER
    assert oldest.submitted_time.ToDatetime(tzinfo=UTC) == START
    assert oldest.state == SUBMITTED
    async with family.database.transaction() as connection:
        seen = await connection.execute(
            sa.text("SELECT psn_no FROM lookups WHERE purpose = 'KINSHIP_REVIEW' AND asked_by = :who ORDER BY id"),
            {"who": "officer:650100/zhang01"},
        )
        assert sorted(row.psn_no for row in seen) == sorted(
            [WANG["psn_no"], CHILD["psn_no"], OLD_LI["psn_no"], LI["psn_no"], ZHAO["psn_no"], CHILD["psn_no"]]
        )
    full = await family.kinship.ListReviews(kinship_pb2.ListReviewsRequest(page_size=3))
    assert [[fact.fact_id for fact in full.facts], full.next_page_token] == [waiting, ""]


async def test_a_fact_tells_who_decided_what_about_it(family: Identity) -> None:
    """Verified by one officer, revoked by another with a cause: both stay on record, as does who submitted it."""
    submission = kinship_pb2.SubmitKinshipFactRequest(
        kind=PARENT_OF,
        psn_no=WANG["psn_no"],
        other_psn_no=CHILD["psn_no"],
        evidence=kinship_pb2.EVIDENCE_HOUSEHOLD_REGISTER,
    )
    fact_id = (await family.kinship.SubmitKinshipFact(submission, metadata=CALLER)).fact_id
    await review(family, fact_id)
    family.clock.advance(days=1)
    await family.kinship.ReviewKinshipFact(
        kinship_pb2.ReviewKinshipFactRequest(fact_id=fact_id, state=REVOKED, cause="户口簿系伪造", opter="li_02")
    )
    shown = await fact_of(family, fact_id)
    assert shown.state == REVOKED
    assert [(each.state, each.decider, each.opter, each.cause) for each in shown.decisions] == [
        (VERIFIED, kinship_pb2.KINSHIP_DECIDER_OFFICER, "zhang01", ""),
        (REVOKED, kinship_pb2.KINSHIP_DECIDER_OFFICER, "li_02", "户口簿系伪造"),
    ]
    assert shown.submitted_by == CALLER[0][1]
    nobody = kinship_pb2.ReviewKinshipFactRequest(fact_id=fact_id, state=REVOKED, cause="误")
    assert await refusal(family.kinship.ReviewKinshipFact(nobody)) == ("INVALID_ARGUMENT", "REQUEST_INVALID", "opter")


async def test_a_persons_facts_are_listed_whatever_became_of_them(family: Identity) -> None:
    """Both as the first and as the second named, in any state, oldest first, in no more pages than it takes."""
    facts = []
    for person, other, state in ((WANG, CHILD, VERIFIED), (OLD_LI, WANG, REJECTED), (WANG, ZHAO, None)):
        family.clock.advance(seconds=1)
        fields = {"kind": SIBLING_OF} if other is ZHAO else {}
        facts.append((await submit(family, person, other, **fields)).fact_id)
        if state is not None:
            await review(family, facts[-1], state, "" if state == VERIFIED else "误")
    for size, pages in ((1, 3), (2, 2), (3, 1), (0, 1)):
        found: list[str] = []
        asked = 0
        token = ""
        while True:
            request = kinship_pb2.ListKinshipFactsRequest(psn_no=WANG["psn_no"], page_size=size, page_token=token)
            page = await family.kinship.ListKinshipFacts(request)
            asked += 1
            assert len(page.facts) <= (size or 50)
            found += [fact.fact_id for fact in page.facts]
            token = page.next_page_token
            if not token:
                break
        assert (found, asked) == (facts, pages)


async def test_what_is_not_there_is_refused_by_name(family: Identity) -> None:
    """An unknown fact, an unknown person, a token that is none of ours."""
    unknown = "00000000-0000-7000-8000-000000000001"
    calls: list[tuple[Awaitable[object], tuple[str, str, str]]] = [
        (fact_of(family, unknown), ("NOT_FOUND", "FACT_UNKNOWN", "fact_id")),
        (
            family.kinship.CheckWithRegistry(kinship_pb2.CheckWithRegistryRequest(fact_id=unknown)),
            ("NOT_FOUND", "FACT_UNKNOWN", "fact_id"),
        ),
        (
            family.kinship.ListKinshipFacts(kinship_pb2.ListKinshipFactsRequest(psn_no=UNKNOWN)),
            ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no"),
        ),
        *(
            (
                family.kinship.ListReviews(kinship_pb2.ListReviewsRequest(page_token=token)),
                ("INVALID_ARGUMENT", "PAGE_TOKEN_MALFORMED", "page_token"),
            )
            for token in ("x", "MjAyNi0wNy0wMVQwMDowMDowMHxhYg", "0", "\u202e")
        ),
        (
            family.kinship.ListKinshipFacts(
                kinship_pb2.ListKinshipFactsRequest(
                    psn_no=WANG["psn_no"],
                    page_token="AAAA",  # noqa: S106  Of a page.
                )
            ),
            ("INVALID_ARGUMENT", "PAGE_TOKEN_MALFORMED", "page_token"),
        ),
    ]
    assert [await refusal(call) for call, _ in calls] == [refused for _, refused in calls]


async def died(identity: Identity, person: dict[str, str], on: str) -> None:
    """A death goes on record."""
    await identity.stub.ReportDeath(
        identity_pb2.ReportDeathRequest(
            psn_no=person["psn_no"],
            death_date=on,
            evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
            opter="zhang01",
        )
    )


async def test_death_ends_a_marriage_and_nothing_else(family: Identity) -> None:
    """The survivor is told to have lost a spouse, may marry anew, and the children stay children."""
    wedding = await proven(family, WANG, LI, **WEDDING)
    father = await proven(family, WANG, CHILD)
    await died(family, WANG, "2026-06-15")
    assert await verify(family, LI, WANG) == none("DECEASED")
    assert await verify(family, LI, WANG, "2026-06-14") == answer("SPOUSE", wedding)
    assert await verify(family, WANG, CHILD) == answer("PARENT", father)
    events = await family.told(f"fact:{wedding}", 2)
    assert events[-1].kinship_changed.state == VERIFIED
    assert list(events[-1].kinship_changed.relations) == [
        changed(WANG, LI, "SPOUSE", gained=False),
        changed(LI, WANG, "SPOUSE", gained=False),
    ]
    again = await proven(family, LI, ZHAO, kind=MARRIED_TO, from_date="2026-06-20")
    assert await verify(family, ZHAO, LI) == answer("SPOUSE", again)
    assert await refusal(submit(family, WANG, OLD_LI, kind=MARRIED_TO, from_date="2026-06-15")) == (
        "FAILED_PRECONDITION",
        "MARRIAGE_AFTER_DEATH",
        "from_date",
    )
    assert await replayed(family.database) == await asked(family, EVERYBODY)


async def withdrawn(identity: Identity, person: dict[str, str]) -> None:
    """A death was reported by mistake."""
    await identity.stub.WithdrawDeath(
        identity_pb2.WithdrawDeathRequest(psn_no=person["psn_no"], opter="zhang01", cause="同名误报")
    )


async def test_a_death_withdrawn_gives_the_spouse_back_unless_she_married_anew(family: Identity) -> None:
    """The marriage lasts again, which is told; after a new wedding the withdrawal is refused and changes nothing."""
    wedding = await proven(family, WANG, LI, **WEDDING)
    await died(family, WANG, "2026-06-15")
    await withdrawn(family, WANG)
    assert await verify(family, LI, WANG) == answer("SPOUSE", wedding)
    assert [event.version for event in await family.told(f"fact:{wedding}", 3)] == [1, 2, 3]
    await died(family, WANG, "2026-06-15")
    await proven(family, LI, ZHAO, kind=MARRIED_TO, from_date="2026-06-20")
    assert (await refusal(withdrawn(family, WANG)))[:2] == ("FAILED_PRECONDITION", "SPOUSE_ALREADY")
    assert await verify(family, LI, WANG) == none("DECEASED")
    assert await replayed(family.database) == await asked(family, EVERYBODY)


async def test_a_death_before_a_wedding_on_record_is_refused(family: Identity) -> None:
    """One of the two dates is wrong; an officer finds out which."""
    await proven(family, WANG, LI, **WEDDING)
    assert (await refusal(died(family, WANG, "2010-05-20")))[:2] == ("FAILED_PRECONDITION", "MARRIAGE_AFTER_DEATH")
    assert (await verify(family, LI, WANG)).relation == person_pb2.RELATION_SPOUSE


async def test_merged_doubles_keep_each_relation_once(family: Identity) -> None:
    """What the double's facts proved is told as lost there and gained by the record that is kept."""
    double = {"certno": "H12345678", "psn_name": "王建国", "psn_no": "650100000000009"}
    await family.register(
        **double, psn_cert_type=person_pb2.CERTIFICATE_TYPE_HK_MACAU_PERMIT, brdy="1985-03-12", gend="1"
    )
    wedding = await proven(family, WANG, LI, **WEDDING)
    father = await proven(family, double, CHILD)
    twice = await proven(family, OLD_LI, WANG)
    again = await proven(family, OLD_LI, double)
    await family.stub.MergePersons(
        identity_pb2.MergePersonsRequest(
            keep_psn_no=WANG["psn_no"], double_psn_no=double["psn_no"], opter="zhang01", cause="同一人两个档案"
        )
    )
    assert await verify(family, WANG, CHILD) == answer("PARENT", father)
    assert await verify(family, OLD_LI, WANG) == answer("PARENT", twice)
    assert await verify(family, OLD_LI, CHILD) == answer("PATERNAL_GRANDPARENT", twice, father)
    assert await verify(family, WANG, LI) == answer("SPOUSE", wedding)
    assert (await fact_of(family, again)).decisions[-1].cause == "MERGED"
    assert await verify(family, double, CHILD) == none("NO_CHAIN")
    assert await refusal(submit(family, double, ZHAO)) == ("FAILED_PRECONDITION", "PERSON_MERGED", "psn_no")
    everybody = [*EVERYBODY, double["psn_no"]]
    assert await replayed(family.database) == await asked(family, everybody)
