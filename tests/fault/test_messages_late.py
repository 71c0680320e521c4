"""Commands that come late, twice or out of turn, ledgers that keep silent, and holds that nobody stands for."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from gongji.ledger.v1 import ledger_pb2
from kernel.clock import business_year
from tests.e2e.asking import settle
from tests.e2e.town import HAMI, URUMQI, Town
from tests.fault.conftest import DRAINED, VOTE_DEADLINE_S
from tests.fault.victims import FAR_LEDGER, revive
from tests.fault.wiretap import Wiretap, wiretap_of

BILL_FEN: Final = 10_000
CALL_TIMEOUT_S: Final = 60.0
NOTICED_MAX_S: Final = 60.0


@pytest.fixture
async def tap(town: Town) -> AsyncIterator[Wiretap]:
    """Hears what the coordinator says to the ledgers."""
    async with wiretap_of(town.world) as laid:
        yield laid


async def entries(ledger: asyncpg.Connection) -> int:
    """How many lines the ledger's books have."""
    count: int = await ledger.fetchval("SELECT count(*) FROM entries")
    return count


async def test_every_command_of_a_paid_bill_said_again_in_any_order_changes_nothing(town: Town, tap: Wiretap) -> None:
    """TRY and CONFIRM come again, late and the wrong way round: the replies are the stored ones, the books stand."""
    family = await town.pair()
    settled = await town.paid(family, BILL_FEN)
    await town.at_rest()
    row = await town.payment(settled.key)
    assert row is not None
    heard = tap.of_payment(row["payment_id"])
    assert sorted((area, command.WhichOneof("kind")) for area, command in heard) == [
        (URUMQI, "confirm_command"),
        (URUMQI, "try_command"),
        (HAMI, "confirm_command"),
        (HAMI, "try_command"),
    ]
    money = await town.money(family)
    booked = [await entries(ledger) for ledger in town.ledgers.values()]
    for area, command in [*reversed(heard), *heard, *reversed(heard)]:
        (reply,) = await tap.say(area, command)
        held, confirmed = ledger_pb2.BRANCH_STATE_HELD, ledger_pb2.BRANCH_STATE_CONFIRMED
        assert reply.branch.state == (held if command.HasField("try_command") else confirmed)
        assert not reply.branch.alarm
    assert await town.money(family) == money
    assert [await entries(ledger) for ledger in town.ledgers.values()] == booked
    await town.check()


async def test_every_command_of_a_refused_bill_said_again_holds_nothing(town: Town, tap: Wiretap) -> None:
    """A TRY after the CANCEL is refused, whatever came before it; the hold never comes back."""
    family = await town.pair()
    plan = await town.planned(family, BILL_FEN)
    await town.freeze(family.patient)
    request = settle(plan)
    answer = await town.desks.settlement.Settle(request, timeout=CALL_TIMEOUT_S)
    assert answer.replan.reason == "ACCOUNT_FROZEN"
    await town.at_rest()
    row = await town.payment(request.key)
    assert row is not None
    heard = tap.of_payment(row["payment_id"])
    assert {command.WhichOneof("kind") for _, command in heard} == {"try_command", "cancel_command"}
    for area, command in [*reversed(heard), *heard]:
        (reply,) = await tap.say(area, command)
        assert reply.branch.state not in {ledger_pb2.BRANCH_STATE_HELD, ledger_pb2.BRANCH_STATE_CONFIRMED}
        assert not reply.branch.alarm
    assert [balance.held_fen for balance in await town.balances(family)] == [0, 0]
    await town.check()


async def test_a_try_that_comes_after_the_payment_was_given_up_finds_it_blocked(
    town: Town, tap: Wiretap, record_property: Callable[[str, object], None]
) -> None:
    """The ledger is dead until the payment is aborted; the CANCEL it hears first blocks the TRY that comes last."""
    family = await town.pair()
    before = await town.money(family)
    request = settle(await town.planned(family, BILL_FEN))
    await town.world.kill_process(FAR_LEDGER)
    killed_at = time.monotonic()
    answer = await town.desks.settlement.Settle(request, timeout=CALL_TIMEOUT_S)
    assert answer.replan.reason == "VOTE_DEADLINE_PASSED"
    assert [skipped.reason for skipped in answer.replan.plan.skipped] == ["AREA_UNREACHABLE"]
    row = await town.payment(request.key)
    assert row is not None
    late = await tap.said(row["payment_id"], "try_command", area=HAMI)

    await revive(town.world, FAR_LEDGER)
    await town.at_rest()
    record_property(DRAINED, f"{time.monotonic() - killed_at:.1f} (of which {VOTE_DEADLINE_S} s for the votes)")
    branch = "SELECT state FROM branches WHERE payment_id = $1"
    assert await town.ledgers[HAMI].fetchval(branch, row["payment_id"]) == "BLOCKED"
    (reply,) = await tap.say(HAMI, late)
    assert reply.branch.state == ledger_pb2.BRANCH_STATE_REFUSED
    assert reply.branch.refusal.reason == "PAYMENT_CANCELLED"
    assert await town.money(family) == before
    await town.check()


