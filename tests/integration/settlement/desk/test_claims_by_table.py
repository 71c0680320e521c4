"""Claims in an area with a benefit table: computed as at the desk, counted in the same year, under the same lock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final
from uuid import uuid4

import asyncpg
import grpc
import pytest
import sqlalchemy as sa

from gongji.identity.v1.person_pb2 import INSTITUTION_LEVEL_TWO
from gongji.settlement.v1 import claims_pb2 as pb
from gongji.settlement.v1 import settlement_pb2
from gongji.settlement.v1.claims_pb2_grpc import ClaimServiceStub
from gongji_terminal import Care, TerminalRefusal
from gongji_terminal.failures import failure_of
from kernel.clock import business_date, business_year
from kernel.ids import PsnNo
from ops.embedded.databases import Databases
from ops.verify.claims import check_claims
from ops.verify.report import Report
from ops.verify.years import check_years
from services.settlement.ledger.store.locking import LOCK_CLASS
from services.settlement.store.merging import move_years_on
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk import town as building
from tests.integration.settlement.desk.test_benefit import GRADED, TABLE, UNGRADED, computed, is_trying, paid, planned
from tests.integration.settlement.desk.test_benefit import year_of as years_now
from tests.integration.settlement.desk.town import HAMI, URUMQI, Town
from tests.patience import until
from tests.servers import NatsServer

CALL_S: Final = 90.0
ZHANG, LI = "zhang01", "li02"
POOL: Final = ("310", "clinic")


@pytest.fixture(scope="module")
async def town(postgres: Databases, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Town]:
    """A town of this file alone: Hami computes by a table."""
    folder = tmp_path_factory.mktemp("claims")
    async with building.town(postgres, nats, folder, stated={"650500.yaml": TABLE}, vote_deadline_s=120) as built:
        await built.opens(GRADED, level=INSTITUTION_LEVEL_TWO)
        await built.opens(UNGRADED)
        yield built


def desk(town: Town) -> Any:  # noqa: ANN401  The stub's own type exists for the type checker alone.
    """ClaimService, raw."""
    return ClaimServiceStub(town.channel)


async def files(town: Town, claimant: str, total_fen: int, **changes: Any) -> pb.Claim:  # noqa: ANN401  Any field.
    """A claim over a bill in scope of today, at the hospital of the second level."""
    fields = {
        "request_id": str(uuid4()),
        "psn_no": claimant,
        "fixmedins_code": GRADED,
        "invoice_no": uuid4().hex.upper(),
        "bill": building.bill(total_fen),
        "documents": [pb.ClaimDocument(kind="INVOICE", sha256=bytes(32), bytes_count=1)],
        "care_on": business_date(datetime.now(UTC)).isoformat(),
    }
    answer: pb.SubmitClaimResponse = await desk(town).SubmitClaim(
        pb.SubmitClaimRequest(**{**fields, **changes}), timeout=CALL_S
    )
    return answer.claim


async def approves(town: Town, claim: pb.Claim, opter: str = ZHANG, **stated: int) -> pb.Claim:
    """An officer's yes, with the figures that he states; none unless given."""
    request = pb.DecideClaimRequest(claim_id=claim.claim_id, opter=opter, approve=True, cause="in order", **stated)
    answer: pb.DecideClaimResponse = await desk(town).DecideClaim(request, timeout=CALL_S)
    return answer.claim


def figures(claim: pb.Claim) -> tuple[int, int, int]:
    """act_pay_dedc, hifp_pay, and what all funds pay."""
    return claim.act_pay_dedc, claim.hifp_pay, claim.fund_pay_sumamt


async def year_of(town: Town, *people: str) -> tuple[int, int, int]:
    """What the clinic's pool of this year has used under these numbers, as `gongji verify` agrees."""
    report = Report()
    connection = await asyncpg.connect(town.database._url)
    try:
        await check_years(connection, report)
        await check_claims(connection, report)
    finally:
        await connection.close()
    assert not report.checks["YEAR"].findings
    assert not report.checks["CLAIM"].findings
    return (await years_now(town, *people)).get(POOL, (0, 0, 0))


