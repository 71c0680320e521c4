"""Transfers over two areas: accepted, declined, too late, raced for, crashed in between, and to a closed wallet."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.ids import PsnNo
from kernel.money import Fen
from services.settlement.domain.payment import Key, transfer_key
from services.settlement.domain.plan import PlanLeg
from services.settlement.domain.split import Role
from services.settlement.operations import transfers
from services.settlement.operations.engine import Engine
from services.settlement.operations.inquiring import inquire
from services.settlement.saga.payment import Payment, State
from services.settlement.saga.requests import Decision
from tests.integration.settlement.engine.world import HAMI, URUMQI, Act, World, reason_of

HOURS = timedelta(hours=9)


@dataclass
class Gift:
    """A transfer from somebody's own account in Hami to somebody else's wallet in Ürümqi."""

    town: World
    giver: PsnNo
    receiver: PsnNo
    amount_fen: Fen = 3_000
    request_id: str = field(default_factory=lambda: uuid4().hex)

    @property
    def legs(self) -> tuple[PlanLeg, ...]:
        """What is taken, and who receives it."""
        return (
            PlanLeg(1, Role.OWN, self.giver, HAMI, self.amount_fen, 0, None, 0, ()),
            PlanLeg(2, Role.RECEIVER, self.receiver, URUMQI, self.amount_fen, 0, None, 0, ()),
        )

    async def begin(self, engine: Engine, accept_within: timedelta = HOURS) -> Payment:
        """Asks for it."""
        return await transfers.begin(
            engine, key=_key(self), giver=self.giver, legs=self.legs, accept_by=datetime.now(UTC) + accept_within
        )

    async def accept(self, engine: Engine, transfer: Payment) -> Payment:
        """The receiver says yes."""
        return await transfers.accept(engine, payment_id=transfer.payment_id, receiver=self.receiver)

    async def decline(self, engine: Engine, transfer: Payment) -> Payment:
        """The receiver says no."""
        return await transfers.decline(engine, payment_id=transfer.payment_id, receiver=self.receiver)

    async def withdraw(self, engine: Engine) -> None:
        """The giver takes it back."""
        await transfers.withdraw(engine, key=_key(self))

    async def ended(self, transfer: Payment, *states: State) -> Payment:
        """The row once it is in one of these states."""
        return await self.town.until(transfer.key, *states)

    async def money(self) -> tuple[Fen, Fen]:
        """What the giver's account and the receiver's wallet have; fails if any of it is held."""
        return (await self.town.money(self.giver))[0], (await self.town.money(self.receiver))[1]

    async def held_fen(self) -> Fen:
        """What is held of the giver's account."""
        async with self.town.ledgers[HAMI].driver_connection() as connection:
            return int(await connection.fetchval("SELECT held_past_fen FROM accounts WHERE psn_no = $1", self.giver))


@pytest.fixture
async def gift(town: World, engine: Engine) -> Gift:
    """5,000 fen in the giver's account; the receiver has no wallet yet."""
    made = Gift(town, town.patient(), town.patient())
    await town.give(engine, made.giver, own=5_000)
    return made


