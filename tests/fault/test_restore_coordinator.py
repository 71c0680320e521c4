"""The coordinator's database is lost and comes back as it was some payments ago; the ledgers remember."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import grpc
import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from kernel.failures import Failure
from ops.embedded.databases import Databases
from ops.restore.comparing import Difference
from services.settlement.domain.bill import Bill
from tests.e2e.asking import get, new_key, refusal, reverse, revoke, settle
from tests.e2e.town import Family, Town, new_resident
from tests.fault import restores
from tests.fault.restores import Backups
from tests.fault.victims import COORDINATOR, arm_running, died, revive

pytestmark = pytest.mark.long

BILL_FEN: Final = 10_000
DEDUCTIBLE_FEN, FUND_FEN = 300, 700
WAIT_S: Final = 60.0
BEFORE: Final = [(1_000, 2_000), (10_000, 0)]
PAID: Final = [(0, 0), (3_000, 0)]
CALL_TIMEOUT_S: Final = 60.0
NOTICED_S: Final = 2.0
"""A process looks every half second how its coordinator stands."""
LONGER: Final = "UPDATE payments SET deadline_at = now() + interval '1 minute' WHERE state = 'TRYING'"
"""A backup takes longer than ledgers may take to vote here."""


@pytest.fixture
async def backups(town: Town, postgres: Databases) -> AsyncIterator[Backups]:
    """Backups of this town."""
    made = Backups(town, postgres)
    yield made
    await made.drop()


async def planned(town: Town, family: Family) -> pb.Plan:
    """The plan of a bill that uses something of the patient's year; BILL_FEN of it are the person's."""
    total_fen = BILL_FEN + FUND_FEN
    bill = Bill(total_fen, 0, 0, 0, total_fen, act_pay_dedc=DEDUCTIBLE_FEN, hifp_pay=FUND_FEN)
    return await town.planned_for(family, bill)


async def years(town: Town) -> dict[str, tuple[int, int]]:
    """What of the deductible and the fund each patient's year has used."""
    rows = await town.settlement.fetch("SELECT psn_no, deductible_fen, fund_fen FROM benefit_years")
    return {psn_no: (deductible_fen, fund_fen) for psn_no, deductible_fen, fund_fen in rows}


async def dies_with(town: Town, request: pb.SettleRequest, point: str) -> pb.SettleResponse | None:
    """The coordinator dies at this point of a settlement; what its terminal was told, if anything."""
    await arm_running(town.world, COORDINATOR, point)
    call = asyncio.ensure_future(town.desks.settlement.Settle(request, timeout=CALL_TIMEOUT_S))
    await died(town.world, COORDINATOR)
    try:
        return await call
    except (Failure, grpc.aio.AioRpcError):
        return None


async def states(town: Town) -> dict[UUID, str]:
    """The state of every payment."""
    return dict(await town.settlement.fetch("SELECT payment_id, state FROM payments"))


@dataclass(frozen=True, slots=True)
class History:
    """What was asked and told before the database was lost, and whose it was."""

    paid: Sequence[Family]
    unpaid: Sequence[Family]
    newcomer: Family
    buried: pb.RequestKey
    open_request: pb.SettleRequest
    settled: Mapping[str, tuple[pb.SettleRequest, pb.Settlement]]
    revocation: tuple[pb.RevokeSettleRequest, pb.Settlement]
    reversal: tuple[pb.ReverseTransactionRequest, pb.Settlement]
    refused: tuple[pb.SettleRequest, pb.Replan]
    truth: Mapping[UUID, str]
    used: Mapping[str, tuple[int, int]]


