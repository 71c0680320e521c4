"""A sanction counts everywhere soon after its decision, and nobody funds on knowledge that is too old (domain §8).

Real processes; settlement reaches NATS through a line that the tests can break.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median_low
from typing import Final
from uuid import uuid4

import pytest

from gongji.identity.v1 import sanctions_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from kernel.failures import Failure
from tests.conftest import MakeWorld
from tests.e2e import asking
from tests.e2e.town import AREAS, HOSPITAL, OUTPATIENT, Family, Resident, Town, town_in, written_policies
from tests.fault.tcp_proxy import Line, TcpProxy, proxy_before, url_through
from tests.servers import new_folder

BY_NATS_MAX_S: Final = 1.0
"""Of the quicker half of several: a tenth is usual, but a machine with much else to do pauses now and then."""
BY_SWEEP_MAX_S: Final = 8.0
"""The sweep's five seconds, and such a pause."""
SEEN_MAX_S: Final = 15.0
TO_COME_S: Final = 8.0
"""Long enough to plan a bill before."""
POLL_S: Final = 0.02
QUICK: Final = {"GONGJI_IDENTITY_SWEEP_S": "0.5", "GONGJI_IDENTITY_AGE_MAX_S": "3"}
QUICK_AGE_MAX_S: Final = 3.0
PAUSED: Final = "MUTUAL_AID_PAUSED"
SETTLEMENT: Final = "settlement"
BILL_FEN: Final = 6_000


@dataclass
class Ground:
    """A town, and the line by which its settlement reaches NATS."""

    town: Town
    line: TcpProxy

    async def settlement_restarted(self, **more: str) -> None:
        """Settlement anew, behind the line, with more of its settings."""
        through = url_through(self.line, self.town.world.nats_url)
        await self.town.world.restart_process(SETTLEMENT, environment={"GONGJI_NATS_URL": through, **more})
        await self.town.reached()


@pytest.fixture(scope="module")
async def ground(module_world: MakeWorld) -> AsyncIterator[Ground]:
    """Processes of these tests alone."""
    folder = new_folder("sanctions")
    world = await module_world(areas=AREAS, policies=written_policies(folder / "policies"))
    async with proxy_before(world.nats_url) as line, town_in(world) as town:
        ground = Ground(town, line)
        await ground.settlement_restarted()
        yield ground
        assert town.personal_in_logs() == {}


@dataclass
class AtTheDesk:
    """A patient at the counter, his credential decoded: the same visit may be planned again and again."""

    town: Town
    family: Family
    visit: pb.PreSettleRequest

    @classmethod
    async def of(cls, town: Town, family: Family) -> AtTheDesk:
        """He shows his code."""
        mdtrt_id = f"M{uuid4().hex[:20]}"
        visit = pb.PreSettleRequest(
            fixmedins_code=HOSPITAL,
            infno=pb.INFNO_2206,
            terminal_no="T01",
            psn_no=family.patient.psn_no,
            ec_token=await town.hospital.decode(family.patient.psn_no, mdtrt_id=mdtrt_id),
            mdtrt_id=mdtrt_id,
            bill=pb.Bill(med_type=OUTPATIENT, medfee_sumamt=BILL_FEN, inscp_scp_amt=BILL_FEN),
        )
        return cls(town, family, visit)

    async def planned(self) -> pb.Plan:
        """The visit's plan as of now."""
        plan: pb.Plan = (await self.town.desks.settlement.PreSettle(self.visit)).plan
        return plan

    async def says(self) -> list[tuple[str, str]]:
        """Who is left out and why; of a refusal its reason."""
        try:
            return [(each.psn_no, each.reason) for each in (await self.planned()).skipped]
        except Failure as refusal:
            return [("", refusal.reason)]

    async def seconds_until(self, found: Callable[[list[tuple[str, str]]], bool]) -> float:
        """How long it takes until the visit's plan, or its refusal, says so."""
        began = time.monotonic()
        async with asyncio.timeout(SEEN_MAX_S):
            while not found(await self.says()):  # noqa: ASYNC110  What is waited for is another process's.
                await asyncio.sleep(POLL_S)
        return time.monotonic() - began


async def sanction(
    town: Town, resident: Resident | None = None, *, begins_in: timedelta = -timedelta(minutes=1)
) -> str:
    """An officer's decision on somebody, or on the hospital; on return it is committed. Its id."""
    begins_at = datetime.now(UTC) + begins_in
    request = sanctions_pb2.ImposeSanctionRequest(
        psn_no="" if resident is None else resident.psn_no,
        fixmedins_code=HOSPITAL if resident is None else "",
        basis_clause="第四十一条",
        decision_no=f"D-{uuid4().hex[:20]}",
        organ="乌鲁木齐市医疗保障局",
        opter="zhang01",
    )
    request.from_time.FromDatetime(begins_at)
    request.to_time.FromDatetime(begins_at + timedelta(days=150))
    return str((await town.desks.sanctions.ImposeSanction(request)).sanction_id)


async def test_while_nats_is_up_a_sanction_counts_within_a_second(ground: Ground) -> None:
    """Of a funder and of a patient, four times in a row: oftener than the sweep could have been lucky."""
    town = ground.town
    took = []
    for who in ("funder", "patient") * 2:
        desk = await AtTheDesk.of(town, await town.couple())
        assert await desk.says() == []
        person = desk.family.funders[0] if who == "funder" else desk.family.patient
        said = (person.psn_no, "SANCTIONED") if who == "funder" else ("", "PATIENT_SANCTIONED")
        await sanction(town, person)
        took.append(await desk.seconds_until(lambda told, said=said: said in told))  # type: ignore[misc]  # Bound early.
    assert median_low(took) < BY_NATS_MAX_S, took


