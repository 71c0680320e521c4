"""Corrections of a record and certificates that take another's place, through gRPC."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from gongji.identity.v1 import identity_pb2, person_pb2
from kernel.failures import Failure
from tests.integration.identity.conftest import CHILD, LI, WANG, Identity, StartIdentity, refusal
from tests.integration.identity.kinship_told import asked, replayed
from tests.integration.identity.test_kinship import proven, verify
from tests.integration.identity.test_people import NEWBORN, UNKNOWN, count
from tests.unit.identity.strategies import with_check_character

GIRLS_NUMBER = with_check_character("65010320260601002")
OTHER_NUMBER = with_check_character("65010320260601004")
RESIDENT = person_pb2.CERTIFICATE_TYPE_RESIDENT_ID
BIRTH = person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE


async def update(identity: Identity, psn_no: str, **fields: Any) -> person_pb2.Person:  # noqa: ANN401  Any field.
    """Corrects a record."""
    request = identity_pb2.UpdatePersonRequest(psn_no=psn_no, opter="zhang01", cause="户口簿更正", **fields)
    return (await identity.stub.UpdatePerson(request)).person


async def change(
    identity: Identity,
    psn_no: str,
    certno: str = GIRLS_NUMBER,
    **fields: Any,  # noqa: ANN401  As above.
) -> identity_pb2.ChangeCertificateResponse:
    """Another certificate: an ID number, unless the fields say otherwise."""
    request: dict[str, Any] = {"psn_cert_type": RESIDENT, "opter": "zhang01", "cause": "出生登记"}
    return await identity.stub.ChangeCertificate(
        identity_pb2.ChangeCertificateRequest(psn_no=psn_no, certno=certno, **(request | fields))
    )


async def newborn(identity: Identity) -> str:
    """Registers a newborn by birth certificate; the number drawn."""
    return (await identity.register(**NEWBORN)).psn_no


async def changes(identity: Identity) -> list[tuple[str, ...]]:
    """What is on record of who changed what."""
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT psn_no, kind, fields, opter, cause FROM person_changes ORDER BY id")
    return [tuple(row) for row in rows]


async def test_a_newborn_gets_a_number_and_both_certificates_find_her(identity: Identity) -> None:
    """After the change the ID number and the birth certificate name the same person, and the number is shown."""
    psn_no = await newborn(identity)
    answer = await change(identity, psn_no)
    assert answer.certno_masked == "*" * 14 + GIRLS_NUMBER[-4:]
    for fields in ({"certno": GIRLS_NUMBER, "psn_name": "王小宝"}, NEWBORN):
        assert await identity.register(**fields) == identity_pb2.RegisterPersonResponse(psn_no=psn_no, existed=True)
    assert await changes(identity) == [(psn_no, "CERTIFICATE", "certno", "zhang01", "出生登记")]
    assert [event.version for event in await identity.told(f"person:{psn_no}", 1)] == [1]


async def test_a_name_that_comes_with_the_number_is_told(identity: Identity) -> None:
    """Others see the new masked name; the same change again is none."""
    psn_no = await newborn(identity)
    person = (await change(identity, psn_no, psn_name="李小宝")).person
    assert (await change(identity, psn_no, psn_name="李小宝")).person == person
    assert person.name_masked == "李*宝"
    assert [event.version for event in await identity.told(f"person:{psn_no}", 2)] == [1, 2]
    assert [row[2] for row in await changes(identity)] == ["certno,psn_name"]
    known = await identity.register(certno=GIRLS_NUMBER, psn_name="李小宝")
    assert (known.psn_no, known.existed) == (psn_no, True)


async def test_a_certificate_of_earlier_times_can_be_the_present_one_again(identity: Identity) -> None:
    """Changed by mistake and changed back: both go on finding the person, nobody else gets either."""
    psn_no = await newborn(identity)
    await change(identity, psn_no)
    back = await change(identity, psn_no, NEWBORN["certno"], psn_cert_type=BIRTH)
    assert back.certno_masked == "******3456"
    for fields in ({"certno": GIRLS_NUMBER, "psn_name": "王小宝"}, NEWBORN):
        assert (await identity.register(**fields)).psn_no == psn_no
    assert await count(identity, "former_certificates") == 1


@pytest.mark.parametrize(
    ("certno", "fields", "refused"),
    [
        (OTHER_NUMBER, {}, ("ALREADY_EXISTS", "CERTIFICATE_TAKEN", "certno")),
        ("S999999999", {"psn_cert_type": BIRTH}, ("ALREADY_EXISTS", "CERTIFICATE_TAKEN", "certno")),
        (with_check_character("65010320260602002"), {}, ("ALREADY_EXISTS", "PERSON_DIFFERS", "brdy")),
        (with_check_character("65010320260601001"), {}, ("ALREADY_EXISTS", "PERSON_DIFFERS", "gend")),
        ("650103198503124517", {}, ("INVALID_ARGUMENT", "CERTIFICATE_CHECKSUM_WRONG", "certno")),
        (GIRLS_NUMBER, {"psn_name": "王1"}, ("INVALID_ARGUMENT", "NAME_MALFORMED", "psn_name")),
        (GIRLS_NUMBER, {"cause": " "}, ("INVALID_ARGUMENT", "TEXT_MALFORMED", "cause")),
        (GIRLS_NUMBER, {"opter": ""}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "opter")),
    ],
)
async def test_a_wrong_certificate_leaves_the_record(
    identity: Identity, certno: str, fields: dict[str, Any], refused: tuple[str, str, str]
) -> None:
    """Another's present or former one, one of another day or sex, a malformed one: refused, nothing changed."""
    psn_no = await newborn(identity)
    other = await identity.register(**(NEWBORN | {"certno": "S999999999"}))
    await change(identity, other.psn_no, OTHER_NUMBER)
    assert await refusal(change(identity, psn_no, certno, **fields)) == refused
    assert len(await changes(identity)) == 1
    assert (await identity.register(**NEWBORN)).psn_no == psn_no