async def lived(town: Town, backups: Backups) -> tuple[str, History]:
    """Payments, then a backup with one of them undecided, then all that the backup will not know; at last one held."""
    kept, taken_back, lost, given_back, refused, open_, trying = await town.pairs(7)
    desk = town.desks.settlement
    requests = {
        name: settle(await planned(town, family))
        for name, family in (("kept", kept), ("taken back", taken_back), ("trying", trying))
    }
    settled = {
        name: (requests[name], (await desk.Settle(requests[name])).settlement) for name in ("kept", "taken back")
    }
    await town.at_rest()
    # In the backup this one is undecided; it is paid before the database is lost.
    assert await dies_with(town, requests["trying"], "settlement.decide.before_commit") is None
    await town.settlement.execute(LONGER)
    backup = await backups.of_coordinator()

    answer = await desk.Settle(requests["trying"], wait_for_ready=True, timeout=CALL_TIMEOUT_S)
    settled["trying"] = (requests["trying"], answer.settlement)
    lost_request = settle(await planned(town, lost))
    settled["lost"] = (lost_request, (await desk.Settle(lost_request)).settlement)
    revocation = revoke(settled["taken back"][1].setl_id)
    revoked = (await desk.RevokeSettle(revocation)).revocation
    given_back_request = settle(await planned(town, given_back))
    await desk.Settle(given_back_request)
    reversal = reverse(given_back_request.key)
    refund = (await desk.ReverseTransaction(reversal)).refund
    refused_request = settle(await town.planned(refused, BILL_FEN))
    await town.freeze(refused.funders[0])
    replan = (await desk.Settle(refused_request)).replan
    buried = new_key()
    assert (await desk.ReverseTransaction(reverse(buried))).state == pb.SETTLEMENT_STATE_REVERSED
    newcomer = await town.family(new_resident(past_fen=4_321))
    await town.at_rest()
    truth = await states(town)
    used = await years(town)
    open_request = settle(await town.planned(open_, BILL_FEN))
    assert await dies_with(town, open_request, "settlement.decide.before_commit") is None
    return backup, History(
        paid=(kept, lost, trying),
        unpaid=(taken_back, given_back, refused, open_),
        newcomer=newcomer,
        buried=buried,
        open_request=open_request,
        settled=settled,
        revocation=(revocation, revoked),
        reversal=(reversal, refund),
        refused=(refused_request, replan),
        truth=truth,
        used=used,
    )


async def nothing_is_told(town: Town, history: History) -> None:
    """While it restores every question is put off; no answer is made up from the older rows."""
    desk, (lost, _) = town.desks.settlement, history.settled["lost"]
    await town.reached()
    for call in (
        desk.Settle(lost),
        desk.GetSettlement(get(lost.key)),
        desk.RevokeSettle(revoke(history.settled["kept"][1].setl_id)),
        desk.ReverseTransaction(reverse(new_key())),
    ):
        assert (await refusal(call)).reason == "COORDINATOR_RESTORING"


async def every_key_has_its_outcome(town: Town, history: History) -> None:
    """The same request gives the same answer, other content is refused, nothing is given back twice."""
    desk = town.desks.settlement
    for request, told in history.settled.values():
        again = (await desk.Settle(request, wait_for_ready=True, timeout=CALL_TIMEOUT_S)).settlement
        assert (again.setl_id, again.amounts) == (told.setl_id, told.amounts)
        assert again.setl_time.seconds - told.setl_time.seconds in {0, 1}
    lost, _ = history.settled["lost"]
    other = settle(await town.planned(history.unpaid[0], BILL_FEN), lost.key)
    assert (await refusal(desk.Settle(other))).reason == "KEY_REUSED_WITH_OTHER_CONTENT"
    refused, replan = history.refused
    assert (await desk.Settle(refused)).replan.reason == replan.reason
    revocation, revoked = history.revocation
    assert (await desk.RevokeSettle(revocation)).revocation.setl_id == revoked.setl_id
    twice = revoke(history.settled["taken back"][1].setl_id)
    assert (await refusal(desk.RevokeSettle(twice))).reason == "ALREADY_REVOKED"
    reversal, refund = history.reversal
    assert (await desk.ReverseTransaction(reversal)).refund.setl_id == refund.setl_id
    late = settle(await town.planned(history.unpaid[0], BILL_FEN), history.buried)
    assert (await refusal(desk.Settle(late))).reason == "REQUEST_PREDATES_RESTORE"


