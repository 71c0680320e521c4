"""A new version of a policy takes effect at its time, without a restart; a settlement keeps the version of its plan."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

import grpc
import pytest

from chassis import telemetry
from chassis.files import built_from, read_yaml_folder
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care, Terminal, TerminalRefusal
from gongji_terminal.failures import failure_of
from kernel.clock import SHANGHAI, business_date, business_midnight
from kernel.ids import PlanId, PsnNo, parsed_fixmedins_code
from kernel.policy import PolicyBook
from ops.embedded.databases import Databases
from services.settlement.clients import LedgerClient
from services.settlement.domain.bill import Bill
from services.settlement.domain.visit import Presented
from services.settlement.operations.planning import Desk, pre_settle
from services.settlement.operations.refusing import Refusals
from services.settlement.wire import desk as wire
from tests.integration.settlement.desk import town as building
from tests.integration.settlement.desk.town import CALL_S, HAMI, HOSPITAL, MDTRT_ID, URUMQI, Town, bill, token
from tests.integration.settlement.engine.world import NEVER_STALE
from tests.patience import until
from tests.servers import NatsServer

POLL_S: Final = 0.1
XINJIANG: Final = "650000.yaml"
CURRENT_FIRST: Final = "area: '650000'\n{since}policy:\n  own_order: [current, past]\n"


@pytest.fixture(scope="module")
async def town(postgres: Databases, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A town of this file alone: its policies change."""
    folder = tmp_path_factory.mktemp("policies")
    async with building.town(postgres, nats, folder, policies_poll_s=POLL_S) as built:
        yield built


async def planned(terminal: Terminal, patient: str) -> pb.Plan:
    """The plan of a bill of 10.00."""
    return await terminal.pre_settle(
        care=Care.OUTPATIENT, psn_no=patient, ec_token=token(patient), mdtrt_id=MDTRT_ID, bill=bill(1_000)
    )


def refused() -> bool:
    """Whether the process says that its files are refused."""
    return telemetry.REGISTRY.get_sample_value("gongji_files_refused", {"files": "policies"}) == 1


async def test_a_plan_of_the_last_second_is_paid_by_its_own_version(town: Town) -> None:
    """At midnight of Shanghai the new version plans; what was planned a second before is paid as it was planned."""
    midnight = business_midnight(business_date(datetime.now(UTC)) + timedelta(days=1))
    since = f"effective_from: '{midnight.date().isoformat()}'\n"
    (town.folder / "policies" / XINJIANG).write_text(CURRENT_FIRST.format(since=since), encoding="utf-8")
    book = built_from(read_yaml_folder(town.folder / "policies"), PolicyBook.of_documents)
    desk = Desk(town.database, LedgerClient(town.bus, epoch=1), book, NEVER_STALE, Refusals(town.database))
    patient = await town.person(past=1_000, current=1_000)
    visit = Presented(
        fixmedins_code=parsed_fixmedins_code(HOSPITAL, field="fixmedins_code"),
        infno="2206",
        terminal_no="T01",
        psn_no=PsnNo(patient),
        ec_token=token(patient, exp=int((midnight + timedelta(hours=1)).timestamp())),
        mdtrt_id=MDTRT_ID,
        med_type="11",
        bill=Bill(1_000, 0, 0, 0, 1_000),
    )
    before, after = [
        (await pre_settle(desk, visit=visit, plan_id=PlanId(uuid4()), now=now.astimezone(UTC)))
        for now in (midnight - timedelta(microseconds=1), midnight)
    ]
    assert midnight.tzinfo is SHANGHAI
    own = [(stored.plan.amounts.own_past_fen, stored.plan.amounts.own_current_fen) for stored in (before, after)]
    assert own == [(1_000, 0), (0, 1_000)]
    assert before.plan.policy_version != after.plan.policy_version
    async with town.terminal() as (terminal, _):
        settled = await terminal.settle(wire.plan_message(before), care=Care.OUTPATIENT)
    assert isinstance(settled, pb.Settlement)
    assert settled.policy_version == before.plan.policy_version
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (0, 1_000)


async def test_a_file_that_is_dropped_in_counts_without_a_restart(town: Town) -> None:
    """The next plan is made by it; the plan that was made before is paid as it was planned."""
    patient = await town.person(past=1_000, current=1_000)
    (town.folder / "policies" / XINJIANG).unlink(missing_ok=True)
    async with town.terminal() as (terminal, _):

        async def plans_by_current() -> bool:
            return (await planned(terminal, patient)).amounts.own_current_fen == 1_000

        before = await planned(terminal, patient)
        (town.folder / "policies" / XINJIANG).write_text(CURRENT_FIRST.format(since=""), encoding="utf-8")
        await until(plans_by_current)
        settled = await terminal.settle(before, care=Care.OUTPATIENT)
    assert isinstance(settled, pb.Settlement)
    assert (settled.policy_version, settled.amounts.own_past_fen) == (before.policy_version, 1_000)


