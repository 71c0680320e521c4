"""Everything held about a person, handed to him: complete, in clear for him, masked for others, once for each face."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from gongji.identity.v1 import identity_pb2, kinship_pb2, person_pb2, sanctions_pb2
from gongji.identity.v1 import rights_pb2 as pb
from kernel.clock import SHANGHAI
from kernel.failures import Failure
from services.identity.domain.attestation import Purpose
from services.identity.domain.rights_sections import SECTIONS
from services.identity.operations.rights import EXPORT_MAX_S, EXPORTS_MAX, PIECE_BYTES
from tests.integration.identity.attesting import attested
from tests.integration.identity.conftest import CHILD, LI, START, WANG, Identity, StartIdentity, refusal
from tests.integration.identity.test_lookups import Scene

PSN_NO = WANG["psn_no"]
HELD = Path(__file__).with_name("held.sql")
NOWHERE = "00000000-0000-7000-8000-000000000001"


async def pieces(identity: Identity, attestation_id: str, psn_no: str = PSN_NO) -> list[bytes]:
    """The document as it comes."""
    request = pb.ExportPersonRequest(psn_no=psn_no, attestation_id=attestation_id)
    return [answer.content async for answer in identity.rights.ExportPerson(request, timeout=60)]


async def exported(identity: Identity, psn_no: str = PSN_NO) -> dict[str, Any]:
    """The document, after a face was shown; held against the form that it promises."""
    document: dict[str, Any] = json.loads(b"".join(await pieces(identity, await attested(identity, psn_no), psn_no)))
    assert list(document) == ["format", "exported_time", "labels", *(section.name for section in SECTIONS)]
    for section in SECTIONS:
        rows = [document[section.name]] if section.single else document[section.name]
        assert all(list(row) == [item.name for item in section.items] for row in rows)
    return document


async def live(identity: Identity) -> None:
    """WANG is registered, insured, moved, paused, married to LI, sanctioned and asks for another name."""
    await identity.register(**WANG)
    await identity.register(**LI)
    for area in ("650100", "650500"):
        await identity.stub.Enrol(identity_pb2.EnrolRequest(psn_no=PSN_NO, insutype="310", insuplc_admdvs=area))
    await identity.stub.ChangeInsuranceStatus(
        identity_pb2.ChangeInsuranceStatusRequest(psn_no=PSN_NO, insutype="310", psn_insu_stas="2")
    )
    await identity.kinship.SubmitKinshipFact(
        kinship_pb2.SubmitKinshipFactRequest(
            kind=person_pb2.KINSHIP_FACT_KIND_MARRIED_TO,
            psn_no=LI["psn_no"],
            other_psn_no=PSN_NO,
            evidence=kinship_pb2.EVIDENCE_MARRIAGE_CERTIFICATE,
            from_date="2012-05-20",
        )
    )
    from_time, to_time = Timestamp(), Timestamp()
    from_time.FromDatetime(START)
    to_time.FromDatetime(START + timedelta(days=100))
    await identity.sanctions.ImposeSanction(
        sanctions_pb2.ImposeSanctionRequest(
            psn_no=PSN_NO,
            from_time=from_time,
            to_time=to_time,
            basis_clause="第四十一条",
            decision_no="2026-3",
            organ="医保局",
            opter="zhang01",
        )
    )
    await identity.rights.RequestCorrection(
        pb.RequestCorrectionRequest(
            psn_no=PSN_NO,
            field=pb.CORRECTION_FIELD_NAME,
            value="王建军",
            evidence=pb.CORRECTION_EVIDENCE_POLICE_STATEMENT,
        )
    )


async def test_a_person_gets_all_that_is_held_in_clear_and_others_masked(identity: Identity) -> None:
    """His certificate and name, every enrolment, fact, decision, request and look-up; of his wife a masked name."""
    await live(identity)
    document = await exported(identity)
    person = document["person"]
    assert (person["certno"], person["psn_name"], person["brdy"]) == (
        WANG["certno"],
        WANG["psn_name"],
        "1985-03-12",
    )
    assert person["registered_time"] == START.astimezone(SHANGHAI).isoformat()
    assert [(row["insuplc_admdvs"], row["psn_insu_stas"]) for row in document["enrolment_history"]] == [
        ("650100", "1"),
        ("650500", "1"),
        ("650500", "2"),
    ]
    assert [row["insuplc_admdvs"] for row in document["enrolments"]] == ["650500"]
    (fact,) = document["kinship_facts"]
    assert (fact["role"], fact["other_name_masked"], fact["from_date"]) == ("OTHER", "李*英", "2012-05-20")
    assert [row["decision_no"] for row in document["sanctions"]] == ["2026-3"]
    (correction,) = document["corrections"]
    assert (correction["field"], correction["value"], correction["state"]) == ("NAME", "王建军", "REQUESTED")
    assert document["attestations"][0]["used_for"] == "export"
    assert document["lookups"][-1]["purpose"] == "DATA_EXPORTED"
    text = json.dumps(document, ensure_ascii=False)
    assert not any(secret in text for secret in (LI["certno"], LI["psn_name"], LI["psn_no"]))


async def test_a_face_that_was_shown_for_a_ward_names_no_ward(identity: Identity) -> None:
    """What an attestation was used for stands in the document by its kind; whose ward it was, by a masked name."""
    scene = Scene(identity)
    await scene.begin()
    await identity.credentials.AddWard(await scene.add_ward())
    document = await exported(identity)
    assert [row["used_for"] for row in document["attestations"]] == ["ward", "export"]
    assert [row["other_name_masked"] for row in document["wards"]] == ["王*明"]
    assert not any(str(secret) in json.dumps(document, ensure_ascii=False) for secret in CHILD.values())


async def test_every_section_is_filled_from_the_tables(identity: Identity) -> None:
    """A row put into each further table comes out of its section."""
    await live(identity)
    await identity.hospital()
    await attested(identity, PSN_NO, Purpose.ADD_WARD)
    async with identity.database.driver_connection() as connection:
        await connection.execute(HELD.read_text(encoding="utf-8"))
    document = await exported(identity)
    empty = [name for name in document if document[name] == []]
    assert empty == ["former_certificates", "record_changes"]
    assert [
        (row["used_time"][:10], row["with_agent"], row["shown_by_guardian"]) for row in document["credentials_used"]
    ] == [("2026-07-01", False, True)]
    assert document["credentials_shown_for_wards"][0]["other_name_masked"] == "李*英"
    assert {row["role"] for row in document["wards"]} == {"GUARDIAN", "WARD"}
    assert [row["risk_event_id"] for row in document["risk_events"]] == ["00000000-0000-0000-0000-000000000001"]
    assert document["registry_rows"][0]["role"] == "PERSON"
    assert document["registry_rows"][0]["loaded_by"] == "operator:zhang01"
    assert document["ward_changes"][0]["changed_by"] == f"person:{PSN_NO}"


async def test_what_stood_under_a_doubles_number_is_his_as_well(identity: Identity) -> None:
    """Look-ups of a record that was merged into his stand in his list and in his document."""
    await identity.register(**WANG)
    newborn = {
        "psn_cert_type": person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
        "certno": "S650123456",
        "psn_name": WANG["psn_name"],
        "brdy": "1985-03-12",
        "gend": "1",
        "psn_no": "650100000000077",
    }
    await identity.register(**newborn)
    await identity.stub.GetPerson(identity_pb2.GetPersonRequest(psn_no="650100000000077", purpose="BEFORE_MERGING"))
    await identity.stub.MergePersons(
        identity_pb2.MergePersonsRequest(
            keep_psn_no=PSN_NO, double_psn_no="650100000000077", opter="zhang01", cause="重复登记"
        )
    )
    document = await exported(identity)
    assert [row["psn_no"] for row in document["merged_numbers"]] == ["650100000000077"]
    assert [row["certno"] for row in document["former_certificates"]] == ["S650123456"]
    assert "BEFORE_MERGING" in [row["purpose"] for row in document["lookups"]]
    listed = (await identity.rights.ListLookups(pb.ListLookupsRequest(psn_no=PSN_NO))).lookups
    assert "BEFORE_MERGING" in [each.purpose for each in listed]


@pytest.mark.parametrize(
    ("whose", "purpose", "reason"),
    [
        (None, Purpose.EXPORT_DATA, "ATTESTATION_UNKNOWN"),
        (LI["psn_no"], Purpose.EXPORT_DATA, "ATTESTATION_OF_ANOTHER_PERSON"),
        (PSN_NO, Purpose.REAL_NAME, "ATTESTATION_OF_ANOTHER_PURPOSE"),
    ],
)
async def test_without_his_own_face_for_this_nobody_gets_a_byte(
    identity: Identity, whose: str | None, purpose: Purpose, reason: str
) -> None:
    """The refusal comes before anything is shown, and no export is on record."""
    await identity.register(**WANG)
    await identity.register(**LI)
    attestation_id = NOWHERE if whose is None else await attested(identity, whose, purpose)
    assert (await refusal(pieces(identity, attestation_id)))[1] == reason
    async with identity.database.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM lookups WHERE purpose = 'DATA_EXPORTED'") == 0


async def test_a_face_counts_for_one_export(start_identity: StartIdentity) -> None:
    """Of six exports at once with one attestation over two replicas, one is answered; later ones are refused."""
    replicas = [await start_identity(), await start_identity()]
    await replicas[0].register(**WANG)
    attestation_id = await attested(replicas[0], PSN_NO)
    done = await asyncio.gather(*(pieces(replicas[n % 2], attestation_id) for n in range(6)), return_exceptions=True)
    refused = [each.reason for each in done if isinstance(each, Failure)]
    assert refused == ["ATTESTATION_USED"] * 5
    assert (await refusal(pieces(replicas[0], attestation_id)))[1] == "ATTESTATION_USED"


async def test_an_old_face_and_unknown_people_are_refused(identity: Identity) -> None:
    """The export follows the face at once; nobody unknown is exported."""
    await identity.register(**WANG)
    attestation_id = await attested(identity, PSN_NO)
    identity.clock.advance(minutes=31)
    assert (await refusal(pieces(identity, attestation_id)))[1] == "ATTESTATION_TOO_OLD"
    assert (await refusal(pieces(identity, attestation_id, "999900000000001")))[1] == "PERSON_UNKNOWN"


async def test_a_long_document_comes_in_pieces_of_one_moment(identity: Identity) -> None:
    """Twenty thousand look-ups are all there, in order, no message far beyond the piece's size."""
    await identity.register(**WANG)
    async with identity.database.driver_connection() as connection:
        await connection.execute(
            "INSERT INTO lookups (psn_no, purpose, asked_by, trace_id, looked_up_at)"
            " SELECT $1, 'P' || n, 'service:family', '', $2 FROM generate_series(1, 20000) AS n",
            PSN_NO,
            START,
        )
    came = await pieces(identity, await attested(identity, PSN_NO))
    document = json.loads(b"".join(came))
    assert [row["purpose"] for row in document["lookups"]] == [*(f"P{n}" for n in range(1, 20001)), "DATA_EXPORTED"]
    assert len(came) > 10
    assert max(map(len, came)) < 2 * PIECE_BYTES


