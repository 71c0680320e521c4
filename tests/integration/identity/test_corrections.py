"""Corrections: requested, listed, decided; granted ones change the record, and everything has its refusal."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

from gongji.identity.v1 import events_pb2, identity_pb2, person_pb2
from gongji.identity.v1 import rights_pb2 as pb
from kernel.failures import Failure
from tests.integration.identity.conftest import LI, WANG, Identity, StartIdentity, refusal

NEWBORN: dict[str, Any] = {
    "psn_cert_type": person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
    "certno": "S650123456",
    "psn_name": "王小宝",
    "brdy": "2026-06-01",
    "gend": "1",
    "psn_no": "650100000000009",
}
BABY = str(NEWBORN["psn_no"])
NEW_NUMBER = "650103202606013318"


async def request(
    identity: Identity,
    psn_no: str,
    value: str,
    field: pb.CorrectionField.ValueType = pb.CORRECTION_FIELD_NAME,
    kind: person_pb2.CertificateType.ValueType = person_pb2.CERTIFICATE_TYPE_UNSPECIFIED,
) -> pb.Correction:
    """The correction that now waits."""
    answer = await identity.rights.RequestCorrection(
        pb.RequestCorrectionRequest(
            psn_no=psn_no,
            field=field,
            value=value,
            psn_cert_type=kind,
            evidence=pb.CORRECTION_EVIDENCE_HOUSEHOLD_REGISTER,
        )
    )
    return answer.correction


async def decide(identity: Identity, correction_id: str, *, granted: str = "", refused: str = "") -> pb.Correction:
    """The correction as an officer decided it: granted by what he read, or refused with a cause."""
    answer = await identity.rights.DecideCorrection(
        pb.DecideCorrectionRequest(
            correction_id=correction_id,
            state=pb.CORRECTION_STATE_REFUSED if refused else pb.CORRECTION_STATE_GRANTED,
            opter="zhang01",
            cause=refused,
            value_on_evidence=granted,
        )
    )
    return answer.correction


async def waiting(identity: Identity) -> list[pb.Correction]:
    """The officer's queue."""
    answer = await identity.rights.ListCorrections(
        pb.ListCorrectionsRequest(state=pb.CORRECTION_STATE_REQUESTED, page_size=2)
    )
    found = list(answer.corrections)
    while answer.next_page_token:
        answer = await identity.rights.ListCorrections(
            pb.ListCorrectionsRequest(
                state=pb.CORRECTION_STATE_REQUESTED, page_size=2, page_token=answer.next_page_token
            )
        )
        found += answer.corrections
    return found


async def test_a_granted_name_is_on_record_and_told(identity: Identity) -> None:
    """The officer types what the document says; the record changes, others are told, and the queue is empty."""
    await identity.register(**WANG)
    asked = await request(identity, WANG["psn_no"], "王建军")
    assert (asked.state, asked.value_masked, asked.name_masked) == (
        pb.CORRECTION_STATE_REQUESTED,
        "王*军",
        "王*国",
    )
    assert [each.correction_id for each in await waiting(identity)] == [asked.correction_id]
    granted = await decide(identity, asked.correction_id, granted="王建军")
    assert (granted.state, granted.opter, granted.name_masked) == (pb.CORRECTION_STATE_GRANTED, "zhang01", "王*军")
    assert await waiting(identity) == []
    told = await identity.told(f"person:{WANG['psn_no']}", 2)
    assert told[-1].person_changed.person.name_masked == "王*军"
    again = await identity.register(**(WANG | {"psn_name": "王建军"}))
    assert again.existed


async def test_a_newborns_birth_certificate_is_replaced_by_his_number(identity: Identity) -> None:
    """The new certificate finds him, and so does the old one."""
    await identity.register(**NEWBORN)
    resident = person_pb2.CERTIFICATE_TYPE_RESIDENT_ID
    asked = await request(identity, BABY, NEW_NUMBER, pb.CORRECTION_FIELD_CERTIFICATE, resident)
    assert asked.value_masked == f"**************{NEW_NUMBER[-4:]}"
    await decide(identity, asked.correction_id, granted=NEW_NUMBER)
    for certificate in ({"certno": NEW_NUMBER, "psn_cert_type": resident}, {}):
        assert (await identity.register(**(NEWBORN | certificate))).psn_no == BABY