async def test_without_nats_a_sanction_counts_within_the_sweeps_five_seconds(ground: Ground) -> None:
    """The line to NATS carries nothing; what identity decided is asked for."""
    town = ground.town
    desk = await AtTheDesk.of(town, await town.couple())
    patient = desk.family.patient
    known = "SELECT count(*) FROM sanctions WHERE psn_no = $1"
    ground.line.becomes(Line.SWALLOWS)
    ground.line.cut()
    try:
        await sanction(town, patient)
        began = time.monotonic()
        async with asyncio.timeout(SEEN_MAX_S):
            while not await town.settlement.fetchval(known, patient.psn_no):  # noqa: ASYNC110  As above.
                await asyncio.sleep(POLL_S)
        took_s = time.monotonic() - began
        assert await desk.says() == [("", "PATIENT_SANCTIONED")]
    finally:
        ground.line.becomes(Line.SOUND)
        ground.line.cut()
    assert took_s < BY_SWEEP_MAX_S
    other = await AtTheDesk.of(town, await town.couple())
    await other.seconds_until(lambda told: told == [])


async def test_a_sanctioned_hospital_takes_no_bill_gives_back_and_is_free_again_within_a_second(ground: Ground) -> None:
    """Also not one that was planned before; the refund of an earlier bill goes through meanwhile."""
    town = ground.town
    paid = await town.paid(await town.pair(), BILL_FEN)
    desk = await AtTheDesk.of(town, await town.couple())
    request = asking.settle(await desk.planned())
    sanction_id = await sanction(town)
    begun_s = await desk.seconds_until(lambda told: told == [("", "INSTITUTION_SANCTIONED")])
    try:
        assert (await asking.refusal(town.desks.settlement.Settle(request))).reason == "PLAN_STALE"
        await town.desks.settlement.RevokeSettle(asking.revoke(paid.setl_id))
    finally:
        lifted = sanctions_pb2.LiftSanctionRequest(sanction_id=sanction_id, cause="复议决定撤销", opter="zhang01")
        await town.desks.sanctions.LiftSanction(lifted)
    ended_s = await desk.seconds_until(lambda told: told == [])
    assert min(begun_s, ended_s) < BY_NATS_MAX_S, (begun_s, ended_s)
    await town.at_rest()


async def test_a_sanction_to_come_begins_by_itself_also_between_plan_and_payment(ground: Ground) -> None:
    """Nobody says anything on that day: whoever judges it compares instants."""
    town = ground.town
    desk = await AtTheDesk.of(town, await town.couple())
    (funder, _) = desk.family.funders
    await sanction(town, funder, begins_in=timedelta(seconds=TO_COME_S))
    began = time.monotonic()
    await town.told()
    request = asking.settle(await desk.planned())
    assert await desk.says() == []
    assert time.monotonic() - began < TO_COME_S, "too slow to see anything"
    await desk.seconds_until(lambda told: told == [(funder.psn_no, "SANCTIONED")])
    assert time.monotonic() - began >= TO_COME_S - 1
    replan = (await town.desks.settlement.Settle(request)).replan
    assert (replan.reason, replan.plan.skipped[0].psn_no) == ("PLAN_STALE", funder.psn_no)


async def test_what_was_decided_while_settlement_was_down_counts_from_its_first_answer_on(ground: Ground) -> None:
    """It asks before it serves."""
    town = ground.town
    desk = await AtTheDesk.of(town, await town.couple())
    assert await desk.says() == []
    await town.world.kill_process(SETTLEMENT)
    await sanction(town, desk.family.patient)
    await ground.settlement_restarted()
    assert await desk.says() == [("", "PATIENT_SANCTIONED")]


async def test_a_decision_whose_identity_dies_at_once_counts_when_it_is_back(ground: Ground) -> None:
    """Committed is committed: whatever became of the message, it is asked for, or sent after all."""
    town = ground.town
    desk = await AtTheDesk.of(town, await town.couple())
    await sanction(town, desk.family.patient)
    await town.world.kill_process("identity")
    await town.world.start_process("identity")
    took_s = await desk.seconds_until(lambda told: told == [("", "PATIENT_SANCTIONED")])
    assert took_s < BY_SWEEP_MAX_S


async def test_while_identity_is_away_for_too_long_nobody_funds_and_then_all_goes_on(ground: Ground) -> None:
    """Not at once; then funders are left out and a plan with funders is not paid; when identity is back, it is."""
    town = ground.town
    await ground.settlement_restarted(**QUICK)
    try:
        desk = await AtTheDesk.of(town, await town.couple())
        funders = [funder.psn_no for funder in desk.family.funders]
        request = asking.settle(await desk.planned())
        died_at = time.monotonic()
        await town.world.kill_process("identity")
        assert await desk.says() == []
        await desk.seconds_until(lambda told: told == [(funder, "IDENTITY_STALE") for funder in funders])
        assert time.monotonic() - died_at > QUICK_AGE_MAX_S - 1
        assert (await asking.refusal(town.desks.settlement.Settle(request))).reason == PAUSED
        assert await town.payment(request.key) is None
        assert (await desk.planned()).amounts.psn_cash_pay == BILL_FEN - 3_000
    finally:
        await town.world.start_process("identity")
    await desk.seconds_until(lambda told: told == [])
    paid = (await town.desks.settlement.Settle(request)).settlement
    assert [funder.psn_no for funder in paid.funders] == funders[: len(paid.funders)] != []
    await ground.settlement_restarted()
    await town.at_rest()
    await town.check()
