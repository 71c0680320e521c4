"""Institutions through gRPC: described, decided about, shown and listed."""

from __future__ import annotations

import asyncio

import pytest

from gongji.identity.v1 import institutions_pb2, person_pb2
from tests.integration.identity.conftest import HOSPITAL, START, Identity, refusal

AGGREGATE = f"institution:{HOSPITAL}"
PLACE = person_pb2.Place(longitude_udeg=87_617_733, latitude_udeg=43_792_818, admdvs="650103")
INVALID = "INVALID_ARGUMENT"


async def shown(identity: Identity, code: str = HOSPITAL) -> institutions_pb2.GetInstitutionResponse:
    """The institution as an officer sees it."""
    return await identity.institutions.GetInstitution(institutions_pb2.GetInstitutionRequest(fixmedins_code=code))


async def test_an_institution_is_told_when_it_changes_and_only_then(identity: Identity) -> None:
    """Registering the same twice is one event; each change is one more, with the whole institution."""
    await identity.hospital()
    await identity.hospital()
    await identity.hospital(fixmedins_name="共济总医院")
    suspended = await identity.decide("SUSPENDED")
    await identity.decide("SUSPENDED")
    told = await identity.told(AGGREGATE, 3)
    assert [event.version for event in told] == [1, 2, 3]
    assert [event.institution_changed.institution.fixmedins_name for event in told] == [
        "共济医院",
        "共济总医院",
        "共济总医院",
    ]
    assert told[-1].institution_changed.institution == suspended


async def test_everything_that_describes_an_institution_is_kept_and_told(identity: Identity) -> None:
    """Level, agreement, capabilities and place come back as they went in, in the answer and in the event."""
    described = await identity.hospital(
        level=person_pb2.INSTITUTION_LEVEL_THREE,
        agreement_from_date="2026-01-01",
        agreement_to_date="2026-12-31",
        capabilities=[person_pb2.INSTITUTION_CAPABILITY_DUAL_CHANNEL, person_pb2.INSTITUTION_CAPABILITY_INPATIENT],
        place=PLACE,
    )
    assert (described.level, described.agreement_from_date, described.agreement_to_date, described.place) == (
        person_pb2.INSTITUTION_LEVEL_THREE,
        "2026-01-01",
        "2026-12-31",
        PLACE,
    )
    assert set(described.capabilities) == {
        person_pb2.INSTITUTION_CAPABILITY_INPATIENT,
        person_pb2.INSTITUTION_CAPABILITY_DUAL_CHANNEL,
    }
    assert (await shown(identity)).institution == described
    (event,) = await identity.told(AGGREGATE, 1)
    assert event.institution_changed.institution == described


async def test_each_decision_is_kept_with_who_took_it_and_why(identity: Identity) -> None:
    """Suspended, resumed, suspended again: the officer sees it all, the newest first."""
    await identity.hospital()
    await identity.decide("SUSPENDED", opter="zhang01", cause="串换药品")
    await identity.decide("DESIGNATED", opter="wang02", cause="整改完成")
    answer = await shown(identity)
    assert answer.institution.state == person_pb2.INSTITUTION_STATE_DESIGNATED
    assert [(each.state, each.opter, each.cause) for each in answer.decisions] == [
        (person_pb2.INSTITUTION_STATE_DESIGNATED, "wang02", "整改完成"),
        (person_pb2.INSTITUTION_STATE_SUSPENDED, "zhang01", "串换药品"),
        (person_pb2.INSTITUTION_STATE_DESIGNATED, "zhang01", ""),
    ]
    assert {each.decided_time.ToDatetime(START.tzinfo) for each in answer.decisions} == {START}


async def test_a_registration_does_not_change_the_state(identity: Identity) -> None:
    """Whoever imports a directory cannot suspend or resume anybody by it."""
    hospital = await identity.hospital()
    hospital.state = person_pb2.INSTITUTION_STATE_SUSPENDED
    again = institutions_pb2.RegisterInstitutionRequest(institution=hospital, opter="zhang01")
    refused = await refusal(identity.institutions.RegisterInstitution(again))
    assert refused[:2] == ("FAILED_PRECONDITION", "INSTITUTION_STATE_IS_DECIDED")


async def test_an_end_is_for_good(identity: Identity) -> None:
    """An ended institution is neither resumed nor described; ending it again changes nothing."""
    await identity.hospital()
    await identity.decide("ENDED")
    assert (await identity.decide("ENDED")).state == person_pb2.INSTITUTION_STATE_ENDED
    for again in (identity.decide("DESIGNATED"), identity.hospital("ENDED", fixmedins_name="新名")):
        assert (await refusal(again))[:2] == ("FAILED_PRECONDITION", "INSTITUTION_ENDED")


