"""Bills of an area with a benefit table: what a year has used is kept to the fen, whatever becomes of a settlement."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID, uuid4

import asyncpg
import pytest
import sqlalchemy as sa
from rich.console import Console

from gongji.identity.v1.person_pb2 import INSTITUTION_LEVEL_TWO
from gongji.settlement.v1 import returns_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care, Terminal, TerminalRefusal, Unanswered
from kernel.clock import business_year
from kernel.ids import PsnNo
from ops.embedded.databases import Databases
from ops.payments import databases as reading
from ops.settlements.explaining import NotExplainedError, explained
from ops.settlements.view import show
from services.settlement.ledger.store.locking import LOCK_CLASS
from services.settlement.store import refunds
from services.settlement.store.merging import move_years_on
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk import town as building
from tests.integration.settlement.desk.town import HAMI, PHARMACY, URUMQI, Town, token
from tests.patience import until
from tests.servers import NatsServer

GRADED: Final = "H65050000009"
"""A hospital of the second level."""
UNGRADED: Final = "H65050000008"
"""One of which nobody has told the level."""
TABLE: Final = """
area: '650500'
policy:
  benefit: table
  benefit_table:
  - {insutype: '310', med_types: ['11'], levels: [TWO], retired: false,
      deductible_fen: 10000, ratio: '0.5', ceiling_fen: 30000, pool: clinic, large: {ratio: '0.8', ceiling_fen: 5000}}
  - {insutype: '310', med_types: ['11'], levels: [TWO], retired: true,
      deductible_fen: 5000, ratio: '0.6', ceiling_fen: 30000, pool: clinic}
  - {insutype: '310', med_types: ['11', '41'], levels: [PHARMACY], retired: false,
      deductible_fen: 0, ratio: '0.5', ceiling_fen: 30000, pool: clinic}
  - {insutype: '310', med_types: ['21'], levels: [TWO], retired: false,
      deductible_fen: 20000, ratio: '0.9', ceiling_fen: null}
  - {insutype: '390', med_types: ['11'], levels: [TWO],
      deductible_fen: 1000, ratio: '0.4', ceiling_fen: 2000}
"""
Year = dict[tuple[str, str], tuple[int, int, int]]


@pytest.fixture(scope="module")
async def town(postgres: Databases, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A town of this file alone: Hami computes by a table."""
    folder = tmp_path_factory.mktemp("benefit")
    # A ledger that a test holds up votes late, and that is no refusal.
    async with building.town(postgres, nats, folder, stated={"650500.yaml": TABLE}, vote_deadline_s=120) as built:
        await built.opens(GRADED, level=INSTITUTION_LEVEL_TWO)
        await built.opens(UNGRADED)
        yield built


async def planned(
    terminal: Terminal, patient: str, total_fen: int, *, care: Care = Care.OUTPATIENT, med_type: str = "11"
) -> pb.Plan:
    """The plan of a bill of costs in scope."""
    bill = building.bill(total_fen)
    bill.med_type = med_type
    mdtrt_id = uuid4().hex[:30]
    presented = token(patient, fixmedins_code=terminal.fixmedins_code, mdtrt_id=mdtrt_id)
    return await terminal.pre_settle(care=care, psn_no=patient, ec_token=presented, mdtrt_id=mdtrt_id, bill=bill)


async def paid(
    town: Town,
    patient: str,
    total_fen: int,
    *,
    fixmedins_code: str = GRADED,
    care: Care = Care.OUTPATIENT,
    med_type: str = "11",
) -> pb.Settlement:
    """A bill that was settled at the hospital of the second level, or elsewhere."""
    async with town.terminal(fixmedins_code=fixmedins_code) as (terminal, _):
        plan = await planned(terminal, patient, total_fen, care=care, med_type=med_type)
        settled = await terminal.settle(plan, care=care)
    assert isinstance(settled, pb.Settlement)
    return settled


async def year_of(town: Town, *people: str) -> Year:
    """(deductible, fund, large) by insutype and pool, of all these numbers together."""
    async with town.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT * FROM benefit_years WHERE psn_no = ANY ($1)", list(people))
    this_year = business_year(datetime.now(UTC))
    assert all(row["year"] == this_year for row in rows)
    found: Year = {}
    for row in rows:
        before = found.get((row["insutype"], row["pool"]), (0, 0, 0))
        used = (row["deductible_fen"], row["fund_fen"], row["large_fen"])
        found[row["insutype"], row["pool"]] = (before[0] + used[0], before[1] + used[1], before[2] + used[2])
    return found


