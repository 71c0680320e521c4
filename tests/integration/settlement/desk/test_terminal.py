"""The terminal against the real desk, with a network in between that loses what it is told to lose."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care, EntryState, Journal, Patience, Reversed, Terminal, TerminalRefusal, Unanswered
from tests.integration.settlement.desk.town import URUMQI, Town, bill, token

HASTY: Final = Patience(attempt_s=3, request_s=0.3, pause_first_s=0.02, pause_max_s=0.1)


@dataclass
class Network(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # Generic in the stubs alone.
    """Hands every call on to the desk; loses requests or answers of the methods named, as often as it is told."""

    onward: grpc.aio.Channel
    lose_requests: dict[str, int] = field(default_factory=dict)
    lose_answers: dict[str, int] = field(default_factory=dict)
    ages: dict[str, bytes] = field(default_factory=dict)
    """An answer of before, which arrives once in place of the next one."""
    seen: list[str] = field(default_factory=list)
    ends: Callable[[str, bytes], grpc.StatusCode | None] = lambda _method, _request: None
    """What a gateway in between ends a call with, in its own name; None if it lets it through."""

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401  As grpc has it.
        """One handler for every method, bytes in and bytes out."""
        path = handler_call_details.method
        return grpc.unary_unary_rpc_method_handler(partial(self._carry, path))

    async def _carry(self, path: str, request: bytes, context: Any) -> bytes:  # noqa: ANN401  As above.
        method = path.rpartition("/")[2]
        self.seen.append(method)
        if (code := self.ends(method, request)) is not None:
            await context.abort(code, "the gateway says so")
        if self._loses(self.lose_requests, method):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "lost on the way there")
        if method in self.ages:
            return self.ages.pop(method)
        send: Any = self.onward.unary_unary(path, None, None)
        try:
            answer: bytes = await send(request, timeout=context.time_remaining())
        except grpc.aio.AioRpcError as error:
            return await context.abort(error.code(), error.details(), tuple(error.trailing_metadata() or ()))  # type: ignore[no-any-return]  # It raises.
        if self._loses(self.lose_answers, method):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "lost on the way back")
        return answer

    @staticmethod
    def _loses(losses: dict[str, int], method: str) -> bool:
        left = losses.get(method, 0)
        losses[method] = left - 1
        return left > 0


@asynccontextmanager
async def network(town: Town) -> AsyncIterator[tuple[Network, grpc.aio.Channel]]:
    """A network between a terminal and the desk, and the terminal's channel into it."""
    between = Network(town.channel)
    server = grpc.aio.server(handlers=[between])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield between, channel
    await server.stop(0)


async def plan_of(town: Town, patient: str, total_fen: int = 1_000) -> pb.Plan:
    """A plan of the patient's, made over the good network."""
    request = town.presented(patient, total_fen)
    answer: pb.PreSettleResponse = await town.desk.PreSettle(request, timeout=60)
    return answer.plan


async def only(journal: Journal) -> Any:  # noqa: ANN401  An Entry.
    """The journal's one entry."""
    (entry,) = await journal.entries()
    return entry


@pytest.mark.parametrize("lost", ["lose_requests", "lose_answers"])
async def test_a_lost_message_is_repeated_and_the_bill_paid_once(town: Town, lost: str) -> None:
    """The same bytes go out again; the key makes sure that it is one payment."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with network(town) as (between, channel), town.terminal(channel=channel) as (terminal, journal):
        getattr(between, lost)["Settle"] = 2
        answer = await terminal.settle(plan, care=Care.OUTPATIENT)
        entry = await only(journal)
    assert isinstance(answer, pb.Settlement)
    assert (entry.state, entry.attempts, between.seen) == (EntryState.SETTLED, 2, ["Settle"] * 3)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (4_000, 0)


async def test_an_answer_that_never_comes_is_asked_for_before_anything_is_reversed(town: Town) -> None:
    """The payment was made: asking finds it, and nothing is taken back."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
    ):
        between.lose_answers["Settle"] = 1_000
        answer = await terminal.settle(plan, care=Care.OUTPATIENT)
        entry = await only(journal)
    assert isinstance(answer, pb.Settlement)
    assert (entry.state, entry.setl_id) == (EntryState.SETTLED, answer.setl_id)
    assert "ReverseTransaction" not in between.seen
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (4_000, 0)


