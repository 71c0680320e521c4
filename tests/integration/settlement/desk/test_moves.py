"""Accounts that end or move to another area, over real gRPC and ledgers, with payments in flight on them."""

from __future__ import annotations

from datetime import UTC, datetime
from random import Random
from uuid import UUID, uuid4

import grpc
import pytest

from gongji.ledger.v1 import ledger_pb2
from gongji.settlement.v1 import account_pb2 as pb
from kernel.clock import business_year
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk.town import CALL_S, HAMI, SILENT, URUMQI, Town
from tests.patience import insisted

PERSONAL = pb.ACCOUNT_KIND_PERSONAL


async def moved_to_hami(town: Town, *, past: int = 300, current: int = 70, opened: bool = True) -> str:
    """Insured in Hami by now, with money in Ürümqi and, once opened, a fen in Hami."""
    psn_no = await town.person(past=past, current=current)
    await town.tell(said.person(psn_no, ("310", HAMI, "1"), version=2))
    if opened:
        await town.credit(psn_no, HAMI, past=1)
    return psn_no


def move(psn_no: str, *, to: str = HAMI, request_id: str = "") -> pb.MoveAccountRequest:
    """From Ürümqi."""
    request_id = request_id or str(uuid4())
    return pb.MoveAccountRequest(psn_no=psn_no, from_area=URUMQI, to_area=to, request_id=request_id)


async def told(town: Town, psn_no: str, area: str) -> pb.Balance:
    """The personal account as its ledger tells it."""
    request = pb.GetBalanceRequest(psn_no=psn_no, account_kind=PERSONAL, area=area)
    answer: pb.GetBalanceResponse = await town.accounts.GetBalance(request, timeout=CALL_S)
    return answer.balance


async def say(town: Town, area: str, command: ledger_pb2.Command) -> ledger_pb2.Reply:
    """One command to a ledger, as a coordinator says it."""
    batch = ledger_pb2.CommandBatch(commands=[command], epoch=1)
    subject = f"{town.bus.prefix}.ledger.{area}.command"
    payload = await insisted(lambda: town.bus.request(subject, batch.SerializeToString()))
    (reply,) = ledger_pb2.ReplyBatch.FromString(payload).replies
    return reply


async def held(town: Town, psn_no: str, past_fen: int) -> UUID:
    """A payment of somebody's in flight, that will not be asked about for a while."""
    payment_id = uuid4()
    leg = ledger_pb2.Leg(
        leg_no=1,
        psn_no=psn_no,
        account_kind=ledger_pb2.ACCOUNT_KIND_PERSONAL,
        role=ledger_pb2.ROLE_OWN,
        past_fen=past_fen,
        year=business_year(datetime.now(UTC)),
    )
    command = ledger_pb2.TryCommand(payment_id=payment_id.bytes, legs=[leg], inquire_after_ms=600_000)
    reply = await say(town, URUMQI, ledger_pb2.Command(try_command=command))
    assert reply.branch.state == ledger_pb2.BRANCH_STATE_HELD
    return payment_id


async def test_an_account_moves_with_both_parts_and_the_old_one_closes(town: Town) -> None:
    """To the fen, part for part; the same request again gives the same answer and moves nothing."""
    psn_no = await moved_to_hami(town)
    request = move(psn_no)
    answers = [await town.accounts.MoveAccount(request, timeout=CALL_S) for _ in range(2)]
    await town.settled_down()
    assert {(one.past_fen, one.current_fen) for one in answers} == {(300, 70)}
    assert await town.balance(psn_no, HAMI) == (301, 70)
    assert not (await told(town, psn_no, URUMQI)).exists
    assert (await town.accounts.MoveAccount(request, timeout=CALL_S)).closed
    lines = pb.GetStatementRequest(psn_no=psn_no, account_kind=PERSONAL, area=URUMQI)
    statement = await town.accounts.GetStatement(lines, timeout=CALL_S)
    assert [(line.kind, line.amount_fen) for line in statement.lines][-2:] == [("PAYMENT", -300), ("PAYMENT", -70)]
    assert statement.closing_balance_fen == 0


@pytest.mark.parametrize("confirmed", [True, False])
async def test_a_payment_in_flight_ends_right_and_closes_what_was_left_behind(town: Town, confirmed: bool) -> None:  # noqa: FBT001  A case.
    """What is free moves; the old account takes no new payment and closes with the end of the one in flight."""
    psn_no = await moved_to_hami(town)
    payment_id = (await held(town, psn_no, 40)).bytes
    answer = await town.accounts.MoveAccount(move(psn_no), timeout=CALL_S)
    assert (answer.past_fen, answer.current_fen, answer.closed) == (260, 70, False)
    await town.settled_down()
    old = await told(town, psn_no, URUMQI)
    assert (old.exists, old.past_fen, old.held_fen) == (True, 40, 40)
    end = (
        ledger_pb2.Command(confirm_command=ledger_pb2.ConfirmCommand(payment_id=payment_id))
        if confirmed
        else ledger_pb2.Command(cancel_command=ledger_pb2.CancelCommand(payment_id=payment_id))
    )
    await say(town, URUMQI, end)
    assert not (await told(town, psn_no, URUMQI)).exists
    assert await town.balance(psn_no, HAMI) == (261, 70)
    request = pb.GetStatementRequest(psn_no=psn_no, account_kind=PERSONAL, area=URUMQI)
    last = (await town.accounts.GetStatement(request, timeout=CALL_S)).lines[-1]
    assert (last.kind, last.amount_fen, last.balance_after_fen) == ("PAYMENT" if confirmed else "CLOSING", -40, 0)


