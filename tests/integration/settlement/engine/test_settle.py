"""A settlement from the request to the money, and what the same key, another plan or a busy patient meet."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from chassis.deadlines import deadline_in
from gongji.settlement.v1.events_pb2 import SettlementEvent
from kernel.failures import Failure, Kind
from kernel.ids import PlanId
from services.settlement.domain.plan import Plan
from services.settlement.operations import payments
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import Replanned, Settled
from services.settlement.saga.payment import VOTE_DEADLINE_PASSED, Payment, State
from services.settlement.store import plans
from tests.integration.settlement.engine.world import HAMI, NEVER_STALE, URUMQI, Act, World, reason_of


async def test_a_settlement_takes_exactly_what_the_plan_says(town: World, engine: Engine) -> None:
    """Own account and wallet in two areas pay their legs; the row ends DONE with the balances that were voted."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=5_000)
    key = town.key()
    outcome = await town.settle(engine, await town.plan(person, own=7_000, wallet=1_500), key)
    assert isinstance(outcome, Settled)
    assert outcome.payment.state is State.COMMITTED
    assert [after.free_fen for after in outcome.payment.balances_after] == [3_000, 3_500]
    assert outcome.payment.decided_at is not None
    await town.until(key, State.DONE)
    assert await town.money(person) == (3_000, 3_500)


async def test_a_settlement_is_told_to_the_other_rooms_in_the_deciding_transaction(town: World, engine: Engine) -> None:
    """One BillSettled in the outbox, with every account's change and what its owner can still spend."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=5_000)
    outcome = await town.settle(engine, await town.plan(person, own=7_000, wallet=1_500))
    async with town.database.driver_connection() as connection:
        rows = await connection.fetch(
            "SELECT payload FROM outbox WHERE aggregate = $1", f"payment:{outcome.payment.payment_id}"
        )
    told = SettlementEvent.FromString(rows[0]["payload"]).bill_settled
    assert len(rows) == 1
    assert told.setl_id == str(outcome.payment.payment_id)
    assert [(change.past_fen, change.balance_after_fen) for change in told.changes] == [(7_000, 3_000), (1_500, 3_500)]


async def test_a_bill_without_legs_is_settled_without_any_ledger(town: World, engine: Engine) -> None:
    """Paid by the funds or in cash: decided at once."""
    key = town.key()
    outcome = await town.settle(engine, await town.plan(town.patient()), key)
    assert isinstance(outcome, Settled)
    await town.until(key, State.DONE)


async def test_fifty_calls_with_one_key_are_one_execution_and_one_answer(town: World, engine: Engine) -> None:
    """Rule 6: the money is taken once and everybody hears the same."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=1_000)
    plan, key = await town.plan(person, own=1_000, wallet=100), town.key()
    tries = town.edges[HAMI].seen["try_command"]
    outcomes = await asyncio.gather(*(town.settle(engine, plan, key) for _ in range(50)))
    assert len({outcome.payment.payment_id for outcome in outcomes}) == 1
    assert len({outcome.payment.decided_at for outcome in outcomes}) == 1
    await town.drained()
    assert await town.money(person) == (9_000, 900)
    assert town.edges[HAMI].seen["try_command"] == tries + 1


async def test_two_coordinators_with_one_key_are_one_execution(town: World, engine: Engine) -> None:
    """The key is the database's to keep, not a process's."""
    other = (await town.driver()).engine
    person = town.patient()
    await town.give(engine, person, own=10_000)
    plan, key = await town.plan(person, own=1_000), town.key()
    outcomes = await asyncio.gather(*(town.settle((engine, other)[n % 2], plan, key) for n in range(20)))
    assert len({outcome.payment.payment_id for outcome in outcomes}) == 1
    await town.drained()
    assert await town.money(person) == (9_000, 0)


async def test_the_same_key_later_gives_the_stored_answer(town: World, engine: Engine) -> None:
    """Long after, from another coordinator, the answer is the row's."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    plan, key = await town.plan(person, own=1_000), town.key()
    first = await town.settle(engine, plan, key)
    await town.until(key, State.DONE)
    again = await town.settle((await town.driver()).engine, plan, key)
    assert isinstance(again, Settled)
    assert (again.payment.payment_id, again.payment.decided_at) == (first.payment.payment_id, first.payment.decided_at)
    assert again.payment.balances_after == first.payment.balances_after
    assert Plan.of_document(again.plan) == plan


async def test_a_key_with_other_content_is_refused_and_never_executed(town: World, engine: Engine) -> None:
    """Another plan under a key that is taken, before and after the decision."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    plan, other, key = await town.plan(person, own=1_000), await town.plan(person, own=2_000), town.key()
    results = await asyncio.gather(
        town.settle(engine, plan, key), town.settle(engine, other, key), return_exceptions=True
    )
    refusals = [result for result in results if isinstance(result, Failure)]
    assert [refusal.reason for refusal in refusals] == ["KEY_REUSED_WITH_OTHER_CONTENT"]
    await town.drained()
    assert await reason_of(town.settle(engine, await town.plan(person, own=5), key)) == "KEY_REUSED_WITH_OTHER_CONTENT"
    assert await town.settlements(person) == 1


