"""Registering people and changing what is known of them, through gRPC."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gongji.identity.v1 import identity_pb2, person_pb2
from tests.integration.identity.conftest import CHILD, LI, START, WANG, Identity, StartIdentity, refusal

NEWBORN: dict[str, Any] = {
    "psn_cert_type": person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
    "certno": "S650123456",
    "psn_name": "王小宝",
    "brdy": "2026-06-01",
    "gend": "2",
}
UNKNOWN = "650100000000099"
URUMQI, HAMI = "650100", "650500"


async def enrol(identity: Identity, psn_no: str, insutype: str = "310", area: str = URUMQI) -> person_pb2.Person:
    """Enrols a person."""
    request = identity_pb2.EnrolRequest(psn_no=psn_no, insutype=insutype, insuplc_admdvs=area)
    return (await identity.stub.Enrol(request)).person


async def retire(identity: Identity, psn_no: str, psn_type: str) -> person_pb2.Person:
    """Enrols a person as of that kind."""
    request = identity_pb2.EnrolRequest(psn_no=psn_no, insutype="310", insuplc_admdvs=URUMQI, psn_type=psn_type)
    return (await identity.stub.Enrol(request)).person


async def status(identity: Identity, psn_no: str, stas: str, insutype: str = "310") -> person_pb2.Person:
    """Changes a person's insurance status."""
    request = identity_pb2.ChangeInsuranceStatusRequest(psn_no=psn_no, insutype=insutype, psn_insu_stas=stas)
    return (await identity.stub.ChangeInsuranceStatus(request)).person


async def count(identity: Identity, table: str) -> int:
    """How many rows a table has."""
    async with identity.database.driver_connection() as connection:
        return int(await connection.fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608  Named by the tests.


async def test_a_person_is_registered_and_seen_masked(identity: Identity) -> None:
    """What others see is the masked name, the birth date and the last four characters of the certificate."""
    assert await identity.register(**WANG) == identity_pb2.RegisterPersonResponse(psn_no=WANG["psn_no"], existed=False)
    answer = await identity.stub.GetPerson(identity_pb2.GetPersonRequest(psn_no=WANG["psn_no"], purpose="TEST"))
    assert answer.person == person_pb2.Person(psn_no=WANG["psn_no"], name_masked="王*国", brdy="1985-03-12")
    assert answer.certno_masked == "**************4518"


async def test_a_newborn_gets_a_number_drawn(identity: Identity) -> None:
    """A person without a national number gets one of 22 digits."""
    answer = await identity.register(**NEWBORN)
    assert (len(answer.psn_no), answer.existed) == (22, False)
    assert (await identity.person(answer.psn_no)).brdy == "2026-06-01"


async def test_the_same_certificate_again_is_the_same_person(identity: Identity) -> None:
    """Registering again, with or without the number, in whatever form the name is typed, finds the person."""
    first = await identity.register(**NEWBORN)
    for again in (
        NEWBORN,
        NEWBORN | {"psn_no": first.psn_no},
        NEWBORN | {"certno": "s650123456", "psn_name": " 王小宝 "},
    ):
        assert await identity.register(**again) == identity_pb2.RegisterPersonResponse(
            psn_no=first.psn_no, existed=True
        )
    assert [event.version for event in await identity.told(f"person:{first.psn_no}", 1)] == [1]


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        (WANG | {"certno": "650103198503124517"}, ("INVALID_ARGUMENT", "CERTIFICATE_CHECKSUM_WRONG", "certno")),
        (WANG | {"certno": "650103850312451"}, ("INVALID_ARGUMENT", "CERTIFICATE_15_DIGITS", "certno")),
        (WANG | {"psn_name": "王1"}, ("INVALID_ARGUMENT", "NAME_MALFORMED", "psn_name")),
        (WANG | {"psn_name": "王\x00国"}, ("INVALID_ARGUMENT", "NAME_MALFORMED", "psn_name")),
        (WANG | {"brdy": "1985-03-13"}, ("INVALID_ARGUMENT", "BIRTH_DATE_DIFFERS", "brdy")),
        (WANG | {"brdy": "1985-02-30"}, ("INVALID_ARGUMENT", "DATE_MALFORMED", "brdy")),
        (WANG | {"gend": "2"}, ("INVALID_ARGUMENT", "SEX_DIFFERS", "gend")),
        (WANG | {"psn_no": WANG["certno"]}, ("INVALID_ARGUMENT", "PERSON_NUMBER_IS_CERTIFICATE", "psn_no")),
        (WANG | {"psn_no": "12"}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "psn_no")),
        (NEWBORN | {"brdy": ""}, ("INVALID_ARGUMENT", "BIRTH_DATE_MISSING", "brdy")),
        (NEWBORN | {"gend": ""}, ("INVALID_ARGUMENT", "SEX_MISSING", "gend")),
        (NEWBORN | {"gend": "9"}, ("INVALID_ARGUMENT", "REQUEST_INVALID", "gend")),
        (LI | {"psn_name": "李秀兰"}, ("ALREADY_EXISTS", "PERSON_DIFFERS", "psn_name")),
        (LI | {"psn_no": "650500000000009"}, ("ALREADY_EXISTS", "PERSON_DIFFERS", "psn_no")),
        (WANG | {"psn_no": LI["psn_no"]}, ("ALREADY_EXISTS", "PERSON_NUMBER_TAKEN", "psn_no")),
    ],
)
async def test_a_wrong_registration_is_refused_and_nothing_is_stored(
    identity: Identity, fields: dict[str, Any], refused: tuple[str, str, str]
) -> None:
    """Each refusal has its name, and only the one person from before is there afterwards."""
    await identity.register(**LI)
    assert await refusal(identity.register(**fields)) == refused
    assert await count(identity, "persons") == 1
    assert (await identity.snapshot()).keys() - {f"person:{LI['psn_no']}"} == {f"key:{kid}" for kid in kids(identity)}