def computed(told: pb.Settlement | pb.Plan | returns_pb2.RestFigures) -> tuple[int, int, int, int]:
    """act_pay_dedc, hifp_pay, hifob_pay, psn_part_amt."""
    amounts = told.amounts
    return amounts.act_pay_dedc, amounts.hifp_pay, amounts.hifob_pay, amounts.psn_part_amt


async def test_a_year_goes_through_deductible_fund_ceiling_and_the_tier_above(town: Town) -> None:
    """One bill after the other opens the fund, uses it up, goes on above it, and at last all is the person's."""
    patient = await town.person(HAMI, psn_type="11")
    told = [computed(await paid(town, patient, total_fen)) for total_fen in (7_000, 13_001, 60_000, 10_000, 10_000)]
    assert told == [
        (7_000, 0, 0, 7_000),
        (3_000, 5_001, 0, 8_000),
        # 24,999 of the fund are left: 49,998 of the 60,000. Of the rest 80 per cent are more than the tier has.
        (0, 24_999, 5_000, 30_001),
        (0, 0, 0, 10_000),
        (0, 0, 0, 10_000),
    ]
    assert await year_of(town, patient) == {("310", "clinic"): (10_000, 30_000, 5_000)}


async def test_pools_and_insutypes_do_not_use_each_other(town: Town) -> None:
    """A pharmacy shares the clinic's pool, the hospital's beds have their own; a resident has a year of his own."""
    patient = await town.person(HAMI, psn_type="11")
    await paid(town, patient, 4_000, fixmedins_code=PHARMACY, care=Care.PHARMACY, med_type="41")
    await paid(town, patient, 12_000)
    await paid(town, patient, 30_000, care=Care.INPATIENT, med_type="21")
    assert await year_of(town, patient) == {("310", "clinic"): (10_000, 3_000, 0), ("310", ""): (20_000, 9_000, 0)}
    resident = await town.person(HAMI, insutype="390")
    assert computed(await paid(town, resident, 3_000)) == (1_000, 800, 0, 2_200)
    assert await year_of(town, resident) == {("390", ""): (1_000, 800, 0)}


async def test_who_has_retired_is_computed_by_his_own_row(town: Town) -> None:
    """What he used while he worked counts on."""
    patient = await town.person(HAMI, psn_type="11")
    await paid(town, patient, 4_000)
    await town.tell(said.person(patient, ("310", HAMI, "1"), psn_type="12", version=2))
    assert computed(await paid(town, patient, 11_000)) == (1_000, 6_000, 0, 5_000)


async def test_a_revocation_and_a_reversal_give_back_what_was_used(town: Town) -> None:
    """Once, however often they are asked; what is settled afterwards finds the year as it was."""
    patient = await town.person(HAMI, psn_type="11")
    await paid(town, patient, 4_000)
    before = await year_of(town, patient)
    async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
        plan = await planned(terminal, patient, 20_000)
        settled = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        assert await year_of(town, patient) == {("310", "clinic"): (10_000, 7_000, 0)}
        await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        assert await year_of(town, patient) == before
        assert await town.refused(terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)) == "ALREADY_REVOKED"
        again = await terminal.settle(await planned(terminal, patient, 20_000), care=Care.OUTPATIENT)
        assert isinstance(again, pb.Settlement)
        assert computed(again) == computed(settled)
        async with town.database.driver_connection() as connection:
            msgid = await connection.fetchval("SELECT msgid FROM payments WHERE payment_id = $1", UUID(again.setl_id))
        for _ in range(2):
            await terminal.reverse(infno="2207", msgid=msgid)
            assert await year_of(town, patient) == before


async def test_a_plan_made_before_the_year_moved_is_refused(town: Town) -> None:
    """Two plans by the same year: the second brings a new one, by what the first has left open."""
    patient = await town.person(HAMI, psn_type="11")
    async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
        first, second = [await planned(terminal, patient, 12_000) for _ in range(2)]
        assert computed(first) == computed(second) == (10_000, 1_000, 0, 11_000)
        await terminal.settle(first, care=Care.OUTPATIENT)
        anew = await terminal.settle(second, care=Care.OUTPATIENT)
    assert isinstance(anew, pb.Replan)
    assert (anew.reason, computed(anew.plan)) == ("PLAN_STALE", (0, 6_000, 0, 6_000))
    assert await year_of(town, patient) == {("310", "clinic"): (10_000, 1_000, 0)}


