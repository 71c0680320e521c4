"""Accounts over real gRPC and ledgers: money in once, freeze, balance, statement."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from gongji.settlement.v1 import account_pb2 as pb
from gongji.settlement.v1.events_pb2 import SettlementEvent
from kernel.clock import business_date
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk.town import CALL_S, HAMI, SILENT, URUMQI, Town

PERSONAL = pb.ACCOUNT_KIND_PERSONAL
WALLET = pb.ACCOUNT_KIND_WALLET


def credit(whose: str, **changes: Any) -> pb.CreditAccountRequest:  # noqa: ANN401  Any field.
    """One yuan for the current part of a personal account in Ürümqi."""
    fields: dict[str, Any] = {
        "psn_no": whose,
        "account_kind": PERSONAL,
        "part": pb.ACCOUNT_PART_CURRENT,
        "amount_fen": 100,
        "row_id": str(uuid4()),
        "area": URUMQI,
    }
    return pb.CreditAccountRequest(**{**fields, **changes})


async def test_a_row_is_credited_once_however_often_it_is_sent(town: Town) -> None:
    """The same row again gives the first answer; another body under the same row id is refused."""
    psn_no = await town.person()
    request = credit(psn_no)
    answers = [await town.accounts.CreditAccount(request, timeout=60) for _ in range(2)]
    assert answers[0] == answers[1]
    assert (answers[0].balance.current_fen, answers[0].balance.exists) == (100, True)
    request.amount_fen = 200
    assert await town.refused(town.accounts.CreditAccount(request, timeout=60)) == "KEY_REUSED_WITH_OTHER_CONTENT"
    assert await town.balance(psn_no, URUMQI) == (0, 100)


async def test_a_credit_that_was_made_is_answered_as_before_after_the_person_has_moved(town: Town) -> None:
    """The first answer was lost; by the second time the person is insured elsewhere, but the money has come."""
    psn_no = await town.person()
    first = await town.accounts.CreditAccount(request := credit(psn_no), timeout=60)
    await town.tell(said.person(psn_no, ("310", HAMI, "1"), version=2))
    assert await town.refused(town.accounts.CreditAccount(credit(psn_no), timeout=60)) == "NOT_INSURED_IN_AREA"
    assert await town.accounts.CreditAccount(request, timeout=60) == first


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"amount_fen": 0}, "REQUEST_INVALID"),
        ({"amount_fen": -1}, "REQUEST_INVALID"),
        ({"amount_fen": 10**16}, "REQUEST_INVALID"),
        ({"area": HAMI}, "NOT_INSURED_IN_AREA"),
        ({"area": "990100"}, "POLICY_AREA_UNKNOWN"),
        ({"psn_no": "650100123456789"}, "PERSON_UNKNOWN"),
        ({"account_kind": WALLET}, "WALLET_HAS_ONE_PART"),
        ({"row_id": "no spaces"}, "REQUEST_INVALID"),
    ],
)
async def test_a_bad_credit_is_refused_by_name_and_not_stored(town: Town, changes: dict[str, Any], reason: str) -> None:
    """Each thing that can be wrong has a name, and no row is kept."""
    psn_no = await town.person()
    before = await town.stored()
    assert await town.refused(town.accounts.CreditAccount(credit(psn_no, **changes), timeout=60)) == reason
    assert await town.stored() == before


async def test_rows_are_credited_together_and_each_is_answered_by_itself(town: Town) -> None:
    """New ones are booked; a person unknown, a row twice and one under a used row id are told so, each in its place."""
    one, other = await town.person(), await town.person()
    first, used = credit(one, amount_fen=100), credit(one, amount_fen=7)
    await town.accounts.CreditAccount(used, timeout=60)
    rows = [
        first,
        credit("650100123456789"),
        credit(other, part=pb.ACCOUNT_PART_PAST, amount_fen=20),
        first,
        credit(one, row_id=used.row_id, amount_fen=8),
        used,
        credit(other, area=HAMI),
    ]
    told = (await town.accounts.CreditAccounts(pb.CreditAccountsRequest(rows=rows), timeout=60)).answers
    booked, refused = pb.CREDIT_STATE_BOOKED, pb.CREDIT_STATE_REFUSED
    assert [(each.state, each.existed, each.reason) for each in told] == [
        (booked, False, ""),
        (refused, False, "PERSON_UNKNOWN"),
        (booked, False, ""),
        (booked, True, ""),
        (refused, False, "KEY_REUSED_WITH_OTHER_CONTENT"),
        (booked, True, ""),
        (refused, False, "NOT_INSURED_IN_AREA"),
    ]
    assert (await town.balance(one, URUMQI), await town.balance(other, URUMQI)) == ((0, 107), (20, 0))
    again = (await town.accounts.CreditAccounts(pb.CreditAccountsRequest(rows=rows), timeout=60)).answers
    assert [each.existed for each in again] == [True, False, True, True, False, True, False]
    assert (await town.balance(one, URUMQI), await town.balance(other, URUMQI)) == ((0, 107), (20, 0))


async def test_the_same_rows_sent_at_once_by_many_are_credited_once(town: Town) -> None:
    """Whoever is first books a row; every other call is told that it existed, in whatever order its rows stand."""
    people = [await town.person() for _ in range(20)]
    rows = [credit(psn_no, amount_fen=5) for psn_no in people]
    orders = (rows, rows[::-1], rows[10:] + rows[:10])
    answers = await asyncio.gather(
        *(town.accounts.CreditAccounts(pb.CreditAccountsRequest(rows=order), timeout=60) for order in orders)
    )
    assert sum(not each.existed for answer in answers for each in answer.answers) == len(rows)
    assert {await town.balance(psn_no, URUMQI) for psn_no in people} == {(0, 5)}


async def test_a_row_of_a_silent_ledger_is_under_way_and_holds_up_no_other(town: Town) -> None:
    """It is accepted for good; the rows of the other area are booked in the same call."""
    here, there = await town.person(), await town.person(area=SILENT)
    rows = [credit(there, area=SILENT), credit(here)]
    told = (await town.accounts.CreditAccounts(pb.CreditAccountsRequest(rows=rows), timeout=2)).answers
    assert [each.state for each in told] == [pb.CREDIT_STATE_UNDER_WAY, pb.CREDIT_STATE_BOOKED]
    assert await town.balance(here, URUMQI) == (0, 100)


async def test_a_call_with_a_malformed_row_books_nothing(town: Town) -> None:
    """The contract is kept by every row or the call is refused, the field named; so is an empty or too long one."""
    psn_no, before = await town.person(), await town.stored()
    for rows in ([credit(psn_no), credit(psn_no, amount_fen=0)], [], [credit(psn_no)] * 501):
        asked = pb.CreditAccountsRequest(rows=rows)
        assert await town.refused(town.accounts.CreditAccounts(asked, timeout=60)) == "REQUEST_INVALID"
    assert await town.stored() == before


async def test_an_area_of_no_province_is_refused_by_name_and_not_stored(town: Town) -> None:
    """A freeze there could never be carried out; a balance there could only be waited for."""
    psn_no, before = await town.person(), await town.stored()
    frozen: dict[str, Any] = {"psn_no": psn_no, "area": "990100", "cause": "COURT_ORDER", "request_id": str(uuid4())}
    read: dict[str, Any] = {"psn_no": psn_no, "area": "990100", "account_kind": PERSONAL}
    calls = (
        town.accounts.FreezeAccount(pb.FreezeAccountRequest(**frozen), timeout=60),
        town.accounts.UnfreezeAccount(pb.UnfreezeAccountRequest(**frozen), timeout=60),
        town.accounts.GetBalance(pb.GetBalanceRequest(**read), timeout=60),
        town.accounts.GetStatement(pb.GetStatementRequest(**read), timeout=60),
    )
    for call in calls:
        assert await town.refused(call) == "POLICY_AREA_UNKNOWN"
    assert await town.stored() == before


async def test_a_resident_has_no_personal_account_but_may_have_a_wallet(town: Town) -> None:
    """390: no personal account; a wallet is anybody's."""
    resident = await town.person(insutype="390")
    assert await town.refused(town.accounts.CreditAccount(credit(resident), timeout=60)) == "NOT_INSURED_IN_AREA"
    await town.credit(resident, URUMQI, wallet=700)
    assert await town.balance(resident, URUMQI, WALLET) == (700, 0)


