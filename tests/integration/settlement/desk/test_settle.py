"""The desk's main job over real gRPC, PostgreSQL, NATS, engine and ledgers."""

from __future__ import annotations

from gongji.settlement.v1 import account_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care, EntryState, Reversed, Terminal
from tests.integration.settlement.desk.town import HAMI, URUMQI, Town, bill, token


async def family(town: Town) -> tuple[str, str, str]:
    """A patient with 10.00 + 5.00 of his own, a funder in each of two areas: (patient, near, far)."""
    patient = await town.person(URUMQI, past=1_000, current=500)
    near = await town.person(URUMQI, past=2_000)
    far = await town.person(HAMI, past=700, current=1_000)
    await town.bind(near, patient, URUMQI, order=1)
    await town.bind(far, patient, HAMI, order=2)
    return patient, near, far


async def planned(terminal: Terminal, patient: str, total_fen: int) -> pb.Plan:
    """The plan of a bill, presented at the hospital."""
    return await terminal.pre_settle(
        care=Care.OUTPATIENT, psn_no=patient, ec_token=token(patient), mdtrt_id="m1", bill=bill(total_fen)
    )


async def test_a_bill_is_paid_from_own_account_two_relatives_in_two_areas_and_cash(town: Town) -> None:
    """Own money first, then the funders in order, past before current, then cash; the ledgers agree to the fen."""
    patient, near, far = await family(town)
    async with town.terminal() as (terminal, journal):
        plan = await planned(terminal, patient, 6_000)
        assert [(f.seq, f.psn_no, f.past_fen, f.current_fen) for f in plan.funders] == [
            (1, near, 2_000, 0),
            (2, far, 700, 1_000),
        ]
        answer = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(answer, pb.Settlement)
        (entry,) = await journal.entries()
    amounts = answer.amounts
    assert amounts == plan.amounts
    assert (amounts.own_past_fen, amounts.own_current_fen, amounts.acct_mulaid_pay) == (1_000, 500, 3_700)
    assert (amounts.acct_pay, amounts.psn_cash_pay, amounts.psn_part_amt) == (5_200, 800, 6_000)
    assert (answer.state, answer.balc) == (pb.SETTLEMENT_STATE_SETTLED, 0)
    assert (answer.insutype, answer.insuplc_admdvs, answer.psn_no) == ("310", URUMQI, patient)
    assert (entry.state, entry.setl_id, entry.msgid) == (EntryState.SETTLED, answer.setl_id, answer.key.msgid)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (0, 0)
    assert await town.balance(near, URUMQI) == (0, 0)
    assert await town.balance(far, HAMI) == (0, 0)
    statement = await town.accounts.GetStatement(
        account_pb2.GetStatementRequest(psn_no=far, account_kind=account_pb2.ACCOUNT_KIND_PERSONAL, area=HAMI),
        timeout=5,
    )
    assert sorted((line.part, line.amount_fen) for line in statement.lines if line.kind == "PAYMENT") == [
        (account_pb2.ACCOUNT_PART_PAST, -700),
        (account_pb2.ACCOUNT_PART_CURRENT, -1_000),
    ]
    assert {line.setl_id for line in statement.lines if line.kind == "PAYMENT"} == {answer.setl_id}


async def test_a_changed_source_takes_nothing_and_brings_a_new_plan(town: Town) -> None:
    """A funder frozen after planning: nobody pays anything, the answer carries the plan that is possible now."""
    patient, near, far = await family(town)
    async with town.terminal() as (terminal, journal):
        plan = await planned(terminal, patient, 4_000)
        await town.set_frozen(near, URUMQI, frozen=True)
        replan = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(replan, pb.Replan)
        assert replan.reason == "ACCOUNT_FROZEN"
        assert [(s.psn_no, s.reason) for s in replan.plan.skipped] == [(near, "FROZEN")]
        assert [(f.psn_no, f.past_fen + f.current_fen) for f in replan.plan.funders] == [(far, 1_700)]
        assert replan.plan.amounts.psn_cash_pay == 800
        await town.settled_down()
        assert await town.balance(patient, URUMQI) == (1_000, 500)
        assert await town.balance(far, HAMI) == (700, 1_000)
        answer = await terminal.settle(replan.plan, care=Care.OUTPATIENT)
        assert isinstance(answer, pb.Settlement)
        refused, settled = await journal.entries()
        found = await terminal.get(infno=refused.infno, msgid=refused.msgid)
    assert (refused.state, settled.state) == (EntryState.REPLANNED, EntryState.SETTLED)
    assert (found.settlement.state, found.refusal_reason) == (pb.SETTLEMENT_STATE_REFUSED, "ACCOUNT_FROZEN")
    assert found.replan.plan.plan_id == replan.plan.plan_id
    await town.settled_down()
    assert await town.balance(near, URUMQI) == (2_000, 0)
    assert await town.balance(far, HAMI) == (0, 0)


