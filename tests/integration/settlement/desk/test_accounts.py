"""Accounts over real gRPC and ledgers: money in once, freeze, balance, statement."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from gongji.settlement.v1 import account_pb2 as pb
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk.town import HAMI, SILENT, URUMQI, Town

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
    answers = [await town.accounts.CreditAccount(request, timeout=5) for _ in range(2)]
    assert answers[0] == answers[1]
    assert (answers[0].balance.current_fen, answers[0].balance.exists) == (100, True)
    request.amount_fen = 200
    assert await town.refused(town.accounts.CreditAccount(request, timeout=5)) == "KEY_REUSED_WITH_OTHER_CONTENT"
    assert await town.balance(psn_no, URUMQI) == (0, 100)


async def test_a_credit_that_was_made_is_answered_as_before_after_the_person_has_moved(town: Town) -> None:
    """The first answer was lost; by the second time the person is insured elsewhere, but the money has come."""
    psn_no = await town.person()
    first = await town.accounts.CreditAccount(request := credit(psn_no), timeout=5)
    await town.tell(said.person(psn_no, ("310", HAMI, "1"), version=2))
    assert await town.refused(town.accounts.CreditAccount(credit(psn_no), timeout=5)) == "NOT_INSURED_IN_AREA"
    assert await town.accounts.CreditAccount(request, timeout=5) == first


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
    assert await town.refused(town.accounts.CreditAccount(credit(psn_no, **changes), timeout=5)) == reason
    assert await town.stored() == before


async def test_an_area_of_no_province_is_refused_by_name_and_not_stored(town: Town) -> None:
    """A freeze there could never be carried out; a balance there could only be waited for."""
    psn_no, before = await town.person(), await town.stored()
    frozen: dict[str, Any] = {"psn_no": psn_no, "area": "990100", "cause": "COURT_ORDER", "request_id": str(uuid4())}
    read: dict[str, Any] = {"psn_no": psn_no, "area": "990100", "account_kind": PERSONAL}
    calls = (
        town.accounts.FreezeAccount(pb.FreezeAccountRequest(**frozen), timeout=5),
        town.accounts.UnfreezeAccount(pb.UnfreezeAccountRequest(**frozen), timeout=5),
        town.accounts.GetBalance(pb.GetBalanceRequest(**read), timeout=5),
        town.accounts.GetStatement(pb.GetStatementRequest(**read), timeout=5),
    )
    for call in calls:
        assert await town.refused(call) == "POLICY_AREA_UNKNOWN"
    assert await town.stored() == before


async def test_a_resident_has_no_personal_account_but_may_have_a_wallet(town: Town) -> None:
    """390: no personal account; a wallet is anybody's."""
    resident = await town.person(insutype="390")
    assert await town.refused(town.accounts.CreditAccount(credit(resident), timeout=5)) == "NOT_INSURED_IN_AREA"
    await town.credit(resident, URUMQI, wallet=700)
    assert await town.balance(resident, URUMQI, WALLET) == (700, 0)


async def test_an_account_nobody_opened_does_not_exist(town: Town) -> None:
    """The balance says so instead of refusing."""
    request = pb.GetBalanceRequest(psn_no=await town.person(), account_kind=PERSONAL, area=URUMQI)
    told = (await town.accounts.GetBalance(request, timeout=5)).balance
    assert (told.exists, told.past_fen, told.current_fen, told.frozen) == (False, 0, 0, False)


async def test_freezing_shows_in_the_balance_until_it_is_ended(town: Town) -> None:
    """A frozen account still takes credits; its money stays."""
    psn_no = await town.person(current=100)
    frozen = []
    for state in (True, False):
        await town.set_frozen(psn_no, URUMQI, frozen=state)
        await town.credit(psn_no, URUMQI, current=1)
        request = pb.GetBalanceRequest(psn_no=psn_no, account_kind=PERSONAL, area=URUMQI)
        frozen.append((await town.accounts.GetBalance(request, timeout=5)).balance.frozen)
    assert frozen == [True, False]
    assert await town.balance(psn_no, URUMQI) == (0, 102)


async def test_an_account_that_is_not_there_cannot_be_frozen(town: Town) -> None:
    """ACCOUNT_NOT_FOUND, and the same request again says the same."""
    request = pb.FreezeAccountRequest(
        psn_no=await town.person(), area=URUMQI, cause="COURT_ORDER", request_id=str(uuid4())
    )
    told = [await town.refused(town.accounts.FreezeAccount(request, timeout=5)) for _ in range(2)]
    assert told == ["ACCOUNT_NOT_FOUND"] * 2


async def test_a_statement_is_read_in_pages_with_running_balance(town: Town) -> None:
    """Lines come in order, each with the balance after it; the page says whether more follow."""
    psn_no = await town.person()
    for amount_fen in (100, 20, 3):
        await town.accounts.CreditAccount(credit(psn_no, amount_fen=amount_fen), timeout=5)
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


async def test_a_silent_ledger_is_named(town: Town) -> None:
    """Balance and statement of an area that does not answer say AREA_UNREACHABLE within the second."""
    balance = pb.GetBalanceRequest(psn_no="650900000000001", account_kind=PERSONAL, area=SILENT)
    statement = pb.GetStatementRequest(psn_no="650900000000001", account_kind=PERSONAL, area=SILENT)
    assert await town.refused(town.accounts.GetBalance(balance, timeout=5)) == "AREA_UNREACHABLE"
    assert await town.refused(town.accounts.GetStatement(statement, timeout=5)) == "AREA_UNREACHABLE"
