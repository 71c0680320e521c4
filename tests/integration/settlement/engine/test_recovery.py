"""What is left when a coordinator stops is finished from the rows alone, by whoever comes; contradictions by nobody."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.failures import Failure
from kernel.ids import AdmDvs, PaymentId
from kernel.money import AMOUNT_MAX_FEN
from kernel.policy import Part
from services.settlement.clients import AREAS_MAX, BATCH_SIZE_MAX, LedgerClient
from services.settlement.consumer import inquire
from services.settlement.domain.split import Role
from services.settlement.operations import accounts
from services.settlement.operations import engine as engine_module
from services.settlement.operations.crediting import Credited, CreditRow, credit_unchecked
from services.settlement.operations.engine import Engine
from services.settlement.operations.payments import Settled
from services.settlement.saga.payment import VOTE_DEADLINE_PASSED, State
from tests.integration.settlement.engine.world import (
    DRAIN_S,
    HAMI,
    URUMQI,
    Act,
    World,
    hold,
    reason_of,
)
from tests.patience import insisted

MESSAGE_BYTES_MAX = 1 << 20
"""What NATS carries at most in one message."""


class TestACoordinatorStops:
    """In each open state; another one finishes what the row says."""

    async def test_undecided_it_is_aborted_at_the_deadline(self, town: World) -> None:
        """One vote was in, the other was not: the hold is released, and the key answers with the refusal."""
        first = await town.driver(recovers=False, vote_deadline_s=0.8)
        person = town.patient()
        await town.give(first.engine, person, own=10_000, wallet=1_000)
        plan, key = await town.plan(person, own=1_000, wallet=500), town.key()
        town.edges[URUMQI].is_silent("try")
        call = asyncio.create_task(town.settle(first.engine, plan, key))
        await town.until(key, State.TRYING)
        await first.stop()
        await town.driver(vote_deadline_s=0.8)
        row = await town.until(key, State.CLOSED)
        assert row.reason == VOTE_DEADLINE_PASSED
        assert await town.money(person) == (10_000, 1_000)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def test_undecided_it_is_paid_by_whoever_gets_the_same_request_again(self, town: World) -> None:
        """The terminal sends its request again, long before the deadline, to a coordinator that never heard of it."""
        first = await town.driver(recovers=False, vote_deadline_s=60)
        person = town.patient()
        await town.give(first.engine, person, own=10_000, wallet=1_000)
        plan, key = await town.plan(person, own=1_000, wallet=500), town.key()
        town.edges[URUMQI].is_silent("try")
        call = asyncio.create_task(town.settle(first.engine, plan, key))
        await town.until(key, State.TRYING)
        await first.stop()
        town.edges[URUMQI].speaks_again()
        second = await town.driver(recovers=False, vote_deadline_s=60)
        assert isinstance(await town.settle(second.engine, plan, key), Settled)
        await town.until(key, State.DONE)
        assert await town.money(person) == (9_000, 500)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def test_committed_it_is_confirmed(self, town: World) -> None:
        """The answer was given, no CONFIRM arrived: every ledger books it."""
        first = await town.driver(recovers=False)
        person = town.patient()
        await town.give(first.engine, person, own=10_000, wallet=1_000)
        key = town.key()
        for edge in town.edges.values():
            edge.is_silent("confirm")
        assert isinstance(await town.settle(first.engine, await town.plan(person, own=1_000, wallet=500), key), Settled)
        await first.stop()
        for edge in town.edges.values():
            edge.speaks_again()
        await town.driver()
        await town.until(key, State.DONE)
        assert await town.money(person) == (9_000, 500)

    async def test_aborted_it_is_cancelled(self, town: World) -> None:
        """The refusal was written, no CANCEL arrived: every ledger lets go."""
        first = await town.driver(recovers=False, replan_wait_s=0.1)
        person = town.patient()
        await town.give(first.engine, person, own=10_000, wallet=100)
        key = town.key()
        for edge in town.edges.values():
            edge.is_silent("cancel")
        await town.settle(first.engine, await town.plan(person, own=1_000, wallet=101), key)
        await first.stop()
        for edge in town.edges.values():
            edge.speaks_again()
        await town.driver()
        await town.until(key, State.CLOSED)
        assert await town.money(person) == (10_000, 100)

    async def test_with_money_on_its_way_back_it_is_credited(self, town: World) -> None:
        """The revocation was answered, no CREDIT arrived: every origin gets its money."""
        first = await town.driver()
        person = town.patient()
        await town.give(first.engine, person, own=10_000, wallet=1_000)
        settled = await town.settle(first.engine, await town.plan(person, own=1_000, wallet=500))
        key = town.key("2208")
        for edge in town.edges.values():
            edge.is_silent("credit")
        await town.revoke(first.engine, settled.payment.payment_id, key)
        await first.stop()
        for edge in town.edges.values():
            edge.speaks_again()
        await town.driver()
        await town.until(key, State.DONE)
        assert await town.money(person) == (10_000, 1_000)

    async def test_no_more_is_taken_up_than_is_driven_to_its_end(
        self, town: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What recovery drives fills its room, whatever waits in the table, and gives it free at its end."""
        monkeypatch.setattr(engine_module, "RECOVERED_MAX", 2)
        first = await town.driver(recovers=False)
        keys = [town.key() for _ in range(3)]
        for edge in town.edges.values():
            edge.is_silent("confirm")
        for key in keys:
            person = town.patient()
            await town.give(first.engine, person, own=10_000)
            assert isinstance(await town.settle(first.engine, await town.plan(person, own=1_000), key), Settled)
        await first.stop()
        await town.forget("UPDATE payments SET next_drive_at = now() WHERE finished_at IS NULL")
        second = await town.driver(recovers=False)
        assert await second.engine.sweep(limit=second.engine.recovery_room) == 2
        assert second.engine.recovery_room == 0
        for edge in town.edges.values():
            edge.speaks_again()
        monkeypatch.undo()
        await town.driver()
        for key in keys:
            await town.until(key, State.DONE)
        async with asyncio.timeout(DRAIN_S):
            while second.engine.recovery_room < engine_module.RECOVERED_MAX:  # noqa: ASYNC110  Its flights end when they hear of it.
                await asyncio.sleep(0.01)

    async def test_a_waiting_call_elsewhere_hears_the_outcome(self, town: World, engine: Engine) -> None:
        """The terminal sends the same key to another coordinator, which waits for whoever decides."""
        first = await town.driver(recovers=False, vote_deadline_s=0.5)
        person = town.patient()
        await town.give(first.engine, person, own=10_000)
        plan, key = await town.plan(person, own=1_000), town.key()
        town.edges[HAMI].is_silent("try")
        call = asyncio.create_task(town.settle(first.engine, plan, key))
        await town.until(key, State.TRYING)
        await first.stop()
        outcome = await town.settle(engine, plan, key)
        assert outcome.payment.reason == VOTE_DEADLINE_PASSED
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