async def test_an_account_nobody_opened_does_not_exist(town: Town) -> None:
    """The balance says so instead of refusing."""
    request = pb.GetBalanceRequest(psn_no=await town.person(), account_kind=PERSONAL, area=URUMQI)
    told = (await town.accounts.GetBalance(request, timeout=60)).balance
    assert (told.exists, told.past_fen, told.current_fen, told.frozen) == (False, 0, 0, False)


async def test_freezing_shows_in_the_balance_until_it_is_ended(town: Town) -> None:
    """A frozen account still takes credits; its money stays."""
    psn_no = await town.person(current=100)
    frozen = []
    for state in (True, False):
        await town.set_frozen(psn_no, URUMQI, frozen=state)
        await town.credit(psn_no, URUMQI, current=1)
        request = pb.GetBalanceRequest(psn_no=psn_no, account_kind=PERSONAL, area=URUMQI)
        frozen.append((await town.accounts.GetBalance(request, timeout=60)).balance.frozen)
    assert frozen == [True, False]
    assert await town.balance(psn_no, URUMQI) == (0, 102)


async def test_what_two_have_frozen_is_free_once_both_have_let_go(town: Town) -> None:
    """Another cause's end is refused; the first one's leaves the account frozen, and its owner hears of the last."""
    psn_no = await town.person(current=100)
    told: list[tuple[str, bool]] = []

    def asked(cause: str) -> dict[str, Any]:
        return {"psn_no": psn_no, "area": URUMQI, "cause": cause, "request_id": str(uuid4())}

    for cause in ("COURT_ORDER", "FRAUD_SUSPECTED"):
        balance = (await town.accounts.FreezeAccount(pb.FreezeAccountRequest(**asked(cause)), timeout=CALL_S)).balance
        told.append((cause, balance.frozen))
    lost = pb.UnfreezeAccountRequest(**asked("CARD_LOST"))
    refused = [await town.refused(town.accounts.UnfreezeAccount(lost, timeout=CALL_S)) for _ in range(2)]
    assert refused == ["FREEZE_OF_OTHER_CAUSE"] * 2
    for cause in ("COURT_ORDER", "FRAUD_SUSPECTED"):
        ended = pb.UnfreezeAccountRequest(**asked(cause))
        told.append((cause, (await town.accounts.UnfreezeAccount(ended, timeout=CALL_S)).balance.frozen))
    assert [frozen for _, frozen in told] == [True, True, True, False]
    async with town.database.driver_connection() as connection:
        rows = await connection.fetch(
            "SELECT payload FROM outbox WHERE subject = 'account_freeze_changed' ORDER BY occurred_at"
        )
    events = [SettlementEvent.FromString(row["payload"]).account_freeze_changed for row in rows]
    said_to_owner = [(event.cause, event.frozen) for event in events if event.psn_no == psn_no]
    assert said_to_owner == [("COURT_ORDER", True), ("FRAUD_SUSPECTED", True), ("FRAUD_SUSPECTED", False)]