@pytest.mark.parametrize("reason", ["PLAN_UNKNOWN", "PLAN_DIGEST_MISMATCH", "PLAN_EXPIRED", "INFNO_DOES_NOT_FIT"])
async def test_a_plan_that_may_not_be_paid_is_refused_and_the_key_stays_free(
    town: World, engine: Engine, reason: str
) -> None:
    """Nothing is stored: the same key may carry another request."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    good, key = await town.plan(person, own=1_000), town.key()
    bad = await town.plan(person, own=1_000, infno="2101" if reason == "INFNO_DOES_NOT_FIT" else "2206")
    plan_id, digest = bad.plan_id, bad.digest
    if reason == "PLAN_UNKNOWN":
        plan_id = PlanId(uuid4())
    elif reason == "PLAN_DIGEST_MISMATCH":
        digest = good.digest
    elif reason == "PLAN_EXPIRED":
        past = "UPDATE plans SET created_at = now() - interval '1 hour', expires_at = now() WHERE plan_id = $1"
        await town.forget(past, plan_id)
    asked = payments.settle(
        engine, key=key, plan_id=plan_id, plan_digest=digest, freshness=NEVER_STALE, now=datetime.now(UTC)
    )
    assert await reason_of(asked) == reason
    assert isinstance(await town.settle(engine, good, key), Settled)


async def test_a_plan_made_before_another_settlement_is_stale(town: World, engine: Engine) -> None:
    """One patient's settlements run one after another: the second needs a plan that knows the first."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    first, second = await town.plan(person, own=1_000), await town.plan(person, own=1_000)
    await town.settle(engine, first)
    refused = await town.settle(engine, second)
    assert isinstance(refused, Replanned)
    assert refused.payment.reason == "PLAN_STALE"
    assert isinstance(await town.settle(engine, await town.plan(person, own=1_000)), Settled)


async def test_a_second_settlement_of_a_busy_patient_is_sent_away(town: World, engine: Engine) -> None:
    """At most one undecided settlement per patient; the refused one leaves nothing behind."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    plan, other, key = await town.plan(person, own=1_000), await town.plan(person, own=500), town.key()
    town.edges[HAMI].will("try", Act.LOSE)
    first = asyncio.create_task(town.settle(engine, plan, key))
    await town.until(key, State.TRYING)
    assert await reason_of(town.settle(engine, other)) == "PATIENT_BUSY"
    assert isinstance(await first, Settled)
    assert await town.settlements(person) == 1


async def test_of_many_settlements_of_one_patient_at_once_one_is_paid(town: World, engine: Engine) -> None:
    """Whichever begins first is paid; the others are busy or stale, on two coordinators."""
    other = (await town.driver()).engine
    person = town.patient()
    await town.give(engine, person, own=10_000)
    offers = [await town.plan(person, own=1_000) for _ in range(12)]
    results = await asyncio.gather(
        *(town.settle((engine, other)[n % 2], plan) for n, plan in enumerate(offers)), return_exceptions=True
    )
    refused = {result.reason for result in results if isinstance(result, Failure)}
    refused |= {result.payment.reason for result in results if isinstance(result, Replanned)}
    assert sum(isinstance(result, Settled) for result in results) == 1
    assert refused <= {"PATIENT_BUSY", "PLAN_STALE"}
    await town.drained()
    assert await town.money(person) == (9_000, 0)


async def test_a_refusal_takes_nothing_and_brings_a_new_plan_once(town: World, engine: Engine) -> None:
    """One ledger refuses: the other's hold is released before the new plan is made, and the answer is settled."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=100)
    plan, key = await town.plan(person, own=1_000, wallet=101), town.key()
    first, again = await asyncio.gather(town.settle(engine, plan, key), town.settle(engine, plan, key))
    assert isinstance(first, Replanned)
    assert isinstance(again, Replanned)
    assert (first.payment.reason, first.payment.refused_leg_no) == ("INSUFFICIENT_FUNDS", 2)
    assert first.plan_id == again.plan_id
    late = await town.settle((await town.driver()).engine, plan, key)
    assert isinstance(late, Replanned)
    assert late.plan_id == first.plan_id
    assert {silent for _, silent in town.replans} == {frozenset()}
    await town.until(key, State.CLOSED)
    assert await town.money(person) == (10_000, 100)


async def test_where_no_new_plan_can_be_made_the_refusals_reason_is_the_answer_for_ever(town: World) -> None:
    """The patient may have lost his insurance meanwhile: the key answers the same ever after."""

    async def cannot(_: Payment, __: object, ___: object) -> PlanId:
        raise Failure(Kind.PRECONDITION, "PATIENT_NOT_INSURED")

    engine = (await town.driver(replan=cannot)).engine
    person = town.patient()
    await town.give(engine, person, own=100)
    plan, key = await town.plan(person, own=101), town.key()
    assert await reason_of(town.settle(engine, plan, key)) == "INSUFFICIENT_FUNDS"
    other = (await town.driver()).engine
    assert await reason_of(town.settle(other, plan, key)) == "INSUFFICIENT_FUNDS"


