"""The accounts' face: requests of officers and batch jobs into values, balances and statement lines into answers."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.settlement.v1 import account_pb2 as pb
from kernel.clock import business_midnight, parsed_day
from kernel.failures import Failure, Kind
from kernel.ids import AdmDvs, PsnNo
from kernel.policy import Part, known_area
from services.settlement.clients import Balance, Period, Statement, StatementLine
from services.settlement.domain.split import Role
from services.settlement.operations.crediting import Accepted, CreditRow

_ROLES: Final = {pb.ACCOUNT_KIND_PERSONAL: Role.OWN, pb.ACCOUNT_KIND_WALLET: Role.WALLET}
_KINDS: Final = {role: kind for kind, role in _ROLES.items()}
_PARTS: Final = {pb.ACCOUNT_PART_PAST: Part.PAST, pb.ACCOUNT_PART_CURRENT: Part.CURRENT}
_WIRE_PARTS: Final = {part.value: number for number, part in _PARTS.items()}


def role_of(kind: pb.AccountKind.ValueType) -> Role:
    """In what capacity its owner uses an account of this kind."""
    return _ROLES[kind]


def part_of(part: pb.AccountPart.ValueType) -> Part:
    """Past years or the current one."""
    return _PARTS[part]


def credit_row(request: pb.CreditAccountRequest) -> CreditRow:
    """What a request for a credit asks for."""
    return CreditRow(
        area=AdmDvs(request.area),
        row_id=request.row_id,
        psn_no=PsnNo(request.psn_no),
        role=role_of(request.account_kind),
        part=part_of(request.part),
        amount_fen=request.amount_fen,
    )


def credit_answer(told: Accepted | Failure) -> pb.CreditAnswer:
    """What became of one row of many."""
    if isinstance(told, Failure):
        field = str(told.metadata.get("field", ""))
        return pb.CreditAnswer(state=pb.CREDIT_STATE_REFUSED, reason=told.reason, field=field)
    state = pb.CREDIT_STATE_BOOKED if told.is_booked else pb.CREDIT_STATE_UNDER_WAY
    return pb.CreditAnswer(state=state, existed=told.existed)


def balance_message(balance: Balance) -> pb.Balance:
    """An account as its ledger tells it."""
    return pb.Balance(
        psn_no=balance.psn_no,
        account_kind=_KINDS[balance.role],
        area=balance.area,
        past_fen=balance.past_fen,
        current_fen=balance.current_fen,
        held_fen=balance.held_past_fen + balance.held_current_fen,
        frozen=balance.frozen,
        exists=balance.exists,
    )


def areas_of(request: pb.MoveAccountRequest) -> dict[str, AdmDvs]:
    """From where to where an account moves.

    Refusals in this order: POLICY_AREA_UNKNOWN of either; MOVE_WITHIN_AREA.
    """
    areas = {
        "from_area": known_area(request.from_area, field="from_area"),
        "to_area": known_area(request.to_area, field="to_area"),
    }
    if areas["from_area"] == areas["to_area"]:
        raise Failure(Kind.INVALID, "MOVE_WITHIN_AREA", field="to_area")
    return areas


def period_of(request: pb.GetStatementRequest) -> Period:
    """The civil days of a statement, both of them in it.

    Refusals in this order: DATE_MALFORMED of either, STATEMENT_PERIOD_REVERSED.
    """
    first = parsed_day(request.from_date, field="from_date") if request.from_date else None
    last = parsed_day(request.to_date, field="to_date") if request.to_date else None
    if first is not None and last is not None and last < first:
        raise Failure(Kind.INVALID, "STATEMENT_PERIOD_REVERSED", field="to_date")
    return Period(
        begin=None if first is None else business_midnight(first),
        end=None if last is None else business_midnight(last + timedelta(days=1)),
    )


def statement_message(statement: Statement) -> pb.GetStatementResponse:
    """A page of a statement."""
    return pb.GetStatementResponse(
        lines=[line_message(line) for line in statement.lines],
        more=statement.more,
        opening_balance_fen=statement.opening_fen,
        closing_balance_fen=statement.closing_fen,
    )


def line_message(line: StatementLine) -> pb.StatementLine:
    """One line of a statement."""
    booked_time = Timestamp()
    booked_time.FromDatetime(line.booked_at)
    return pb.StatementLine(
        entry_no=line.entry_no,
        booked_time=booked_time,
        part=_WIRE_PARTS[line.part],
        amount_fen=line.amount_fen,
        balance_after_fen=line.balance_after_fen,
        kind=line.kind,
        setl_id=line.setl_id,
        fixmedins_code=line.fixmedins_code,
    )
