"""Revocation, reversal, tombstones, and their races with each other and with the decision."""

from __future__ import annotations

import asyncio
import gc
import random
from datetime import timedelta
from uuid import uuid4

import pytest

from gongji.settlement.v1.events_pb2 import SettlementEvent
from kernel.failures import Failure
from kernel.ids import PaymentId
from services.settlement.operations import payments
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import Refunded, Replanned, Settled, Stopped
from services.settlement.saga.payment import PaymentKind, State
from tests.integration.settlement.engine.world import HAMI, HOSPITAL, URUMQI, Act, World, reason_of


async def test_a_revocation_brings_every_leg_back_to_its_origin(town: World, engine: Engine) -> None:
    """The refund has its own id and key, is told to the other rooms, and makes older plans stale."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=1_000)
    settled = await town.settle(engine, await town.plan(person, own=1_000, wallet=500))
    older = await town.plan(person, own=1)
    key = town.key("2208")
    outcome = await town.revoke(engine, settled.payment.payment_id, key)
    assert (outcome.refund.kind, outcome.refund.key, outcome.refund.amount_fen) == (PaymentKind.REFUND, key, 1_500)
    assert outcome.original.payment_id == settled.payment.payment_id
    await town.until(key, State.DONE)
    assert await town.money(person) == (10_000, 1_000)
    refused = await town.settle(engine, older)
    assert isinstance(refused, Replanned)
    assert refused.payment.reason == "PLAN_STALE"
    async with town.database.driver_connection() as connection:
        payload = await connection.fetchval(
            "SELECT payload FROM outbox WHERE aggregate = $1", f"payment:{outcome.refund.payment_id}"
        )
    told = SettlementEvent.FromString(payload).bill_refunded
    assert (told.original_setl_id, told.reversed) == (str(settled.payment.payment_id), False)


async def test_a_refusal_that_its_call_did_not_wait_for_is_no_error(
    town: World, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    """The terminal has hung up before it could be told that there is nothing to revoke: the log stays quiet."""
    call = asyncio.create_task(town.revoke(engine, PaymentId(uuid4())))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    while engine._tasks:
        await asyncio.wait(engine._tasks)
    del call
    gc.collect()
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_the_same_revocation_again_gives_the_same_record_and_another_one_names_it(
    town: World, engine: Engine
) -> None:
    """One live refund per original."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    settled = await town.settle(engine, await town.plan(person, own=1_000))
    key = town.key("2208")
    outcomes = await asyncio.gather(*(town.revoke(engine, settled.payment.payment_id, key) for _ in range(10)))
    assert len({outcome.refund.payment_id for outcome in outcomes}) == 1
    with pytest.raises(Failure) as error:
        await town.revoke(engine, settled.payment.payment_id)
    assert error.value.reason == "ALREADY_REVOKED"
    assert error.value.metadata == {"setl_id": str(outcomes[0].refund.payment_id)}
    other = await town.settle(engine, await town.plan(person, own=10))
    assert await reason_of(town.revoke(engine, other.payment.payment_id, key)) == "KEY_REUSED_WITH_OTHER_CONTENT"
    await town.drained()
    assert await town.money(person) == (9_990, 0)


async def test_money_that_is_still_held_is_taken_before_it_is_given_back(town: World, engine: Engine) -> None:
    """The CONFIRM to one area is lost: the CREDIT finds the hold, confirms it first, and the sum is right."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=1_000)
    town.edges[URUMQI].is_silent("confirm")
    settled = await town.settle(engine, await town.plan(person, own=1_000, wallet=500))
    key = town.key("2208")
    await town.revoke(engine, settled.payment.payment_id, key)
    await town.until(key, State.DONE)
    assert await town.money(person) == (10_000, 1_000)
    town.edges[URUMQI].speaks_again()
    await town.drained()
    assert await town.money(person) == (10_000, 1_000)


async def test_a_revocation_is_answered_though_a_ledger_is_silent_and_its_money_comes_later(
    town: World, engine: Engine
) -> None:
    """What the other ledger has is back with the answer; the same request again gives the same record meanwhile."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=1_000)
    settled = await town.settle(engine, await town.plan(person, own=1_000, wallet=500))
    await town.drained()
    town.edges[URUMQI].is_silent("credit")
    key = town.key("2208")
    outcome = await town.revoke(engine, settled.payment.payment_id, key)
    assert await town.money(person) == (10_000, 500)
    assert (await town.revoke(engine, settled.payment.payment_id, key)).refund.payment_id == outcome.refund.payment_id
    town.edges[URUMQI].speaks_again()
    await town.until(key, State.DONE)
    assert await town.money(person) == (10_000, 1_000)


