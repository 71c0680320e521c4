"""Limits per payment and per month in a real database: counted, checked, read, and free where nobody has one."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from asyncpg import CheckViolationError

from chassis.bus import BusRequest
from chassis.db import Database
from gongji.ledger.v1 import ledger_pb2 as pb
from kernel.clock import business_month
from ops.verify.ledger import check_ledger
from ops.verify.report import Report
from services.settlement.ledger.consumer import AreaConsumer
from services.settlement.ledger.domain.commands import AmendAuthorisation, BranchReply, Command
from services.settlement.ledger.domain.model import BranchState
from tests.integration.ledger import messages
from tests.integration.ledger.books import AREA, everything, give
from tests.integration.settlement.engine.statements import Said, hearing
from tests.unit.ledger.given import (
    FUNDER,
    MONTH,
    OTHER_FUNDER,
    authorisation,
    confirm,
    credit,
    funder_leg,
    open_authorisation,
    refund,
    try_,
)
from tests.unit.ledger.sequences import violations

LOAD_AND_WRITE = 2


async def uses(ledger: Database) -> list[tuple[int, int, int, int | None]]:
    """Every month's row: month, used, held, limit."""
    async with ledger.driver_connection() as connection:
        rows = await connection.fetch(
            "SELECT month, used_fen, held_fen, limit_fen FROM authorisation_months ORDER BY 1"
        )
    return [tuple(row) for row in rows]


async def statements(ledger: Database, *commands: Command) -> int:
    """How many statements a batch of these takes, locks, BEGIN and COMMIT left aside."""
    said: list[Said] = []
    with hearing(ledger, said.append):
        await give(ledger, *commands)
        await asyncio.sleep(0)
    return sum(any(word in it.query for word in ("FROM ledger_state", "unnest", "ANY($1")) for it in said)


async def vote(ledger: Database, command: Command) -> tuple[str, str]:
    """A TRY's vote and the reason of a refusal."""
    [reply] = await give(ledger, command)
    assert isinstance(reply, BranchReply)
    assert reply.state is not None
    return reply.state.value, reply.refusal.reason if reply.refusal else ""


async def test_a_month_is_counted_held_confirmed_and_given_back(area_ledger: Database) -> None:
    """Each step by a batch of its own, so that everything was read back; the refund comes in another month's batch."""
    await give(area_ledger, credit(1, (1, FUNDER, 500, 0)), open_authorisation(1, per_payment=80, per_month=100))
    assert await vote(area_ledger, try_(1, funder_leg(80))) == ("HELD", "")
    assert await vote(area_ledger, try_(2, funder_leg(81))) == ("REFUSED", "PAYMENT_LIMIT_EXCEEDED")
    assert await vote(area_ledger, try_(3, funder_leg(21))) == ("REFUSED", "MONTH_LIMIT_EXCEEDED")
    await give(area_ledger, confirm(1), try_(4, funder_leg(70), month=MONTH + 1))
    await give(area_ledger, refund(2, 1, (1, FUNDER, 30, 0)))
    assert await uses(area_ledger) == [(MONTH, 50, 0, 100), (MONTH + 1, 0, 70, 100)]
    stored, booked = await everything(area_ledger)
    assert violations(stored, booked) == []


async def test_a_first_limit_counts_what_was_paid_and_held_before_it(area_ledger: Database) -> None:
    """Also what came in the same batch; not what was held under another authorisation, of this funder or another."""
    await give(area_ledger, credit(1, (1, FUNDER, 500, 0)), credit(2, (1, OTHER_FUNDER, 500, 0)))
    await give(area_ledger, open_authorisation(1), open_authorisation(2), open_authorisation(3, key=OTHER_FUNDER))
    others = (try_(8, funder_leg(7, under=2)), try_(9, funder_leg(9, key=OTHER_FUNDER, under=3)))
    await give(area_ledger, try_(1, funder_leg(60)), confirm(1), refund(3, 1, (1, FUNDER, 10, 0)), *others)
    assert await uses(area_ledger) == []
    amend = AmendAuthorisation(authorisation(1), 2, None, None, 100)
    await give(area_ledger, try_(2, funder_leg(20)), amend, try_(3, funder_leg(5), month=MONTH - 1))
    assert await uses(area_ledger) == [(MONTH - 1, 0, 5, 100), (MONTH, 50, 20, None)]
    assert await vote(area_ledger, try_(4, funder_leg(31))) == ("REFUSED", "MONTH_LIMIT_EXCEEDED")
    assert await vote(area_ledger, try_(5, funder_leg(30))) == ("HELD", "")


