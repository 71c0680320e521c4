"""A relative's credential at the counter ends as a risk event on an officer's table, and nowhere else (domain §8).

Real processes: settlement refuses and tells, identity hears it over NATS and looks at it by its own clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import pytest

from chassis.rpc.client import channel
from gongji.identity.v1 import risk_pb2, risk_pb2_grpc, sanctions_pb2
from gongji.notify.v1 import notify_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from tests.e2e import asking
from tests.e2e.town import HAMI, HOSPITAL, OUTPATIENT, TESTER, Resident, Town, new_resident

SEEN_MAX_S: Final = 60.0
"""A sweep of identity's as it ships, and a machine that is busy."""
POLL_S: Final = 0.2
TERMINAL: Final = "T01"
CONFIRMED, DISMISSED = risk_pb2.RISK_STATE_CONFIRMED, risk_pb2.RISK_STATE_DISMISSED


@pytest.fixture
async def officer(town: Town) -> AsyncIterator[risk_pb2_grpc.RiskServiceAsyncStub]:
    """Whoever judges what looks like misuse."""
    async with channel(town.world.address("identity"), caller=TESTER, call_timeout_s=60) as identity:
        yield risk_pb2_grpc.RiskServiceStub(identity)


async def shown_for(town: Town, patient: Resident, holder: Resident) -> str:
    """The reason by which a bill of the patient is refused at the counter where the holder's code was decoded."""
    mdtrt_id = f"M{uuid4().hex[:20]}"
    visit = pb.PreSettleRequest(
        fixmedins_code=HOSPITAL,
        infno=pb.INFNO_2206,
        terminal_no=TERMINAL,
        psn_no=patient.psn_no,
        ec_token=await town.hospital.decode(holder.psn_no, mdtrt_id=mdtrt_id),
        mdtrt_id=mdtrt_id,
        bill=pb.Bill(med_type=OUTPATIENT, medfee_sumamt=6_000, inscp_scp_amt=6_000),
    )
    reasons = {(await asking.refusal(town.desks.settlement.PreSettle(visit))).reason for _ in range(3)}
    assert len(reasons) == 1
    return reasons.pop()


async def raised(officer: risk_pb2_grpc.RiskServiceAsyncStub, holder: Resident) -> risk_pb2.RiskEvent:
    """The one risk event about this person, as soon as there is one."""
    request = risk_pb2.ListRiskEventsRequest(psn_no=holder.psn_no)
    async with asyncio.timeout(SEEN_MAX_S):
        while not (found := (await officer.ListRiskEvents(request)).risk_events):  # noqa: ASYNC110  Another process's.
            await asyncio.sleep(POLL_S)
    (event,) = found
    return event


def judged(
    event: risk_pb2.RiskEvent, state: risk_pb2.RiskState.ValueType, opter: str
) -> risk_pb2.DecideRiskEventRequest:
    """An officer's judgement."""
    return risk_pb2.DecideRiskEventRequest(
        risk_event_id=event.risk_event_id, state=state, cause="已电话核实", opter=opter
    )


async def test_a_funders_code_shown_for_the_patient_reaches_an_officer_and_nothing_else_follows(
    town: Town, officer: risk_pb2_grpc.RiskServiceAsyncStub
) -> None:
    """Sent three times it is one piece of evidence; the holder is told, and the money of both is as free as before."""
    family = await town.pair()
    patient, (funder,) = family.patient, family.funders
    assert await shown_for(town, patient, funder) == "FUNDER_CREDENTIAL_USED"
    event = await raised(officer, funder)
    assert (event.kind, event.state) == (risk_pb2.RISK_KIND_OTHERS_CREDENTIAL, risk_pb2.RISK_STATE_OPEN)
    shown = await officer.GetRiskEvent(risk_pb2.GetRiskEventRequest(risk_event_id=event.risk_event_id))
    assert [(one.patient_psn_no, one.fixmedins_code, one.terminal_no, one.reason) for one in shown.evidence] == [
        (patient.psn_no, HOSPITAL, TERMINAL, "FUNDER_CREDENTIAL_USED")
    ]
    await officer.DecideRiskEvent(judged(event, CONFIRMED, "zhang01"))
    other = await asking.refusal(officer.DecideRiskEvent(judged(event, DISMISSED, "li02")))
    assert other.reason == "RISK_EVENT_DECIDED"
    for member in family.members:
        sanctions = sanctions_pb2.ListSanctionsRequest(psn_no=member.psn_no, past=True)
        assert not (await town.desks.sanctions.ListSanctions(sanctions)).sanctions
    paid = await town.paid(family, 6_000)
    assert [one.psn_no for one in paid.funders] == [funder.psn_no]
    await town.at_rest()
    assert [notify_pb2.TOPIC_UNUSUAL_USE in await topics(town, one) for one in (funder, patient)] == [True, False]


async def test_a_strangers_code_shown_for_the_patient_is_about_the_stranger(
    town: Town, officer: risk_pb2_grpc.RiskServiceAsyncStub
) -> None:
    """He is not bound for the patient, so the refusal has another name; whose code it was is suspected all the same."""
    family = await town.family(new_resident(past_fen=1_000))
    stranger = (await town.family(new_resident(HAMI))).patient
    assert await shown_for(town, family.patient, stranger) == "CREDENTIAL_NOT_OF_PATIENT"
    event = await raised(officer, stranger)
    assert (event.kind, event.evidence_count) == (risk_pb2.RISK_KIND_OTHERS_CREDENTIAL, 1)
    about = risk_pb2.ListRiskEventsRequest(psn_no=family.patient.psn_no)
    assert not (await officer.ListRiskEvents(about)).risk_events


async def topics(town: Town, resident: Resident) -> list[notify_pb2.Topic.ValueType]:
    """What his messages are about, once every room has heard the others."""
    await town.told()
    return [message.topic for message in await town.messages(resident)]
