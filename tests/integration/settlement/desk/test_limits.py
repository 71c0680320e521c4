"""Limits per payment and per month at the desk: a plan promises what the ledger keeps, month by month."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random

import pytest

from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care, Terminal
from kernel.clock import business_month
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk.test_settle import planned
from tests.integration.settlement.desk.town import HAMI, URUMQI, Town


async def month_use(town: Town, funder: str, patient: str, area: str) -> tuple[int, int]:
    """What this month has used and held under the pair's authorisation, as its ledger tells it."""
    ids = [said.authorisation_id(funder, patient).bytes]
    month = business_month(datetime.now(UTC))
    read = ledger_pb2.ReadBalancesCommand(authorisation_ids=ids, month=month)
    reply = await town.command(area, ledger_pb2.Command(read_balances_command=read))
    (told,) = reply.balances.authorisations
    return told.month_used_fen, told.month_held_fen


async def amend(town: Town, funder: str, patient: str, area: str, version: int, **limits: int) -> None:
    """Other limits, as the funder's room tells them to his ledger."""
    command = ledger_pb2.AmendAuthorisationCommand(
        authorisation_id=said.authorisation_id(funder, patient).bytes,
        version=version,
        per_payment_fen=limits.get("per_payment_fen"),
        per_month_fen=limits.get("per_month_fen"),
    )
    reply = await town.command(area, ledger_pb2.Command(amend_authorisation_command=command))
    assert not reply.authorisation.HasField("refusal")


def given(plan: pb.Plan) -> list[tuple[str, int]]:
    """Who of the family gives how much."""
    return [(funder.psn_no, funder.past_fen + funder.current_fen) for funder in plan.funders]


async def paid(terminal: Terminal, patient: str, total_fen: int) -> pb.Settlement:
    """A bill planned and paid as planned."""
    answer = await terminal.settle(await planned(terminal, patient, total_fen), care=Care.OUTPATIENT)
    assert isinstance(answer, pb.Settlement), answer
    return answer


async def test_a_plan_takes_no_more_than_a_payment_and_the_month_may_have(town: Town) -> None:
    """One limits each payment, the other what is left of the month; the next funder pays the rest, then it is cash."""
    patient = await town.person(URUMQI)
    near, far = await town.person(URUMQI, past=9_000), await town.person(HAMI, past=500, current=500)
    await town.bind(near, patient, URUMQI, order=1, per_payment_fen=1_000, per_month_fen=1_600)
    await town.bind(far, patient, HAMI, order=2, per_month_fen=700)
    async with town.terminal() as (terminal, _):
        for expected in ([(near, 1_000), (far, 500)], [(near, 600), (far, 200)], []):
            plan = await planned(terminal, patient, 1_500)
            assert given(plan) == expected
            answer = await terminal.settle(plan, care=Care.OUTPATIENT)
            assert isinstance(answer, pb.Settlement)
            assert answer.amounts.psn_cash_pay == 1_500 - sum(fen for _, fen in expected)
    await town.settled_down()
    assert await month_use(town, near, patient, URUMQI) == (1_600, 0)
    assert await month_use(town, far, patient, HAMI) == (700, 0)


async def test_what_is_revoked_may_be_used_again_in_its_month(town: Town) -> None:
    """The month is full, a revocation gives back, and the next plan has it."""
    patient, funder = await town.person(URUMQI), await town.person(URUMQI, past=9_000)
    await town.bind(funder, patient, URUMQI, order=1, per_month_fen=800)
    async with town.terminal() as (terminal, _):
        settled = await paid(terminal, patient, 800)
        assert given(await planned(terminal, patient, 100)) == []
        await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        await town.settled_down()
        assert await month_use(town, funder, patient, URUMQI) == (0, 0)
        assert given(await planned(terminal, patient, 900)) == [(funder, 800)]


@pytest.mark.parametrize(
    ("limits", "reason", "after"),
    [
        ({"per_payment_fen": 300}, "PAYMENT_LIMIT_EXCEEDED", 300),
        ({"per_month_fen": 450}, "MONTH_LIMIT_EXCEEDED", 350),
        ({"per_month_fen": 50}, "MONTH_LIMIT_EXCEEDED", 0),
    ],
)
async def test_a_limit_lowered_after_planning_takes_nothing_and_brings_a_new_plan(
    town: Town, limits: dict[str, int], reason: str, after: int
) -> None:
    """Of nobody; the answer carries the plan under the limit that stands, and that one is paid."""
    patient, funder = await town.person(URUMQI, past=200), await town.person(HAMI, past=9_000)
    await town.bind(funder, patient, HAMI, order=1)
    async with town.terminal() as (terminal, _):
        assert given(await planned(terminal, patient, 300)) == [(funder, 100)]
        await paid(terminal, patient, 300)
        plan = await planned(terminal, patient, 1_000)
        assert given(plan) == [(funder, 1_000)]
        await amend(town, funder, patient, HAMI, 2, **limits)
        replan = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(replan, pb.Replan)
        assert (replan.reason, given(replan.plan)) == (reason, [(funder, after)] if after else [])
        answer = await terminal.settle(replan.plan, care=Care.OUTPATIENT)
        assert isinstance(answer, pb.Settlement)
    await town.settled_down()
    assert await town.balance(funder, HAMI) == (9_000 - 100 - after, 0)


async def test_a_plan_that_nothing_has_changed_since_is_never_refused(town: Town) -> None:
    """Random bills, revocations and limits: the ledger keeps every plan to the fen, and its month is their sum."""
    random = Random(26)
    patient = await town.person(URUMQI, past=300)
    funders: list[tuple[str, str]] = [
        (await town.person(area, past=4_000, current=4_000), area) for area in (URUMQI, HAMI, HAMI)
    ]
    for order, (funder, area) in enumerate(funders, start=1):
        await town.bind(funder, patient, area, order=order, per_payment_fen=900, per_month_fen=2_000)
    used: dict[tuple[str, str], int] = dict.fromkeys(funders, 0)
    settled: list[pb.Settlement] = []
    async with town.terminal() as (terminal, _):
        for version in range(2, 14):
            funder, area = random.choice(funders)
            per_month = random.choice([None, 500, 1_500, 3_000])
            limits = {"per_payment_fen": random.choice([100, 400, 2_500])} | (
                {} if per_month is None else {"per_month_fen": per_month}
            )
            await amend(town, funder, patient, area, version, **limits)
            if settled and random.random() < 0.4:
                answer = await terminal.revoke(settled.pop().setl_id, care=Care.OUTPATIENT)
                assert isinstance(answer, pb.Settlement)
                await town.settled_down()
            else:
                answer = await paid(terminal, patient, random.randrange(1, 3_000))
                settled.append(answer)
            for share in answer.funders:
                used[share.psn_no, share.area] += share.past_fen + share.current_fen
    await town.settled_down()
    for (funder, area), fen in used.items():
        await amend(town, funder, patient, area, 99, per_month_fen=1)
        assert await month_use(town, funder, patient, area) == (fen, 0)
        assert sum(await town.balance(funder, area)) == 8_000 - fen