async def test_a_silent_area_is_left_at_the_deadline_and_named_to_the_new_plan(town: World) -> None:
    """The other area's hold is released; the silent one's TRY, should it arrive later, finds itself cancelled."""
    engine = (await town.driver(vote_deadline_s=1.5, replan_wait_s=0.3)).engine
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=1_000)
    plan, key = await town.plan(person, own=1_000, wallet=500), town.key()
    town.edges[URUMQI].is_silent("cancel")
    town.edges[URUMQI].always["try_command"] = Act.STASH
    outcome = await town.settle(engine, plan, key)
    assert isinstance(outcome, Replanned)
    assert (outcome.payment.reason, outcome.payment.refused_leg_no) == (VOTE_DEADLINE_PASSED, 2)
    assert [silent for _, silent in town.replans] == [frozenset({URUMQI})]
    await town.edges[URUMQI].release()
    town.edges[URUMQI].speaks_again()
    await town.until(key, State.CLOSED)
    assert await town.money(person) == (10_000, 1_000)


async def test_a_cancelled_call_changes_nothing(town: World, engine: Engine) -> None:
    """The caller hangs up in the middle; the money step goes on and the key has its answer."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=1_000)
    plan, key = await town.plan(person, own=1_000, wallet=500), town.key()
    town.edges[URUMQI].will("try", Act.MUTE)
    call = asyncio.create_task(town.settle(engine, plan, key))
    await town.until(key, State.TRYING)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await town.until(key, State.DONE)
    assert isinstance(await town.settle(engine, plan, key), Settled)
    assert await town.money(person) == (9_000, 500)


async def test_a_call_whose_time_is_over_hears_that_it_is_in_progress(town: World, engine: Engine) -> None:
    """The terminal asks again with the same key and gets the answer."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    plan, key = await town.plan(person, own=1_000), town.key()
    town.edges[HAMI].will("try", Act.LOSE)
    with deadline_in(0.2):
        assert await reason_of(town.settle(engine, plan, key)) == "PAYMENT_IN_PROGRESS"
    assert isinstance(await town.settle(engine, plan, key), Settled)


@pytest.mark.parametrize("order", ["try", "confirm"])
@pytest.mark.parametrize("act", [Act.LOSE, Act.MUTE, Act.TWICE, Act.LATE])
async def test_whatever_happens_to_one_message_the_money_moves_once(
    town: World, engine: Engine, order: str, act: Act
) -> None:
    """Lost before or after the ledger, doubled, or late: the settlement is paid and booked once."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=1_000)
    plan, key = await town.plan(person, own=1_000, wallet=500), town.key()
    town.edges[URUMQI].will(order, act)
    assert isinstance(await town.settle(engine, plan, key), Settled)
    await town.until(key, State.DONE)
    assert await town.money(person) == (9_000, 500)


@pytest.mark.parametrize("act", [Act.LOSE, Act.MUTE, Act.TWICE, Act.LATE])
async def test_whatever_happens_to_a_cancel_the_hold_is_released_once(town: World, engine: Engine, act: Act) -> None:
    """The refused attempt leaves nothing held."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=100)
    plan, key = await town.plan(person, own=1_000, wallet=101), town.key()
    town.edges[HAMI].will("cancel", act)
    assert isinstance(await town.settle(engine, plan, key), Replanned)
    await town.until(key, State.CLOSED)
    assert await town.money(person) == (10_000, 100)


async def test_what_became_of_a_payment_is_told_by_id_and_by_key_to_its_institution_alone(
    town: World, engine: Engine
) -> None:
    """Another institution's question is answered as one about something unknown."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    plan, key = await town.plan(person, own=1_000), town.key()
    settled = await town.settle(engine, plan, key)
    by_key = await payments.look_up(engine, fixmedins_code=key.fixmedins_code, key=key)
    by_id = await payments.look_up(engine, fixmedins_code=key.fixmedins_code, payment_id=settled.payment.payment_id)
    assert by_key.payment.payment_id == by_id.payment.payment_id == settled.payment.payment_id
    assert by_key.plan is not None
    assert Plan.of_document(by_key.plan) == plan
    stranger = payments.look_up(engine, fixmedins_code="H65010000002", payment_id=settled.payment.payment_id)
    assert await reason_of(stranger) == "SETTLEMENT_UNKNOWN"


async def test_a_stored_plan_reads_back_as_it_was_made(town: World) -> None:
    """The plan's row is the plan, and it expires by the database's clock."""
    plan = await town.plan(town.patient(), own=1_000, wallet=500)
    stored = await plans.load(town.database, plan.plan_id)
    assert stored is not None
    assert stored.plan == plan
    assert stored.plan.digest == plan.digest
    assert replace(plan, year=plan.year + 1).digest != plan.digest