async def test_claims_and_bills_go_through_one_year(town: Town) -> None:
    """A bill, a claim, a bill, a claim: each finds what the one before it has left open, up to the tier above."""
    claimant = await town.person(HAMI, psn_type="11")
    assert computed(await paid(town, claimant, 7_000))[:2] == (7_000, 0)
    first = await approves(town, await files(town, claimant, 13_001))
    assert (first.state, figures(first)) == (pb.CLAIM_STATE_PAYABLE, (3_000, 5_001, 5_001))
    assert await year_of(town, claimant) == (10_000, 5_001, 0)
    assert computed(await paid(town, claimant, 10_000))[:2] == (0, 5_000)
    # 19,999 of the fund are left: 39,998 of the 60,000. Of the rest 80 per cent are more than the tier has.
    second = await approves(town, await files(town, claimant, 60_000))
    assert figures(second) == (0, 19_999, 24_999)
    assert await year_of(town, claimant) == (10_000, 30_000, 5_000)
    assert await town.refused(approves(town, await files(town, claimant, 500))) == "CLAIM_COMES_TO_NOTHING"


async def test_other_figures_than_the_tables_are_refused_with_the_tables(town: Town) -> None:
    """The answer names them; whoever states those, or one of them, or none, is heard."""
    claimant = await town.person(HAMI, psn_type="11", past=1_000)
    claim = await files(town, claimant, 12_000)
    for wrong in ({"hifp_pay": 1_001}, {"act_pay_dedc": 0}, {"act_pay_dedc": 0, "hifp_pay": 0}):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await approves(town, claim, ZHANG, **wrong)
        failure = failure_of(refused.value)
        assert isinstance(failure, TerminalRefusal)
        assert failure.reason == "CLAIM_FIGURES_COMPUTED"
        assert failure.metadata == {"act_pay_dedc_fen": "10000", "hifp_pay_fen": "1000"}
    assert await year_of(town, claimant) == (0, 0, 0)
    approved = await approves(town, claim, act_pay_dedc=10_000)
    assert (figures(approved), approved.family_pay_fen) == ((10_000, 1_000, 1_000), 1_000)
    for _ in range(2):
        assert await approves(town, claim) == approved
    assert await year_of(town, claimant) == (10_000, 1_000, 0)


async def test_claims_and_bills_at_once_never_use_a_fen_twice(town: Town) -> None:
    """Of one person: what was approved and paid sums to the year, and to no more of the deductible than there is."""
    claimant = await town.person(HAMI, psn_type="11", past=100_000)
    filed = [await files(town, claimant, 4_000 + place) for place in range(5)]

    async def settles(total_fen: int) -> tuple[int, int, int] | str:
        async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
            outcome = await terminal.settle(await planned(terminal, claimant, total_fen), care=Care.OUTPATIENT)
        if isinstance(outcome, settlement_pb2.Settlement):
            return computed(outcome)[:3]
        return getattr(outcome, "reason", "")

    outcomes = await asyncio.gather(
        *(approves(town, claim) for claim in filed),
        *(settles(6_000 + place) for place in range(3)),
        return_exceptions=True,
    )
    used = [0, 0, 0]
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            assert getattr(outcome, "reason", "") in {"PATIENT_BUSY", "PLAN_STALE"} or (
                failure_of(outcome).reason == "PATIENT_BUSY"  # type: ignore[arg-type]  # As above.
            )
        elif isinstance(outcome, str):
            assert outcome == "PLAN_STALE"
        else:
            if isinstance(outcome, tuple):
                did = outcome
            else:
                did = (outcome.act_pay_dedc, outcome.hifp_pay, outcome.fund_pay_sumamt - outcome.hifp_pay)
            used = [one + other for one, other in zip(used, did, strict=True)]
    assert await year_of(town, claimant) == tuple(used)
    for claim in filed:
        await approves(town, claim)
    assert (await year_of(town, claimant))[0] == 10_000


