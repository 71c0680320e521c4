"""A sanction counts everywhere soon after its decision, and nobody funds on knowledge that is too old (domain §8).

Real processes; settlement reaches NATS through a line that the tests can break.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
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
BY_SWEEP_MAX_S: Final = 5.0
SEEN_MAX_S: Final = 15.0
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


async def sanction(town: Town, resident: Resident) -> None:
    """An officer's decision, from a minute ago on; on return it is committed."""
    now = datetime.now(UTC).replace(microsecond=0)
    request = sanctions_pb2.ImposeSanctionRequest(
        psn_no=resident.psn_no,
        basis_clause="第四十一条",
        decision_no=f"D-{resident.psn_no}",
        organ="乌鲁木齐市医疗保障局",
        opter="zhang01",
    )
    request.from_time.FromDatetime(now - timedelta(minutes=1))
    request.to_time.FromDatetime(now + timedelta(days=150))
    await town.desks.sanctions.ImposeSanction(request)


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
    assert max(took) < BY_NATS_MAX_S, took


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