async def test_two_coordinators_that_drive_the_same_payments_do_no_harm(town: World) -> None:
    """Every row is taken up by both at any time: each payment is decided once and its money moves once."""
    drivers = [await town.driver(lease_s=0.02, lease_max_s=0.02) for _ in range(2)]
    drivers_of = [driver.engine for driver in drivers]

    async def meddle() -> None:
        while True:
            await town.forget("UPDATE payments SET next_drive_at = now() WHERE finished_at IS NULL")
            await asyncio.sleep(0.01)

    async def play(number: int) -> None:
        person = town.patient()
        engine = drivers_of[number % 2]
        await town.give(engine, person, own=10_000, wallet=1_000)
        key = town.key()
        enough = number % 3 != 0
        town.edges[URUMQI].will("try", Act.LOSE, Act.TWICE)
        plan = await town.plan(person, own=1_000, wallet=500 if enough else 1_001)
        outcome = await town.settle(engine, plan, key)
        row = await town.until(key, State.DONE, State.CLOSED)
        assert isinstance(outcome, Settled) == (row.state is State.DONE)
        assert await town.money(person) == ((9_000, 500) if row.state is State.DONE else (10_000, 1_000))

    meddler = asyncio.create_task(meddle())
    try:
        await asyncio.gather(*(play(number) for number in range(24)))
    finally:
        meddler.cancel()
        await asyncio.gather(meddler, return_exceptions=True)
    await town.drained()
    versions = await town.count("SELECT max(version) FROM patient_years")
    assert versions < 10