async def test_birth_date_and_sex_are_put_right_where_no_certificate_tells_them(identity: Identity) -> None:
    """Of a newborn both can be granted; of an adult, whose number tells them, neither can be asked for."""
    await identity.register(**NEWBORN)
    await identity.register(**WANG)
    birth = await request(identity, BABY, "2026-06-02", pb.CORRECTION_FIELD_BIRTH_DATE)
    sex = await request(identity, BABY, "2", pb.CORRECTION_FIELD_SEX)
    await decide(identity, birth.correction_id, granted="2026-06-02")
    await decide(identity, sex.correction_id, granted="2")
    assert (await identity.person(BABY)).brdy == "2026-06-02"
    assert (await identity.register(**(NEWBORN | {"brdy": "2026-06-02", "gend": "2"}))).existed
    for value, field, reason in (
        ("1985-03-13", pb.CORRECTION_FIELD_BIRTH_DATE, "BIRTH_DATE_DIFFERS"),
        ("2", pb.CORRECTION_FIELD_SEX, "SEX_DIFFERS"),
    ):
        assert (await refusal(request(identity, WANG["psn_no"], value, field)))[1] == reason


async def test_a_refused_correction_leaves_the_record_and_can_be_asked_anew(identity: Identity) -> None:
    """The cause is kept and told; the next request is another correction."""
    await identity.register(**WANG)
    first = await request(identity, WANG["psn_no"], "王建军")
    assert (await refusal(identity.rights.DecideCorrection(_refusing(first.correction_id, ""))))[1] == "CAUSE_MISSING"
    refused = await decide(identity, first.correction_id, refused="证明材料不符")
    assert (refused.state, refused.cause) == (pb.CORRECTION_STATE_REFUSED, "证明材料不符")
    assert (await identity.person(WANG["psn_no"])).name_masked == "王*国"
    identity.clock.advance(seconds=1)
    second = await request(identity, WANG["psn_no"], "王建军")
    assert second.correction_id != first.correction_id
    mine = await identity.rights.ListCorrections(pb.ListCorrectionsRequest(psn_no=WANG["psn_no"]))
    assert [each.correction_id for each in mine.corrections] == [first.correction_id, second.correction_id]


def _refusing(correction_id: str, cause: str) -> pb.DecideCorrectionRequest:
    return pb.DecideCorrectionRequest(
        correction_id=correction_id, state=pb.CORRECTION_STATE_REFUSED, opter="zhang01", cause=cause
    )


async def test_the_same_request_is_one_correction_and_another_waits_its_turn(identity: Identity) -> None:
    """Asked twice it is the same; another value of the same field is refused while it waits, another field is not."""
    await identity.register(**WANG)
    first = await request(identity, WANG["psn_no"], "王建军")
    assert (await request(identity, WANG["psn_no"], " 王建军 ")).correction_id == first.correction_id
    assert await refusal(request(identity, WANG["psn_no"], "王建民")) == (
        "ALREADY_EXISTS",
        "CORRECTION_WAITING",
        "value",
    )
    identity.clock.advance(seconds=1)
    other = await request(
        identity,
        WANG["psn_no"],
        "S650123457",
        pb.CORRECTION_FIELD_CERTIFICATE,
        person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
    )
    assert [each.correction_id for each in await waiting(identity)] == [first.correction_id, other.correction_id]


async def test_what_the_officer_reads_must_be_what_was_asked_for(identity: Identity) -> None:
    """Another value, or none, grants nothing; a decision is final; the same decision again changes nothing."""
    await identity.register(**WANG)
    asked = await request(identity, WANG["psn_no"], "王建军")
    for read in ("王建民", ""):
        assert await refusal(decide(identity, asked.correction_id, granted=read)) == (
            "INVALID_ARGUMENT",
            "CORRECTION_VALUE_DIFFERS",
            "value_on_evidence",
        )
    assert (await refusal(decide(identity, asked.correction_id, granted="王1")))[1] == "NAME_MALFORMED"
    assert (await identity.person(WANG["psn_no"])).name_masked == "王*国"
    granted = await decide(identity, asked.correction_id, granted="王建军")
    assert await decide(identity, asked.correction_id, granted="王建军") == granted
    assert (await refusal(decide(identity, asked.correction_id, refused="误")))[1] == "CORRECTION_DECIDED"


