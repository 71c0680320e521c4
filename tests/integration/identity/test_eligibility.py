"""2001 out of what is on record: today, on a past day, at an institution."""

from __future__ import annotations

from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.identity.v1 import eligibility_pb2 as pb
from gongji.identity.v1 import identity_pb2, person_pb2, sanctions_pb2
from tests.integration.identity.conftest import HOSPITAL, START, WANG, Identity, refusal

PSN_NO = WANG["psn_no"]
DOUBLE = "650100000000077"


async def enrol(identity: Identity, insutype: str = "310") -> None:
    """Insured there, normally."""
    await identity.stub.Enrol(identity_pb2.EnrolRequest(psn_no=PSN_NO, insutype=insutype, insuplc_admdvs="650100"))


async def status(identity: Identity, psn_insu_stas: str) -> None:
    """Paused or ended from now on."""
    await identity.stub.ChangeInsuranceStatus(
        identity_pb2.ChangeInsuranceStatusRequest(psn_no=PSN_NO, insutype="310", psn_insu_stas=psn_insu_stas)
    )


async def against(identity: Identity, on_date: str = "", fixmedins_code: str = "") -> dict[str, list[str]]:
    """The reasons against each use that is not allowed; flag and texts fit them."""
    answer = await identity.stub.CheckEligibility(
        pb.CheckEligibilityRequest(psn_no=PSN_NO, on_date=on_date, fixmedins_code=fixmedins_code)
    )
    assert [each.use for each in answer.eligibilities] == [
        pb.USE_FUND,
        pb.USE_BENEFIT,
        pb.USE_NETWORKED_SETTLEMENT,
    ]
    found = {}
    for each in answer.eligibilities:
        reasons = [pb.HindranceReason.Name(one.reason).removeprefix("HINDRANCE_REASON_") for one in each.hindrances]
        assert each.trt_enjymnt_flag == ("0" if reasons else "1")
        assert bool(each.trt_chk_rslt) is bool(reasons)
        assert all(one.rule and one.text_zh and one.text_en for one in each.hindrances)
        if reasons:
            found[pb.Use.Name(each.use).removeprefix("USE_")] = reasons
    return found


def all_of(reason: str) -> dict[str, list[str]]:
    """The same reason against everything."""
    return {use: [reason] for use in ("FUND", "BENEFIT", "NETWORKED_SETTLEMENT")}


async def test_a_past_day_is_judged_by_how_somebody_was_insured_then(identity: Identity) -> None:
    """Enrolled on the 1st, paused on the 11th, taken up again on the 21st: each day has its own answer."""
    await identity.register(**WANG)
    await enrol(identity)
    identity.clock.advance(days=10)
    await status(identity, "2")
    identity.clock.advance(days=10)
    await enrol(identity)
    assert await against(identity) == {}
    assert await against(identity, "2026-06-30") == all_of("NOT_ENROLLED")
    assert await against(identity, "2026-07-01") == {}
    assert await against(identity, "2026-07-10") == {}
    assert await against(identity, "2026-07-11") == all_of("INSURANCE_PAUSED")
    assert await against(identity, "2026-07-20") == all_of("INSURANCE_PAUSED")
    assert await against(identity, "2026-07-21") == {}
    assert await against(identity, "2030-01-01") == {}


async def test_a_resident_benefits_but_does_not_fund(identity: Identity) -> None:
    """Insured as 390 alone, somebody has no account to pay from."""
    await identity.register(**WANG)
    await enrol(identity, "390")
    assert await against(identity) == {"FUND": ["NOT_ENROLLED"]}


async def test_the_dead_neither_fund_nor_benefit_from_their_day_on(identity: Identity) -> None:
    """The day before a death that was reported later is answered as it was."""
    await identity.register(**WANG)
    await enrol(identity)
    identity.clock.advance(days=10)
    await identity.stub.ReportDeath(
        identity_pb2.ReportDeathRequest(
            psn_no=PSN_NO,
            death_date="2026-07-05",
            evidence=identity_pb2.DEATH_EVIDENCE_MEDICAL_CERTIFICATE,
            opter="zhang01",
        )
    )
    assert await against(identity, "2026-07-04") == {}
    assert await against(identity, "2026-07-05") == all_of("DECEASED")
    assert {use: reasons[0] for use, reasons in (await against(identity)).items()} == dict.fromkeys(
        ("FUND", "BENEFIT", "NETWORKED_SETTLEMENT"), "DECEASED"
    )