async def test_settlements_of_one_patient_at_once_never_use_a_fen_twice(town: Town) -> None:
    """Ten desks plan and pay for one patient at once; the year is the sum of those that were paid."""
    patient = await town.person(HAMI, psn_type="11")

    async def settle(total_fen: int) -> pb.Settlement | str:
        try:
            async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
                outcome = await terminal.settle(await planned(terminal, patient, total_fen), care=Care.OUTPATIENT)
        except (TerminalRefusal, Unanswered) as refused:
            return refused.reason
        return outcome if isinstance(outcome, pb.Settlement) else getattr(outcome, "reason", "")

    told = await asyncio.gather(*(settle(3_000 + place) for place in range(10)))
    done = [computed(each) for each in told if not isinstance(each, str)]
    assert done
    assert {each for each in told if isinstance(each, str)} <= {"PLAN_STALE", "PATIENT_BUSY"}
    sums = tuple(sum(each[place] for each in done) for place in range(3))
    assert await year_of(town, patient) == {("310", "clinic"): sums}
    assert sums[0] <= 10_000


async def test_a_number_found_to_be_a_double_counts_for_the_person(town: Town) -> None:
    """What was settled under it is used when the number that counts comes to the desk."""
    double = await town.person(HAMI, psn_type="11")
    patient = await town.person(HAMI, psn_type="11")
    await paid(town, double, 8_000)
    await town.tell(said.person(double, ("310", HAMI, "4"), psn_type="11", version=2, merged_into=patient))
    assert computed(await paid(town, patient, 8_000)) == (2_000, 3_000, 0, 5_000)
    assert await year_of(town, double, patient) == {("310", "clinic"): (10_000, 3_000, 0)}


async def test_a_merge_and_what_a_double_gives_back_make_plans_stale(town: Town) -> None:
    """The deductible and the fund of one person are not used twice by two plans made under two numbers."""
    double, patient = [await town.person(HAMI, psn_type="11") for _ in range(2)]
    settled = await paid(town, double, 8_000)
    async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
        of_double, of_patient = await planned(terminal, double, 8_000), await planned(terminal, patient, 8_000)
        await town.tell(said.person(double, ("310", HAMI, "4"), psn_type="11", version=2, merged_into=patient))
        assert await town.refused(terminal.settle(of_double, care=Care.OUTPATIENT)) == "PLAN_STALE"
        anew = await terminal.settle(of_patient, care=Care.OUTPATIENT)
        assert isinstance(anew, pb.Replan)
        assert (anew.reason, computed(anew.plan)) == ("PLAN_STALE", (2_000, 3_000, 0, 5_000))
        await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        again = await terminal.settle(anew.plan, care=Care.OUTPATIENT)
        assert isinstance(again, pb.Replan)
        assert computed(again.plan) == (8_000, 0, 0, 8_000)


async def test_a_revocation_during_a_merge_moves_the_year_of_the_number_that_counts(town: Town) -> None:
    """It waits for the merge, whose row of that year was not there when it began, and both numbers' plans are stale."""
    double, patient = [PsnNo(await town.person(HAMI, psn_type="11")) for _ in range(2)]
    settled = await paid(town, double, 8_000)
    async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
        async with town.database.transaction() as merging:
            merge = "UPDATE persons SET merged_into = :keep WHERE psn_no = :double"
            await merging.execute(sa.text(merge), {"keep": patient, "double": double})
            await move_years_on(merging, {double: patient})
            revoking = asyncio.create_task(terminal.revoke(settled.setl_id, care=Care.OUTPATIENT))
            await until(partial(waits_for_a_merge, town), within_s=60)
        await revoking
    async with town.database.driver_connection() as connection:
        rows = await connection.fetch(
            "SELECT psn_no, version FROM patient_years WHERE psn_no = ANY ($1)", [double, patient]
        )
    assert dict(map(tuple, rows)) == {double: 3, patient: 2}


async def waits_for_a_merge(town: Town) -> bool:
    """Whether a revocation waits until somebody's record is written."""
    async with town.database.driver_connection() as connection:
        waiting = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND starts_with($1, left(query, 200))",  # It shows the beginning of a long one.
            refunds._STANDS,
        )
    return bool(waiting == 1)


