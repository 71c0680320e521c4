"""Where bills are taken: institutions within their agreement and without sanction, terminals with somebody at work."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from gongji.family.v1 import binding_pb2
from gongji.identity.v1.person_pb2 import INSTITUTION_STATE_SUSPENDED
from gongji.settlement.v1 import events_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care
from gongji_terminal.msgid import next_msgid
from kernel.clock import business_date
from kernel.ids import FixmedinsCode
from services.settlement.operations.refusing import TOLD_OF_A_TOKEN_MAX
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk.test_settle import family, planned
from tests.integration.settlement.desk.town import HOSPITAL, OTHER_HOSPITAL, URUMQI, Town, token

DAY: Final = timedelta(days=1)


def period(begins: timedelta, ends: timedelta) -> tuple[datetime, datetime]:
    """From and to, counted from now."""
    now = datetime.now(UTC)
    return now + begins, now + ends


def days(begins: int, ends: int) -> tuple[str, str]:
    """An agreement's first and last day, counted from today."""
    today = business_date(datetime.now(UTC))
    return (today + begins * DAY).isoformat(), (today + ends * DAY).isoformat()


async def refused(town: Town, code: str, **changes: Any) -> str:  # noqa: ANN401  Any field of the request.
    """By which name a bill of this institution is refused; empty if it is planned."""
    patient = await town.person(past=1_000)
    asked = town.desk.PreSettle(town.presented(patient, 1_000, fixmedins_code=code, **changes), timeout=60)
    try:
        await asked
    except Exception:  # noqa: BLE001  What it is, refused() says.
        return await town.refused(asked)
    return ""


@pytest.mark.parametrize(
    ("number", "told", "infno", "reason"),
    [
        (21, {"agreement": days(-30, -1)}, pb.INFNO_2206, "INSTITUTION_NOT_DESIGNATED"),
        (22, {"agreement": days(1, 30)}, pb.INFNO_2206, "INSTITUTION_NOT_DESIGNATED"),
        (23, {"agreement": days(0, 0)}, pb.INFNO_2206, ""),
        (24, {"sanctions": [period(-DAY, 90 * DAY)]}, pb.INFNO_2206, "INSTITUTION_SANCTIONED"),
        (25, {"sanctions": [period(DAY, 91 * DAY)]}, pb.INFNO_2206, ""),
        (26, {"inpatient": False}, pb.INFNO_2303, "TRANSACTION_NOT_FOR_INSTITUTION"),
        (27, {"inpatient": False}, pb.INFNO_2206, ""),
    ],
    ids=["over", "to come", "one day", "sanctioned", "sanctioned from tomorrow", "no beds", "outpatient"],
)
async def test_an_institution_takes_bills_as_far_as_identity_tells(
    town: Town,
    number: int,
    told: dict[str, Any],
    infno: pb.Infno.ValueType,
    reason: str,
) -> None:
    """Agreement, sanctions and capabilities are judged at the moment of the bill."""
    code = f"H650100000{number}"
    await town.opens(code, **told)
    assert await refused(town, code, infno=infno) == reason


async def test_a_sanction_of_an_institution_that_is_lifted_counts_no_more(town: Town) -> None:
    """The next version tells of no sanction; the one after of another."""
    code = "H65010000031"
    sanctions: Sequence[tuple[datetime, datetime]]
    told = []
    for version, sanctions in enumerate(([period(-DAY, DAY)], [], [period(-2 * DAY, DAY)]), 1):
        await town.tell(said.institution(code, version=version, sanctions=sanctions))
        if version == 1:
            await town.tell(said.terminal(code))
        told.append(await refused(town, code))
    assert told == ["INSTITUTION_SANCTIONED", "", "INSTITUTION_SANCTIONED"]


async def test_bills_are_planned_where_somebody_is_signed_in(town: Town) -> None:
    """Signed out, signed in, over by itself, out of service: each as the latest event says."""
    told = []
    events = (
        said.terminal(HOSPITAL, "T71", signed_in=False),
        said.terminal(HOSPITAL, "T71", version=2),
        said.terminal(HOSPITAL, "T71", version=3),
        said.terminal(HOSPITAL, "T71", version=4, signed_in=False, in_service=False),
    )
    events[2].terminal_changed.terminal.sign_ends_time.FromDatetime(datetime.now(UTC) - timedelta(seconds=1))
    for event in events:
        await town.tell(event)
        patient = await town.person(past=1_000)
        request = town.presented(
            patient, 1_000, terminal_no="T71", mdtrt_id="m1", ec_token=token(patient, terminal_no="T71")
        )
        try:
            await town.desk.PreSettle(request, timeout=60)
            told.append("")
        except Exception:  # noqa: BLE001  What it is, refused() says.
            told.append(await town.refused(town.desk.PreSettle(request, timeout=60)))
    assert told == ["TERMINAL_NOT_SIGNED_IN", "", "TERMINAL_NOT_SIGNED_IN", "TERMINAL_UNKNOWN"]


