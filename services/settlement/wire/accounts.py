"""The accounts' face: requests of officers and batch jobs into values, balances and statement lines into answers."""

from __future__ import annotations

from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from gongji.settlement.v1 import account_pb2 as pb
from kernel.policy import Part
from services.settlement.clients import Balance, StatementLine
from services.settlement.domain.split import Role

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