async def long_record(identity: Identity) -> None:
    """Somebody of whom there is more than fits into the buffers on the way."""
    await identity.register(**WANG)
    async with identity.database.driver_connection() as connection:
        await connection.execute(
            "INSERT INTO lookups (psn_no, purpose, asked_by, trace_id, looked_up_at)"
            " SELECT $1, repeat('P', 60), 'service:family', '', $2 FROM generate_series(1, 50000)",
            PSN_NO,
            START,
        )


async def begun(identity: Identity, attestation_id: str) -> Any:  # noqa: ANN401  A call, whose class is generated.
    """An export of which the first piece has been read."""
    request = pb.ExportPersonRequest(psn_no=PSN_NO, attestation_id=attestation_id)
    call: Any = identity.rights.ExportPerson(request, timeout=60)
    await anext(aiter(call))
    return call


async def test_people_who_read_slowly_do_not_take_all_connections(identity: Identity) -> None:
    """Beyond three at once an export is refused as busy, its face unspent, and everybody else is served."""
    await long_record(identity)
    slow = [await begun(identity, await attested(identity, PSN_NO)) for _ in range(EXPORTS_MAX)]
    attestation_id = await attested(identity, PSN_NO)
    assert await refusal(pieces(identity, attestation_id)) == ("UNAVAILABLE", "SERVICE_BUSY", "")
    assert (await identity.person(PSN_NO)).psn_no == PSN_NO
    for call in slow:
        call.cancel()
    await rest(identity)
    assert json.loads(b"".join(await pieces(identity, attestation_id)))["person"]["psn_no"] == PSN_NO


