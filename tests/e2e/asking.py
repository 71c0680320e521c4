"""Requests as a terminal sends them, made by hand: for tests that repeat, change or misuse them."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Final

import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal.msgid import next_msgid
from kernel.failures import Failure
from kernel.ids import FixmedinsCode
from tests.e2e.town import HOSPITAL

TERMINAL_NUMBER: Final = 90
"""Stands in the msgids made here; no terminal with a journal has it."""

_last: dict[FixmedinsCode, str] = {}


def new_key(infno: str = "2207", *, at: FixmedinsCode = HOSPITAL) -> pb.RequestKey:
    """A request key that was never used."""
    msgid = next_msgid(at, TERMINAL_NUMBER, now=datetime.now(UTC), last=_last.get(at))
    _last[at] = msgid
    return pb.RequestKey(fixmedins_code=at, infno=pb.Infno.Value(f"INFNO_{infno}"), msgid=msgid)


def settle(plan: pb.Plan, key: pb.RequestKey | None = None) -> pb.SettleRequest:
    """Pay exactly this plan."""
    return pb.SettleRequest(key=key or new_key(), plan_id=plan.plan_id, plan_digest=plan.digest)


def revoke(setl_id: str, key: pb.RequestKey | None = None) -> pb.RevokeSettleRequest:
    """Take this settlement back."""
    return pb.RevokeSettleRequest(key=key or new_key("2208"), setl_id=setl_id)


def reverse(key: pb.RequestKey) -> pb.ReverseTransactionRequest:
    """The answer to this request was never seen."""
    return pb.ReverseTransactionRequest(fixmedins_code=key.fixmedins_code, oinfno=key.infno, omsgid=key.msgid)


def get(
    key: pb.RequestKey | None = None, *, setl_id: str = "", at: FixmedinsCode = HOSPITAL
) -> pb.GetSettlementRequest:
    """What became of it, by key or by id."""
    if key is None:
        return pb.GetSettlementRequest(fixmedins_code=at, setl_id=setl_id)
    return pb.GetSettlementRequest(fixmedins_code=at, key=key)


async def refusal(call: Awaitable[object]) -> Failure:
    """Why this call is refused; the test fails if it is not."""
    with pytest.raises(Failure) as caught:
        await call
    return caught.value