async def test_a_ledger_silent_beyond_the_deadline_keeps_no_hold_when_it_wakes(
    town: Town, record_property: Callable[[str, object], None]
) -> None:
    """The payment is given up and planned anew without the area; woken, the ledger lets go of what it held too late."""
    family = await town.pair()
    request = settle(await town.planned(family, BILL_FEN))
    town.world.send(FAR_LEDGER, signal.SIGSTOP)
    stopped_at = time.monotonic()
    try:
        replan = (await town.desks.settlement.Settle(request, timeout=CALL_TIMEOUT_S)).replan
    finally:
        town.world.send(FAR_LEDGER, signal.SIGCONT)
    assert time.monotonic() - stopped_at > VOTE_DEADLINE_S
    assert replan.reason == "VOTE_DEADLINE_PASSED"
    assert [skipped.reason for skipped in replan.plan.skipped] == ["AREA_UNREACHABLE"]
    woken_at = time.monotonic()
    await town.at_rest()
    record_property(DRAINED, f"{time.monotonic() - woken_at:.1f} (since it woke)")
    row = await town.payment(request.key)
    assert row is not None
    assert row["state"] == "CLOSED"
    paid = (await town.desks.settlement.Settle(settle(replan.plan), timeout=CALL_TIMEOUT_S)).settlement
    assert (paid.amounts.acct_mulaid_pay, paid.amounts.psn_cash_pay) == (0, 7_000)
    await town.at_rest()
    assert await town.money(family) == [(0, 0), (10_000, 0)]
    await town.check()


async def test_a_hold_that_no_payment_stands_for_stays_held_and_calls_someone(town: Town, tap: Wiretap) -> None:
    """The coordinator answers WAIT: the hold outlives its deadline, an alarm is raised, and verify names it as I4."""
    family = await town.pair()
    payment_id = uuid4()
    planted = ledger_pb2.TryCommand(
        payment_id=payment_id.bytes,
        legs=[
            ledger_pb2.Leg(
                leg_no=1,
                psn_no=family.patient.psn_no,
                account_kind=ledger_pb2.ACCOUNT_KIND_PERSONAL,
                role=ledger_pb2.ROLE_OWN,
                past_fen=1_000,
                year=business_year(datetime.now(UTC)),
            )
        ],
        inquire_after_ms=1,
    )
    (reply,) = await tap.say(URUMQI, ledger_pb2.Command(try_command=planted))
    assert reply.branch.state == ledger_pb2.BRANCH_STATE_HELD
    ledger = town.ledgers[URUMQI]
    end = time.monotonic() + NOTICED_MAX_S
    alarm = "SELECT times FROM alarms WHERE subject_id = $1 AND done_at IS NULL"
    # Asked about more than once: neither silence nor WAIT ends the hold.
    while (await ledger.fetchval(alarm, payment_id) or 0) < 2:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)
    assert await ledger.fetchval("SELECT state FROM branches WHERE payment_id = $1", payment_id) == "HELD"
    assert [balance.held_fen for balance in await town.balances(family)] == [1_000, 0]
    report = await town.report()
    assert [name for name, check in report.checks.items() if check.violations] == ["I4"]
    assert str(payment_id) in report.checks["I4"].findings[0]
    assert report.waiting[f"alarms of ledger {URUMQI}"] == 1
    # What an operator does about it, once he knows that it was never paid.
    (reply,) = await tap.say(
        URUMQI, ledger_pb2.Command(cancel_command=ledger_pb2.CancelCommand(payment_id=payment_id.bytes))
    )
    assert reply.branch.state == ledger_pb2.BRANCH_STATE_CANCELLED
    await ledger.execute("UPDATE alarms SET done_at = now() WHERE subject_id = $1", payment_id)
    await town.check()


async def test_a_confirm_that_nobody_decided_does_nothing_but_call_someone(town: Town, tap: Wiretap) -> None:
    """CONFIRM of a payment the ledger never heard of: an alarm, no entry, no branch."""
    ledger, payment_id = town.ledgers[URUMQI], uuid4()
    booked = await entries(ledger)
    (reply,) = await tap.say(
        URUMQI, ledger_pb2.Command(confirm_command=ledger_pb2.ConfirmCommand(payment_id=payment_id.bytes))
    )
    assert (reply.branch.alarm, reply.branch.state) == (True, ledger_pb2.BRANCH_STATE_UNSPECIFIED)
    assert await entries(ledger) == booked
    assert (await town.report()).waiting == {f"alarms of ledger {URUMQI}": 1}
    await ledger.execute("UPDATE alarms SET done_at = now() WHERE subject_id = $1", payment_id)
    await town.check()
