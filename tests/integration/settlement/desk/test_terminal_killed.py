"""kill -9 of the real terminal at every step of what moves money: nothing is paid twice and nothing is lost."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import grpc
import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care
from gongji_terminal.failures import failure_of
from tests.integration.settlement.desk.counter import CounterProcess, counter
from tests.integration.settlement.desk.test_terminal import plan_of
from tests.integration.settlement.desk.town import URUMQI, Town
from tests.patience import until

BEFORE_WRITTEN: Final = "before the request is written down"
LOST: Final = "sent, and lost on the way"
LATE: Final = "sent, and arrives after the terminal is back"
UNANSWERED: Final = "done, and the answer is on its way"
UNWRITTEN: Final = "answered, and the answer not written down"
TOLD: Final = "the answer is written down"


@contextmanager
def journal_locked(at: CounterProcess) -> Iterator[None]:
    """Nobody else can write into the journal inside."""
    connection = sqlite3.connect(at.journal, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.close()


async def until_answered(at: CounterProcess, before: int) -> None:
    """Waits until the desk has answered one more call."""

    async def answered() -> bool:
        return len(at.gate.answered) > before

    await until(answered)


async def killed(at: CounterProcess, step: str, method: str, *command: str) -> None:
    """Begins the command and kills it at this step."""
    if step in {LOST, LATE, UNWRITTEN}:
        at.gate.hold_requests = method
    if step == UNANSWERED:
        at.gate.hold_answers = method
    before = len(at.gate.answered)
    if step == BEFORE_WRITTEN:
        with journal_locked(at):
            process = await at.begun(*command)
            await at.has_opened_journal(process)
            process.kill()
            await process.communicate()
        return
    process = await at.begun(*command)
    if step == TOLD:
        await at.is_told("REVERSED" if command[0] == "reverse" else "SETTLED")
    else:
        await asyncio.wait_for(at.gate.held.wait(), 15)
    if step == UNWRITTEN:
        with journal_locked(at):
            at.gate.hold_requests = ""
            at.gate.go_on.set()
            await until_answered(at, before)
            await asyncio.sleep(0.1)  # The answer crosses the wire; too early is UNANSWERED, and as good.
            process.kill()
            await process.communicate()
    else:
        process.kill()
        await process.communicate()
    at.gate.hold_requests = at.gate.hold_answers = ""


@pytest.mark.parametrize("step", [BEFORE_WRITTEN, LOST, LATE, UNANSWERED, UNWRITTEN, TOLD])
async def test_a_bill_whose_payment_is_killed_is_paid_once(town: Town, tmp_path: Path, step: str) -> None:
    """The cashier pays the plan again: it is paid, and the money is taken one time."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        plan = await at.shown(await plan_of(town, patient))
        await killed(at, step, "Settle", "pay", plan)
        code, answer = await at.said("pay", plan)
        assert (code, answer["outcome"]) == (0, "settled"), answer
        assert answer["already"] is (step in {UNANSWERED, UNWRITTEN, TOLD})
        for path, request in at.gate.late if step == LATE else []:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await at.gate.deliver(path, request)
            assert str(failure_of(refused.value)).startswith("PAYMENT_REVERSED")
        assert await at.said("resume") == (0, {"outcome": "resumed", "requests": []})
        await town.settled_down()
        assert await town.balance(patient, URUMQI) == (4_000, 0)
        assert at.rows("SELECT setl_id, medfee_sumamt FROM records") == [(answer["settlement"]["setl_id"], 1_000)]


async def paid(town: Town, at: CounterProcess, patient: str) -> tuple[str, str]:
    """A bill that was paid at this counter; its setl_id and msgid."""
    async with town.terminal(number=at.number, journal=at.journal) as (terminal, _):
        settlement = await terminal.settle(await plan_of(town, patient), care=Care.OUTPATIENT)
        assert isinstance(settlement, pb.Settlement)
    return settlement.setl_id, settlement.key.msgid


@pytest.mark.parametrize("step", [BEFORE_WRITTEN, LOST, LATE, UNANSWERED, UNWRITTEN, TOLD])
async def test_a_revocation_that_is_killed_gives_the_money_back_once(town: Town, tmp_path: Path, step: str) -> None:
    """The cashier revokes again: the money is back, one time, and both records are in the day's books."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        setl_id, _ = await paid(town, at, patient)
        await killed(at, step, "RevokeSettle", "revoke", setl_id)
        code, answer = await at.said("revoke", setl_id)
        assert (code, answer["outcome"]) == (0, "settled"), answer
        for path, request in at.gate.late if step == LATE else []:
            with pytest.raises(grpc.aio.AioRpcError):
                await at.gate.deliver(path, request)
        await town.settled_down()
        assert await town.balance(patient, URUMQI) == (5_000, 0)
        records = at.rows("SELECT original_setl_id, medfee_sumamt FROM records ORDER BY medfee_sumamt")
        assert records == [(setl_id, -1_000), ("", 1_000)]


@pytest.mark.parametrize("step", [BEFORE_WRITTEN, LOST, LATE, UNANSWERED, UNWRITTEN, TOLD])
async def test_a_reversal_that_is_killed_is_wanted_until_it_is_done(town: Town, tmp_path: Path, step: str) -> None:
    """Once it is written down, resume sends it; the money is back one time."""
    patient = await town.person(past=5_000)
    async with counter(town, tmp_path) as at:
        setl_id, msgid = await paid(town, at, patient)
        await killed(at, step, "ReverseTransaction", "reverse", msgid)
        wanted = [] if step in {BEFORE_WRITTEN, TOLD} else [(msgid, "QUEUED")]
        assert at.rows("SELECT msgid, state FROM reversals WHERE state = 'QUEUED'") == wanted
        code, answer = await (at.said("reverse", msgid) if step == BEFORE_WRITTEN else at.said("resume"))
        assert code == 0, answer
        for path, request in at.gate.late if step == LATE else []:
            await at.gate.deliver(path, request)
        assert at.rows("SELECT msgid, state FROM reversals") == [(msgid, "DONE")]
        await town.settled_down()
        assert await town.balance(patient, URUMQI) == (5_000, 0)
        records = at.rows("SELECT original_setl_id, medfee_sumamt FROM records ORDER BY medfee_sumamt")
        assert records == [(setl_id, -1_000), ("", 1_000)]
