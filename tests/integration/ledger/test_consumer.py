"""The ledger over a real NATS: batches in, replies out, rubbish answered, holds asked about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from uuid import UUID

import pytest

from chassis.bus import Bus, BusRequest
from chassis.db import Database
from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.clock import SystemClock
from kernel.failures import Failure
from services.settlement.ledger.consumer import AreaConsumer
from services.settlement.ledger.recovery import Inquirer, Pace
from tests.integration.ledger.books import AREA
from tests.integration.ledger.messages import (
    confirming,
    crediting,
    funder,
    odd,
    own,
    putting,
    reading,
    statement,
    trying,
)
from tests.patience import insisted
from tests.servers import NatsServer
from tests.unit.ledger.given import FUNDER, OWN, YEAR, authorisation, credit_id, payment

PACE = Pace(sweep_s=0.05, backoff_s=0.05, backoff_max_s=0.2, long_held_s=0.0, answer_wait_s=2.0)
Ask = Callable[[pb.CommandBatch], Awaitable[pb.ReplyBatch]]


@pytest.fixture
async def bus(nats: NatsServer, bus_prefix: str) -> AsyncIterator[Bus]:
    """A connection of this test's own."""
    async with Bus(nats.url, name="ledger-test", prefix=bus_prefix) as opened:
        yield opened


@pytest.fixture
async def consumer(area_ledger: Database, bus: Bus) -> AreaConsumer:
    """The area's ledger, serving."""
    serving = AreaConsumer(database=area_ledger, area=AREA)
    await serving.serve(bus)
    return serving


@pytest.fixture
def ask(consumer: AreaConsumer, bus: Bus) -> Ask:
    """Sends a batch as a coordinator does."""
    del consumer  # It serves from here on.

    async def send(batch: pb.CommandBatch) -> pb.ReplyBatch:
        subject = f"{bus.prefix}.ledger.{AREA}.command"
        answer = await insisted(lambda: bus.request(subject, batch.SerializeToString()))
        return pb.ReplyBatch.FromString(answer)

    return send


async def a_family(ask: Ask) -> None:
    """100 fen on each account, an authorisation of 60."""
    opening = pb.OpenAuthorisationCommand(
        authorisation_id=authorisation(1).bytes,
        funder_psn_no=FUNDER.psn_no,
        beneficiary_psn_no=OWN.psn_no,
        authorised_fen=60,
    )
    replies = await ask(
        pb.CommandBatch(
            commands=[
                crediting(1, OWN.psn_no, 100),
                crediting(2, FUNDER.psn_no, 100),
                pb.Command(open_authorisation_command=opening),
            ]
        )
    )
    assert [reply.WhichOneof("kind") for reply in replies.replies] == ["credit", "credit", "authorisation"]


async def test_a_payment_goes_through_with_balances_and_statement(ask: Ask) -> None:
    """TRY tells the balances after the hold, CONFIRM spends, the statement says what for, with a running balance."""
    await a_family(ask)
    held = (await ask(pb.CommandBatch(commands=[trying(1, own(50), funder(30, leg_no=2))]))).replies[0].branch
    assert held.state == pb.BRANCH_STATE_HELD
    assert [(it.past_fen, it.held_past_fen) for it in held.balances] == [(100, 50), (100, 30)]
    batch = pb.CommandBatch(commands=[reading(OWN.psn_no, FUNDER.psn_no), confirming(1), statement(FUNDER.psn_no)])
    replies = (await ask(batch)).replies
    assert [reply.index for reply in replies] == [0, 1, 2]
    assert replies[1].branch.state == pb.BRANCH_STATE_CONFIRMED
    balances = replies[0].balances
    assert [(it.exists, it.past_fen, it.held_past_fen) for it in balances.accounts] == [(True, 50, 0), (True, 70, 0)]
    assert [(it.state, it.used_fen, it.held_fen) for it in balances.authorisations] == [
        (pb.AUTHORISATION_STATE_OPEN, 30, 0),
        (pb.AUTHORISATION_STATE_UNSPECIFIED, 0, 0),
    ]
    lines = replies[2].statement.entries
    assert [(it.kind, it.amount_fen, it.balance_after_fen) for it in lines] == [
        ("CARRIED_OVER", 100, 100),
        ("PAYMENT", -30, 70),
    ]
    assert (lines[1].payment_id, lines[1].memo.setl_id, lines[0].credit_id) == (
        payment(1).bytes,
        "S1",
        credit_id(2).bytes,
    )