async def test_what_is_under_way_at_the_desk_is_waited_for(town: Town) -> None:
    """While a settlement of the claimant is undecided his claim is not computed; then by what that has left."""
    claimant = await town.person(HAMI, past=8_000, psn_type="11")
    claim = await files(town, claimant, 8_000)
    ledger = await asyncpg.connect(town.ledger_urls[HAMI])
    try:
        async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
            plan = await planned(terminal, claimant, 8_000)
            async with ledger.transaction():
                await ledger.execute("SELECT pg_advisory_xact_lock($1, $2)", LOCK_CLASS, int(HAMI))
                settling = asyncio.create_task(terminal.settle(plan, care=Care.OUTPATIENT))
                await until(partial(is_trying, town, claimant))
                assert await town.refused(approves(town, claim)) == "PATIENT_BUSY"
            assert isinstance(await settling, settlement_pb2.Settlement)
    finally:
        await ledger.close()
    assert figures(await approves(town, claim)) == (2_000, 3_000, 3_000)


async def test_a_plan_made_before_a_claim_was_approved_is_stale(town: Town) -> None:
    """The deductible that the claim has used is not used by it once more."""
    claimant = await town.person(HAMI, psn_type="11", past=500)
    claim = await files(town, claimant, 8_000)
    async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
        plan = await planned(terminal, claimant, 8_000)
        assert figures(await approves(town, claim)) == (8_000, 0, 0)
        anew = await terminal.settle(plan, care=Care.OUTPATIENT)
    assert isinstance(anew, settlement_pb2.Replan)
    assert (anew.reason, computed(anew.plan)) == ("PLAN_STALE", (2_000, 3_000, 0, 5_000))


async def test_the_year_of_the_care_counts(town: Town) -> None:
    """A bill of last year uses last year's deductible, and nothing of this one's."""
    claimant = await town.person(HAMI, psn_type="11")
    await paid(town, claimant, 12_000)
    last = business_year(datetime.now(UTC)) - 1
    approved = await approves(town, await files(town, claimant, 12_000, care_on=f"{last}-12-31"))
    assert figures(approved) == (10_000, 1_000, 1_000)
    async with town.database.driver_connection() as connection:
        rows = await connection.fetch("SELECT year, fund_fen FROM benefit_years WHERE psn_no = $1", claimant)
    assert {row["year"]: row["fund_fen"] for row in rows} == {last: 1_000, last + 1: 1_000}
    tomorrow = business_date(datetime.now(UTC) + timedelta(days=2)).isoformat()
    assert await town.refused(files(town, claimant, 100, care_on=tomorrow)) == "CLAIM_CARE_IN_FUTURE"
    assert await town.refused(files(town, claimant, 100, care_on="2026-02-30")) == "DATE_MALFORMED"


async def test_a_claim_filed_under_a_double_counts_for_the_person(town: Town) -> None:
    """It is computed by what both numbers have used, and both find it used."""
    double, person = [await town.person(HAMI, psn_type="11") for _ in range(2)]
    claim = await files(town, double, 8_000)
    await paid(town, person, 7_000)
    await town.tell(said.person(double, ("310", HAMI, "4"), psn_type="11", version=2, merged_into=person))
    assert figures(await approves(town, claim)) == (3_000, 2_500, 2_500)
    assert await year_of(town, double, person) == (10_000, 2_500, 0)
    assert computed(await paid(town, person, 1_000))[:2] == (0, 500)


async def test_an_approval_during_a_merge_waits_for_it_and_counts_for_the_person(town: Town) -> None:
    """A merge writes the record and then the years; an approval locks in the same order, so neither ends the other."""
    double, person = [PsnNo(await town.person(HAMI, psn_type="11", past=8_000)) for _ in range(2)]
    await paid(town, double, 1_000)  # Its year has a row to be locked.
    claim = await files(town, double, 18_000)
    async with town.database.transaction() as merging:
        merge = "UPDATE persons SET merged_into = :keep WHERE psn_no = :double"
        await merging.execute(sa.text(merge), {"keep": person, "double": double})
        approving = asyncio.create_task(approves(town, claim))
        await until(partial(waits_for_a_record, town))
        free = "SELECT FROM patient_years WHERE psn_no = :double FOR UPDATE NOWAIT"
        assert (await merging.execute(sa.text(free), {"double": double})).rowcount == 1
        await move_years_on(merging, {double: person})
    assert figures(await approving) == (9_000, 4_500, 4_500)
    assert await year_of(town, double, person) == (10_000, 4_500, 0)