@pytest.mark.parametrize("seed", range(4))
async def test_a_move_that_is_broken_off_goes_on_with_the_same_request(town: Town, seed: int) -> None:
    """The caller gives up again and again, at any moment: in the end everything was done once."""
    random, psn_no = Random(seed), await moved_to_hami(town)
    request = move(psn_no)
    for _ in range(12):
        try:
            await town.accounts.MoveAccount(request, timeout=0.001 + random.random() * 0.06)
        except grpc.aio.AioRpcError as error:
            assert error.code() in {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}  # noqa: PT017  Any of the two.
    answer = await town.accounts.MoveAccount(request, timeout=CALL_S)
    await town.settled_down()
    assert (answer.past_fen, answer.current_fen) == (300, 70)
    assert await town.balance(psn_no, HAMI) == (301, 70)
    assert not (await told(town, psn_no, URUMQI)).exists


async def test_a_frozen_account_does_not_move_also_with_nothing_free_on_it(town: Town) -> None:
    """The freeze would be left behind; once it is lifted the same request goes through."""
    psn_no = await moved_to_hami(town, past=40, current=0)
    await held(town, psn_no, 40)
    await town.set_frozen(psn_no, URUMQI, frozen=True)
    request = move(psn_no)
    assert await town.refused(town.accounts.MoveAccount(request, timeout=CALL_S)) == "ACCOUNT_FROZEN"
    assert (await told(town, psn_no, URUMQI)).exists
    await town.set_frozen(psn_no, URUMQI, frozen=False)
    answer = await town.accounts.MoveAccount(request, timeout=CALL_S)
    assert (answer.past_fen, answer.current_fen, answer.closed) == (0, 0, False)


async def test_an_account_without_free_money_is_only_closed(town: Town) -> None:
    """Nothing is moved, and no payment is made for it."""
    psn_no = await moved_to_hami(town, past=40, current=0)
    await held(town, psn_no, 40)
    answer = await town.accounts.MoveAccount(move(psn_no), timeout=CALL_S)
    assert (answer.past_fen, answer.current_fen, answer.closed) == (0, 0, False)


async def test_a_move_that_may_not_be_is_refused_by_name_and_changes_nothing(town: Town) -> None:
    """Not insured there, not opened there, the same area, no area, a frozen account, a ledger that does not answer."""
    stays, unopened, frozen = (
        await town.person(past=9),
        await moved_to_hami(town, opened=False),
        await moved_to_hami(town),
    )
    await town.set_frozen(frozen, URUMQI, frozen=True)
    to_silent = await town.person(past=9)
    await town.tell(said.person(to_silent, ("310", SILENT, "1"), version=2))
    refused = [
        await town.refused(town.accounts.MoveAccount(request, timeout=4))
        for request in (
            move(stays),
            move(unopened),
            move(stays, to=URUMQI),
            move(stays, to="990100"),
            move(frozen),
            move(to_silent, to=SILENT),
        )
    ]
    assert refused == [
        *("NOT_INSURED_IN_AREA", "ACCOUNT_NOT_FOUND", "MOVE_WITHIN_AREA", "POLICY_AREA_UNKNOWN"),
        *("ACCOUNT_FROZEN", "AREA_UNREACHABLE"),
    ]
    await town.settled_down()
    assert await town.balance(unopened, URUMQI) == await town.balance(frozen, URUMQI) == (300, 70)


async def test_an_account_is_closed_once_and_its_later_money_waits(town: Town) -> None:
    """The same request again says the same; another one, other content and a missing account are refused by name."""
    psn_no = await town.person(past=300)
    facts = {"psn_no": psn_no, "area": URUMQI, "cause": "DIED", "request_id": str(uuid4())}
    request = pb.CloseAccountRequest(**facts, account_kind=PERSONAL)
    answers = [await town.accounts.CloseAccount(request, timeout=CALL_S) for _ in range(2)]
    assert [(one.closed, one.balance.exists) for one in answers] == [(True, False)] * 2
    other = pb.CloseAccountRequest(**{**facts, "request_id": str(uuid4())}, account_kind=PERSONAL)
    assert await town.refused(town.accounts.CloseAccount(other, timeout=CALL_S)) == "ACCOUNT_NOT_FOUND"
    request.cause = "MOVED"
    assert await town.refused(town.accounts.CloseAccount(request, timeout=CALL_S)) == "CLOSING_CONTENT_DIFFERS"
    late = pb.CreditAccountRequest(
        psn_no=psn_no, account_kind=PERSONAL, part=pb.ACCOUNT_PART_PAST, amount_fen=5, row_id="late.1", area=URUMQI
    )
    assert not (await town.accounts.CreditAccount(late, timeout=CALL_S)).balance.exists