async def test_a_sanction_is_told_with_its_clause_and_its_end(identity: Identity) -> None:
    """From the decision's day until the day of its end, everything online is refused."""
    await identity.register(**WANG)
    await enrol(identity)
    from_time, to_time = Timestamp(), Timestamp()
    from_time.FromDatetime(START + timedelta(days=2))
    to_time.FromDatetime(START + timedelta(days=100))
    await identity.sanctions.ImposeSanction(
        sanctions_pb2.ImposeSanctionRequest(
            psn_no=PSN_NO,
            from_time=from_time,
            to_time=to_time,
            basis_clause="第四十一条第一款",
            decision_no="2026-3",
            organ="乌鲁木齐市医疗保障局",
            opter="zhang01",
        )
    )
    assert await against(identity) == {}
    assert await against(identity, "2026-07-03") == all_of("SANCTIONED")
    assert await against(identity, "2026-10-09") == {}
    answer = await identity.stub.CheckEligibility(pb.CheckEligibilityRequest(psn_no=PSN_NO, on_date="2026-07-03"))
    (hindrance,) = answer.eligibilities[0].hindrances
    assert (hindrance.rule, hindrance.until_date) == ("第四十一条第一款", "2026-10-09")


async def test_an_institution_counts_where_one_is_named(identity: Identity) -> None:
    """Unknown, then designated, then asked about before its agreement began."""
    await identity.register(**WANG)
    await enrol(identity)
    assert await against(identity, "", HOSPITAL) == {"NETWORKED_SETTLEMENT": ["INSTITUTION_UNKNOWN"]}
    await identity.hospital(agreement_from_date="2026-07-01", agreement_to_date="2026-12-31")
    assert await against(identity, "", HOSPITAL) == {}
    assert await against(identity, "2027-01-01", HOSPITAL) == {"NETWORKED_SETTLEMENT": ["INSTITUTION_NOT_DESIGNATED"]}


async def test_an_institution_counts_as_it_stood_on_that_day(identity: Identity) -> None:
    """Suspended on the 11th, designated on the 21st, ended on the 31st; before it was typed in, by its agreement."""
    await identity.register(**WANG)
    await enrol(identity)
    identity.clock.advance(days=5)
    await identity.hospital(agreement_from_date="2026-07-01")
    for state in ("SUSPENDED", "DESIGNATED", "ENDED"):
        identity.clock.advance(days=5 if state == "SUSPENDED" else 10)
        await identity.decide(state)
    refused = {"NETWORKED_SETTLEMENT": ["INSTITUTION_NOT_DESIGNATED"]}
    expected = {
        **{day: {} for day in ("2026-07-01", "2026-07-10", "2026-07-21", "2026-07-30")},
        **dict.fromkeys(("2026-07-11", "2026-07-20", "2026-07-31", ""), refused),
    }
    assert {day: await against(identity, day, HOSPITAL) for day in expected} == expected


async def test_what_a_double_was_insured_for_before_the_merge_was_his(identity: Identity) -> None:
    """Asked about the past, he was insured under either number; from the merge on only his own enrolments count."""
    await identity.register(**WANG)
    await identity.register(
        psn_cert_type=person_pb2.CERTIFICATE_TYPE_BIRTH_CERTIFICATE,
        certno="S650123456",
        psn_name=WANG["psn_name"],
        brdy="1985-03-12",
        gend="1",
        psn_no=DOUBLE,
    )
    await identity.stub.Enrol(identity_pb2.EnrolRequest(psn_no=DOUBLE, insutype="310", insuplc_admdvs="650100"))
    identity.clock.advance(days=10)
    await identity.stub.MergePersons(
        identity_pb2.MergePersonsRequest(keep_psn_no=PSN_NO, double_psn_no=DOUBLE, opter="zhang01", cause="重复登记")
    )
    assert await against(identity, "2026-06-30") == all_of("NOT_ENROLLED")
    assert await against(identity, "2026-07-05") == {}
    assert await against(identity) == all_of("NOT_ENROLLED")
    async with identity.database.driver_connection() as connection:
        looked = await connection.fetch("SELECT DISTINCT psn_no FROM lookups WHERE purpose = 'ELIGIBILITY_CHECKED'")
    assert [row["psn_no"] for row in looked] == [PSN_NO]


async def test_refusals_and_the_look_up(identity: Identity) -> None:
    """Nobody unknown is judged, no day that is none; who was judged was looked up."""
    await identity.register(**WANG)
    unknown = pb.CheckEligibilityRequest(psn_no="999900000000001")
    assert await refusal(identity.stub.CheckEligibility(unknown)) == ("NOT_FOUND", "PERSON_UNKNOWN", "psn_no")
    no_day = pb.CheckEligibilityRequest(psn_no=PSN_NO, on_date="2026-02-30")
    assert await refusal(identity.stub.CheckEligibility(no_day)) == ("INVALID_ARGUMENT", "DATE_MALFORMED", "on_date")
    await against(identity)
    async with identity.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT psn_no, purpose FROM lookups")
    assert [tuple(row) for row in rows] == [(PSN_NO, "ELIGIBILITY_CHECKED")]