async def test_a_settlement_of_last_year_stays(town: World, engine: Engine) -> None:
    """Revocation and reversal are refused alike, and the settlement can still be asked for."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    key = town.key()
    settled = await town.settle(engine, await town.plan(person, own=1_000), key)
    await town.until(key, State.DONE)
    last_year = "UPDATE payments SET decided_at = decided_at - interval '1 year' WHERE payment_id = $1"
    await town.forget(last_year, settled.payment.payment_id)
    assert await reason_of(town.revoke(engine, settled.payment.payment_id)) == "REVOKE_WINDOW_CLOSED"
    assert await reason_of(town.reverse(engine, key)) == "REVOKE_WINDOW_CLOSED"
    assert (await payments.look_up(engine, fixmedins_code=HOSPITAL, key=key)).payment.state is State.DONE


async def test_a_key_reversed_before_it_was_seen_can_never_start(town: World, engine: Engine) -> None:
    """Rule 3: the late original is refused whatever its content, and reversing again says the same."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    key = town.key()
    assert await town.reverse(engine, key) == Stopped()
    assert await reason_of(town.settle(engine, await town.plan(person, own=1_000), key)) == "PAYMENT_REVERSED"
    assert await reason_of(town.settle(engine, await town.plan(person, own=2_000), key)) == "PAYMENT_REVERSED"
    assert await town.reverse(engine, key) == Stopped()
    row = await town.row(key)
    assert row is not None
    assert (row.kind, row.state) == (PaymentKind.TOMBSTONE, State.CLOSED)
    assert await town.money(person) == (10_000, 0)


async def test_a_revocation_reversed_before_it_was_seen_can_never_start(town: World, engine: Engine) -> None:
    """The settlement stays paid; a revocation under another key still passes, and then stands."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    settled = await town.settle(engine, await town.plan(person, own=1_000))
    buried, key = town.key("2208"), town.key("2208")
    assert await town.reverse(engine, buried) == Stopped()
    assert await reason_of(town.revoke(engine, settled.payment.payment_id, buried)) == "PAYMENT_REVERSED"
    await town.revoke(engine, settled.payment.payment_id, key)
    assert await reason_of(town.reverse(engine, key)) == "REVOCATION_STANDS"
    await town.drained()
    assert await town.money(person) == (10_000, 0)


async def test_a_reversal_stops_an_undecided_payment(town: World, engine: Engine) -> None:
    """One vote is missing: the waiting call hears that it was reversed, the other's hold is released."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=1_000)
    plan, key = await town.plan(person, own=1_000, wallet=500), town.key()
    town.edges[URUMQI].always["try_command"] = Act.STASH
    call = asyncio.create_task(reason_of(town.settle(engine, plan, key)))
    await town.until(key, State.TRYING)
    other = (await town.driver()).engine
    assert await town.reverse(other, key) == Stopped()
    await town.edges[URUMQI].release()
    assert await call == "PAYMENT_REVERSED"
    await town.until(key, State.CLOSED)
    assert await reason_of(town.settle(engine, plan, key)) == "PAYMENT_REVERSED"
    assert await town.reverse(engine, key) == Stopped()
    assert await town.money(person) == (10_000, 1_000)


async def test_a_reversal_of_a_refused_payment_says_reversed(town: World, engine: Engine) -> None:
    """Nothing had been taken."""
    person = town.patient()
    await town.give(engine, person, own=100)
    key = town.key()
    await town.settle(engine, await town.plan(person, own=101), key)
    assert await town.reverse(engine, key) == Stopped()
    assert await town.money(person) == (100, 0)


async def test_a_reversal_of_a_paid_settlement_gives_it_back_once(town: World, engine: Engine) -> None:
    """From two coordinators at once, and again later: one refund, the same for all."""
    other = (await town.driver()).engine
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=1_000)
    key = town.key()
    await town.settle(engine, await town.plan(person, own=1_000, wallet=500), key)
    outcomes = await asyncio.gather(*(town.reverse((engine, other)[n % 2], key) for n in range(10)))
    refunds = {outcome.refund.payment_id for outcome in outcomes if isinstance(outcome, Refunded)}
    assert len(outcomes) == 10
    assert len(refunds) == 1
    await town.drained()
    again = await town.reverse(engine, key)
    assert isinstance(again, Refunded)
    assert again.refund.payment_id in refunds
    assert await town.money(person) == (10_000, 1_000)