def kids(identity: Identity) -> list[str]:
    """The ids of the keys in the ring."""
    return list(identity.keys.ring.kids)


async def test_one_certificate_registered_many_times_at_once_is_one_person(start_identity: StartIdentity) -> None:
    """Of twenty registrations over two replicas at once, one is new and all name the same person."""
    replicas = [await start_identity(), await start_identity()]
    answers = await asyncio.gather(*(replicas[place % 2].register(**NEWBORN) for place in range(20)))
    assert len({answer.psn_no for answer in answers}) == 1
    assert [answer.existed for answer in answers].count(False) == 1
    assert await count(replicas[0], "persons") == 1


async def test_two_people_with_one_number_at_once_are_one_and_a_refusal(identity: Identity) -> None:
    """A number given to two certificates at once belongs to one of them."""
    fields = [WANG, LI | {"psn_no": WANG["psn_no"]}, CHILD | {"psn_no": WANG["psn_no"]}]
    answers = await asyncio.gather(*(identity.register(**each) for each in fields), return_exceptions=True)
    refusals = [answer for answer in answers if isinstance(answer, BaseException)]
    assert [str(each) for each in refusals] == ["PERSON_NUMBER_TAKEN (field=psn_no)"] * 2


async def test_enrolment_move_and_status_are_told_with_rising_versions(identity: Identity) -> None:
    """Every change is one event with the whole person; what changes nothing is not told."""
    psn_no = (await identity.register(**WANG)).psn_no
    await enrol(identity, psn_no)
    await enrol(identity, psn_no)
    await enrol(identity, psn_no, "390", HAMI)
    await enrol(identity, psn_no, area=HAMI)
    await status(identity, psn_no, "2")
    await status(identity, psn_no, "2")
    await status(identity, psn_no, "1")
    last = await status(identity, psn_no, "4", "390")

    events = await identity.told(f"person:{psn_no}", 7)
    assert [event.version for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert [
        [(each.insutype, each.insuplc_admdvs, each.psn_insu_stas) for each in event.person_changed.person.enrolments]
        for event in events
    ] == [
        [],
        [("310", URUMQI, "1")],
        [("310", URUMQI, "1"), ("390", HAMI, "1")],
        [("310", HAMI, "1"), ("390", HAMI, "1")],
        [("310", HAMI, "2"), ("390", HAMI, "1")],
        [("310", HAMI, "1"), ("390", HAMI, "1")],
        [("310", HAMI, "1"), ("390", HAMI, "4")],
    ]
    assert events[-1].person_changed.person == last == await identity.person(psn_no)
    assert await count(identity, "enrolment_changes") == 6


async def test_who_retires_is_told_so_and_an_ended_enrolment_keeps_it(identity: Identity) -> None:
    """psn_type goes out with the person, is changed by enrolling again, and stays while nobody tells another."""
    await identity.register(**WANG)
    await retire(identity, WANG["psn_no"], "1101")
    assert (await retire(identity, WANG["psn_no"], "12")).enrolments[0].psn_type == "12"
    assert (await status(identity, WANG["psn_no"], "4")).enrolments[0].psn_type == "12"
    assert (await enrol(identity, WANG["psn_no"], area=HAMI)).enrolments[0].psn_type == "12"
    assert (await identity.person(WANG["psn_no"])).enrolments[0].psn_type == "12"


async def test_changes_of_one_person_at_once_never_share_a_version(start_identity: StartIdentity) -> None:
    """Thirty changes over two replicas at once give thirty versions in a row."""
    replicas = [await start_identity(), await start_identity()]
    psn_no = (await replicas[0].register(**WANG)).psn_no
    await asyncio.gather(*(enrol(replicas[n % 2], psn_no, area=f"6501{n:02}") for n in range(30)))
    assert sorted(event.version for event in await replicas[0].told(f"person:{psn_no}", 31)) == list(range(1, 32))
    latest = (await replicas[0].snapshot())[f"person:{psn_no}"]
    assert latest.version == 31
    assert latest.person_changed.person == await replicas[0].person(psn_no)


async def test_refusals_of_enrolment_and_status(identity: Identity) -> None:
    """Nobody unknown is enrolled, no status without an enrolment, no way back from the end but enrolling."""
    psn_no = (await identity.register(**WANG)).psn_no
    not_found = ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")
    assert await refusal(enrol(identity, UNKNOWN)) == not_found
    assert await refusal(status(identity, UNKNOWN, "2")) == not_found
    assert await refusal(identity.person(UNKNOWN)) == not_found
    assert (await refusal(status(identity, psn_no, "2")))[1] == "NOT_ENROLLED"
    assert (await refusal(enrol(identity, psn_no, area="050100")))[1] == "REQUEST_INVALID"
    assert (await refusal(enrol(identity, psn_no, insutype="320")))[1] == "REQUEST_INVALID"
    await enrol(identity, psn_no)
    await status(identity, psn_no, "4")
    assert (await refusal(status(identity, psn_no, "1")))[1] == "ENROLMENT_ENDED"
    assert (await enrol(identity, psn_no)).enrolments[0].psn_insu_stas == "1"


async def test_every_look_up_of_a_person_is_on_record(identity: Identity) -> None:
    """GetPerson and a registration that meets a known person leave a row each: who, why, when."""
    await identity.register(**WANG)
    await identity.register(**WANG)
    await identity.person(WANG["psn_no"])
    await refusal(identity.person(UNKNOWN))
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT * FROM lookups ORDER BY id")
    assert [(row["psn_no"], row["purpose"], row["asked_by"], row["looked_up_at"]) for row in rows] == [
        (WANG["psn_no"], "REGISTRATION", "unauthenticated", START),
        (WANG["psn_no"], "TEST", "unauthenticated", START),
    ]
    assert all(len(row["trace_id"]) == 32 for row in rows)
