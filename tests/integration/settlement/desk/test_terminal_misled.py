"""What would have a terminal pay twice or lose a reversal: gateways with words of their own, keys used by others."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import grpc
import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care, EntryState, Reversed, Terminal, TerminalRefusal, Unanswered
from tests.integration.settlement.desk.test_terminal import HASTY, network, only, plan_of
from tests.integration.settlement.desk.town import URUMQI, Town

DENIED: Final = grpc.StatusCode.PERMISSION_DENIED


async def paid(terminal: Terminal, plan: pb.Plan) -> pb.Settlement:
    """The plan's settlement."""
    settlement = await terminal.settle(plan, care=Care.OUTPATIENT)
    assert isinstance(settlement, pb.Settlement)
    return settlement


async def test_a_gateways_no_after_a_lost_answer_is_not_believed(town: Town) -> None:
    """The bill was paid by the first copy: the terminal asks and tells so, whatever the second copy heard."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel) as (terminal, journal),
    ):
        between.lose_answers["Settle"] = 1
        between.ends = lambda method, _: DENIED if method == "Settle" and between.seen.count(method) > 1 else None
        settlement = await paid(terminal, plan)
        entry = await only(journal)
    assert (entry.state, entry.setl_id) == (EntryState.SETTLED, settlement.setl_id)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (4_000, 0)


async def test_what_a_gateway_refuses_stays_open_until_the_desk_has_answered(town: Town) -> None:
    """Nobody who could know said that nothing was taken: the request is found out about, and stopped."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
    ):
        between.ends = lambda _method, _request: DENIED
        with pytest.raises(Unanswered):
            await terminal.settle(plan, care=Care.OUTPATIENT)
        assert (await only(journal)).state is EntryState.WRITTEN
        assert [type(how) for _, how in await terminal.recover()] == [Unanswered]
        between.ends = lambda _method, _request: None
        ((entry, how),) = await terminal.recover()
    assert how == Reversed(entry.msgid)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (5_000, 0)


async def test_a_desks_no_to_a_second_copy_is_no_word_on_the_first(town: Town) -> None:
    """The first copy may be on its way yet: the request is stopped for good before the cashier goes on."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    plan.digest = b"x" * 32
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel) as (terminal, journal),
    ):
        between.lose_requests["Settle"] = 1
        outcome = await terminal.settle(plan, care=Care.OUTPATIENT)
        entry = await only(journal)
    assert (outcome, entry.state) == (Reversed(entry.msgid), EntryState.REVERSED)
    late = pb.SettleRequest.FromString(entry.request)
    assert await town.refused(town.desk.Settle(late, timeout=30)) == "PAYMENT_REVERSED"


async def test_a_reversal_that_a_gateway_refuses_goes_on_waiting(town: Town) -> None:
    """The wish is there until a service has judged it; then the money is back, one time."""
    patient = await town.person(past=5_000)
    plan = await plan_of(town, patient)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
    ):
        settlement = await paid(terminal, plan)
        between.ends = lambda _method, _request: DENIED
        with pytest.raises(TerminalRefusal) as refused:
            await terminal.reverse(infno="2207", msgid=settlement.key.msgid)
        assert refused.value.is_open
        assert [queued.msgid for queued in await journal.reversals_queued()] == [settlement.key.msgid]
        between.ends = lambda _method, _request: None
        ((_, how),) = await terminal.send_reversals()
        assert await journal.reversals_queued() == []
    assert isinstance(how, Reversed)
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (5_000, 0)


@pytest.mark.parametrize("code", [grpc.StatusCode.INTERNAL, DENIED])
async def test_a_reversal_that_fails_keeps_no_other_waiting(town: Town, code: grpc.StatusCode) -> None:
    """The oldest is failed at again and again: those behind it are done, and it waits."""
    patient = await town.person(past=5_000)
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY) as (terminal, journal),
    ):
        first = await paid(terminal, await plan_of(town, patient))
        second = await paid(terminal, await plan_of(town, patient))
        for one in (first, second):
            await terminal.want_reversed(infno="2207", msgid=one.key.msgid)
        between.ends = lambda _, request: code if first.key.msgid.encode() in request else None
        told = await terminal.send_reversals()
        waiting = [queued.msgid for queued in await journal.reversals_queued()]
    assert [(queued.msgid, isinstance(how, Reversed)) for queued, how in told] == [
        (first.key.msgid, False),
        (second.key.msgid, True),
    ]
    assert waiting == [first.key.msgid]
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (4_000, 0)


@pytest.mark.parametrize("arrives", [True, False])
async def test_a_copy_of_a_journal_neither_believes_nor_reverses_what_another_paid(
    town: Town, tmp_path: Path, *, arrives: bool
) -> None:
    """Two machines count with one number: the msgid is the other's, its payment stands, and this one's is refused."""
    patient, other_patient = await town.person(past=5_000), await town.person(past=5_000)
    now, number = datetime.now(UTC), next(town.terminals)
    async with town.terminal(number=number) as (one, _):
        one._now = lambda: now
        settlement = await paid(one, await plan_of(town, patient))
    async with (
        network(town) as (between, channel),
        town.terminal(channel=channel, patience=HASTY, number=number, journal=tmp_path / "copy.sqlite") as (
            other,
            journal,
        ),
    ):
        other._now = lambda: now
        between.lose_requests["Settle"] = 0 if arrives else 1_000
        with pytest.raises(TerminalRefusal) as refused:
            await other.settle(await plan_of(town, other_patient), care=Care.OUTPATIENT)
        entry = await only(journal)
    assert (refused.value.reason, entry.state) == ("KEY_REUSED_WITH_OTHER_CONTENT", EntryState.REFUSED)
    assert entry.msgid == settlement.key.msgid
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (4_000, 0)
    assert await town.balance(other_patient, URUMQI) == (5_000, 0)
