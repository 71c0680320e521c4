"""A death on record, and its withdrawal, through gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gongji.identity.v1 import cards_pb2, credentials_pb2, identity_pb2, kinship_pb2, person_pb2
from services.identity.api.room import NOBODY
from services.identity.domain.attestation import Purpose
from tests.integration.identity.attesting import attested
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity, StartIdentity, refusal
from tests.integration.identity.test_people import HAMI, NEWBORN, UNKNOWN, URUMQI, count, enrol, status

DAY = "2026-06-30"


async def died(identity: Identity, psn_no: str = WANG["psn_no"], **fields: Any) -> person_pb2.Person:  # noqa: ANN401  Any field.
    """Reports a death of yesterday."""
    request: dict[str, Any] = {
        "psn_no": psn_no,
        "death_date": DAY,
        "evidence": identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
        "opter": "zhang01",
    }
    return (await identity.stub.ReportDeath(identity_pb2.ReportDeathRequest(**(request | fields)))).person


async def withdraw(identity: Identity, psn_no: str = WANG["psn_no"]) -> person_pb2.Person:
    """Takes the report back."""
    request = identity_pb2.WithdrawDeathRequest(psn_no=psn_no, opter="li02", cause="误报，本人到场")
    return (await identity.stub.WithdrawDeath(request)).person


async def married(identity: Identity, person: str, other: str, from_date: str) -> str:
    """A verified marriage; its fact's id."""
    fact = await identity.kinship.SubmitKinshipFact(
        kinship_pb2.SubmitKinshipFactRequest(
            kind=person_pb2.KINSHIP_FACT_KIND_MARRIED_TO,
            psn_no=person,
            other_psn_no=other,
            evidence=kinship_pb2.EVIDENCE_MARRIAGE_CERTIFICATE,
            from_date=from_date,
        )
    )
    await identity.kinship.ReviewKinshipFact(
        kinship_pb2.ReviewKinshipFactRequest(
            fact_id=fact.fact_id, state=person_pb2.KINSHIP_FACT_STATE_VERIFIED, opter="zhang01"
        )
    )
    return fact.fact_id


async def relation(identity: Identity, person: str, other: str) -> person_pb2.Relation.ValueType:
    """What the one is to the other today."""
    request = kinship_pb2.VerifyKinshipRequest(psn_no=person, other_psn_no=other)
    return (await identity.kinship.VerifyKinship(request)).relation


async def test_a_death_ends_insurance_and_is_told_once(identity: Identity) -> None:
    """Every enrolment ends, the day stands in the event, and reporting the same again is no second event."""
    psn_no = (await identity.register(**WANG)).psn_no
    await enrol(identity, psn_no)
    await enrol(identity, psn_no, "390", HAMI)
    dead = await died(identity)
    assert await died(identity) == dead
    assert dead.death_date == DAY
    assert [(each.insutype, each.psn_insu_stas) for each in dead.enrolments] == [("310", "4"), ("390", "4")]
    events = await identity.told(f"person:{psn_no}", 4)
    assert [event.version for event in events] == [1, 2, 3, 4]
    assert events[-1].person_changed.person == dead == await identity.person(psn_no)
    assert await count(identity, "enrolment_changes") == 4
    assert await count(identity, "person_changes") == 1


async def test_a_withdrawn_death_leaves_him_insured_nowhere(identity: Identity) -> None:
    """He lives again, his enrolments begin only by enrolling, and both officers are on record with their reasons."""
    psn_no = (await identity.register(**WANG)).psn_no
    await enrol(identity, psn_no)
    await died(identity)
    alive = await withdraw(identity)
    assert await withdraw(identity) == alive
    assert (alive.death_date, alive.enrolments[0].psn_insu_stas) == ("", "4")
    assert (await refusal(status(identity, psn_no, "1")))[1] == "ENROLMENT_ENDED"
    assert (await enrol(identity, psn_no)).enrolments[0].psn_insu_stas == "1"
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT kind, opter, cause, fields FROM person_changes ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("DEATH", "zhang01", "MEDICAL_CERTIFICATE", "death_date"),
        ("DEATH_WITHDRAWN", "li02", "误报，本人到场", "death_date"),
    ]


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"death_date": "2026-07-02"}, ("INVALID_ARGUMENT", "DEATH_DATE_WRONG", "death_date")),
        ({"death_date": "1985-03-11"}, ("INVALID_ARGUMENT", "DEATH_DATE_WRONG", "death_date")),
        ({"death_date": "2026-02-30"}, ("INVALID_ARGUMENT", "DATE_MALFORMED", "death_date")),
        ({"death_date": "2026-06-29"}, ("FAILED_PRECONDITION", "DEATH_DATE_DIFFERS", "death_date")),
        ({"psn_no": UNKNOWN}, ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")),
        ({"opter": "张 三"}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "opter")),
        ({"evidence": 0}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "evidence")),
    ],
)
async def test_a_wrong_report_is_refused(
    identity: Identity, fields: dict[str, Any], refused: tuple[str, str, str]
) -> None:
    """Tomorrow, before the birth, no day, another day than on record, nobody, no officer: each by name."""
    await identity.register(**WANG)
    await died(identity)
    assert await refusal(died(identity, **fields)) == refused
    assert (await identity.person(WANG["psn_no"])).death_date == DAY