async def test_what_is_under_way_under_a_double_is_waited_for(town: Town) -> None:
    """A merge while the double's settlement is undecided: the person is planned once that is counted, not before."""
    double, patient = await town.person(HAMI, past=8_000, psn_type="11"), await town.person(HAMI, psn_type="11")
    ledger = await asyncpg.connect(town.ledger_urls[HAMI])
    try:
        async with (
            town.terminal(fixmedins_code=GRADED) as (terminal, _),
            town.terminal(fixmedins_code=GRADED) as (desk, _),
        ):
            of_double = await planned(terminal, double, 8_000)
            async with ledger.transaction():
                await ledger.execute("SELECT pg_advisory_xact_lock($1, $2)", LOCK_CLASS, int(HAMI))
                settling = asyncio.create_task(terminal.settle(of_double, care=Care.OUTPATIENT))
                await until(partial(is_trying, town, double), within_s=60)
                await town.tell(said.person(double, ("310", HAMI, "4"), psn_type="11", version=2, merged_into=patient))
                presented = town.presented(patient, 8_000, fixmedins_code=GRADED)
                assert await town.refused(town.desk.PreSettle(presented, timeout=building.CALL_S)) == "PATIENT_BUSY"
            settled = await settling
            assert isinstance(settled, pb.Settlement)
            assert computed(await planned(desk, patient, 8_000)) == (2_000, 3_000, 0, 5_000)
    finally:
        await ledger.close()


async def is_trying(town: Town, psn_no: str) -> bool:
    """Whether a settlement of this number is under way."""
    async with town.database.driver_connection() as connection:
        count = await connection.fetchval(
            "SELECT count(*) FROM payments WHERE psn_no = $1 AND state = 'TRYING'", psn_no
        )
    return bool(count == 1)


async def test_what_identity_has_not_told_is_not_guessed(town: Town) -> None:
    """BENEFIT_CASE_UNKNOWN without a level or without psn_type; BENEFIT_ROW_MISSING where the table is silent."""
    unknown, working = await town.person(HAMI), await town.person(HAMI, psn_type="11")
    async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
        assert await town.refused(planned(terminal, unknown, 1_000)) == "BENEFIT_CASE_UNKNOWN"
        assert await town.refused(planned(terminal, working, 1_000, med_type="14")) == "BENEFIT_ROW_MISSING"
    async with town.terminal(fixmedins_code=UNGRADED) as (terminal, _):
        assert await town.refused(planned(terminal, working, 1_000)) == "BENEFIT_CASE_UNKNOWN"


async def test_a_given_pooled_part_is_counted_too(town: Town) -> None:
    """Where the area's core system computes, the year keeps what it said; a bill without any leaves no row."""
    patient = await town.person(URUMQI)
    async with town.terminal() as (terminal, _):
        for given in (True, False):
            bill = building.bill(1_000)
            if given:
                bill.act_pay_dedc, bill.hifp_pay, bill.hifob_pay, bill.hifmi_pay = 300, 400, 50, 60
            mdtrt_id = uuid4().hex[:30]
            plan = await terminal.pre_settle(
                care=Care.OUTPATIENT,
                psn_no=patient,
                ec_token=token(patient, mdtrt_id=mdtrt_id),
                mdtrt_id=mdtrt_id,
                bill=bill,
            )
            await terminal.settle(plan, care=Care.OUTPATIENT)
    assert await year_of(town, patient) == {("310", ""): (300, 400, 50)}


@asynccontextmanager
async def spoilt(town: Town, statement: str, *arguments: object) -> AsyncIterator[reading.Databases]:
    """The settlement database as the operator's commands read it, changed by hand until the block ends."""
    connection = await asyncpg.connect(town.database._url)
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement, *arguments)
        yield reading.Databases({reading.COORDINATOR: connection})
    finally:
        await transaction.rollback()
        await connection.close()