async def test_a_coordinator_restored_from_an_older_backup_gives_every_key_its_outcome(
    town: Town, backups: Backups
) -> None:
    """Settlements, refunds, reversals, refusals and credits since the backup are known again; nothing is paid twice."""
    backup, history = await lived(town, backups)
    await backups.restore_coordinator(backup)
    await restores.begin(town)
    await revive(town.world, COORDINATOR)
    await nothing_is_told(town, history)
    found = {item.payment_id: item.difference for item in (await restores.compare(town)).items}
    assert found[UUID(history.settled["lost"][1].setl_id)] is Difference.LOST_SETTLEMENT
    assert found[UUID(history.settled["trying"][1].setl_id)] is Difference.UNDECIDED
    assert found[UUID(history.revocation[1].setl_id)] is Difference.LOST_REFUND

    assert await restores.finish(town) == 1  # The one that is held.
    (unclear,) = (await restores.compare(town)).of(Difference.UNCLEAR)
    assert unclear.key.endswith(history.open_request.key.msgid)
    await restores.decide(town, unclear.payment_id, commit=False)
    await town.at_rest()
    now = await states(town)
    lost_for_good = history.truth.keys() - now.keys()  # The tombstone: no ledger ever heard of it.
    assert {now[one] for one in history.truth.keys() & now.keys()} <= {"DONE", "CLOSED"}
    assert [one for one, state in history.truth.items() if one not in lost_for_good and now[one] != state] == []
    assert {history.truth[one] for one in lost_for_good} == {"CLOSED"}
    await revive(town.world, COORDINATOR)
    await town.reached()
    await town.told()

    await every_key_has_its_outcome(town, history)
    assert [history.used[family.patient.psn_no] for family in history.paid] == [(DEDUCTIBLE_FEN, FUND_FEN)] * 3
    now_used = await years(town)
    assert {psn_no: used for psn_no, used in history.used.items() if now_used.get(psn_no, (0, 0)) != used} == {}
    await restores.close_alarms(town)
    for family in history.paid:
        assert await town.money(family) == PAID
    for family in history.unpaid:
        assert await town.money(family) == BEFORE
    await town.credited(history.newcomer.patient)  # The same row of the same file, once more.
    assert await town.money(history.newcomer) == [(4_321, 0)]
    await town.check()


async def test_a_payment_that_was_told_ok_and_reached_no_confirm_is_a_persons_to_decide(
    town: Town, backups: Backups
) -> None:
    """Held everywhere and unknown: nobody guesses; by the terminal's receipt it is committed, then booked once."""
    (family,) = await town.pairs(1)
    await town.at_rest()
    backup = await backups.of_coordinator()
    request = settle(await town.planned(family, BILL_FEN))
    told = await dies_with(town, request, "settlement.confirm.before_send+0.3")
    assert told is not None
    await backups.restore_coordinator(backup)
    await restores.begin(town)
    assert await restores.finish(town) == 1
    await revive(town.world, COORDINATOR)
    await town.reached()
    desk = town.desks.settlement
    assert (await refusal(desk.Settle(request, timeout=2))).reason == "PAYMENT_IN_PROGRESS"
    await restores.decide(town, UUID(told.settlement.setl_id), commit=True)
    await town.at_rest()
    assert (await desk.Settle(request)).settlement.setl_id == told.settlement.setl_id
    assert await town.money(family) == PAID
    await restores.close_alarms(town)
    await town.check()


async def test_a_running_coordinator_notices_a_restore_that_begins_and_ends(town: Town) -> None:
    """No process is started anew: it refuses, then pays again under the new epoch, which the ledgers know."""
    (family,) = await town.pairs(1)
    plan = await town.planned(family, BILL_FEN)
    desk = town.desks.settlement
    await town.at_rest()
    await restores.begin(town)
    await asyncio.sleep(1.1)  # A msgid tells the second: one of this second counts as older than the restore.
    request = settle(plan, new_key())
    assert (await refusal(desk.Settle(request))).reason == "COORDINATOR_RESTORING"
    assert await restores.finish(town) == 0
    await asyncio.sleep(NOTICED_S)
    settled = (await desk.Settle(request)).settlement
    await town.at_rest()
    assert (await desk.Settle(request)).settlement.setl_id == settled.setl_id
    assert await town.money(family) == PAID
    epoch = await town.settlement.fetchval("SELECT epoch FROM coordinator")
    for ledger in town.ledgers.values():
        assert await ledger.fetchval("SELECT epoch FROM ledger_state") == epoch
    await town.check()