async def test_a_request_that_never_arrived_is_reversed_and_stays_so(town: Town) -> None:
    """The desk has not seen it: it is reversed, so a copy still on its way can never be paid."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
    ):
        between.lose_requests["Settle"] = 1_000
        answer = await terminal.settle(plan, care=Care.OUTPATIENT)
        entry = await only(journal)
    assert answer == Reversed(entry.msgid)
    assert entry.state is EntryState.REVERSED
    late = pb.SettleRequest.FromString(entry.request)
    assert await town.refused(town.desk.Settle(late, timeout=60)) == "PAYMENT_REVERSED"
    assert await town.balance(patient, URUMQI) == (5_000, 0)


async def test_when_nothing_answers_the_request_stays_open_until_recovery(town: Town) -> None:
    """A dead network leaves the entry unanswered; recover finds out once the desk is there again."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
    ):
        between.lose_answers.update(dict.fromkeys(("Settle", "GetSettlement", "ReverseTransaction"), 1_000))
        with pytest.raises(Unanswered):
            await terminal.settle(plan, care=Care.OUTPATIENT)
        assert (await only(journal)).state is EntryState.WRITTEN
        assert [type(outcome) for _, outcome in await terminal.recover()] == [Unanswered]
        between.lose_answers.clear()
        ((entry, outcome),) = await terminal.recover()
        assert isinstance(outcome, pb.Settlement)
        assert (await only(journal)).state is EntryState.SETTLED
        assert outcome.key.msgid == entry.msgid
        assert await terminal.recover() == []


async def test_a_terminal_that_died_finds_out_about_everything_it_had_written(town: Town, tmp_path: Path) -> None:
    """One request was paid and one never sent when it died: the first is told, the second reversed."""
    patient, other = await town.person(past=5_000), await town.person(past=5_000)
    plans = [await plan_of(town, patient), await plan_of(town, other)]
    async with town.terminal(number=97, journal=tmp_path / "j.db") as (terminal, _):
        sent, unsent = [await terminal._written("2207", _request(plan)) for plan in plans]
        await town.desk.Settle(pb.SettleRequest.FromString(sent.request), timeout=60)
    async with town.terminal(number=97, journal=tmp_path / "j.db") as (terminal, journal):
        outcomes = dict(zip(("sent", "unsent"), [outcome for _, outcome in await terminal.recover()], strict=True))
        states = [entry.state for entry in await journal.entries()]
    assert isinstance(outcomes["sent"], pb.Settlement)
    assert outcomes["unsent"] == Reversed(unsent.msgid)
    assert states == [EntryState.SETTLED, EntryState.REVERSED]


def _request(plan: pb.Plan) -> Callable[[pb.RequestKey], bytes]:
    return lambda key: pb.SettleRequest(key=key, plan_id=plan.plan_id, plan_digest=plan.digest).SerializeToString()