async def waits_for_a_record(town: Town) -> bool:
    """Whether an approval waits until somebody's record is written."""
    async with town.database.driver_connection() as connection:
        waiting = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            " AND query LIKE '%FROM persons%FOR SHARE%'"
        )
    return bool(waiting == 1)


async def test_a_large_claim_is_computed_anew_for_the_second_officer(town: Town) -> None:
    """Between the two looks a bill has used the deductible: nobody states figures, so nobody's differ."""
    claimant = await town.person(HAMI, psn_type="11")
    claim = await files(town, claimant, 1_200_000)
    first = await approves(town, claim)
    assert (first.state, first.act_pay_dedc) == (pb.CLAIM_STATE_SECOND_LOOK, 10_000)
    assert await year_of(town, claimant) == (0, 0, 0)
    await paid(town, claimant, 12_000)
    second = await approves(town, claim, LI)
    assert (second.state, figures(second)) == (pb.CLAIM_STATE_PAYABLE, (0, 29_000, 34_000))


async def test_what_the_ledgers_refuse_is_taken_off_the_year_again(town: Town) -> None:
    """Two claims want the same money: the one that gets none uses nothing, until it is approved anew."""
    claimant = await town.person(HAMI, psn_type="11")
    parent = await town.person(URUMQI, past=15_000)
    await town.bind(parent, claimant, URUMQI, order=1)
    claim = await files(town, claimant, 12_000)
    ledger = await asyncpg.connect(town.ledger_urls[URUMQI])
    try:
        async with ledger.transaction():
            # The parent's ledger does not vote before the money is somebody else's.
            await ledger.execute("SELECT pg_advisory_xact_lock($1, $2)", LOCK_CLASS, int(URUMQI))
            approving = asyncio.create_task(town.refused(approves(town, claim)))
            await until(partial(is_trying, town, claimant))
            assert await years_now(town, claimant) == {POOL: (10_000, 1_000, 0)}
            await ledger.execute("UPDATE accounts SET frozen = true WHERE psn_no = $1", parent)
    finally:
        await ledger.close()
    assert await approving == "ACCOUNT_FROZEN"
    assert await year_of(town, claimant) == (0, 0, 0)
    again = await approves(town, claim)
    assert (again.state, figures(again), again.family_pay_fen) == (pb.CLAIM_STATE_PAYABLE, (10_000, 1_000, 1_000), 0)
    assert await year_of(town, claimant) == (10_000, 1_000, 0)


async def test_nothing_is_planned_by_a_claim_that_may_not_be_taken(town: Town) -> None:
    """What it uses of the deductible is given back where a ledger refuses: a plan beside it would have the fund pay."""
    claimant = await town.person(HAMI, psn_type="11")
    parent = await town.person(URUMQI, past=15_000)
    await town.bind(parent, claimant, URUMQI, order=1)
    claim, second = await files(town, claimant, 12_000), await files(town, claimant, 8_000)
    ledger = await asyncpg.connect(town.ledger_urls[URUMQI])
    try:
        async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
            async with ledger.transaction():
                await ledger.execute("SELECT pg_advisory_xact_lock($1, $2)", LOCK_CLASS, int(URUMQI))
                approving = asyncio.create_task(town.refused(approves(town, claim)))
                await until(partial(is_trying, town, claimant))
                presented = town.presented(claimant, 8_000, fixmedins_code=GRADED)
                assert await town.refused(town.desk.PreSettle(presented, timeout=building.CALL_S)) == "PATIENT_BUSY"
                assert await town.refused(approves(town, second)) == "PATIENT_BUSY"
                await ledger.execute("UPDATE accounts SET frozen = true WHERE psn_no = $1", parent)
            assert await approving == "ACCOUNT_FROZEN"
            assert computed(await planned(terminal, claimant, 8_000))[:2] == (8_000, 0)
    finally:
        await ledger.close()
    assert await year_of(town, claimant) == (0, 0, 0)