async def test_a_sanction_and_a_freeze_end_each_by_itself(town: Town) -> None:
    """A funder under both gives nothing until both are over, whichever ends first."""
    now = datetime.now(UTC)
    period = (now - timedelta(days=1), now + timedelta(days=100))
    for frozen_first in (True, False):
        patient, funder = await town.person(past=100), await town.person(past=1_000)
        await town.bind(funder, patient, URUMQI, order=1)

        async def left_out(patient: str = patient) -> list[str]:
            answer = await town.desk.PreSettle(town.presented(patient, 500), timeout=CALL_S)
            return [skipped.reason for skipped in answer.plan.skipped]

        await town.tell(said.person(funder, ("310", URUMQI, "1"), version=2, sanctions=[period]))
        await town.set_frozen(funder, URUMQI, frozen=True)
        assert await left_out() == ["SANCTIONED"]
        if frozen_first:
            await town.set_frozen(funder, URUMQI, frozen=False)
            assert await left_out() == ["SANCTIONED"]
        await town.tell(said.person(funder, ("310", URUMQI, "1"), version=3))
        assert await left_out() == ([] if frozen_first else ["FROZEN"])
        await town.set_frozen(funder, URUMQI, frozen=False)
        assert await left_out() == []


async def test_an_account_that_is_not_there_cannot_be_frozen(town: Town) -> None:
    """ACCOUNT_NOT_FOUND, and the same request again says the same."""
    request = pb.FreezeAccountRequest(
        psn_no=await town.person(), area=URUMQI, cause="COURT_ORDER", request_id=str(uuid4())
    )
    told = [await town.refused(town.accounts.FreezeAccount(request, timeout=60)) for _ in range(2)]
    assert told == ["ACCOUNT_NOT_FOUND"] * 2