async def test_a_revocation_whose_answer_is_lost_stands(town: Town) -> None:
    """Asking finds the record; a committed revocation is never undone."""
    patient = await town.person(past=5_000)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
    ):
        settled = await terminal.settle(await plan_of(town, patient), care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        between.lose_answers["RevokeSettle"] = 1_000
        revocation = await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        entries = await journal.entries()
        with pytest.raises(TerminalRefusal, match="REVOCATION_STANDS"):
            await terminal.reverse(infno="2208", msgid=entries[1].msgid)
    assert isinstance(revocation, pb.Settlement)
    assert revocation.original_setl_id == settled.setl_id
    assert entries[0].refund_setl_id == entries[1].setl_id == revocation.setl_id
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (5_000, 0)


async def test_a_revocation_that_never_arrived_takes_nothing_back(town: Town) -> None:
    """Its key is blocked; the settlement stands."""
    patient = await town.person(past=5_000)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
    ):
        settled = await terminal.settle(await plan_of(town, patient), care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        between.lose_requests["RevokeSettle"] = 1_000
        outcome = await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        found = await terminal.get(setl_id=settled.setl_id)
        entries = await journal.entries()
    assert isinstance(outcome, Reversed)
    assert [entry.state for entry in entries] == [EntryState.SETTLED, EntryState.REVERSED]
    assert found.settlement.state == pb.SETTLEMENT_STATE_SETTLED


@pytest.mark.parametrize("how", ["reverse", "revoke"])
async def test_what_another_terminal_took_back_is_two_rows_of_the_journals_day(town: Town, how: str) -> None:
    """The answer was lost and the other terminal's journal is not asked: the bill and its refund are both there."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
        town.terminal() as (other, _),
    ):
        between.lose_answers.update(dict.fromkeys(("Settle", "GetSettlement", "ReverseTransaction"), 1_000))
        with pytest.raises(Unanswered):
            await terminal.settle(plan, care=Care.OUTPATIENT)
        lost = await only(journal)
        paid = (await other.get(infno=lost.infno, msgid=lost.msgid)).settlement
        if how == "reverse":
            back = (await other.reverse(infno=lost.infno, msgid=lost.msgid)).refund
        else:
            revocation = await other.revoke(paid.setl_id, care=Care.OUTPATIENT)
            assert isinstance(revocation, pb.Settlement)
            back = revocation
        between.lose_answers.clear()
        ((_, outcome),) = await terminal.recover()
        rows = {setl_id: await journal.record(setl_id) for setl_id in (paid.setl_id, back.setl_id if back else "")}
        entry = await only(journal)
    assert back is not None
    assert outcome == Reversed(lost.msgid, back)
    assert (entry.state, entry.refund_setl_id) == (EntryState.REVERSED, back.setl_id)
    assert [None if row is None else row.medfee_sumamt for row in rows.values()] == [1_000, -1_000]


async def test_asking_about_a_bill_tells_the_journal_of_the_refund_another_terminal_made(town: Town) -> None:
    """The bill stands in this journal; whoever asks what became of it has its refund there as well."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with town.terminal() as (terminal, journal), town.terminal() as (other, others):
        settled = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        back = (await other.reverse(infno="2207", msgid=settled.key.msgid)).refund
        assert back is not None
        assert await journal.record(back.setl_id) is None
        await terminal.get(setl_id=settled.setl_id)
        row, theirs = await journal.record(back.setl_id), await others.record(back.setl_id)
    assert row is not None
    assert row == theirs


async def test_a_request_stopped_by_another_terminal_is_no_row_of_the_day(town: Town) -> None:
    """It had not paid, and the answer says so by having no refund."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with town.terminal() as (terminal, journal), town.terminal() as (other, _):
        entry = await terminal._written("2207", _request(plan))
        await other.reverse(infno=entry.infno, msgid=entry.msgid)
        found = await other.get(infno=entry.infno, msgid=entry.msgid)
        ((_, outcome),) = await terminal.recover()
        row = await journal.record(found.settlement.setl_id)
    assert not found.HasField("refund")
    assert outcome == Reversed(entry.msgid)
    assert row is None


async def test_a_part_of_a_stay_whose_answer_was_lost_is_believed_when_a_later_one_stands(town: Town) -> None:
    """It looked undecided, and was paid with another after it before the reversal came: it stands, and is told so."""
    patient = await town.person(past=5_000)

    async def plan_part() -> pb.Plan:
        presented = town.presented(patient, 300, infno=pb.INFNO_2303, mdtrt_id="parts")
        presented.bill.med_type = "21"
        presented.mid_setl_flag = "1"
        answer: pb.PreSettleResponse = await town.desk.PreSettle(presented, timeout=60)
        return answer.plan

    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
        town.terminal() as (other, _),
    ):
        between.lose_answers.update(dict.fromkeys(("Settle", "GetSettlement", "ReverseTransaction"), 1_000))
        with pytest.raises(Unanswered):
            await terminal.settle(await plan_part(), care=Care.INPATIENT)
        await other.settle(await plan_part(), care=Care.INPATIENT)
        between.lose_answers.clear()
        undecided = pb.Settlement(state=pb.SETTLEMENT_STATE_IN_PROGRESS)
        between.ages["GetSettlement"] = pb.GetSettlementResponse(settlement=undecided).SerializeToString()
        ((_, outcome),) = await terminal.recover()
        entry = await only(journal)
        with pytest.raises(TerminalRefusal, match="LATER_SETTLEMENT_STANDS") as refused:
            await other.reverse(infno=entry.infno, msgid=entry.msgid)
    assert isinstance(outcome, pb.Settlement)
    assert (entry.state, entry.setl_id) == (EntryState.SETTLED, outcome.setl_id)
    assert refused.value.standing is not None
    assert refused.value.standing.setl_id == outcome.setl_id


async def test_a_request_too_old_to_be_taken_and_never_seen_is_not_asked_for_again(town: Town) -> None:
    """It was written and not sent, and the terminal stood in a cupboard since: refused for good, so nothing is open."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with town.terminal() as (terminal, journal):
        terminal._now = lambda: datetime.now(UTC) - timedelta(days=4_000)
        await terminal._written("2207", _request(plan))
        ((entry, outcome),) = await terminal.recover()
        assert await terminal.recover() == []
        told = await only(journal)
    assert isinstance(outcome, TerminalRefusal)
    assert (entry.state, told.state, told.reason) == (EntryState.WRITTEN, EntryState.REFUSED, "MSGID_TOO_OLD")


async def test_a_refusal_is_told_with_its_texts_and_written_down(town: Town) -> None:
    """The cashier reads a sentence in Chinese and in English; the journal keeps the reason."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    plan.digest = b"x" * 32
    async with town.terminal() as (terminal, journal):
        with pytest.raises(TerminalRefusal) as refused:
            await terminal.settle(plan, care=Care.OUTPATIENT)
        entry = await only(journal)
    assert refused.value.reason == entry.reason == "PLAN_DIGEST_MISMATCH"
    assert entry.state is EntryState.REFUSED
    assert refused.value.text_zh != refused.value.text_en
    assert refused.value.advice.cashier


async def test_a_pharmacy_bill_and_an_inpatient_bill_are_paid_the_same_way(town: Town) -> None:
    """2101 and 2102 at the counter of a pharmacy, 2303 and 2304 at a hospital."""
    patient = await town.person(past=5_000)
    cases = ((Care.PHARMACY, "P65010000001", "41"), (Care.INPATIENT, "H65010000001", "21"))
    for care, code, med_type in cases:
        async with town.terminal(fixmedins_code=code) as (terminal, _):
            plan = await terminal.pre_settle(
                care=care,
                psn_no=patient,
                ec_token=token(patient, fixmedins_code=code),
                mdtrt_id="m1",
                bill=bill(1_000, med_type=med_type),
            )
            settled = await terminal.settle(plan, care=care)
            assert isinstance(settled, pb.Settlement)
            assert settled.key.infno == int(care.settle)
            revocation = await terminal.revoke(settled.setl_id, care=care)
            assert isinstance(revocation, pb.Settlement)
            assert revocation.key.infno == int(care.revoke)


async def test_the_journal_never_holds_a_token_or_a_name(town: Town, tmp_path: Path) -> None:
    """Not even a masked name: what is on a counter's disk tells nobody who was there."""
    patient, funder = await town.person(past=500), await town.person(past=5_000)
    await town.bind(funder, patient, URUMQI, order=1)
    ec_token = token(patient)
    file = tmp_path / "j.db"
    async with town.terminal(journal=file) as (terminal, _):
        plan = await terminal.pre_settle(
            care=Care.OUTPATIENT, psn_no=patient, ec_token=ec_token, mdtrt_id="m1", bill=bill(1_000)
        )
        await town.set_frozen(funder, URUMQI, frozen=True)
        replan = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(replan, pb.Replan)
        assert isinstance(await terminal.settle(replan.plan, care=Care.OUTPATIENT), pb.Settlement)
    kept = b"".join(part.read_bytes() for part in tmp_path.iterdir())  # noqa: ASYNC240  A few small files of a test.
    assert "某".encode() in plan.SerializeToString()
    assert "某".encode() not in kept
    assert ec_token.encode() not in kept


async def test_a_terminal_without_identity_cannot_decode(town: Town) -> None:
    """It says so at once instead of failing on the way."""
    async with town.terminal() as (terminal, _):
        assert isinstance(terminal, Terminal)
        with pytest.raises(ValueError, match="identity"):
            await terminal.decode("code", mdtrt_id="m1")