async def test_a_number_made_anew_corrects_the_birth_date_it_told_wrongly(identity: Identity) -> None:
    """Said by the officer it is taken and told, and both numbers find him; unsaid it is somebody else's number."""
    await identity.register(**WANG)
    right = with_check_character("65010319850412451")
    assert await refusal(change(identity, WANG["psn_no"], right)) == ("ALREADY_EXISTS", "PERSON_DIFFERS", "brdy")
    corrected = await change(identity, WANG["psn_no"], right, brdy="1985-04-12")
    assert corrected.person.brdy == "1985-04-12"
    told = await identity.told(f"person:{WANG['psn_no']}", 2)
    assert [event.person_changed.person.brdy for event in told] == ["1985-03-12", "1985-04-12"]
    assert [row[1:3] for row in await changes(identity)] == [("CERTIFICATE", "certno,brdy")]
    assert (await identity.register(certno=right, psn_name=WANG["psn_name"])).psn_no == WANG["psn_no"]
    assert (await refusal(identity.register(**WANG)))[1:] == ("PERSON_DIFFERS", "brdy")


async def test_a_number_made_anew_is_judged_by_the_family(identity: Identity) -> None:
    """Nobody becomes younger than his child by it, and a mother who was a father is a mother to all; it is told."""
    grandson = {"certno": with_check_character("65010320260601003"), "psn_name": "王小宝", "psn_no": "650100000000012"}
    for person in (WANG, CHILD, grandson):
        await identity.register(**person)
    await proven(identity, WANG, CHILD)
    await proven(identity, CHILD, grandson)
    younger = with_check_character("65010320190412451")
    before = await changes(identity)
    refused = await refusal(change(identity, WANG["psn_no"], younger, brdy="2019-04-12"))
    assert refused == ("FAILED_PRECONDITION", "PARENT_NOT_OLDER", "psn_no")
    assert await changes(identity) == before
    assert (await identity.person(WANG["psn_no"])).brdy == "1985-03-12"
    await change(identity, CHILD["psn_no"], with_check_character("65010320180506332"), gend="2")
    found = await verify(identity, WANG, grandson)
    assert found.relation == person_pb2.RELATION_MATERNAL_GRANDPARENT
    everybody = [person["psn_no"] for person in (WANG, CHILD, grandson)]
    assert await replayed(identity.database) == await asked(identity, everybody)


async def test_nobody_unknown_gets_a_certificate(identity: Identity) -> None:
    """A change names a person on record."""
    assert await refusal(change(identity, UNKNOWN)) == ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")


async def test_one_certificate_wanted_by_many_at_once_is_one_persons(start_identity: StartIdentity) -> None:
    """Registered anew by some and given to others at the same time over two replicas, it ends with one person."""
    replicas = [await start_identity(), await start_identity()]
    fields = [NEWBORN | {"certno": f"S65012{each:04}"} for each in range(8)]
    numbers = [(await replicas[0].register(**each)).psn_no for each in fields]
    registered = {"certno": GIRLS_NUMBER, "psn_name": "王小宝"}
    work: list[Awaitable[Any]] = [change(replicas[n % 2], psn_no) for n, psn_no in enumerate(numbers)]
    work += [replicas[n % 2].register(**registered) for n in range(8)]
    answers = await asyncio.gather(*work, return_exceptions=True)
    assert all(not isinstance(each, BaseException) or isinstance(each, Failure) for each in answers)
    holder = (await replicas[0].register(**registered)).psn_no
    found = {answer.psn_no for answer in answers[8:] if isinstance(answer, identity_pb2.RegisterPersonResponse)}
    assert found <= {holder}
    async with replicas[0].database.driver_connection() as connection:
        rows = await connection.fetch(
            "SELECT certno_index FROM persons UNION ALL SELECT certno_index FROM former_certificates"
        )
    assert len({row["certno_index"] for row in rows}) == len(rows)