async def test_a_certificate_of_somebody_else_is_not_granted(identity: Identity) -> None:
    """The refusal of the change itself leaves the correction waiting, to be refused with its cause."""
    await identity.register(**NEWBORN)
    sister = NEWBORN | {"certno": "S650123457", "psn_name": "王小贝", "psn_no": "650100000000010"}
    await identity.register(**sister)
    asked = await request(
        identity,
        BABY,
        "S650123457",
        pb.CORRECTION_FIELD_CERTIFICATE,
        person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
    )
    assert (await refusal(decide(identity, asked.correction_id, granted="S650123457")))[1] == "CERTIFICATE_TAKEN"
    assert [each.correction_id for each in await waiting(identity)] == [asked.correction_id]


async def test_two_officers_at_once_take_one_decision(start_identity: StartIdentity) -> None:
    """One grants while another refuses, ten times: the record is what the one decision says, the other is told so."""
    replicas = [await start_identity(), await start_identity()]
    await replicas[0].register(**WANG)
    for n in range(10):
        wanted = f"王建{'军民平安宁静远方东西'[n]}"
        before = (await replicas[0].person(WANG["psn_no"])).name_masked
        asked = await request(replicas[0], WANG["psn_no"], wanted)
        done = await asyncio.gather(
            decide(replicas[0], asked.correction_id, granted=wanted),
            decide(replicas[1], asked.correction_id, refused="误"),
            return_exceptions=True,
        )
        (lost,) = [each for each in done if isinstance(each, Failure)]
        (won,) = [each for each in done if isinstance(each, pb.Correction)]
        assert lost.reason == "CORRECTION_DECIDED"
        after = (await replicas[1].person(WANG["psn_no"])).name_masked
        assert after == (f"王*{wanted[-1]}" if won.state == pb.CORRECTION_STATE_GRANTED else before)


async def test_the_same_request_twice_at_once_is_one_correction(start_identity: StartIdentity) -> None:
    """Two replicas, ten requests, one row."""
    replicas = [await start_identity(), await start_identity()]
    await replicas[0].register(**WANG)
    asked = await asyncio.gather(*(request(replicas[n % 2], WANG["psn_no"], "王建军") for n in range(10)))
    assert len({each.correction_id for each in asked}) == 1
    assert len(await waiting(replicas[0])) == 1


async def test_the_queue_comes_in_pages_oldest_first_and_everybody_on_it_was_looked_up(identity: Identity) -> None:
    """Five people in pages of two; whose correction was shown finds that among his look-ups."""
    people: list[dict[str, Any]] = [
        WANG,
        LI,
        NEWBORN,
        *(NEWBORN | {"certno": f"S65012346{n}", "psn_no": f"65010000000002{n}"} for n in "12"),
    ]
    asked = []
    for person in people:
        await identity.register(**person)
        identity.clock.advance(seconds=1)
        asked.append(await request(identity, str(person["psn_no"]), "王新名"))
    assert [each.correction_id for each in await waiting(identity)] == [each.correction_id for each in asked]
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT psn_no FROM lookups WHERE purpose = 'CORRECTIONS_LISTED' ORDER BY id")
    assert sorted(row["psn_no"] for row in rows) == sorted(str(person["psn_no"]) for person in people)


async def test_refusals_of_requests_and_lists(identity: Identity) -> None:
    """Unknown people and corrections, lists of everybody in any state, tokens that we never gave."""
    await identity.register(**WANG)
    assert await refusal(request(identity, "999900000000001", "王建军")) == ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")
    assert (await refusal(request(identity, WANG["psn_no"], "王建国")))[1] == "CORRECTION_CHANGES_NOTHING"
    nowhere = "00000000-0000-7000-8000-000000000001"
    assert (await refusal(decide(identity, nowhere, refused="误")))[1] == "CORRECTION_UNKNOWN"
    everything = pb.ListCorrectionsRequest()
    assert (await refusal(identity.rights.ListCorrections(everything)))[1] == "REQUEST_INVALID"
    for token in ("nonsense", "bm90LWFuLWlk", "%%%"):
        listing = pb.ListCorrectionsRequest(state=pb.CORRECTION_STATE_REQUESTED, page_token=token)
        assert await refusal(identity.rights.ListCorrections(listing)) == (
            "INVALID_ARGUMENT",
            "PAGE_TOKEN_MALFORMED",
            "page_token",
        )


