"""Kinship facts and the relations that rest on them, through gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gongji.identity.v1 import events_pb2, kinship_pb2, person_pb2
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity, StartIdentity, refusal

OLD_LI = {"certno": "650102196009110043", "psn_name": "李桂兰", "psn_no": "650100000000004"}
ZHAO = {"certno": "650102199909092227", "psn_name": "赵敏", "psn_no": "650100000000005"}
PARENT_OF = person_pb2.KINSHIP_FACT_KIND_PARENT_OF
MARRIED_TO = person_pb2.KINSHIP_FACT_KIND_MARRIED_TO
SIBLING_OF = person_pb2.KINSHIP_FACT_KIND_SIBLING_OF
SUBMITTED = person_pb2.KINSHIP_FACT_STATE_SUBMITTED
VERIFIED = person_pb2.KINSHIP_FACT_STATE_VERIFIED
REJECTED = person_pb2.KINSHIP_FACT_STATE_REJECTED
REVOKED = person_pb2.KINSHIP_FACT_STATE_REVOKED
UNKNOWN = "650100000000099"
WEDDING = {"kind": MARRIED_TO, "from_date": "2010-05-20"}


async def submit(
    identity: Identity,
    person: dict[str, str],
    other: dict[str, str],
    **fields: Any,  # noqa: ANN401  Any field.
) -> kinship_pb2.SubmitKinshipFactResponse:
    """Submits that one is the other's parent, unless the fields say otherwise."""
    request: dict[str, Any] = {
        "kind": PARENT_OF,
        "psn_no": person["psn_no"],
        "other_psn_no": other["psn_no"],
        "evidence": kinship_pb2.EVIDENCE_HOUSEHOLD_REGISTER,
    }
    return await identity.kinship.SubmitKinshipFact(kinship_pb2.SubmitKinshipFactRequest(**(request | fields)))


async def review(
    identity: Identity, fact_id: str, state: person_pb2.KinshipFactState.ValueType = VERIFIED, cause: str = ""
) -> person_pb2.KinshipFactState.ValueType:
    """An officer decides; the state afterwards."""
    request = kinship_pb2.ReviewKinshipFactRequest(fact_id=fact_id, state=state, cause=cause, opter="zhang01")
    return (await identity.kinship.ReviewKinshipFact(request)).state


async def proven(
    identity: Identity,
    person: dict[str, str],
    other: dict[str, str],
    **fields: Any,  # noqa: ANN401  As above.
) -> str:
    """A verified fact; its id."""
    fact_id = (await submit(identity, person, other, **fields)).fact_id
    assert await review(identity, fact_id) == VERIFIED
    return fact_id


async def verify(
    identity: Identity, person: dict[str, str], other: dict[str, str], on_date: str = ""
) -> kinship_pb2.VerifyKinshipResponse:
    """What the one is to the other; that the chain leads over the facts named is seen to here."""
    found = await identity.kinship.VerifyKinship(
        kinship_pb2.VerifyKinshipRequest(psn_no=person["psn_no"], other_psn_no=other["psn_no"], on_date=on_date)
    )
    assert [link.fact_id for link in found.chain] == list(found.fact_ids)
    if found.chain:
        assert person["psn_no"] in {found.chain[0].psn_no, found.chain[0].other_psn_no}
        assert other["psn_no"] in {found.chain[-1].psn_no, found.chain[-1].other_psn_no}
    found.ClearField("chain")
    return found


def answer(relation: str, *fact_ids: str) -> kinship_pb2.VerifyKinshipResponse:
    """The answer that there is this relation."""
    return kinship_pb2.VerifyKinshipResponse(
        relation=person_pb2.Relation.Value(f"RELATION_{relation}"), fact_ids=fact_ids
    )


def none(reason: str) -> kinship_pb2.VerifyKinshipResponse:
    """The answer that there is no relation that counts."""
    return kinship_pb2.VerifyKinshipResponse(reason=reason)


def changed(one: dict[str, str], other: dict[str, str], relation: str, *, gained: bool) -> events_pb2.RelationChanged:
    """A relation that was gained or lost, as an event tells it."""
    value = person_pb2.Relation.Value(f"RELATION_{relation}")
    return events_pb2.RelationChanged(
        psn_no=one["psn_no"], other_psn_no=other["psn_no"], **{"after" if gained else "before": value}
    )


@pytest.fixture
async def family(identity: Identity) -> Identity:
    """A room that knows five people and nothing of their kinship."""
    for person in (WANG, LI, CHILD, OLD_LI, ZHAO):
        await identity.register(**person)
    return identity


async def test_nothing_rests_on_a_fact_before_it_is_verified(family: Identity) -> None:
    """A submitted fact proves nothing, a verified one does, both ways."""
    fact = await submit(family, WANG, CHILD)
    assert fact.state == SUBMITTED
    assert await verify(family, WANG, CHILD) == none("NO_CHAIN")
    await review(family, fact.fact_id)
    assert await verify(family, WANG, CHILD) == answer("PARENT", fact.fact_id)
    assert await verify(family, CHILD, WANG) == answer("CHILD", fact.fact_id)


