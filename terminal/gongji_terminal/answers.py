"""What an answer of the desk is worth to a request of the journal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import grpc

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.failures import TerminalRefusal, Unanswered
from gongji_terminal.journal import Entry
from gongji_terminal.records import Record, record_of

_NOBODY: Final = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})


@dataclass(frozen=True, slots=True)
class Reversed:
    """The request is stopped or taken back for good; ``refund`` is the record with negative amounts, if it had paid."""

    msgid: str
    refund: pb.Settlement | None = None


Outcome: TypeAlias = pb.Settlement | pb.Replan | Reversed


def taking_back(found: pb.GetSettlementResponse) -> Record:
    """The row of what took this settlement back, whichever terminal asked for it."""
    key = found.settlement.key
    return record_of(found.refund, reversed_infno=str(int(key.infno)), reversed_msgid=key.msgid)


def is_of_another(entry: Entry, settlement: pb.Settlement) -> bool:
    """Whether what was found under the entry's key is not what the entry asks for.

    So it is where two terminals count with one number, or with copies of one journal: the key stands for the other's
    request, and this one can never be done any more (protocol rule 6).
    """
    if entry.original_setl_id:
        told, asked = settlement.original_setl_id, entry.original_setl_id
    else:
        told, asked = settlement.plan_id, pb.SettleRequest.FromString(entry.request).plan_id
    return told not in {"", asked}


def not_known(refusal: TerminalRefusal) -> Unanswered:
    """That the question was refused, which says nothing of the request that was asked about."""
    return Unanswered(refusal.code, refusal.reason)


def is_silence(failure: TerminalRefusal | Unanswered) -> bool:
    """Whether nobody answered at all: then the next question would only wait as long."""
    return isinstance(failure, Unanswered) and not failure.reason and failure.code in _NOBODY