async def test_the_same_request_gets_the_same_answer_and_another_body_is_refused(town: Town) -> None:
    """The bytes again: the same answer, paid once. Another plan under the same key: refused by name."""
    patient = await town.person(past=5_000)
    async with town.terminal() as (terminal, journal):
        plan = await planned(terminal, patient, 1_000)
        first = await terminal.settle(plan, care=Care.OUTPATIENT)
        (entry,) = await journal.entries()
    request = pb.SettleRequest.FromString(entry.request)
    again = await town.desk.Settle(request, timeout=60)
    assert again.settlement == first
    request.plan_id = (await town.desk.PreSettle(town.presented(patient, 500), timeout=60)).plan.plan_id
    assert await town.refused(town.desk.Settle(request, timeout=60)) == "KEY_REUSED_WITH_OTHER_CONTENT"
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (4_000, 0)


async def test_a_revocation_gives_every_fen_back_to_its_origin(town: Town) -> None:
    """A record of its own with negative amounts; parts and authorisations as before; a second one is refused."""
    patient, near, far = await family(town)
    async with town.terminal() as (terminal, journal):
        settled = await terminal.settle(await planned(terminal, patient, 6_000), care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        revocation = await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        assert isinstance(revocation, pb.Settlement)
        assert (revocation.original_setl_id, revocation.amounts.psn_cash_pay) == (settled.setl_id, -800)
        assert [(f.psn_no, f.past_fen, f.current_fen) for f in revocation.funders] == [
            (near, -2_000, 0),
            (far, -700, -1_000),
        ]
        assert await town.refused(terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)) == "ALREADY_REVOKED"
        original = await terminal.get(setl_id=settled.setl_id)
        record = await terminal.get(setl_id=revocation.setl_id)
        entries = await journal.entries()
    assert original.settlement.state == pb.SETTLEMENT_STATE_REVOKED
    assert record.settlement == revocation
    assert [entry.state for entry in entries] == [EntryState.SETTLED, EntryState.SETTLED, EntryState.REFUSED]
    assert entries[0].refund_setl_id == revocation.setl_id
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (1_000, 500)
    assert await town.balance(near, URUMQI) == (2_000, 0)
    assert await town.balance(far, HAMI) == (700, 1_000)


async def test_a_paid_request_that_is_reversed_is_refunded_once(town: Town) -> None:
    """2601 after the decision is a refund; said again, it is the same refund."""
    patient = await town.person(past=5_000)
    async with town.terminal() as (terminal, journal):
        settled = await terminal.settle(await planned(terminal, patient, 1_200), care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        reversals = [await terminal.reverse(infno="2207", msgid=settled.key.msgid) for _ in range(2)]
        found = await terminal.get(setl_id=settled.setl_id)
        (entry,) = await journal.entries()
    assert reversals[0] == reversals[1]
    assert reversals[0].refund is not None
    assert reversals[0].refund.amounts.acct_pay == -1_200
    assert found.settlement.state == pb.SETTLEMENT_STATE_REVERSED
    assert (entry.state, entry.refund_setl_id) == (EntryState.REVERSED, reversals[0].refund.setl_id)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (5_000, 0)


async def test_a_request_reversed_before_it_came_can_never_be_paid(town: Town) -> None:
    """The tombstone stands: the late original is told that it was reversed, and nothing is taken."""
    patient = await town.person(past=5_000)
    async with town.terminal() as (terminal, journal):
        plan = await planned(terminal, patient, 1_000)
        written = await terminal._written("2207", lambda key: _settle(key, plan))
        outcome = await terminal.reverse(infno="2207", msgid=written.msgid)
        assert outcome == Reversed(written.msgid)
        late = pb.SettleRequest.FromString(written.request)
        assert await town.refused(town.desk.Settle(late, timeout=60)) == "PAYMENT_REVERSED"
        found = await terminal.get(infno="2207", msgid=written.msgid)
        (entry,) = await journal.entries()
    assert found.settlement.state == pb.SETTLEMENT_STATE_REVERSED
    assert entry.state is EntryState.REVERSED
    assert await town.balance(patient, URUMQI) == (5_000, 0)


def _settle(key: pb.RequestKey, plan: pb.Plan) -> bytes:
    return pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest).SerializeToString()