async def test_relations_over_two_facts_are_derived_with_their_chain(family: Identity) -> None:
    """Grandmother on the mother's side, daughter's child, half-siblings: each with the facts that prove it."""
    mother = await proven(family, LI, CHILD)
    grandmother = await proven(family, OLD_LI, LI)
    sister = await proven(family, LI, ZHAO)
    assert await verify(family, OLD_LI, CHILD) == answer("MATERNAL_GRANDPARENT", grandmother, mother)
    assert await verify(family, CHILD, OLD_LI) == answer("DAUGHTERS_CHILD", mother, grandmother)
    request = kinship_pb2.VerifyKinshipRequest(psn_no=OLD_LI["psn_no"], other_psn_no=CHILD["psn_no"])
    assert list((await family.kinship.VerifyKinship(request)).chain) == [
        kinship_pb2.KinshipLink(
            fact_id=grandmother, kind=PARENT_OF, psn_no=OLD_LI["psn_no"], other_psn_no=LI["psn_no"]
        ),
        kinship_pb2.KinshipLink(fact_id=mother, kind=PARENT_OF, psn_no=LI["psn_no"], other_psn_no=CHILD["psn_no"]),
    ]
    assert await verify(family, ZHAO, CHILD) == answer("SIBLING", sister, mother)


async def test_in_laws_and_former_spouses_are_told_from_relatives(family: Identity) -> None:
    """A mother-in-law is none of the eight; a marriage counts on its days only."""
    wedding = await proven(family, WANG, LI, **WEDDING)
    await proven(family, OLD_LI, LI)
    assert await verify(family, LI, WANG) == answer("SPOUSE", wedding)
    assert await verify(family, LI, WANG, "2010-05-19") == none("NO_CHAIN")
    assert await verify(family, OLD_LI, WANG) == none("IN_LAW_ONLY")
    assert await verify(family, WANG, WANG) == none("SAME_PERSON")


async def test_a_divorce_takes_the_place_of_the_marriage_it_ends(family: Identity) -> None:
    """The same marriage verified with its end makes the lasting one fall, and both are told; then another may begin."""
    wedding = await proven(family, WANG, LI, **WEDDING)
    assert await refusal(submit(family, WANG, ZHAO, kind=MARRIED_TO, from_date="2026-01-01")) == (
        "FAILED_PRECONDITION",
        "SPOUSE_ALREADY",
        "from_date",
    )
    divorce = await proven(family, LI, WANG, **WEDDING, to_date="2025-06-30")
    assert await verify(family, WANG, LI) == none("ENDED")
    assert await verify(family, WANG, LI, "2025-06-29") == answer("SPOUSE", divorce)
    assert [(e.version, e.kinship_changed.state) for e in await family.told(f"fact:{wedding}", 2)] == [
        (1, VERIFIED),
        (2, REVOKED),
    ]
    await proven(family, WANG, ZHAO, kind=MARRIED_TO, from_date="2026-01-01")
    assert (await verify(family, ZHAO, WANG)).relation == person_pb2.RELATION_SPOUSE


async def test_a_withdrawn_document_takes_every_relation_that_rested_on_it(family: Identity) -> None:
    """Revoking the mother's fact ends the grandmother's relation too, and is told as version 2."""
    mother = await proven(family, LI, CHILD)
    await proven(family, OLD_LI, LI)
    assert await review(family, mother, REVOKED, "出生证明系伪造") == REVOKED
    assert await verify(family, OLD_LI, CHILD) == none("NO_CHAIN")
    events = await family.told(f"fact:{mother}", 2)
    # In the order of their numbers.
    gained = [(CHILD, LI, "CHILD"), (LI, CHILD, "PARENT")]
    lost = [
        (CHILD, OLD_LI, "DAUGHTERS_CHILD"),
        (CHILD, LI, "CHILD"),
        (OLD_LI, CHILD, "MATERNAL_GRANDPARENT"),
        (LI, CHILD, "PARENT"),
    ]
    assert [event.kinship_changed for event in events] == [
        events_pb2.KinshipChanged(
            fact_id=mother,
            kind=PARENT_OF,
            state=state,
            psn_no=LI["psn_no"],
            other_psn_no=CHILD["psn_no"],
            relations=relations,
        )
        for state, relations in (
            (VERIFIED, [changed(*each, gained=True) for each in gained]),
            (REVOKED, [changed(*each, gained=False) for each in lost]),
        )
    ]