async def test_a_merged_double_is_not_corrected(identity: Identity) -> None:
    """What somebody wants to have put right is put right under the number that stands for him."""
    await identity.register(**NEWBORN)
    double = NEWBORN | {"certno": "S650123457", "psn_no": "650100000000010"}
    await identity.register(**double)
    await identity.stub.MergePersons(
        identity_pb2.MergePersonsRequest(
            keep_psn_no=BABY, double_psn_no=str(double["psn_no"]), opter="zhang01", cause="重复登记"
        )
    )
    assert (await refusal(request(identity, str(double["psn_no"]), "王小贝")))[1] == "PERSON_MERGED"


async def test_what_was_asked_for_under_a_doubles_number_is_refused_by_the_merge(identity: Identity) -> None:
    """It stands refused in his list and in no queue; asked for under the number that counts, it is granted."""
    await identity.register(**NEWBORN)
    double = NEWBORN | {"certno": "S650123457", "psn_no": "650100000000010"}
    await identity.register(**double)
    asked = await request(identity, str(double["psn_no"]), "王小贝")
    await identity.stub.MergePersons(
        identity_pb2.MergePersonsRequest(
            keep_psn_no=BABY, double_psn_no=str(double["psn_no"]), opter="zhang01", cause="重复登记"
        )
    )
    listed = (await identity.rights.ListCorrections(pb.ListCorrectionsRequest(psn_no=BABY))).corrections
    assert [(each.correction_id, each.state, each.cause, each.opter) for each in listed] == [
        (asked.correction_id, pb.CORRECTION_STATE_REFUSED, "MERGED", "zhang01")
    ]
    assert await waiting(identity) == []
    assert (await refusal(decide(identity, asked.correction_id, granted="王小贝")))[1] == "CORRECTION_DECIDED"
    again = await request(identity, BABY, "王小贝")
    assert (await decide(identity, again.correction_id, granted="王小贝")).state == pb.CORRECTION_STATE_GRANTED


async def test_a_correction_is_decided_while_its_person_is_merged(start_identity: StartIdentity) -> None:
    """Whichever comes first over two replicas, neither waits for the other for ever, and none is left waiting."""
    replicas = [await start_identity(), await start_identity()]
    await replicas[0].register(**NEWBORN)
    work: list[Awaitable[object]] = []
    for n in range(8):
        number = f"65010000000010{n}"
        await replicas[0].register(**(NEWBORN | {"certno": f"S65012350{n}", "psn_no": number}))
        asked = await request(replicas[0], number, "王小贝")
        merging = identity_pb2.MergePersonsRequest(
            keep_psn_no=BABY, double_psn_no=number, opter="zhang01", cause="重复登记"
        )
        work.append(replicas[0].stub.MergePersons(merging))
        work.append(decide(replicas[1], asked.correction_id, **({"granted": "王小贝"} if n % 2 else {"refused": "误"})))
    heard = await asyncio.gather(*work, return_exceptions=True)
    reasons = {each.reason if isinstance(each, Failure) else type(each).__name__ for each in heard}
    assert reasons <= {"MergePersonsResponse", "Correction", "CORRECTION_DECIDED"}
    async with replicas[0].database.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM corrections WHERE state = 'REQUESTED'") == 0


async def test_a_dead_persons_record_is_put_right_as_anybodys(identity: Identity) -> None:
    """An heir who asks gets the name on the document, and the death stays."""
    await identity.register(**WANG)
    asked = await request(identity, WANG["psn_no"], "王建军")
    await identity.stub.ReportDeath(
        identity_pb2.ReportDeathRequest(
            psn_no=WANG["psn_no"],
            death_date="2026-06-30",
            evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
            opter="zhang01",
        )
    )
    await decide(identity, asked.correction_id, granted="王建军")
    person = await identity.person(WANG["psn_no"])
    assert (person.name_masked, person.death_date) == ("王*军", "2026-06-30")


async def test_a_wanted_value_lies_nowhere_in_clear(identity: Identity) -> None:
    """Sealed in the table, masked in answers, in no event."""
    await identity.register(**WANG)
    asked = await request(identity, WANG["psn_no"], "王建军")
    await decide(identity, asked.correction_id, granted="王建军")
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT * FROM corrections")
        told = await connection.fetch("SELECT payload FROM latest_events")
    stored = b"".join(value if isinstance(value, bytes) else str(value).encode() for row in rows for value in row)
    assert "王建军".encode() not in stored + b"".join(row["payload"] for row in told)
    assert events_pb2.IdentityEvent.FromString(told[0]["payload"]).IsInitialized()