class TestTheReceiverAnswers:
    """The last vote is a person's."""

    async def test_what_is_accepted_opens_the_wallet_and_is_in_it(self, gift: Gift, engine: Engine) -> None:
        """Until the receiver accepts, the money is held and in no other place; then it is in the wallet, once."""
        pending = await gift.begin(engine)
        assert (pending.state, pending.pending_accept, await gift.held_fen()) == (State.TRYING, True, 3_000)
        assert await gift.town.money(gift.receiver) == (0, 0)
        accepted = await gift.accept(engine, pending)
        again = await gift.accept(engine, pending)
        await gift.ended(pending, State.DONE)
        assert (accepted.state, again.payment_id) == (State.COMMITTED, accepted.payment_id)
        assert await gift.money() == (2_000, 3_000)

    async def test_the_books_of_both_areas_stay_double(self, gift: Gift, engine: Engine) -> None:
        """Each ledger books its own side against clearing; what one area sends the other receives."""
        pending = await gift.begin(engine)
        await gift.accept(engine, pending)
        await gift.ended(pending, State.DONE)
        booked = []
        for area in (HAMI, URUMQI):
            async with gift.town.ledgers[area].driver_connection() as connection:
                booked += await connection.fetch(
                    "SELECT book, kind, amount_fen::int FROM entries WHERE source_id = $1 ORDER BY entry_no",
                    pending.payment_id,
                )
        assert [tuple(row) for row in booked] == [
            ("PERSONAL", "PAYMENT", -3_000),
            ("CLEARING", "PAYMENT", 3_000),
            ("WALLET", "TRANSFER_IN", 3_000),
            ("CLEARING", "PAYMENT", -3_000),
        ]

    async def test_what_is_declined_goes_nowhere(self, gift: Gift, engine: Engine) -> None:
        """After a No the hold ends, the same No is the same answer, and a Yes is refused by the No's name."""
        pending = await gift.begin(engine)
        declined = await gift.decline(engine, pending)
        again = await gift.decline(engine, pending)
        assert (declined.reason, again.reason) == ("TRANSFER_DECLINED", "TRANSFER_DECLINED")
        assert await reason_of(gift.accept(engine, pending)) == "TRANSFER_DECLINED"
        await gift.ended(pending, State.CLOSED)
        assert await gift.money() == (5_000, 0)

    async def test_who_does_not_answer_in_time_gets_nothing(self, gift: Gift, town: World, engine: Engine) -> None:
        """At the deadline recovery releases the money, whoever is asked then; a late Yes is told so."""
        pending = await gift.begin(engine, timedelta(milliseconds=1))
        await town.forget("UPDATE payments SET deadline_at = now(), next_drive_at = now() WHERE payment_id = $1",
                          pending.payment_id)  # fmt: skip
        closed = await gift.ended(pending, State.CLOSED)
        assert closed.reason == "TRANSFER_NOT_ACCEPTED_IN_TIME"
        assert await reason_of(gift.accept(engine, pending)) == "TRANSFER_NOT_ACCEPTED_IN_TIME"
        assert await gift.money() == (5_000, 0)

    async def test_a_yes_after_the_deadline_is_too_late_though_nobody_has_noticed(
        self, gift: Gift, town: World
    ) -> None:
        """The database's clock judges at the write itself: no sweep has to have come by."""
        alone = (await town.driver(recovers=False)).engine
        pending = await gift.begin(alone)
        await town.forget("UPDATE payments SET deadline_at = now() WHERE payment_id = $1", pending.payment_id)
        assert await reason_of(gift.accept(alone, pending)) == "TRANSFER_NOT_ACCEPTED_IN_TIME"
        await gift.ended(pending, State.CLOSED)

    async def test_only_the_receiver_answers(self, gift: Gift, engine: Engine) -> None:
        """To anybody else the transfer does not exist."""
        pending = await gift.begin(engine)
        stranger = Gift(gift.town, gift.giver, gift.town.patient(), request_id=gift.request_id)
        assert await reason_of(stranger.accept(engine, pending)) == "TRANSFER_UNKNOWN"
        assert await reason_of(stranger.decline(engine, pending)) == "TRANSFER_UNKNOWN"


class TestTheGiver:
    """Begins, asks again, takes back."""

    async def test_the_same_request_is_the_same_transfer(self, gift: Gift, engine: Engine) -> None:
        """Asked again, it is the same row; with another amount it is refused and never executed (rule 6)."""
        first, second = await asyncio.gather(gift.begin(engine), gift.begin(engine))
        assert first.payment_id == second.payment_id
        other = Gift(gift.town, gift.giver, gift.receiver, 1, gift.request_id)
        assert await reason_of(other.begin(engine)) == "KEY_REUSED_WITH_OTHER_CONTENT"
        await gift.decline(engine, first)

    async def test_what_is_withdrawn_cannot_be_accepted(self, gift: Gift, engine: Engine) -> None:
        """A withdrawal is a reversal: the money is free, and the receiver is told that it was taken back."""
        pending = await gift.begin(engine)
        await gift.withdraw(engine)
        await gift.withdraw(engine)
        assert await reason_of(gift.accept(engine, pending)) == "PAYMENT_REVERSED"
        await gift.ended(pending, State.CLOSED)
        assert await gift.money() == (5_000, 0)

    async def test_what_is_accepted_cannot_be_withdrawn(self, gift: Gift, engine: Engine) -> None:
        """The receiver has the money; nothing takes it back."""
        pending = await gift.begin(engine)
        await gift.accept(engine, pending)
        assert await reason_of(gift.withdraw(engine)) == "TRANSFER_ACCEPTED"
        assert await reason_of(gift.decline(engine, pending)) == "TRANSFER_ACCEPTED"
        await gift.ended(pending, State.DONE)

    async def test_a_withdrawal_that_overtakes_its_request_stops_it(self, gift: Gift, engine: Engine) -> None:
        """What was withdrawn before it was seen can never start (rule 3)."""
        await gift.withdraw(engine)
        assert await reason_of(gift.begin(engine)) == "PAYMENT_REVERSED"
        assert await gift.money() == (5_000, 0)

    async def test_who_has_not_enough_holds_nothing(self, gift: Gift, engine: Engine) -> None:
        """A ledger's No ends it before anybody is asked."""
        too_much = Gift(gift.town, gift.giver, gift.receiver, 5_001)
        assert await reason_of(too_much.begin(engine)) == "INSUFFICIENT_FUNDS"

    async def test_a_transfer_does_not_keep_the_patient_from_paying(self, gift: Gift, engine: Engine) -> None:
        """One patient at a time does not count transfers: while one waits, the giver settles a bill (protocol)."""
        pending = await gift.begin(engine)
        plan = await gift.town.plan(gift.giver, own=1_000)
        await gift.town.settle(engine, plan)
        await gift.accept(engine, pending)
        await gift.ended(pending, State.DONE)
        await gift.town.drained()
        assert await gift.money() == (1_000, 3_000)