async def test_a_bad_file_is_refused_and_the_older_ones_count(town: Town) -> None:
    """The process says so and goes on; once the file is mended it counts."""
    file = town.folder / "policies" / XINJIANG
    file.write_text(CURRENT_FIRST.format(since=""), encoding="utf-8")
    patient = await town.person(past=1_000, current=1_000)
    async with town.terminal() as (terminal, _):

        async def plans_by_current() -> bool:
            return (await planned(terminal, patient)).amounts.own_current_fen == 1_000

        async def is_refused() -> bool:
            return refused()

        async def is_sound() -> bool:
            return not refused()

        await until(plans_by_current)
        file.write_text("area: '650000'\npolicy:\n  own_order: [past, past]\n", encoding="utf-8")
        await until(is_refused)
        assert await plans_by_current()
        file.write_text("area: '650000'\npolicy:\n  own_order: [past]\n", encoding="utf-8")
        await until(is_sound)
        assert (await planned(terminal, patient)).amounts.own_past_fen == 1_000


async def test_an_area_with_a_table_is_refused_by_name(town: Town) -> None:
    """The desk does not know what a person's year has used, and computes nothing in its place."""
    (town.folder / "policies" / XINJIANG).write_text(
        "area: '650000'\npolicy:\n  benefit: table\n  benefit_table:\n  - {insutype: '310', med_types: ['11'],"
        " levels: [THREE], retired: false, deductible_fen: 0, ratio: '0.5', ceiling_fen: null}\n",
        encoding="utf-8",
    )
    patient = await town.person(past=1_000)

    async def is_refused() -> bool:
        try:
            await town.desk.PreSettle(town.presented(patient, 1_000), timeout=CALL_S)
        except grpc.aio.AioRpcError as error:
            return failure_of(error).reason == "BENEFIT_CASE_UNKNOWN"
        return False

    await until(is_refused)
    (town.folder / "policies" / XINJIANG).unlink()


async def test_the_area_of_care_says_until_when_a_settlement_is_taken_back(town: Town) -> None:
    """Paid yesterday where only the same day counts: 2208 and 2601 are refused, and 2601 shows the settlement."""
    (town.folder / "policies" / "650500.yaml").write_text(
        "area: '650500'\npolicy:\n  revoke_window: same_day\n  benefit: external\n", encoding="utf-8"
    )
    code, patient = "H65050000001", await town.person(HAMI, past=2_000)
    await town.opens(code)
    async with town.terminal(fixmedins_code=code) as (terminal, _):

        async def paid() -> pb.Settlement:
            ec_token = token(patient, fixmedins_code=code)
            plan = await terminal.pre_settle(
                care=Care.OUTPATIENT, psn_no=patient, ec_token=ec_token, mdtrt_id="m1", bill=bill(100)
            )
            answer = await terminal.settle(plan, care=Care.OUTPATIENT)
            assert isinstance(answer, pb.Settlement)
            return answer

        async def refused_a_day_later() -> bool:
            with suppress(TerminalRefusal):  # Until this area no longer computes by what another test has dropped in.
                return await refused_when_a_day_old(town, terminal, await paid()) is not None
            return False

        await until(refused_a_day_later)
        settled = await paid()
        refusal = await refused_when_a_day_old(town, terminal, settled)
        assert refusal is not None
        assert refusal.reason == "REVOKE_WINDOW_CLOSED"
        assert refusal.standing is not None
        assert (refusal.standing.setl_id, refusal.standing.state) == (settled.setl_id, pb.SETTLEMENT_STATE_SETTLED)
        assert refusal.standing.amounts == settled.amounts
        assert await town.refused(terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)) == "REVOKE_WINDOW_CLOSED"
        fresh = await paid()
        assert isinstance(await terminal.revoke(fresh.setl_id, care=Care.OUTPATIENT), pb.Settlement)


async def refused_when_a_day_old(town: Town, terminal: Terminal, settled: pb.Settlement) -> TerminalRefusal | None:
    """The refusal of its reversal by its window; None where it is taken back all the same."""
    await town.settled_down()
    async with town.database.driver_connection() as connection:
        await connection.execute(
            "UPDATE payments SET created_at = created_at - interval '1 day', decided_at = decided_at - interval '1 day'"
            " WHERE payment_id = $1",
            UUID(settled.setl_id),
        )
    try:
        await terminal.reverse(infno="2207", msgid=settled.key.msgid)
    except TerminalRefusal as refusal:
        return refusal
    return None