async def test_a_statement_is_read_page_by_page(ask: Ask) -> None:
    """Each page begins after the last entry seen, and tells whether more follow; holds do not appear."""
    await ask(pb.CommandBatch(commands=[crediting(number, OWN.psn_no, number) for number in range(1, 6)]))
    await ask(pb.CommandBatch(commands=[trying(1, own(5))]))
    seen, after, more = list[int](), 0, True
    while more:
        page = (await ask(pb.CommandBatch(commands=[statement(OWN.psn_no, after=after, entries_max=2)]))).replies[0]
        seen += [it.amount_fen for it in page.statement.entries]
        after, more = page.statement.entries[-1].entry_no, page.statement.more
    assert seen == [1, 2, 3, 4, 5]


async def test_an_account_that_is_not_there_is_told_so(ask: Ask) -> None:
    """Reads of unknown accounts are answered with exists = false and an empty statement."""
    replies = (await ask(pb.CommandBatch(commands=[reading(OWN.psn_no), statement(OWN.psn_no)]))).replies
    assert [it.exists for it in replies[0].balances.accounts] == [False]
    assert (list(replies[1].statement.entries), replies[1].statement.more) == ([], False)


RUBBISH = {
    "no kind": pb.Command(),
    "a short id": pb.Command(confirm_command=pb.ConfirmCommand(payment_id=b"short")),
    "no legs": trying(9),
    "legs out of order": trying(9, own(1, leg_no=2), own(1, leg_no=1)),
    "a leg twice": trying(9, own(1), own(1)),
    "a leg that moves nothing": trying(9, own(0)),
    "a negative amount": trying(9, own(-5)),
    "an amount beyond N16,2": trying(9, own(10**16)),
    "a funder without an authorisation": trying(9, odd(pb.ACCOUNT_KIND_PERSONAL, pb.ROLE_FUNDER)),
    "a wallet as own account": trying(9, odd(pb.ACCOUNT_KIND_WALLET, pb.ROLE_OWN)),
    "a wallet's current part": trying(
        9,
        pb.Leg(
            leg_no=1,
            psn_no=OWN.psn_no,
            account_kind=pb.ACCOUNT_KIND_WALLET,
            role=pb.ROLE_WALLET,
            current_fen=1,
            year=YEAR,
        ),
    ),
    "an unknown floor part": trying(
        9,
        pb.Leg(
            leg_no=1,
            psn_no=OWN.psn_no,
            account_kind=pb.ACCOUNT_KIND_PERSONAL,
            role=pb.ROLE_FUNDER,
            past_fen=1,
            year=YEAR,
            authorisation_id=authorisation(1).bytes,
            floor_parts=[pb.PART_UNSPECIFIED],
        ),
    ),
    "a memo with a NUL": pb.Command(
        try_command=pb.TryCommand(
            payment_id=payment(9).bytes, legs=[own(1)], inquire_after_ms=1, memo=pb.Memo(setl_id="a\x00b")
        )
    ),
    "a refund of nothing": putting(pb.CREDIT_PURPOSE_REFUND, pb.ACCOUNT_KIND_PERSONAL),
    "a monthly credit to a wallet": putting(pb.CREDIT_PURPOSE_MONTHLY, pb.ACCOUNT_KIND_WALLET),
}


@pytest.mark.parametrize("name", RUBBISH)
async def test_a_command_that_breaks_a_rule_is_refused_alone(ask: Ask, name: str) -> None:
    """It gets a refusal that names the field; its neighbour in the batch is carried out; nothing is in quarantine."""
    replies = (await ask(pb.CommandBatch(commands=[RUBBISH[name], crediting(1, OWN.psn_no, 5)]))).replies
    assert [reply.WhichOneof("kind") for reply in replies] == ["refusal", "credit"]
    assert replies[0].refusal.reason == "REQUEST_INVALID"
    assert replies[0].refusal.metadata["field"]


async def test_a_credit_that_is_not_booked_is_never_told_as_one(ask: Ask) -> None:
    """A credit of a year to come is a bare refusal; a refund without a charge is a credit with an alarm."""
    leg = pb.CreditLeg(leg_no=1, psn_no=OWN.psn_no, account_kind=pb.ACCOUNT_KIND_PERSONAL, current_fen=1, year=2199)
    early = pb.CreditCommand(credit_id=credit_id(1).bytes, purpose=pb.CREDIT_PURPOSE_MONTHLY, legs=[leg])
    unfounded = putting(pb.CREDIT_PURPOSE_REFUND, pb.ACCOUNT_KIND_PERSONAL)
    unfounded.credit_command.original_payment_id = payment(1).bytes
    replies = (await ask(pb.CommandBatch(commands=[pb.Command(credit_command=early), unfounded]))).replies
    assert (replies[0].WhichOneof("kind"), replies[0].refusal.reason) == ("refusal", "CREDIT_YEAR_AHEAD")
    assert (replies[1].credit.alarm, replies[1].credit.refusal.reason) == (True, "ORIGINAL_NOT_CHARGED")


