"""2601 at the desk: from any terminal of the institution, whatever became of the original, and not without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care, Reversed, TerminalRefusal
from gongji_terminal.msgid import next_msgid
from kernel.ids import FixmedinsCode
from ops.embedded.databases import Databases
from tests.integration.settlement.desk import town as building
from tests.integration.settlement.desk.town import CALL_S, HOSPITAL, OTHER_HOSPITAL, URUMQI, Town, bill, token
from tests.servers import NatsServer

PER_MINUTE: Final = 5
_last: list[str] = []


@pytest.fixture(scope="module")
async def strict(
    postgres: Databases, nats: NatsServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Town]:
    """A town where an institution may block five unseen keys a minute."""
    folder = tmp_path_factory.mktemp("reversals")
    async with building.town(postgres, nats, folder, tombstones_per_minute=PER_MINUTE) as built:
        yield built


def unseen(at: str = HOSPITAL, oinfno: pb.Infno.ValueType = pb.INFNO_2207) -> pb.ReverseTransactionRequest:
    """The reversal of a request that nobody has sent."""
    last = _last[-1] if _last and _last[-1].startswith(at) else None
    _last.append(next_msgid(FixmedinsCode(at), 95, now=datetime.now(UTC), last=last))
    return pb.ReverseTransactionRequest(fixmedins_code=at, oinfno=oinfno, omsgid=_last[-1])


async def test_an_institution_blocks_so_many_unseen_keys_a_minute(strict: Town) -> None:
    """Above it nothing is stored; what is known is reversed all the same, and other institutions are not concerned."""
    patient = await strict.person(past=1_000)
    async with strict.terminal() as (terminal, _):
        plan = await terminal.pre_settle(
            care=Care.OUTPATIENT, psn_no=patient, ec_token=token(patient), mdtrt_id="m1", bill=bill(100)
        )
        settled = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        buried = [unseen() for _ in range(PER_MINUTE)]
        for request in buried:
            await strict.desk.ReverseTransaction(request, timeout=CALL_S)
        stored = await strict.stored()
        put_off = await asyncio.gather(
            *(strict.refused(strict.desk.ReverseTransaction(unseen(), timeout=CALL_S)) for _ in range(5))
        )
        assert set(put_off) == {"TOO_MANY_REVERSALS"}
        assert await strict.stored() == stored
        again = await strict.desk.ReverseTransaction(buried[0], timeout=CALL_S)
        assert again.state == pb.SETTLEMENT_STATE_REVERSED
        assert isinstance(await terminal.reverse(infno="2207", msgid=settled.key.msgid), Reversed)
        elsewhere = await strict.desk.ReverseTransaction(unseen(OTHER_HOSPITAL), timeout=CALL_S)
        assert elsewhere.state == pb.SETTLEMENT_STATE_REVERSED


async def test_another_terminal_of_the_institution_reverses_what_this_one_paid(town: Town) -> None:
    """By msgid and infno alone; one of another institution cannot even name it."""
    patient = await town.person(past=1_000)
    async with town.terminal() as (paying, _), town.terminal() as (other, _):
        plan = await paying.pre_settle(
            care=Care.OUTPATIENT, psn_no=patient, ec_token=token(patient), mdtrt_id="m1", bill=bill(100)
        )
        settled = await paying.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        stranger = pb.ReverseTransactionRequest(
            fixmedins_code=OTHER_HOSPITAL, oinfno=pb.INFNO_2207, omsgid=settled.key.msgid
        )
        told = await town.refused(town.desk.ReverseTransaction(stranger, timeout=CALL_S))
        assert told == "MSGID_OF_ANOTHER_INSTITUTION"
        given_back = await other.reverse(infno="2207", msgid=settled.key.msgid)
    assert given_back.refund is not None
    assert given_back.refund.original_setl_id == settled.setl_id
    await town.settled_down()
    assert await town.balance(patient, URUMQI) == (1_000, 0)


async def test_reversing_a_revocation_shows_the_revocation_that_stands(town: Town) -> None:
    """2601 of a 2208 that was made: REVOCATION_STANDS with its record. One that was not seen is stopped."""
    patient = await town.person(past=1_000)
    async with town.terminal() as (terminal, _):
        plan = await terminal.pre_settle(
            care=Care.OUTPATIENT, psn_no=patient, ec_token=token(patient), mdtrt_id="m1", bill=bill(100)
        )
        settled = await terminal.settle(plan, care=Care.OUTPATIENT)
        assert isinstance(settled, pb.Settlement)
        never_sent = unseen(oinfno=pb.INFNO_2208)
        await town.desk.ReverseTransaction(never_sent, timeout=CALL_S)
        late = pb.RevokeSettleRequest(
            key=pb.RequestKey(fixmedins_code=HOSPITAL, infno=pb.INFNO_2208, msgid=never_sent.omsgid),
            setl_id=settled.setl_id,
        )
        assert await town.refused(town.desk.RevokeSettle(late, timeout=CALL_S)) == "PAYMENT_REVERSED"
        revocation = await terminal.revoke(settled.setl_id, care=Care.OUTPATIENT)
        assert isinstance(revocation, pb.Settlement)
        with pytest.raises(TerminalRefusal) as refused:
            await terminal.reverse(infno="2208", msgid=revocation.key.msgid)
    assert refused.value.reason == "REVOCATION_STANDS"
    assert refused.value.standing == revocation
    assert UUID(revocation.setl_id) != UUID(settled.setl_id)