async def test_an_aborted_payment_that_was_confirmed_is_never_closed(town: World, engine: Engine) -> None:
    """Somebody confirmed behind the coordinator's back: quarantine, the other ledger is let go, nobody hides it."""
    person = town.patient()
    await town.give(engine, person, own=10_000, wallet=100)
    key = town.key()
    town.edges[HAMI].will("cancel", *[Act.LOSE] * 3)
    await town.settle(engine, await town.plan(person, own=1_000, wallet=101), key)
    row = await town.until(key, State.ABORTED)
    town.forged.add(row.payment_id)
    confirm = pb.Command(confirm_command=pb.ConfirmCommand(payment_id=row.payment_id.bytes))
    assert (await town.tell(HAMI, confirm))[0].branch.state == pb.BRANCH_STATE_CONFIRMED
    async with asyncio.timeout(60):
        while not row.quarantine:
            await asyncio.sleep(0.05)
            row = await town.until(key, State.ABORTED)
    assert row.quarantine == "CONFIRMED_THOUGH_ABORTED"
    await asyncio.sleep(1.5)
    assert (await town.until(key, State.ABORTED)).state is State.ABORTED
    finish = "UPDATE payments SET state = 'CLOSED', finished_at = now() WHERE payment_id = $1"
    await town.forget(finish, row.payment_id)


async def test_a_commit_whose_hold_is_gone_waits_for_a_person(town: World) -> None:
    """A ledger restored from an older backup: the payment is never DONE, and its money is not taken twice."""
    first = await town.driver(recovers=False)
    person = town.patient()
    await town.give(first.engine, person, own=10_000)
    key = town.key()
    town.edges[HAMI].is_silent("confirm")
    settled = await town.settle(first.engine, await town.plan(person, own=1_000), key)
    town.forged.add(settled.payment.payment_id)
    cancel = pb.Command(cancel_command=pb.CancelCommand(payment_id=settled.payment.payment_id.bytes))
    await town.tell(HAMI, cancel)
    town.edges[HAMI].speaks_again()
    await town.driver()
    row = settled.payment
    async with asyncio.timeout(60):
        while not row.quarantine:
            await asyncio.sleep(0.05)
            row = await town.until(key, State.COMMITTED)
    assert row.quarantine == "CONFIRM_CONTRADICTED"
    finish = "UPDATE payments SET state = 'DONE', finished_at = now() WHERE payment_id = $1"
    await town.forget(finish, row.payment_id)


class TestInquiries:
    """What a ledger is told that asks (rules 2 and 4)."""

    async def ask(self, town: World, *payment_ids: PaymentId) -> list[tuple[int, bool]]:
        """Asks over NATS, as a ledger does."""
        request = pb.InquireRequest(area=HAMI, payment_ids=[payment_id.bytes for payment_id in payment_ids])
        subject = f"{town.prefix}.settlement.inquire"
        payload = await insisted(lambda: town.bus.request(subject, request.SerializeToString()))
        return [(answer.decision, answer.unknown) for answer in pb.InquireResponse.FromString(payload).answers]

    async def test_the_answers_are_what_the_rows_say(self, town: World) -> None:
        """Unknown and undecided wait, paid is confirmed, refused is cancelled; in the order asked."""
        driver = await town.driver(recovers=False)
        await inquire.serve(driver.bus, driver.engine)
        people = [town.patient() for _ in range(3)]
        keys = [town.key() for _ in people]
        for person in people:
            await town.give(driver.engine, person, own=10_000)
        await town.settle(driver.engine, await town.plan(people[0], own=1_000), keys[0])
        await town.settle(driver.engine, await town.plan(people[1], own=10_001), keys[1])
        town.edges[HAMI].is_silent("try")
        call = asyncio.create_task(town.settle(driver.engine, await town.plan(people[2], own=1_000), keys[2]))
        await town.until(keys[2], State.TRYING)
        rows = [await town.row(key) for key in keys]
        ids = [row.payment_id for row in rows if row is not None]
        assert await self.ask(town, PaymentId(uuid4()), *ids) == [
            (pb.DECISION_WAIT, True),
            (pb.DECISION_CONFIRM, False),
            (pb.DECISION_CANCEL, False),
            (pb.DECISION_WAIT, False),
        ]
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def test_an_overdue_payment_is_aborted_by_the_question(self, town: World) -> None:
        """The coordinator that began it is gone and no sweep has come by: the ledger's question decides it."""
        first = await town.driver(recovers=False)
        person = town.patient()
        await town.give(first.engine, person, own=10_000, wallet=100)
        key = town.key()
        town.edges[URUMQI].is_silent("try")
        call = asyncio.create_task(town.settle(first.engine, await town.plan(person, own=1_000, wallet=50), key))
        row = await town.until(key, State.TRYING)
        await first.stop()
        await town.forget("UPDATE payments SET deadline_at = now() WHERE payment_id = $1", row.payment_id)
        second = await town.driver(recovers=False)
        await inquire.serve(second.bus, second.engine)
        assert await self.ask(town, row.payment_id) == [(pb.DECISION_CANCEL, False)]
        town.edges[URUMQI].speaks_again()
        await town.until(key, State.CLOSED)
        assert await town.money(person) == (10_000, 100)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)

    async def test_a_hold_that_nobody_ordered_stays(self, town: World) -> None:
        """Rule 4: guessing ABORTED would lose money that was confirmed before a restore."""
        driver = await town.driver(recovers=False)
        await inquire.serve(driver.bus, driver.engine)
        person, stray = town.patient(), PaymentId(uuid4())
        town.forged.add(stray)
        await town.give(driver.engine, person, own=10_000)
        assert (await town.tell(HAMI, hold(stray, person, 1_000)))[0].branch.state == pb.BRANCH_STATE_HELD
        assert await self.ask(town, stray) == [(pb.DECISION_WAIT, True)]

    async def test_rubbish_is_refused(self, town: World) -> None:
        """A message that is no inquiry, and one that asks for nothing."""
        driver = await town.driver(recovers=False)
        await inquire.serve(driver.bus, driver.engine)
        for payload in (b"\xff\xff", b"", pb.InquireRequest(area=HAMI, payment_ids=[b"short"]).SerializeToString()):
            with pytest.raises(Failure) as error:
                await town.bus.request(f"{town.prefix}.settlement.inquire", payload)
            assert error.value.reason == "INQUIRY_MALFORMED"