@pytest.mark.parametrize("payload", [b"\xff\xff\xff", b"rubbish", b""])
async def test_bytes_that_are_no_batch_are_refused(consumer: AreaConsumer, bus: Bus, payload: bytes) -> None:
    """They get a refusal as an answer, and the ledger goes on."""
    del consumer  # It serves from here on.
    answer = await insisted(lambda: bus.request(f"{bus.prefix}.ledger.{AREA}.command", payload))
    (reply,) = pb.ReplyBatch.FromString(answer).replies
    assert reply.refusal.reason in {"REQUEST_MALFORMED", "REQUEST_INVALID"}


async def test_a_batch_beyond_the_limit_is_refused_whole(ask: Ask) -> None:
    """513 commands: each is refused, none is carried out."""
    replies = (await ask(pb.CommandBatch(commands=[crediting(1, OWN.psn_no, 5)] * 513))).replies
    assert {reply.refusal.reason for reply in replies} == {"REQUEST_INVALID"}
    assert len(replies) == 513
    after = await ask(pb.CommandBatch(commands=[reading(OWN.psn_no)]))
    assert not after.replies[0].balances.accounts[0].exists


async def test_a_message_of_rubbish_gets_a_short_answer(consumer: AreaConsumer, bus: Bus) -> None:
    """Half a megabyte of empty commands, or of one command's empty legs, keeps the ledger from nobody."""
    del consumer  # It serves from here on.
    legs = pb.TryCommand(payment_id=payment(1).bytes, legs=[pb.Leg()] * 200_000)
    empty = [b"\x0a\x00" * 200_000, pb.CommandBatch(commands=[pb.Command(try_command=legs)]).SerializeToString()]
    for payload in empty:
        answer = await bus.request(f"{bus.prefix}.ledger.{AREA}.command", payload, wait_s=2)
        assert len(answer) < 128 * 1024


async def test_an_older_epoch_is_refused(ask: Ask) -> None:
    """A coordinator of before a restore does nothing here any more; reads and authorisations are no one's epoch."""
    await ask(pb.CommandBatch(commands=[crediting(1, OWN.psn_no, 5)], epoch=7))
    await a_family_of_epoch_zero(ask)
    stale = (await ask(pb.CommandBatch(commands=[trying(1, own(1)), reading(OWN.psn_no)], epoch=6))).replies
    assert (stale[0].refusal.reason, stale[1].balances.accounts[0].held_past_fen) == ("STALE_EPOCH", 0)


async def a_family_of_epoch_zero(ask: Ask) -> None:
    """The family service knows no epoch, and may open an authorisation all the same."""
    opening = pb.OpenAuthorisationCommand(
        authorisation_id=authorisation(1).bytes, funder_psn_no=FUNDER.psn_no, beneficiary_psn_no=OWN.psn_no
    )
    opened = (await ask(pb.CommandBatch(commands=[pb.Command(open_authorisation_command=opening)]))).replies[0]
    assert opened.authorisation.authorisation.state == pb.AUTHORISATION_STATE_OPEN


async def test_many_messages_at_once_are_all_answered(ask: Ask, area_ledger: Database) -> None:
    """A hundred payments of ten fen against 500: exactly fifty are held, whatever batches they travel in."""
    await ask(pb.CommandBatch(commands=[crediting(1, OWN.psn_no, 500)]))
    answers = await asyncio.gather(*(ask(pb.CommandBatch(commands=[trying(n, own(10))])) for n in range(100)))
    states = [answer.replies[0].branch.state for answer in answers]
    assert (states.count(pb.BRANCH_STATE_HELD), states.count(pb.BRANCH_STATE_REFUSED)) == (50, 50)
    async with area_ledger.driver_connection() as connection:
        assert await connection.fetchval("SELECT sum(held_past_fen) FROM accounts") == 500


class Coordinator:
    """Answers inquiries as told, and counts them."""

    def __init__(self, decisions: dict[UUID, pb.InquireAnswer]) -> None:
        self.decisions = decisions
        self.asked: list[bytes] = []

    async def answer(self, request: BusRequest) -> bytes:
        """INQUIRE."""
        inquiry = pb.InquireRequest.FromString(request.payload)
        assert inquiry.area == AREA
        self.asked += inquiry.payment_ids
        answers = [self.decisions[UUID(bytes=it)] for it in inquiry.payment_ids]
        return pb.InquireResponse(answers=answers).SerializeToString()


def told(number: int, decision: pb.Decision.ValueType, *, unknown: bool = False) -> tuple[UUID, pb.InquireAnswer]:
    """What the coordinator will say."""
    payment_id = payment(number)
    return payment_id, pb.InquireAnswer(payment_id=payment_id.bytes, decision=decision, unknown=unknown)