async def test_the_dead_are_neither_insured_nor_shown_a_code(identity: Identity) -> None:
    """Enrolling and issuing a code are refused from the report on."""
    psn_no = (await identity.register(**WANG)).psn_no
    await died(identity)
    assert await refusal(enrol(identity, psn_no)) == ("FAILED_PRECONDITION", "PERSON_DECEASED", "psn_no")
    issue = identity.credentials.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=psn_no))
    assert (await refusal(issue))[1] == "PERSON_DECEASED"


async def test_a_death_ends_cards_and_wards_for_good(identity: Identity) -> None:
    """The card is ended by the officer who reported, nobody is a ward any more; withdrawn, only a new card opens."""
    for each in (WANG, LI, CHILD):
        await identity.register(**each)
    mother, child, grandmother = LI["psn_no"], CHILD["psn_no"], WANG["psn_no"]
    await identity.cards.IssueCard(cards_pb2.IssueCardRequest(psn_no=mother, card_no="A12345678", opter="wu03"))
    async with identity.database.driver_connection() as connection:
        face = await attested(identity, mother, Purpose.ADD_WARD)
        for guardian, ward in ((mother, child), (grandmother, mother), (grandmother, child)):
            await connection.execute("INSERT INTO wards VALUES ($1, $2, $3, NULL, now())", guardian, ward, face)
        await died(identity, mother)
        cards = await connection.fetch("SELECT state, ended_by, end_cause FROM cards")
        changes = await connection.fetch("SELECT change, opter, cause FROM card_changes ORDER BY id")
        wards = await connection.fetch("SELECT guardian_psn_no, ward_psn_no FROM wards")
        removed = await connection.fetch("SELECT guardian_psn_no, ward_psn_no, changed_by FROM ward_changes")
    assert [tuple(row) for row in cards] == [("ENDED", "zhang01", "DECEASED")]
    assert [tuple(row) for row in changes] == [("ISSUED", "wu03", ""), ("ENDED", "zhang01", "DECEASED")]
    assert [tuple(row) for row in wards] == [(grandmother, child)]
    assert {tuple(row) for row in removed} == {(mother, child, NOBODY), (grandmother, mother, NOBODY)}
    await withdraw(identity, mother)
    again = cards_pb2.IssueCardRequest(psn_no=mother, card_no="A12345678", opter="wu03")
    assert (await refusal(identity.cards.IssueCard(again)))[1] == "CARD_ENDED"
    other = cards_pb2.IssueCardRequest(psn_no=mother, card_no="B87654321", opter="wu03")
    assert (await identity.cards.IssueCard(other)).card.state == cards_pb2.CARD_STATE_ISSUED


async def test_a_death_ends_the_survivors_marriage_and_tells_it(identity: Identity) -> None:
    """The relation is lost in both directions, comes back with the withdrawal, and both are told with the fact."""
    for each in (WANG, LI):
        await identity.register(**each)
    fact_id = await married(identity, WANG["psn_no"], LI["psn_no"], "2010-05-20")
    assert await relation(identity, WANG["psn_no"], LI["psn_no"]) == person_pb2.RELATION_SPOUSE
    await died(identity)
    assert await relation(identity, WANG["psn_no"], LI["psn_no"]) == person_pb2.RELATION_UNSPECIFIED
    await withdraw(identity)
    assert await relation(identity, WANG["psn_no"], LI["psn_no"]) == person_pb2.RELATION_SPOUSE
    events = await identity.told(f"fact:{fact_id}", 3)
    spouse, none = person_pb2.RELATION_SPOUSE, person_pb2.RELATION_UNSPECIFIED
    assert [[(each.before, each.after) for each in event.kinship_changed.relations] for event in events] == [
        [(none, spouse)] * 2,
        [(spouse, none)] * 2,
        [(none, spouse)] * 2,
    ]


async def test_a_death_before_the_wedding_is_refused_and_changes_nothing(identity: Identity) -> None:
    """Who married last month did not die the month before: one of the two documents is wrong."""
    for each in (WANG, LI):
        await identity.register(**each)
    await enrol(identity, WANG["psn_no"])
    await married(identity, WANG["psn_no"], LI["psn_no"], "2026-06-15")
    refused = await refusal(died(identity, death_date="2026-06-01"))
    assert refused[:2] == ("FAILED_PRECONDITION", "MARRIAGE_AFTER_DEATH")
    person = await identity.person(WANG["psn_no"])
    assert (person.death_date, person.enrolments[0].psn_insu_stas) == ("", "1")
    assert await count(identity, "person_changes") == 0


async def test_a_death_and_an_enrolment_at_once_never_leave_the_dead_insured(start_identity: StartIdentity) -> None:
    """Whichever comes first over two replicas, nobody dead is normally insured at the end."""
    replicas = [await start_identity(), await start_identity()]
    numbers = [(await replicas[0].register(**(NEWBORN | {"certno": f"S65012{each:04}"}))).psn_no for each in range(10)]
    work = [died(replicas[0], psn_no) for psn_no in numbers] + [
        enrol(replicas[1], psn_no, area=URUMQI) for psn_no in numbers
    ]
    await asyncio.gather(*work, return_exceptions=True)
    people = [await replicas[0].person(psn_no) for psn_no in numbers]
    assert [person.death_date for person in people] == [DAY] * 10
    assert all(each.psn_insu_stas == "4" for person in people for each in person.enrolments)