async def test_a_limit_of_nobody_costs_no_statement(area_ledger: Database) -> None:
    """A batch of payments loads in one statement and writes in one; months are asked for where they are counted."""
    await give(
        area_ledger, credit(1, (1, FUNDER, 500, 0)), open_authorisation(1, per_payment=90), open_authorisation(2)
    )
    payments = (try_(1, funder_leg(10)), try_(2, funder_leg(10, under=2)), confirm(1))
    assert await statements(area_ledger, *payments) == LOAD_AND_WRITE
    await give(area_ledger, AmendAuthorisation(authorisation(1), 2, None, None, 100))
    assert await statements(area_ledger, try_(3, funder_leg(10, under=2))) == LOAD_AND_WRITE
    assert await statements(area_ledger, try_(4, funder_leg(10))) == LOAD_AND_WRITE + 1


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("UPDATE authorisation_months SET held_fen = held_fen + 41", "authorisation_months_within_limit"),
        ("UPDATE authorisation_months SET used_fen = -1", "authorisation_months_not_negative"),
        ("UPDATE authorisation_months SET month = 202613", "authorisation_months_month"),
        ("UPDATE authorisations SET per_month_fen = 0", "authorisations_limits_positive"),
        ("UPDATE authorisations SET per_payment_fen = -1", "authorisations_limits_positive"),
        ("UPDATE authorisations SET counts_months = false", "authorisations_months_counted"),
    ],
)
async def test_the_database_refuses_what_the_domain_must_not_write(
    area_ledger: Database, change: str, constraint: str
) -> None:
    """I9 is said twice: the month within its limit, no limit of nothing, no limit that nobody counts for."""
    await give(area_ledger, credit(1, (1, FUNDER, 500, 0)), open_authorisation(1, per_month=100))
    await give(area_ledger, try_(1, funder_leg(60)))
    async with area_ledger.driver_connection() as connection:
        with pytest.raises(CheckViolationError) as refused:
            await connection.execute(change)
    assert refused.value.constraint_name == constraint


async def asked(ledger: Database, *commands: pb.Command) -> list[pb.Reply]:
    """The replies to a batch as it comes over the bus."""
    async with AreaConsumer(database=ledger, area=AREA) as consumer:
        batch = pb.CommandBatch(commands=commands, epoch=1)
        payload = await consumer.answer(BusRequest("", batch.SerializeToString(), {}))
    assert payload is not None
    return list(pb.ReplyBatch.FromString(payload).replies)


def reading(month: int) -> pb.Command:
    """A question for the authorisation and a month of it."""
    ids = [authorisation(1).bytes]
    return pb.Command(read_balances_command=pb.ReadBalancesCommand(authorisation_ids=ids, month=month))


async def test_balances_tell_the_limits_and_the_month_that_was_asked_for(area_ledger: Database) -> None:
    """Used and held of that month; a month without use is zero, and where no month is named nothing is told of one."""
    await give(area_ledger, credit(1, (1, FUNDER, 500, 0)), open_authorisation(1, 400, per_payment=80, per_month=100))
    await give(area_ledger, try_(1, funder_leg(50)), confirm(1), try_(2, funder_leg(20)))
    replies = await asked(area_ledger, reading(MONTH), reading(MONTH + 1), reading(0))
    told = [reply.balances.authorisations[0] for reply in replies]
    assert [(it.per_payment_fen, it.per_month_fen) for it in told] == [(80, 100)] * 3
    assert [(it.month_used_fen, it.month_held_fen) for it in told] == [(50, 20), (0, 0), (0, 0)]


@pytest.mark.parametrize("month", [1, 202600, 202613, 209913, 300001])
async def test_a_month_that_no_calendar_has_is_refused(area_ledger: Database, month: int) -> None:
    """In a question and in a TRY alike, by the field's name; nothing is held."""
    trying = messages.trying(1, messages.own(1))
    trying.try_command.month = month
    replies = await asked(area_ledger, reading(month), trying)
    assert [reply.refusal.reason for reply in replies] == ["REQUEST_INVALID"] * 2
    assert all(reply.refusal.metadata["field"].endswith("month") for reply in replies)