class TestAccounts:
    """Credits and freezes are payments' smaller siblings: once for each key, whatever is lost."""

    @pytest.mark.parametrize("act", [Act.LOSE, Act.MUTE, Act.TWICE])
    async def test_a_credit_arrives_once_and_answers_the_same(self, town: World, engine: Engine, act: Act) -> None:
        """The balance is that after the first time; other content under the row id is refused."""
        person, row_id = town.patient(), uuid4().hex
        town.edges[HAMI].will("credit", act)

        async def credited(amount_fen: int = 700, part: Part = Part.CURRENT) -> Credited:
            return await credit_unchecked(engine, CreditRow(HAMI, row_id, person, Role.OWN, part, amount_fen))

        first = await credited()
        await town.give(engine, person, own=50)
        again = await asyncio.gather(*(credited() for _ in range(5)))
        assert (first.balance.past_fen, first.balance.current_fen, first.balance.exists) == (0, 700, True)
        assert {(one.payment.payment_id, one.balance) for one in again} == {(first.payment.payment_id, first.balance)}
        assert await reason_of(credited(701)) == "KEY_REUSED_WITH_OTHER_CONTENT"
        told = await town.count(
            "SELECT count(*) FROM outbox WHERE aggregate = $1", f"payment:{first.payment.payment_id}"
        )
        assert told == 1

    @pytest.mark.parametrize("act", [Act.LOSE, Act.MUTE, Act.TWICE])
    async def test_a_freeze_takes_effect_once_and_is_told_once(self, town: World, engine: Engine, act: Act) -> None:
        """A settlement after it is refused; the same request again answers the same."""
        person, request_id = town.patient(), uuid4()
        await town.give(engine, person, own=1_000)
        plan = await town.plan(person, own=100)
        town.edges[HAMI].will("freeze", act)

        async def frozen(cause: str = "COURT_ORDER") -> bool:
            balance = await accounts.set_frozen(
                engine, request_id=request_id, area=HAMI, psn_no=person, frozen=True, cause=cause
            )
            return balance.frozen

        assert await frozen()
        assert await frozen()
        assert await reason_of(frozen("ANOTHER")) == "KEY_REUSED_WITH_OTHER_CONTENT"
        outcome = await town.settle(engine, plan)
        assert outcome.payment.reason == "ACCOUNT_FROZEN"
        assert await town.count("SELECT count(*) FROM outbox WHERE aggregate = $1", f"freeze:{request_id}") == 1

    async def test_a_freeze_of_no_account_is_refused_and_stays_refused(self, town: World, engine: Engine) -> None:
        """One request, one outcome, also after the account has come to be."""
        person, request_id = town.patient(), uuid4()

        async def frozen() -> object:
            return await accounts.set_frozen(
                engine, request_id=request_id, area=HAMI, psn_no=person, frozen=True, cause="COURT_ORDER"
            )

        assert await reason_of(frozen()) == "ACCOUNT_NOT_FOUND"
        await town.give(engine, person, own=1_000)
        assert await reason_of(frozen()) == "ACCOUNT_NOT_FOUND"

    async def test_a_freeze_without_an_answer_is_sent_again_by_recovery(self, town: World) -> None:
        """The call is over and its coordinator too; the freeze takes effect all the same."""
        first = await town.driver(recovers=False, answer_wait_s=0.1)
        person, request_id = town.patient(), uuid4()
        funder = await town.driver()
        await town.give(funder.engine, person, own=1_000)
        town.edges[HAMI].will("freeze", *[Act.LOSE] * 2)
        asked = accounts.set_frozen(
            first.engine, request_id=request_id, area=HAMI, psn_no=person, frozen=True, cause="COURT_ORDER"
        )
        assert await reason_of(asked) == "PAYMENT_IN_PROGRESS"
        async with asyncio.timeout(60):
            told = "SELECT count(*) FROM outbox WHERE aggregate = $1"
            while not await town.count(told, f"freeze:{request_id}"):  # noqa: ASYNC110  The database is what tells.
                await asyncio.sleep(0.05)

    async def test_the_last_of_two_freezes_wins_though_its_ledger_missed_the_first(self, town: World) -> None:
        """Frozen while the ledger is away, then set free again: the sweep must not bring the freeze last."""
        driver = await town.driver(answer_wait_s=0.1)
        person = town.patient()
        await town.give(driver.engine, person, own=1_000)
        town.edges[HAMI].is_silent("freeze", "unfreeze")

        async def ordered(*, frozen: bool) -> str:
            return await reason_of(
                accounts.set_frozen(
                    driver.engine, request_id=uuid4(), area=HAMI, psn_no=person, frozen=frozen, cause="COURT_ORDER"
                )
            )

        assert await ordered(frozen=True) == "PAYMENT_IN_PROGRESS"
        await asyncio.sleep(driver.engine.settings.lease_max_s)  # Its pause has grown by now.
        assert await ordered(frozen=False) == "PAYMENT_IN_PROGRESS"
        town.edges[HAMI].always = {"freeze_command": Act.LOSE}  # The later one could arrive; the earlier one cannot.
        await asyncio.sleep(2 * driver.engine.settings.lease_max_s)
        town.edges[HAMI].speaks_again()
        async with asyncio.timeout(60):
            while await town.count("SELECT count(*) FROM account_commands WHERE state = 'PENDING'"):  # noqa: ASYNC110  The database is what tells.
                await asyncio.sleep(0.05)
        (balance,), _ = await driver.engine.ledgers.balances(HAMI, [(person, Role.OWN)])
        assert not balance.frozen