async def test_the_same_fact_submitted_again_is_the_first_one(family: Identity) -> None:
    """A live fact is found again, whoever is named first and whatever proves it; a rejected one is submitted anew."""
    first = await submit(family, WANG, LI, **WEDDING)
    again = await submit(family, LI, WANG, **WEDDING, evidence=kinship_pb2.EVIDENCE_MARRIAGE_CERTIFICATE)
    assert again.fact_id == first.fact_id
    await review(family, first.fact_id, REJECTED, "照片不清")
    assert (await submit(family, WANG, LI, **WEDDING)).fact_id != first.fact_id


async def test_a_decision_is_made_once(family: Identity) -> None:
    """The same decision again changes nothing; a final one stands; a no needs a cause; a rejection is not told."""
    fact_id = (await submit(family, WANG, CHILD)).fact_id
    assert await refusal(review(family, fact_id, REJECTED)) == ("INVALID_ARGUMENT", "CAUSE_MISSING", "cause")
    assert await refusal(review(family, fact_id, REVOKED, "误")) == ("FAILED_PRECONDITION", "FACT_NOT_REVIEWABLE", "")
    assert await review(family, fact_id, REJECTED, "误") == REJECTED
    assert await review(family, fact_id, REJECTED, "误") == REJECTED
    assert (await refusal(review(family, fact_id, VERIFIED)))[1] == "FACT_NOT_REVIEWABLE"
    assert f"fact:{fact_id}" not in await family.snapshot()


async def test_a_fact_that_cannot_be_true_is_refused(family: Identity) -> None:
    """Oneself, an unknown person, a younger parent, one's own ancestor, dates that are none: each by its name."""
    await proven(family, OLD_LI, LI)
    cases = [
        (submit(family, WANG, WANG), ("INVALID_ARGUMENT", "KINSHIP_WITH_SELF", "other_psn_no")),
        (submit(family, WANG, {"psn_no": UNKNOWN}), ("NOT_FOUND", "PERSON_UNKNOWN", "other_psn_no")),
        (submit(family, {"psn_no": UNKNOWN}, WANG), ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")),
        (submit(family, LI, OLD_LI), ("FAILED_PRECONDITION", "KINSHIP_CYCLE", "other_psn_no")),
        (submit(family, CHILD, WANG), ("FAILED_PRECONDITION", "PARENT_NOT_OLDER", "psn_no")),
        (submit(family, WANG, LI, kind=MARRIED_TO), ("INVALID_ARGUMENT", "MARRIAGE_DATE_MISSING", "from_date")),
        (
            submit(family, WANG, LI, kind=MARRIED_TO, from_date="2020-02-30"),
            ("INVALID_ARGUMENT", "DATE_MALFORMED", "from_date"),
        ),
        (submit(family, WANG, LI, kind=0), ("INVALID_ARGUMENT", "REQUEST_INVALID", "kind")),
        (
            submit(family, WANG, LI, evidence=kinship_pb2.EVIDENCE_MARRIAGE_CERTIFICATE),
            ("INVALID_ARGUMENT", "EVIDENCE_DOES_NOT_PROVE", "evidence"),
        ),
        (verify(family, WANG, {"psn_no": UNKNOWN}), ("NOT_FOUND", "PERSON_UNKNOWN", "other_psn_no")),
        (verify(family, WANG, LI, "2020-13-01"), ("INVALID_ARGUMENT", "DATE_MALFORMED", "on_date")),
        (
            review(family, "00000000-0000-7000-8000-000000000001"),
            ("NOT_FOUND", "FACT_UNKNOWN", "fact_id"),
        ),
        (review(family, "no uuid"), ("INVALID_ARGUMENT", "REQUEST_INVALID", "fact_id")),
    ]
    assert [await refusal(call) for call, _ in cases] == [refused for _, refused in cases]


async def test_two_weddings_verified_at_once_leave_one_marriage(start_identity: StartIdentity) -> None:
    """Both were submitted before either was verified; verified at once over two replicas, one is refused."""
    replicas = [await start_identity(), await start_identity()]
    for person in (WANG, LI, ZHAO):
        await replicas[0].register(**person)
    facts = [(await submit(replicas[0], WANG, bride, **WEDDING)).fact_id for bride in (LI, ZHAO)]
    answers = await asyncio.gather(
        *(review(replica, fact_id) for replica, fact_id in zip(replicas, facts, strict=True)), return_exceptions=True
    )
    assert sorted(str(answer) for answer in answers) == ["2", "SPOUSE_ALREADY (field=from_date)"]


async def test_one_fact_submitted_and_reviewed_many_times_at_once_is_one(family: Identity) -> None:
    """Ten submissions at once are one fact, and ten verifications at once one event."""
    facts = await asyncio.gather(*(submit(family, WANG, CHILD) for _ in range(10)))
    (fact_id,) = {fact.fact_id for fact in facts}
    assert await asyncio.gather(*(review(family, fact_id) for _ in range(10))) == [VERIFIED] * 10
    assert [event.version for event in await family.told(f"fact:{fact_id}", 1)] == [1]