async def test_a_statement_is_read_in_pages_with_running_balance(town: Town) -> None:
    """Lines come in order, each with the balance after it; the page says whether more follow."""
    psn_no = await town.person()
    for amount_fen in (100, 20, 3):
        await town.accounts.CreditAccount(credit(psn_no, amount_fen=amount_fen), timeout=60)
    lines: list[pb.StatementLine] = []
    more, after = True, 0
    while more:
        page = await town.accounts.GetStatement(
            pb.GetStatementRequest(
                psn_no=psn_no, account_kind=PERSONAL, area=URUMQI, after_entry_no=after, entries_max=2
            ),
            timeout=5,
        )
        lines += page.lines
        more, after = page.more, lines[-1].entry_no
    assert [(line.amount_fen, line.balance_after_fen, line.kind) for line in lines] == [
        (100, 100, "MONTHLY"),
        (20, 120, "MONTHLY"),
        (3, 123, "MONTHLY"),
    ]


async def test_a_statement_of_a_period_has_its_opening_and_closing_balance(town: Town) -> None:
    """Civil days, both in it: a day before there was anything, today, and everything; pages share the balances."""
    psn_no = await town.person(past=500)
    await town.accounts.CreditAccount(credit(psn_no, amount_fen=23), timeout=60)
    today = business_date(datetime.now(UTC))
    yesterday = today - timedelta(days=1)

    async def asked(**fields: Any) -> tuple[int, int, list[int]]:  # noqa: ANN401  Any field.
        request = pb.GetStatementRequest(psn_no=psn_no, account_kind=PERSONAL, area=URUMQI, **fields)
        told = await town.accounts.GetStatement(request, timeout=60)
        return told.opening_balance_fen, told.closing_balance_fen, [line.amount_fen for line in told.lines]

    assert await asked(from_date=f"{yesterday}", to_date=f"{yesterday}") == (0, 0, [])
    assert await asked(from_date=f"{yesterday}", to_date=f"{today}") == (0, 523, [500, 23])
    assert await asked(from_date=f"{today}") == await asked(to_date=f"{today}") == await asked() == (0, 523, [500, 23])
    assert await asked(from_date=f"{today + timedelta(days=1)}") == (523, 523, [])
    assert await asked(from_date=f"{today}", entries_max=1) == (0, 523, [500])


@pytest.mark.parametrize(
    ("days", "reason"),
    [
        ({"from_date": "2026-02-29"}, "DATE_MALFORMED"),
        ({"to_date": "2026-13-01"}, "DATE_MALFORMED"),
        ({"from_date": "0001-01-01"}, "DATE_MALFORMED"),
        ({"to_date": "9999-12-31"}, "DATE_MALFORMED"),
        ({"from_date": "20260228"}, "REQUEST_INVALID"),
        ({"from_date": "2026-03-01", "to_date": "2026-02-28"}, "STATEMENT_PERIOD_REVERSED"),
    ],
)
async def test_a_period_that_cannot_be_is_refused_by_name(town: Town, days: dict[str, Any], reason: str) -> None:
    """No such day, none that an account could know, another form, the last before the first."""
    request = pb.GetStatementRequest(psn_no=await town.person(), account_kind=PERSONAL, area=URUMQI, **days)
    assert await town.refused(town.accounts.GetStatement(request, timeout=60)) == reason


async def test_a_silent_ledger_is_named(town: Town) -> None:
    """Balance and statement of an area that does not answer say AREA_UNREACHABLE within the second."""
    balance = pb.GetBalanceRequest(psn_no="650900000000001", account_kind=PERSONAL, area=SILENT)
    statement = pb.GetStatementRequest(psn_no="650900000000001", account_kind=PERSONAL, area=SILENT)
    assert await town.refused(town.accounts.GetBalance(balance, timeout=60)) == "AREA_UNREACHABLE"
    assert await town.refused(town.accounts.GetStatement(statement, timeout=60)) == "AREA_UNREACHABLE"