async def test_refunds_and_queries_need_nobody_signed_in(town: Town) -> None:
    """What was paid at a terminal is asked for and taken back there after it was signed out."""
    code = "H65010000041"
    await town.opens(code)
    patient = await town.person(past=1_000)
    async with town.terminal(fixmedins_code=code) as (terminal, _):
        plan = await terminal.pre_settle(
            care=Care.OUTPATIENT,
            psn_no=patient,
            ec_token=token(patient, fixmedins_code=code),
            mdtrt_id="m1",
            bill=pb.Bill(med_type="11", medfee_sumamt=700, inscp_scp_amt=700),
        )
        paid = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(paid, pb.Settlement)
        await town.tell(said.terminal(code, version=2, signed_in=False))
        await town.tell(said.institution(code, version=2, sanctions=[period(-DAY, DAY)]))
        assert (await terminal.get(setl_id=paid.setl_id)).settlement.state == pb.SETTLEMENT_STATE_SETTLED
        back = await terminal.revoke(paid.setl_id, care=Care.OUTPATIENT)
    assert isinstance(back, pb.Settlement)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (1_000, 0)


@pytest.mark.parametrize("who", ["patient", "funder", "institution"])
async def test_a_plan_made_before_a_sanction_is_not_paid_after_it(town: Town, who: str) -> None:
    """Settle of it is PLAN_STALE and takes nothing; a new plan, or planning anew, says whose sanction it is."""
    code = f"H6501000005{['patient', 'funder', 'institution'].index(who)}"
    await town.opens(code)
    patient, near, _ = await family(town)
    visit = town.presented(patient, 6_000, fixmedins_code=code)
    plan = (await town.desk.PreSettle(visit, timeout=60)).plan
    sanctioned = [period(-DAY, 90 * DAY)]
    if who == "institution":
        await town.tell(said.institution(code, version=2, sanctions=sanctioned))
    else:
        sanctioned_person = patient if who == "patient" else near
        await town.tell(said.person(sanctioned_person, ("310", URUMQI, "1"), version=2, sanctions=sanctioned))
    async with town.terminal(fixmedins_code=code) as (terminal, _):
        paying_it = terminal.settle(plan, care=Care.OUTPATIENT)
        if who == "funder":
            replan = await paying_it
            assert isinstance(replan, pb.Replan)
            assert (replan.reason, [one.psn_no for one in replan.plan.skipped]) == ("PLAN_STALE", [near])
        else:
            assert await town.refused(paying_it) == "PLAN_STALE"
    again = town.desk.PreSettle(visit, timeout=60)
    if who == "funder":
        assert [(skipped.psn_no, skipped.reason) for skipped in (await again).plan.skipped] == [(near, "SANCTIONED")]
    else:
        assert await town.refused(again) == f"{who.upper()}_SANCTIONED"
    assert await town.balance(near, URUMQI) == (2_000, 0)


async def told_of(town: Town, patient: str) -> list[events_pb2.CredentialRefused]:
    """What the outbox tells of credentials refused for this patient."""
    async with town.database.driver_connection() as connection:
        rows = await connection.fetch(
            "SELECT payload, occurred_at FROM outbox WHERE subject = 'credential_refused' ORDER BY id"
        )
    events = [events_pb2.SettlementEvent.FromString(row["payload"]) for row in rows]
    assert all(event.aggregate_id == f"refusal:{event.event_id}" for event in events)
    return [event.credential_refused for event in events if event.credential_refused.patient_psn_no == patient]


async def test_a_credential_presented_for_another_is_told_once(town: Town) -> None:
    """Who presented whose at which terminal, and why it did not count; asked again with the same token, nothing new."""
    patient, funder = await town.person(past=1_000), await town.person(past=1_000)
    await town.bind(funder, patient, URUMQI, order=1)
    stranger = "650100999999998"
    requests = [
        town.presented(patient, 1_000, ec_token=token(funder)),
        town.presented(patient, 1_000, ec_token=token(stranger)),
        town.presented(patient, 1_000, ec_token=token(patient, fixmedins_code=OTHER_HOSPITAL)),
    ]
    for request in [*requests, *requests]:
        await town.refused(town.desk.PreSettle(request, timeout=60))
    told = await told_of(town, patient)
    assert [(each.presented_psn_no, each.reason) for each in told] == [
        (funder, "FUNDER_CREDENTIAL_USED"),
        (stranger, "CREDENTIAL_NOT_OF_PATIENT"),
        (patient, "EC_TOKEN_OF_ANOTHER_TERMINAL"),
    ]
    assert {(each.fixmedins_code, each.terminal_no) for each in told} == {(HOSPITAL, "T01")}