@pytest.mark.parametrize("fen", [0, -1])
async def test_a_limit_of_nothing_is_refused(area_ledger: Database, fen: int) -> None:
    """Over the bus, at OPEN and AMEND: what shall pay nothing is closed, not limited to nothing."""
    opening = pb.OpenAuthorisationCommand(
        authorisation_id=bytes(16), funder_psn_no=FUNDER.psn_no, beneficiary_psn_no=OTHER_FUNDER.psn_no
    )
    opening.per_month_fen = fen
    amending = pb.AmendAuthorisationCommand(authorisation_id=bytes(16), version=2, per_payment_fen=fen)
    replies = await asked(
        area_ledger, pb.Command(open_authorisation_command=opening), pb.Command(amend_authorisation_command=amending)
    )
    assert [reply.refusal.reason for reply in replies] == ["REQUEST_INVALID"] * 2


async def test_what_a_release_without_months_has_held_counts_in_none(area_ledger: Database) -> None:
    """Its hold is confirmed without a word of a month, and a limit that comes later does not find it."""
    await give(area_ledger, credit(1, (1, FUNDER, 500, 0)), open_authorisation(1))
    await give(area_ledger, try_(1, funder_leg(60)))
    async with area_ledger.driver_connection() as connection:
        await connection.execute("UPDATE branches SET month = NULL")
    await give(area_ledger, AmendAuthorisation(authorisation(1), 2, None, None, 50))
    [reply] = await give(area_ledger, confirm(1))
    assert isinstance(reply, BranchReply)
    assert reply.state is BranchState.CONFIRMED
    assert await uses(area_ledger) == []
    assert await vote(area_ledger, try_(2, funder_leg(50))) == ("HELD", "")


def opening(number: int, used_fen: int, month: int, month_used_fen: int) -> pb.Command:
    """OPEN of an authorisation that comes from another area."""
    opened = pb.OpenAuthorisationCommand(
        authorisation_id=authorisation(number).bytes,
        funder_psn_no=FUNDER.psn_no,
        beneficiary_psn_no="650100000000009",
        used_fen=used_fen,
        per_month_fen=100,
        month=month,
        month_used_fen=month_used_fen,
    )
    return pb.Command(open_authorisation_command=opened)


async def test_a_months_use_is_told_with_the_close_and_kept_with_the_open(area_ledger: Database) -> None:
    """Over the bus and from the database; the same OPEN again is the same, and the month is held against its sums."""
    month = business_month(datetime.now(UTC))
    await give(area_ledger, credit(1, (1, FUNDER, 500, 0)), open_authorisation(1, per_month=100))
    await give(area_ledger, try_(1, funder_leg(70), month=month), confirm(1))
    close = pb.CloseAuthorisationCommand(authorisation_id=authorisation(1).bytes)
    for _ in range(2):
        [reply] = await asked(area_ledger, pb.Command(close_authorisation_command=close))
        told = reply.authorisation.authorisation
        assert (told.month, told.month_used_fen, told.month_held_fen) == (month, 70, 0)
    for _ in range(2):
        [reply] = await asked(area_ledger, opening(2, 70, month, 70))
        assert not reply.authorisation.HasField("refusal")
    over = try_(2, funder_leg(31, under=2), month=month)
    assert await vote(area_ledger, over) == ("REFUSED", "MONTH_LIMIT_EXCEEDED")
    assert await vote(area_ledger, try_(3, funder_leg(30, under=2), month=month)) == ("HELD", "")
    stored, booked = await everything(area_ledger)
    assert violations(stored, booked) == []
    report = Report()
    async with area_ledger.driver_connection() as connection:
        await check_ledger(connection, AREA, report)
    assert [it.violations for it in report.checks.values() if it.violations] == []


@pytest.mark.parametrize(("month", "month_used_fen"), [(202613, 1), (0, 1), (202611, 71)])
async def test_a_month_carried_over_is_of_what_was_used(area_ledger: Database, month: int, month_used_fen: int) -> None:
    """Of no month, or more than was used in all, is refused by its field."""
    [reply] = await asked(area_ledger, opening(2, 70, month, month_used_fen))
    assert reply.refusal.reason == "REQUEST_INVALID"