async def test_a_reversal_of_a_revoked_settlement_answers_with_the_revocation(town: World, engine: Engine) -> None:
    """The money has gone back; it does not go back again."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    key = town.key()
    settled = await town.settle(engine, await town.plan(person, own=1_000), key)
    revoked = await town.revoke(engine, settled.payment.payment_id)
    outcome = await town.reverse(engine, key)
    assert isinstance(outcome, Refunded)
    assert outcome.refund.payment_id == revoked.refund.payment_id
    await town.drained()
    assert await town.money(person) == (10_000, 0)


async def test_reversals_racing_decisions_leave_nothing_taken(town: World, engine: Engine) -> None:
    """At whatever instant the reversal comes: stopped or given back, and each call was told what is true."""
    other = (await town.driver()).engine
    dice = random.Random(7)

    async def play() -> None:
        person = town.patient()
        await town.give(engine, person, own=10_000, wallet=1_000)
        plan, key = await town.plan(person, own=1_000, wallet=500), town.key()

        async def reversal() -> Refunded | Stopped:
            await asyncio.sleep(dice.random() * 0.08)
            return await town.reverse(other, key)

        settled, reversed_ = await asyncio.gather(town.settle(engine, plan, key), reversal(), return_exceptions=True)
        if isinstance(settled, Settled):
            assert isinstance(reversed_, Refunded)
            assert reversed_.original.payment_id == settled.payment.payment_id
        else:
            assert isinstance(settled, Failure)
            assert settled.reason == "PAYMENT_REVERSED"
            assert reversed_ == Stopped()
        await town.until(key, State.DONE, State.CLOSED)
        await town.drained()
        assert await town.money(person) == (10_000, 1_000)

    await asyncio.gather(*(play() for _ in range(25)))


async def test_a_revocation_racing_a_reversal_gives_back_once(town: World, engine: Engine) -> None:
    """Whoever is first makes the one refund; the other is told of it."""
    other = (await town.driver()).engine

    async def play() -> None:
        person = town.patient()
        await town.give(engine, person, own=10_000)
        key = town.key()
        settled = await town.settle(engine, await town.plan(person, own=1_000), key)
        revoked, reversed_ = await asyncio.gather(
            town.revoke(engine, settled.payment.payment_id), town.reverse(other, key), return_exceptions=True
        )
        assert isinstance(reversed_, Refunded)
        if isinstance(revoked, Refunded):
            assert revoked.refund.payment_id == reversed_.refund.payment_id
        else:
            assert isinstance(revoked, Failure)
            assert revoked.metadata["setl_id"] == str(reversed_.refund.payment_id)
        await town.drained()
        assert await town.money(person) == (10_000, 0)

    await asyncio.gather(*(play() for _ in range(15)))


async def test_a_revocation_of_what_is_not_paid_or_not_ours_is_refused(town: World, engine: Engine) -> None:
    """Undecided, refused, another transaction's family: nothing is stored."""
    person = town.patient()
    await town.give(engine, person, own=100)
    key = town.key()
    await town.settle(engine, await town.plan(person, own=101), key)
    refused = await town.row(key)
    assert refused is not None
    assert await reason_of(town.revoke(engine, refused.payment_id)) == "SETTLEMENT_NOT_PAID"
    settled = await town.settle(engine, await town.plan(person, own=50))
    assert await reason_of(town.revoke(engine, settled.payment.payment_id, town.key("2103"))) == "INFNO_DOES_NOT_FIT"
    made = await town.count("SELECT count(*) FROM payments WHERE kind = 'REFUND' AND psn_no = $1", person)
    assert made == 0


@pytest.mark.parametrize("act", [Act.LOSE, Act.MUTE, Act.TWICE, Act.LATE])
async def test_whatever_happens_to_a_credit_the_money_comes_back_once(town: World, engine: Engine, act: Act) -> None:
    """Lost before or after the ledger, doubled, or late."""
    person = town.patient()
    await town.give(engine, person, own=10_000)
    settled = await town.settle(engine, await town.plan(person, own=1_000))
    key = town.key("2208")
    town.edges[HAMI].will("credit", act)
    await town.revoke(engine, settled.payment.payment_id, key)
    await town.until(key, State.DONE)
    assert await town.money(person) == (10_000, 0)


async def test_a_msgid_older_than_the_answers_are_kept_is_refused(town: World) -> None:
    """Rule 6: it is neither executed nor reversed."""
    engine = (await town.driver(retention=timedelta(seconds=0))).engine
    key = town.key()
    old = key._replace(msgid=key.msgid[:12] + "20260101000000" + key.msgid[-4:])
    assert await reason_of(town.settle(engine, await town.plan(town.patient()), old)) == "MSGID_TOO_OLD"
    assert await reason_of(town.reverse(engine, old)) == "MSGID_TOO_OLD"
    assert await town.row(old) is None