async def test_a_bill_that_was_planned_before_may_be_paid_unless_a_sanction_stops_it(town: Town) -> None:
    """Signed out, suspended: the plan's ten minutes stand. Sanctioned: not even they do."""
    code, patient = "H65010000088", await town.person(past=1_000)
    await town.opens(code)
    planned_before = (await town.desk.PreSettle(town.presented(patient, 100, fixmedins_code=code), timeout=60)).plan
    await town.tell(said.terminal(code, version=2, signed_in=False, in_service=False))
    await town.tell(said.institution(code, INSTITUTION_STATE_SUSPENDED, version=2))
    settled = await town.desk.Settle(paying(planned_before, code, by=97), timeout=60)
    assert settled.settlement.psn_no == patient
    await town.settled_down()
    now = datetime.now(UTC)
    sanctioned = said.institution(
        code, INSTITUTION_STATE_SUSPENDED, version=3, sanctions=[(now - timedelta(minutes=1), now + timedelta(days=90))]
    )
    other = await town.person(past=1_000)
    await town.tell(said.institution(code, version=3))
    await town.tell(said.terminal(code, version=3))
    plan = (await town.desk.PreSettle(town.presented(other, 100, fixmedins_code=code), timeout=60)).plan
    sanctioned.version = 4
    await town.tell(sanctioned)
    assert await town.refused(town.desk.Settle(paying(plan, code, by=99), timeout=60)) == "PLAN_STALE"
    revoked = pb.RevokeSettleRequest(
        key=pb.RequestKey(
            fixmedins_code=code,
            infno=pb.INFNO_2208,
            msgid=next_msgid(FixmedinsCode(code), 98, now=datetime.now(UTC)),
        ),
        setl_id=settled.settlement.setl_id,
    )
    await town.desk.RevokeSettle(revoked, timeout=60)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (1_000, 0)


def paying(plan: pb.Plan, code: str, *, by: int) -> pb.SettleRequest:
    """Pay exactly this plan, at this hospital; by a terminal of its own, since its ids of one second begin anew."""
    msgid = next_msgid(FixmedinsCode(code), by, now=datetime.now(UTC))
    key = pb.RequestKey(fixmedins_code=code, infno=pb.INFNO_2207, msgid=msgid)
    return pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest)


async def test_one_token_tried_on_everybody_is_told_of_so_often_and_no_oftener(town: Town) -> None:
    """Whoever holds one stolen token must not fill the officers' queue with it; another token is told of as before."""
    stolen, patients = token("650100999999997"), [f"65010088{number:07d}" for number in range(TOLD_OF_A_TOKEN_MAX + 5)]
    for patient in patients:
        refused = town.desk.PreSettle(town.presented(patient, 1_000, ec_token=stolen), timeout=60)
        assert await town.refused(refused) == "CREDENTIAL_NOT_OF_PATIENT"
    other = town.presented(patients[-1], 1_000, ec_token=token("650100999999996"))
    await town.refused(town.desk.PreSettle(other, timeout=60))
    told = [len(await told_of(town, patient)) for patient in patients]
    assert told == [1] * TOLD_OF_A_TOKEN_MAX + [0] * 4 + [1]


async def test_rubbish_is_told_to_nobody(town: Town) -> None:
    """A forged or expired token says nothing of anyone."""
    patient = await town.person(past=1_000)
    for bad in ("x.y.z", token(patient, kid="another-key"), token(patient, exp=1)):
        await town.refused(town.desk.PreSettle(town.presented(patient, 1_000, ec_token=bad), timeout=60))
    assert await told_of(town, patient) == []


async def test_an_ended_funder_is_still_told_of_as_one(town: Town) -> None:
    """The binding is over; the family's code at the counter is not."""
    patient, funder = await town.person(past=1_000), await town.person(past=1_000)
    await town.tell(said.binding(funder, patient, area=URUMQI, state=binding_pb2.BINDING_STATE_UNBOUND))
    await town.refused(town.desk.PreSettle(town.presented(patient, 1_000, ec_token=token(funder)), timeout=60))
    assert [each.reason for each in await told_of(town, patient)] == ["FUNDER_CREDENTIAL_USED"]


async def test_a_terminal_waits_for_its_own_sign_in_to_be_heard(town: Town) -> None:
    """So soon after it signed in, it asks again instead of believing that nobody is there."""
    patient, near, _ = await family(town)
    await town.tell(said.terminal(HOSPITAL, "T01", version=10, signed_in=False))
    try:
        async with town.terminal() as (terminal, _journal):
            assert await town.refused(planned(terminal, patient, 6_000)) == "TERMINAL_NOT_SIGNED_IN"
            terminal._signed_in_at = float("inf")  # As if identity had just answered its SignIn.
            asked = asyncio.create_task(planned(terminal, patient, 6_000))
            await town.tell(said.terminal(HOSPITAL, "T01", version=11))
            assert near in {funder.psn_no for funder in (await asked).funders}
    finally:
        await town.tell(said.terminal(HOSPITAL, "T01", version=12))
