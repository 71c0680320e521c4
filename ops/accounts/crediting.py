"""月划入: a file of credits is booked, a row each, once for its row id; nothing of it before its total is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from chassis.rpc.client import channel
from chassis.rpc.interceptors import checked_request
from gongji.settlement.v1 import account_pb2 as pb
from gongji.settlement.v1.account_pb2_grpc import AccountServiceStub
from kernel.callers import Caller
from kernel.failures import Failure, Kind
from ops.accounts.totals import AMOUNT_COLUMNS, amount_of, check_total, is_total
from ops.batchfile.progress import Done
from ops.batchfile.taking import CALL_TIMEOUT_S, Answer, Intake, take_file

if TYPE_CHECKING:
    from gongji.settlement.v1.account_pb2_grpc import AccountServiceAsyncStub
    from ops.batchfile.view import View

NEEDED: Final = ("row_id", "psn_no", "area", "part")
COLUMNS: Final = (*NEEDED, *AMOUNT_COLUMNS)
_PARTS: Final = {
    "CURRENT": pb.ACCOUNT_PART_CURRENT,
    "当年": pb.ACCOUNT_PART_CURRENT,
    "PAST": pb.ACCOUNT_PART_PAST,
    "历年": pb.ACCOUNT_PART_PAST,
}


async def credit_file(path: Path, *, address: str, caller: Caller, in_flight: int, view: View) -> Done:
    """Credits every line's personal account; how many were new, known, refused. Failures as ``take_file``.

    UnusableFileError as ``check_total`` before anything is booked. A row that is new or known is certain to arrive,
    also one that is under way because its area's ledger is silent.
    """
    async with channel(address, call_timeout_s=CALL_TIMEOUT_S, caller=caller) as opened:
        stub: AccountServiceAsyncStub = AccountServiceStub(opened)

        async def send(rows: Sequence[pb.CreditAccountRequest]) -> Answer:
            request = pb.CreditAccountsRequest(rows=rows)
            answers = (await stub.CreditAccounts(request, timeout=CALL_TIMEOUT_S)).answers
            refused = [(place, each.reason, each.field) for place, each in enumerate(answers) if each.reason]
            existed = sum(each.existed for each in answers if not each.reason)
            under_way = sum(each.state == pb.CREDIT_STATE_UNDER_WAY for each in answers)
            return Answer(len(rows) - len(refused) - existed, existed, refused, under_way)

        return await take_file(path, Intake(COLUMNS, NEEDED, _row, send, check_total), in_flight=in_flight, view=view)


def _row(cells: Mapping[str, str]) -> pb.CreditAccountRequest | None:
    """The line as the contract has it: one that breaks its rules would take its whole call with it."""
    if is_total(cells):
        return None
    part, amount_fen = _PARTS.get(cells["part"].strip()), amount_of(cells)
    if part is None:
        raise Failure(Kind.INVALID, "LINE_MALFORMED", field="part")
    if amount_fen is None:
        raise Failure(Kind.INVALID, "LINE_MALFORMED", field="amount")
    row = pb.CreditAccountRequest(
        row_id=cells["row_id"].strip(),
        psn_no=cells["psn_no"].strip(),
        area=cells["area"].strip(),
        account_kind=pb.ACCOUNT_KIND_PERSONAL,
        part=part,
        amount_fen=amount_fen,
    )
    checked_request(row)
    return row