async def test_nobody_may_take_longer_than_ten_minutes(identity: Identity) -> None:
    """Who stops reading keeps one of three places until his deadline: a far one is refused, the face unspent."""
    await identity.register(**WANG)
    attestation_id = await attested(identity, PSN_NO)
    request = pb.ExportPersonRequest(psn_no=PSN_NO, attestation_id=attestation_id)

    async def patient(seconds: float) -> int:
        return sum([len(answer.content) async for answer in identity.rights.ExportPerson(request, timeout=seconds)])

    assert (await refusal(patient(EXPORT_MAX_S + 60)))[:2] == ("INVALID_ARGUMENT", "DEADLINE_TOO_FAR")
    assert await patient(EXPORT_MAX_S) > 0


async def test_an_export_that_is_broken_off_leaves_no_transaction_behind(identity: Identity) -> None:
    """A person who closes the app after the first piece keeps no connection, more often than the pool has any."""
    await long_record(identity)
    for _ in range(12):
        (await begun(identity, await attested(identity, PSN_NO))).cancel()
        await rest(identity)
    assert (await identity.person(PSN_NO)).psn_no == PSN_NO


async def rest(identity: Identity) -> None:
    """Waits until no other connection of this database is inside a transaction."""
    for _ in range(200):
        async with identity.database.driver_connection() as connection:
            busy = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND pid <> pg_backend_pid() AND state LIKE 'idle in transaction%'"
            )
        if not busy:
            return
        await asyncio.sleep(0.05)
    pytest.fail("an export that was broken off keeps its transaction")