class TestWhatGoesWrong:
    """Two coordinators, crashes, late and lost messages, a closed wallet."""

    @pytest.mark.parametrize("turn", range(6))
    async def test_of_yes_and_no_at_two_coordinators_one_counts(self, gift: Gift, town: World, turn: int) -> None:
        """Whichever is written first stands, and the other is told its name."""
        one, other = (await town.driver()).engine, (await town.driver()).engine
        pending = await gift.begin(one)
        asked: list[Any] = [gift.accept(one, pending), gift.decline(other, pending)]
        outcomes = await asyncio.gather(*(asked if turn % 2 else reversed(asked)), return_exceptions=True)
        told = [it for it in outcomes if isinstance(it, Payment)]
        assert len(told) == 1
        ended = await gift.ended(pending, State.DONE, State.CLOSED)
        accepted = ended.state is State.DONE
        assert accepted == (told[0].state in {State.COMMITTED, State.DONE})
        assert await gift.money() == ((2_000, 3_000) if accepted else (5_000, 0))

    async def test_a_crash_between_the_votes_and_the_answer_loses_nothing(self, gift: Gift, town: World) -> None:
        """The votes are forgotten with their coordinator; that the receiver is asked is durable, and no TRY is sent."""
        first = await town.driver()
        pending = await gift.begin(first.engine)
        await first.stop()
        town.drivers.remove(first)
        for edge in town.edges.values():
            edge.is_silent("try")
        second = (await town.driver()).engine
        await town.forget("UPDATE payments SET next_drive_at = now() WHERE payment_id = $1", pending.payment_id)
        seen = town.edges[HAMI].seen["try_command"]
        await gift.accept(second, pending)
        await gift.ended(pending, State.DONE)
        assert town.edges[HAMI].seen["try_command"] == seen
        assert await gift.money() == (2_000, 3_000)

    async def test_nothing_is_in_memory_while_a_person_thinks(self, gift: Gift, town: World) -> None:
        """A transfer that waits costs its coordinator neither memory nor queries."""
        engine = (await town.driver(recovers=False)).engine
        pending = await gift.begin(engine)
        async with asyncio.timeout(60):
            while pending.payment_id in engine._flights:  # noqa: ASYNC110  What it holds shows nowhere else.
                await asyncio.sleep(0.02)

    async def test_a_ledger_that_asks_is_told_to_wait(self, gift: Gift, engine: Engine) -> None:
        """While the receiver thinks, INQUIRE is answered WAIT, and the hold stays."""
        pending = await gift.begin(engine)
        [(_, decision, unknown)] = await inquire(engine, HAMI, [pending.payment_id])
        assert (decision, unknown, await gift.held_fen()) == (Decision.WAIT, False, 3_000)
        async with gift.town.ledgers[HAMI].driver_connection() as connection:
            hours = await connection.fetchval(
                "SELECT extract(epoch FROM inquire_at - created_at) / 3600 FROM branches WHERE payment_id = $1",
                pending.payment_id,
            )
        assert hours > HOURS.total_seconds() / 3600
        await gift.decline(engine, pending)

    async def test_a_silent_ledger_is_nobodys_yes(self, gift: Gift, town: World) -> None:
        """As long as a ledger has not voted the receiver cannot accept; at the ledgers' deadline it is over."""
        engine = (await town.driver(vote_deadline_s=2.0)).engine
        town.edges[URUMQI].is_silent("try")
        asked = asyncio.create_task(gift.begin(engine))
        row = None
        while row is None:
            await asyncio.sleep(0.01)
            row = await town.row(_key(gift))
        assert await reason_of(gift.accept(engine, row)) == "PAYMENT_IN_PROGRESS"
        assert await reason_of(asked) == "VOTE_DEADLINE_PASSED"

    async def test_what_comes_for_a_closed_wallet_waits_for_an_officer(
        self, gift: Gift, town: World, engine: Engine
    ) -> None:
        """CONFIRM cannot fail: if the wallet was closed meanwhile the money is in suspense, with a task."""
        await town.give(engine, gift.receiver, wallet=1)
        pending = await gift.begin(engine)
        async with town.ledgers[URUMQI].driver_transaction() as connection:
            await connection.execute(
                "UPDATE accounts SET past_fen = 0, state = 'CLOSED' WHERE psn_no = $1", gift.receiver
            )
        await gift.accept(engine, pending)
        await gift.ended(pending, State.DONE)
        async with town.ledgers[URUMQI].driver_connection() as connection:
            task = await connection.fetchrow(
                "SELECT psn_no, account_kind, amount_fen FROM suspense_tasks WHERE credit_id = $1", pending.payment_id
            )
            suspense = await connection.fetchval(
                "SELECT sum(amount_fen) FROM entries WHERE source_id = $1 AND book = 'SUSPENSE'", pending.payment_id
            )
        assert tuple(task) == (gift.receiver, "WALLET", 3_000)
        assert suspense == 3_000

    async def test_a_closed_wallet_is_refused_before_it_is_asked(self, gift: Gift, town: World, engine: Engine) -> None:
        """The receiver's ledger votes No: nothing is held anywhere."""
        async with town.ledgers[URUMQI].driver_transaction() as connection:
            await connection.execute(
                "INSERT INTO accounts VALUES ($1, 'WALLET', 2026, 0, 0, 0, 0, false, 'CLOSED')", gift.receiver
            )
        assert await reason_of(gift.begin(engine)) == "ACCOUNT_NOT_FOUND"
        await town.drained()
        assert await gift.money() == (5_000, 0)

    async def test_every_message_twice_or_late_is_one_transfer(self, gift: Gift, town: World, engine: Engine) -> None:
        """Commands that come twice, late, or whose answer is lost move the money once."""
        for edge in town.edges.values():
            edge.will("try", Act.MUTE, Act.TWICE)
            edge.will("confirm", Act.LATE, Act.TWICE)
        pending = await gift.begin(engine)
        await gift.accept(engine, pending)
        await gift.ended(pending, State.DONE)
        assert await gift.money() == (2_000, 3_000)

    async def test_a_try_that_comes_after_the_no_is_refused(self, gift: Gift, town: World, engine: Engine) -> None:
        """A CANCEL that overtakes its TRY blocks it (rule 5): no hold is left behind."""
        town.edges[HAMI].will("try", *[Act.STASH] * 100)
        asked = asyncio.create_task(gift.begin(engine))
        row = None
        while row is None or not town.edges[HAMI].stashed:
            await asyncio.sleep(0.01)
            row = await town.row(_key(gift))
        await gift.withdraw(engine)
        assert await reason_of(asked) == "PAYMENT_REVERSED"
        await gift.ended(row, State.CLOSED)
        await town.edges[HAMI].release()
        assert await gift.money() == (5_000, 0)

    async def test_an_old_ledger_refuses_a_role_it_does_not_know(self, town: World) -> None:
        """What a ledger does not understand it refuses whole: it never takes money from a receiver (ADR 12)."""
        leg = pb.Leg(leg_no=1, psn_no="6500000001", account_kind=pb.ACCOUNT_KIND_WALLET, past_fen=1, year=2026)
        leg = pb.Leg.FromString(leg.SerializeToString() + b"\x20\x09")  # Field 4 = 9: a later release's role.
        [reply] = await town.tell(URUMQI, pb.Command(
            try_command=pb.TryCommand(payment_id=uuid4().bytes, legs=[leg], inquire_after_ms=1)))  # fmt: skip
        assert reply.refusal.reason == "REQUEST_INVALID"


def _key(gift: Gift) -> Key:
    return transfer_key(HAMI, gift.request_id)