async def test_a_visit_that_is_settled_while_its_claim_is_judged_is_not_claimed(town: Town) -> None:
    """After the first look for it and before the year is read: under the lock of the year it is looked for again."""
    claimant = await town.person(HAMI, psn_type="11")
    async with town.terminal(fixmedins_code=GRADED) as (terminal, _):
        visit = uuid4().hex[:30]
        token = building.token(claimant, fixmedins_code=GRADED, mdtrt_id=visit)
        plan = await terminal.pre_settle(
            care=Care.OUTPATIENT, psn_no=claimant, ec_token=token, mdtrt_id=visit, bill=building.bill(13_000)
        )
        claim = await files(town, claimant, 13_000, mdtrt_id=visit)
        reads = await asyncpg.connect(town.database._url)
        try:
            async with reads.transaction():
                # An approval reads it next; a settlement does not.
                await reads.execute("LOCK TABLE enrolments IN ACCESS EXCLUSIVE MODE")
                approving = asyncio.create_task(town.refused(approves(town, claim)))
                await until(partial(waits_for_enrolments, town))
                assert isinstance(await terminal.settle(plan, care=Care.OUTPATIENT), settlement_pb2.Settlement)
        finally:
            await reads.close()
        assert await approving == "CLAIM_SETTLED_AT_DESK"


async def waits_for_enrolments(town: Town) -> bool:
    """Whether somebody waits to read them."""
    async with town.database.driver_connection() as connection:
        waiting = await connection.fetchval(
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'enrolments'::regclass"
        )
    return bool(waiting == 1)


async def test_stated_figures_are_counted_too(town: Town) -> None:
    """In an area without a table, in the pool without a name, as at the desk."""
    claimant = await town.person(URUMQI)
    approved = await approves(town, await files(town, claimant, 1_000), act_pay_dedc=300, hifp_pay=400)
    assert figures(approved) == (300, 400, 400)
    assert await years_now(town, claimant) == {("310", ""): (300, 400, 0)}


async def test_what_identity_has_not_told_is_not_guessed(town: Town) -> None:
    """As at the desk: no level, no psn_type, no row."""
    unknown, working = await town.person(HAMI), await town.person(HAMI, psn_type="11")
    assert await town.refused(approves(town, await files(town, unknown, 1_000))) == "BENEFIT_CASE_UNKNOWN"
    ungraded = await files(town, working, 1_000, fixmedins_code=UNGRADED)
    assert await town.refused(approves(town, ungraded)) == "BENEFIT_CASE_UNKNOWN"
    unlisted = await files(town, working, 1_000, bill=building.bill(1_000, med_type="14"))
    assert await town.refused(approves(town, unlisted)) == "BENEFIT_ROW_MISSING"


@pytest.mark.parametrize(
    ("care", "code", "med_type"), [(Care.OUTPATIENT, GRADED, "11"), (Care.INPATIENT, GRADED, "21")], ids=["desk", "bed"]
)
async def test_a_visit_that_the_desk_has_settled_is_not_claimed(
    town: Town, care: Care, code: str, med_type: str
) -> None:
    """By its mdtrt_id, when it is filed and when it is approved; once revoked it may be."""
    claimant = await town.person(HAMI, psn_type="11")
    settled = await paid(town, claimant, 3_000, fixmedins_code=code, care=care, med_type=med_type)
    file = partial(files, town, claimant, 3_000, fixmedins_code=code, bill=building.bill(3_000, med_type=med_type))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await file(mdtrt_id=settled.mdtrt_id)
    failure = failure_of(refused.value)
    assert isinstance(failure, TerminalRefusal)
    assert (failure.reason, failure.metadata) == ("CLAIM_SETTLED_AT_DESK", {"setl_id": settled.setl_id})
    await file(mdtrt_id=uuid4().hex[:30])
    async with town.terminal(fixmedins_code=code) as (terminal, _):
        await terminal.revoke(settled.setl_id, care=care)
    claim = await file(mdtrt_id=settled.mdtrt_id)
    # It is settled once more, under the same visit, before an officer has looked.
    async with town.terminal(fixmedins_code=code) as (terminal, _):
        bill = building.bill(3_000, med_type=med_type)
        token = building.token(claimant, fixmedins_code=code, mdtrt_id=settled.mdtrt_id)
        plan = await terminal.pre_settle(
            care=care, psn_no=claimant, ec_token=token, mdtrt_id=settled.mdtrt_id, bill=bill
        )
        await terminal.settle(plan, care=care)
    assert await town.refused(approves(town, claim)) == "CLAIM_SETTLED_AT_DESK"