async def test_a_certificate_given_up_is_not_free_for_somebody_new(start_identity: StartIdentity) -> None:
    """While a certificate is being replaced, registering by it finds the person it belongs to, never a new one."""
    replicas = [await start_identity(), await start_identity()]
    for attempt in range(6):
        fields = NEWBORN | {"certno": f"S65012{attempt:04}"}
        psn_no = (await replicas[0].register(**fields)).psn_no
        number = with_check_character(f"65010320260601{attempt:02}2")
        _, *found = await asyncio.gather(
            change(replicas[0], psn_no, number), *(_found(replicas[1], fields) for _ in range(5))
        )
        assert found == [psn_no] * 5


async def _found(identity: Identity, fields: dict[str, Any]) -> str:
    return (await identity.register(**fields)).psn_no


async def test_corrections_are_told_only_if_others_see_them(identity: Identity) -> None:
    """A birth date and a visible part of the name make a version; the sex and a hidden character do not."""
    psn_no = await newborn(identity)
    await update(identity, psn_no, psn_name="王大宝", gend="1")
    person = await update(identity, psn_no, brdy="2026-05-31")
    assert await update(identity, psn_no, psn_name="王大宝", brdy="2026-05-31", gend="1") == person
    events = await identity.told(f"person:{psn_no}", 2)
    assert [event.person_changed.person.brdy for event in events] == ["2026-06-01", "2026-05-31"]
    assert [row[1:4] for row in await changes(identity)] == [
        ("PARTICULARS", "psn_name,gend", "zhang01"),
        ("PARTICULARS", "brdy", "zhang01"),
    ]
    assert (await identity.register(**(NEWBORN | {"psn_name": "王大宝", "brdy": "2026-05-31", "gend": "1"}))).existed


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({}, ("INVALID_ARGUMENT", "UPDATE_EMPTY", "")),
        ({"brdy": "1985-03-13"}, ("INVALID_ARGUMENT", "BIRTH_DATE_DIFFERS", "brdy")),
        ({"gend": "2"}, ("INVALID_ARGUMENT", "SEX_DIFFERS", "gend")),
        ({"psn_name": "王1"}, ("INVALID_ARGUMENT", "NAME_MALFORMED", "psn_name")),
        ({"brdy": "2026-02-30"}, ("INVALID_ARGUMENT", "DATE_MALFORMED", "brdy")),
    ],
)
async def test_a_wrong_correction_is_refused(
    identity: Identity, fields: dict[str, Any], refused: tuple[str, str, str]
) -> None:
    """Nothing said, or against what the ID number tells."""
    await identity.register(**WANG)
    assert await refusal(update(identity, WANG["psn_no"], **fields)) == refused
    assert await count(identity, "person_changes") == 0


async def test_two_corrections_at_once_both_stand(start_identity: StartIdentity) -> None:
    """Name and birth date corrected over two replicas at the same time are both on record afterwards."""
    replicas = [await start_identity(), await start_identity()]
    psn_no = await newborn(replicas[0])
    await asyncio.gather(update(replicas[0], psn_no, psn_name="李小宝"), update(replicas[1], psn_no, brdy="2026-05-31"))
    person = await replicas[0].person(psn_no)
    assert (person.name_masked, person.brdy) == ("李*宝", "2026-05-31")
    assert [event.version for event in await replicas[0].told(f"person:{psn_no}", 3)] == [1, 2, 3]


async def test_what_is_changed_stays_sealed(identity: Identity) -> None:
    """No table holds the new or the former certificate or name in clear, and the former one opens for its person."""
    psn_no = await newborn(identity)
    for each in (WANG, LI, CHILD):
        await identity.register(**each)
    await change(identity, psn_no, psn_name="李小宝")
    stored = ""
    async with identity.database.driver_connection() as connection:
        for (table,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'"):
            for row in await connection.fetch(f'SELECT * FROM "{table}"'):  # noqa: S608  A table's own name.
                stored += " ".join(
                    value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value) for value in row
                )
    assert psn_no in stored
    secrets = [GIRLS_NUMBER, NEWBORN["certno"], "李小宝", "王小宝"]
    assert [secret for secret in secrets if secret in stored] == []