async def test_what_does_not_fit_together_is_refused_by_name(identity: Identity) -> None:
    """Dates in the wrong order, a day that is none, a pharmacy with beds, a place abroad or the wrong way round."""
    beds = [person_pb2.INSTITUTION_CAPABILITY_INPATIENT]
    pharmacy = {"fixmedins_code": "P65010000001", "fixmedins_name": "共济药店"}
    turned = person_pb2.Place(longitude_udeg=PLACE.latitude_udeg, latitude_udeg=PLACE.longitude_udeg)
    nowhere = person_pb2.Place(longitude_udeg=87_617_733, latitude_udeg=43_792_818, admdvs="990101")
    told = [
        await refusal(identity.hospital(**fields))
        for fields in (
            {"agreement_from_date": "2026-02-01", "agreement_to_date": "2026-01-31"},
            {"agreement_from_date": "2026-02-30"},
            {**pharmacy, "capabilities": beds},
            {"place": turned},
            {"place": nowhere},
            {"capabilities": beds * 2},
        )
    ]
    assert told == [
        (INVALID, "AGREEMENT_PERIOD_REVERSED", "institution.agreement_to_date"),
        (INVALID, "DATE_MALFORMED", "institution.agreement_from_date"),
        (INVALID, "CAPABILITY_NOT_FOR_INSTITUTION", "institution.capabilities"),
        (INVALID, "REQUEST_INVALID", "institution.place.longitude_udeg"),
        (INVALID, "POLICY_AREA_UNKNOWN", "institution.place.admdvs"),
        (INVALID, "REQUEST_INVALID", "institution.capabilities"),
    ]


@pytest.mark.parametrize("code", ["X65010000001", "H05010000001", "H6501000000", "H650100000011", "h65010000001", ""])
async def test_a_wrong_code_is_refused(identity: Identity, code: str) -> None:
    """A code is H or P, six digits of an area, five more."""
    assert (await refusal(identity.hospital(fixmedins_code=code)))[:2] == (INVALID, "REQUEST_INVALID")


async def test_a_name_that_cannot_be_shown_is_refused(identity: Identity) -> None:
    """A control character in a name or a cause is a named refusal, not an error."""
    refused = (INVALID, "TEXT_MALFORMED", "institution.fixmedins_name")
    assert await refusal(identity.hospital(fixmedins_name="共济\x00医院")) == refused
    missing = identity.institutions.RegisterInstitution(institutions_pb2.RegisterInstitutionRequest(opter="zhang01"))
    assert (await refusal(missing))[:2] == (INVALID, "REQUEST_INVALID")
    await identity.hospital()
    assert await refusal(identity.decide("SUSPENDED", cause="\x07")) == (INVALID, "TEXT_MALFORMED", "cause")
    assert (await refusal(identity.decide("SUSPENDED", opter="")))[:2] == (INVALID, "REQUEST_INVALID")


async def test_what_nobody_registered_is_unknown(identity: Identity) -> None:
    """To be shown or decided about, an institution must be there."""
    told = [await refusal(identity.decide(state)) for state in ("SUSPENDED", "DESIGNATED", "ENDED")]
    told.append(await refusal(shown(identity)))
    assert told == [("NOT_FOUND", "INSTITUTION_UNKNOWN", "fixmedins_code")] * 4


async def test_an_areas_institutions_are_listed_page_by_page(identity: Identity) -> None:
    """Hospitals before pharmacies, each once; a whole province by its own code; one state alone if asked."""
    codes = ["H65010000001", "H65010000002", "H65050000001", "P65010000009", "P65020000001", "H11010000001"]
    for code in codes:
        await identity.hospital(fixmedins_code=code)
    await identity.decide("SUSPENDED", fixmedins_code="H65010000002")

    async def listed(**asked: object) -> list[str]:
        found, token = [], ""
        while True:
            request = institutions_pb2.ListInstitutionsRequest(page_size=2, page_token=token, **asked)  # type: ignore[arg-type]  # Any field.
            answer = await identity.institutions.ListInstitutions(request)
            assert len(answer.institutions) <= 2
            found += [each.fixmedins_code for each in answer.institutions]
            token = answer.next_page_token
            if not token:
                return found

    assert await listed(admdvs="650100") == ["H65010000001", "H65010000002", "P65010000009"]
    assert await listed(admdvs="650000") == [
        "H65010000001",
        "H65010000002",
        "H65050000001",
        "P65010000009",
        "P65020000001",
    ]
    assert await listed(admdvs="650100", state=person_pb2.INSTITUTION_STATE_SUSPENDED) == ["H65010000002"]
    assert await listed(admdvs="320100") == []
    forged = institutions_pb2.ListInstitutionsRequest(admdvs="650100", page_token="x")  # noqa: S106  No password.
    assert (await refusal(identity.institutions.ListInstitutions(forged)))[:2] == (INVALID, "PAGE_TOKEN_MALFORMED")


async def test_registered_many_times_at_once_it_is_one(identity: Identity) -> None:
    """Twenty registrations at once that differ in two ways end in one row and versions in a row."""
    names = ["共济医院", "共济总医院"]
    await asyncio.gather(*(identity.hospital(fixmedins_name=names[n % 2]) for n in range(20)))
    latest = (await identity.snapshot())[AGGREGATE]
    told = await identity.told(AGGREGATE, latest.version)
    assert sorted(event.version for event in told) == list(range(1, latest.version + 1))
    assert max(told, key=lambda event: event.version) == latest
    assert len((await shown(identity)).decisions) == latest.version