async def test_areas_that_nobody_waits_for_are_forgotten(town: World) -> None:
    """A client that is asked for one invented area after another does not keep something for each of them."""
    client = LedgerClient(town.bus, epoch=1)
    for number in range(AREAS_MAX + 5):
        assert await reason_of(client.balances(AdmDvs(str(100_000 + number)), [(town.patient(), Role.OWN)])) != ""
    assert len(client._reads) <= AREAS_MAX


async def test_commands_of_very_large_families_all_arrive(town: World) -> None:
    """As many commands as a batch takes, each for as many accounts as a payment has legs, are all answered."""
    client = LedgerClient(town.bus, epoch=1)
    legs = [
        pb.Leg(
            leg_no=number,
            psn_no="6" * 30,
            account_kind=pb.ACCOUNT_KIND_PERSONAL,
            role=pb.ROLE_FUNDER,
            past_fen=AMOUNT_MAX_FEN,
            year=2026,
            authorisation_id=bytes(15) + bytes([number]),
            floor_parts=[pb.PART_PAST, pb.PART_CURRENT],
        )
        for number in range(1, 65)
    ]
    payment_ids = [uuid4() for _ in range(BATCH_SIZE_MAX)]
    town.forged.update(payment_ids)
    commands = [
        pb.Command(try_command=pb.TryCommand(payment_id=payment_id.bytes, legs=legs, inquire_after_ms=60_000))
        for payment_id in payment_ids
    ]
    assert sum(command.ByteSize() for command in commands) > MESSAGE_BYTES_MAX
    replies = await asyncio.gather(*(client.send(URUMQI, command) for command in commands))
    refusals = [reply.branch.refusal.reason for reply in replies if reply is not None]
    assert refusals == ["ACCOUNT_NOT_FOUND"] * len(commands)


async def test_a_silent_ledger_is_named(town: World) -> None:
    """A read that gets no answer within its second says which area is out of reach."""
    client = LedgerClient(town.bus, epoch=1)
    with pytest.raises(Failure) as error:
        await client.balances(AdmDvs("650900"), [(town.patient(), Role.OWN)], timeout_s=0.2)
    assert (error.value.reason, error.value.metadata) == ("AREA_UNREACHABLE", {"area": "650900"})