async def test_each_fen_is_derived_again_from_what_was_kept(town: Town) -> None:
    """A table, a family with limits, one left out, a wallet: the inputs give what was charged, revoked or not."""
    patient = await town.person(HAMI, past=3_000, current=500, psn_type="11")
    await town.credit(patient, HAMI, wallet=700)
    first, second, broke = [await town.person(URUMQI, past=past) for past in (4_000, 9_000, 1)]
    for order, (funder, authorised_fen) in enumerate([(first, 2_500), (second, None), (broke, 100)], start=1):
        await town.bind(funder, patient, URUMQI, order=order, authorised_fen=authorised_fen)
    await town.set_frozen(broke, URUMQI, frozen=True)
    settled = await paid(town, patient, 20_000)
    async with spoilt(town, "SELECT") as databases:
        told = await explained(databases, settled.setl_id)
    assert (told.agrees, told.state, told.refund_id) == (True, told.state, None), told.differences
    figures: Any = told.as_json()
    assert figures["benefit"]["act_pay_dedc"] == 10_000
    assert [(one["role"], one["psn_no"], one["past_fen"] + one["current_fen"]) for one in figures["sources"]] == [
        ("OWN", patient, 3_500),
        ("WALLET", patient, 700),
        ("FUNDER", first, 2_500),
        ("FUNDER", second, 8_300),
    ]
    assert figures["skipped"] == [{"psn_no": broke, "reason": "FROZEN"}]
    out = io.StringIO()
    show(told, Console(file=out, width=200))
    assert "agrees" in out.getvalue()
    async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
        revocation = await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
    assert isinstance(revocation, pb.Settlement)
    async with spoilt(town, "SELECT") as databases:
        again = await explained(databases, revocation.setl_id)
    assert (again.agrees, str(again.setl_id), str(again.refund_id)) == (True, settled.setl_id, revocation.setl_id)


SPOILT: Final = {
    "a leg of the plan": (
        "UPDATE plans SET document = jsonb_set(document, '{legs,0,past_fen}', '2999') WHERE plan_id = $1",
        {"plan.digest", "plan.legs[0].past_fen", "payment.legs[0].past_fen", "payment.amount_fen"},
    ),
    "what the patient had": (
        "UPDATE plans SET inputs = jsonb_set(inputs, '{patient,past_fen}', '2999') WHERE plan_id = $1",
        {"plan.inputs_digest", "plan.own_balance_fen", "plan.legs[0].past_fen"},
    ),
    "what the year had used": (
        "UPDATE plans SET inputs = jsonb_set(inputs, '{case,year,deductible_fen}', '1') WHERE plan_id = $1",
        {"plan.inputs_digest", "plan.amounts.act_pay_dedc", "plan.amounts.hifp_pay"},
    ),
    "the policy's own order": (
        "UPDATE plans SET inputs = jsonb_set(inputs, '{policies,650500,own_order}', '[]') WHERE plan_id = $1",
        {"plan.inputs_digest", "plan.amounts.own_past_fen", "plan.legs"},
    ),
    "a policy that nothing can be computed by": (
        "UPDATE plans SET inputs = jsonb_set(inputs, '{policies,650500,wallet}', '7') WHERE plan_id = $1",
        {"inputs"},
    ),
}


@pytest.mark.parametrize(("statement", "found"), SPOILT.values(), ids=SPOILT)
async def test_what_was_changed_by_hand_is_named(town: Town, statement: str, found: set[str]) -> None:
    """Whoever changes a plan, its inputs or a policy value in them is found by the field."""
    patient = await town.person(HAMI, past=3_000, psn_type="11")
    settled = await paid(town, patient, 20_000)
    async with town.database.driver_connection() as connection:
        plan_id = await connection.fetchval("SELECT plan_id FROM payments WHERE payment_id = $1", UUID(settled.setl_id))
    async with spoilt(town, statement, plan_id) as databases:
        told = await explained(databases, settled.setl_id)
    assert found <= {each.field for each in told.differences}


async def test_a_settlement_without_inputs_is_not_explained(town: Town) -> None:
    """One of an older release, or made anew by a restore: NotExplainedError says so."""
    patient = await town.person(HAMI, psn_type="11")
    settled = await paid(town, patient, 1_000)
    async with spoilt(town, "UPDATE plans SET inputs = NULL WHERE psn_no = $1", patient) as databases:
        with pytest.raises(NotExplainedError, match="not kept"):
            await explained(databases, settled.setl_id)


async def test_a_return_is_shown_with_what_the_year_will_have_used(town: Town) -> None:
    """The rest opens the fund anew: what the whole had used of the year is open again, with its money and without."""
    patient = await town.person(HAMI, psn_type="11")
    settled = await paid(town, patient, 13_000)
    assert computed(settled) == (10_000, 1_500, 0, 11_500)
    rest = town.presented(patient, 11_000, fixmedins_code=GRADED)
    shown = await town.returns.PlanReturn(
        returns_pb2.PlanReturnRequest(setl_id=settled.setl_id, rest=rest), timeout=building.CALL_S
    )
    assert computed(shown.expected) == computed(shown.at_worst) == (10_000, 500, 0, 10_500)
    async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
        await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        assert (await planned(terminal, patient, 11_000)).amounts == shown.expected.amounts