async def test_holds_whose_time_is_over_are_asked_about(
    ask: Ask, consumer: AreaConsumer, area_ledger: Database, bus: Bus
) -> None:
    """CONFIRM spends, CANCEL releases, WAIT and unknown keep the hold; the unknown one raises an alarm."""
    await ask(pb.CommandBatch(commands=[crediting(1, OWN.psn_no, 500)]))
    tries = [trying(n, own(n), inquire_after_ms=1) for n in (1, 2, 3, 4)] + [trying(5, own(5), inquire_after_ms=90_000)]
    await ask(pb.CommandBatch(commands=tries))
    coordinator = Coordinator(
        dict(
            [
                told(1, pb.DECISION_CONFIRM),
                told(2, pb.DECISION_CANCEL),
                told(3, pb.DECISION_WAIT),
                told(4, pb.DECISION_WAIT, unknown=True),
            ]
        )
    )
    await bus.serve(f"{bus.prefix}.settlement.inquire", coordinator.answer, queue="settlement")
    inquirer = Inquirer(database=area_ledger, bus=bus, consumer=consumer, area=AREA, pace=PACE, clock=SystemClock())
    await asyncio.sleep(0.01)
    assert await inquirer.sweep() == 4
    assert await states(area_ledger) == {1: "CONFIRMED", 2: "CANCELLED", 3: "HELD", 4: "HELD", 5: "HELD"}
    async with area_ledger.driver_connection() as connection:
        alarms = await connection.fetch("SELECT kind, subject_id FROM alarms")
    assert [(it["kind"], it["subject_id"]) for it in alarms] == [("INQUIRE_UNKNOWN", payment(4))]
    assert payment(5).bytes not in coordinator.asked


async def test_a_hold_is_asked_about_again_with_growing_pauses(
    ask: Ask, consumer: AreaConsumer, area_ledger: Database, bus: Bus
) -> None:
    """WAIT puts the next inquiry off, longer each time up to the limit, until an answer ends the hold."""
    await ask(pb.CommandBatch(commands=[crediting(1, OWN.psn_no, 500), trying(1, own(1), inquire_after_ms=1)]))
    coordinator = Coordinator(dict([told(1, pb.DECISION_WAIT)]))
    await bus.serve(f"{bus.prefix}.settlement.inquire", coordinator.answer, queue="settlement")
    inquirer = Inquirer(database=area_ledger, bus=bus, consumer=consumer, area=AREA, pace=PACE, clock=SystemClock())
    sweeping = asyncio.create_task(inquirer.run())
    seen: dict[int, float] = {}
    while max(seen, default=0) < 4:
        async with area_ledger.driver_connection() as connection:
            row = await connection.fetchrow(
                "SELECT inquiries, next_inquire_at - last_inquired_at AS pause FROM branches WHERE inquiries > 0"
            )
        if row is not None:
            seen[row["inquiries"]] = row["pause"].total_seconds()
        await asyncio.sleep(0.005)
    growing = {1: 0.05, 2: 0.1, 3: 0.2, 4: 0.2}
    assert {n: round(pause, 2) for n, pause in seen.items()} == {n: growing.get(n, 0.2) for n in seen}
    coordinator.decisions = dict([told(1, pb.DECISION_CONFIRM)])
    async with asyncio.timeout(60):
        while await states(area_ledger) != {1: "CONFIRMED"}:  # noqa: ASYNC110  The database is what tells.
            await asyncio.sleep(0.02)
    sweeping.cancel()


async def test_a_silent_coordinator_keeps_the_hold(
    ask: Ask, consumer: AreaConsumer, area_ledger: Database, bus: Bus
) -> None:
    """Nobody answers: the hold stays, and the sweep goes on."""
    await ask(pb.CommandBatch(commands=[crediting(1, OWN.psn_no, 500), trying(1, own(1), inquire_after_ms=1)]))
    inquirer = Inquirer(database=area_ledger, bus=bus, consumer=consumer, area=AREA, pace=PACE, clock=SystemClock())
    await asyncio.sleep(0.01)
    with pytest.raises(Failure) as silent:
        await inquirer.sweep()
    assert silent.value.reason == "NO_RESPONDER"
    assert await states(area_ledger) == {1: "HELD"}


async def states(ledger: Database) -> dict[int, str]:
    """Each payment's state by number."""
    async with ledger.driver_connection() as connection:
        rows = await connection.fetch("SELECT payment_id, state FROM branches ORDER BY payment_id")
    return {row["payment_id"].int - payment(0).int: row["state"] for row in rows}
