"""The coordinator's database is lost and comes back as it was some payments ago; the ledgers remember."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID

import grpc
import pytest

from gongji.settlement.v1 import settlement_pb2 as pb
from kernel.failures import Failure
from ops.embedded.databases import Databases
from ops.restore.comparing import Difference
from tests.e2e.asking import get, new_key, refusal, reverse, revoke, settle
from tests.e2e.town import Town, new_resident
from tests.fault import restores
from tests.fault.restores import Backups
from tests.fault.victims import COORDINATOR, arm_running, died, revive

pytestmark = pytest.mark.long

BILL_FEN: Final = 10_000
WAIT_S: Final = 20.0
BEFORE: Final = [(1_000, 2_000), (10_000, 0)]
PAID: Final = [(0, 0), (3_000, 0)]
CALL_TIMEOUT_S: Final = 10.0
LONGER: Final = "UPDATE payments SET deadline_at = now() + interval '1 minute' WHERE state = 'TRYING'"
"""A backup takes longer than ledgers may take to vote here."""


@pytest.fixture
async def backups(town: Town, postgres: Databases) -> AsyncIterator[Backups]:
    """Backups of this town."""
    made = Backups(town, postgres)
    yield made
    await made.drop()


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


async def test_a_coordinator_restored_from_an_older_backup_gives_every_key_its_outcome(  # noqa: PLR0915  One history.
    town: Town, backups: Backups
) -> None:
    """Settlements, refunds, reversals, refusals and credits since the backup are known again; nothing is paid twice."""
    kept, taken_back, lost, given_back, refused, open_, trying = await town.pairs(7)
    kept_request, taken_back_request = [settle(await town.planned(family, BILL_FEN)) for family in (kept, taken_back)]
    desk = town.desks.settlement
    kept_settled = (await desk.Settle(kept_request)).settlement
    taken_back_settled = (await desk.Settle(taken_back_request)).settlement
    trying_request = settle(await town.planned(trying, BILL_FEN))
    await town.at_rest()
    # In the backup this one is undecided; it is paid before the database is lost.
    assert await dies_with(town, trying_request, "settlement.decide.before_commit") is None
    await town.settlement.execute(LONGER)
    backup = await backups.of_coordinator()

    trying_settled = (await desk.Settle(trying_request, wait_for_ready=True, timeout=CALL_TIMEOUT_S)).settlement
    lost_request = settle(await town.planned(lost, BILL_FEN))
    lost_settled = (await desk.Settle(lost_request)).settlement
    revocation = revoke(taken_back_settled.setl_id)
    taken_back_refund = (await desk.RevokeSettle(revocation)).revocation
    given_back_request = settle(await town.planned(given_back, BILL_FEN))
    await desk.Settle(given_back_request)
    given_back_refund = (await desk.ReverseTransaction(reverse(given_back_request.key))).refund
    await town.freeze(refused.patient)
    refused_request = settle(await town.planned(refused, BILL_FEN))
    await town.freeze(refused.funders[0])
    refused_answer = (await desk.Settle(refused_request)).replan
    buried = new_key()
    assert (await desk.ReverseTransaction(reverse(buried))).state == pb.SETTLEMENT_STATE_REVERSED
    newcomer = await town.family(new_resident(past_fen=4_321))
    await town.at_rest()
    truth = await states(town)
    open_request = settle(await town.planned(open_, BILL_FEN))
    assert await dies_with(town, open_request, "settlement.decide.before_commit") is None

    await backups.restore_coordinator(backup)
    await restores.begin(town)
    await revive(town.world, COORDINATOR)
    await town.reached()
    for call in (
        desk.Settle(lost_request),
        desk.GetSettlement(get(lost_request.key)),
        desk.RevokeSettle(revoke(kept_settled.setl_id)),
        desk.ReverseTransaction(reverse(new_key())),
    ):
        assert (await refusal(call)).reason == "COORDINATOR_RESTORING"
    comparison = await restores.compare(town)
    found = {item.payment_id: item.difference for item in comparison.items}
    assert found[UUID(lost_settled.setl_id)] is Difference.LOST_SETTLEMENT
    assert found[UUID(taken_back_refund.setl_id)] is Difference.LOST_REFUND
    assert found[UUID(trying_settled.setl_id)] is Difference.UNDECIDED
    assert await states(town) != truth

    assert await restores.finish(town) == 1  # The open one.
    (unclear,) = (await restores.compare(town)).of(Difference.UNCLEAR)
    assert unclear.key.endswith(open_request.key.msgid)
    await restores.decide(town, unclear.payment_id, commit=False)
    await town.at_rest()
    assert {one: state for one, state in (await states(town)).items() if one in truth} == {
        one: state for one, state in truth.items() if one not in await tombstones(town, truth)
    }
    await revive(town.world, COORDINATOR)
    await town.reached()
    await town.told()

    # The same keys have the same outcomes, their content counts, and nothing is given back twice.
    again = await desk.Settle(lost_request, wait_for_ready=True, timeout=CALL_TIMEOUT_S)
    assert again.settlement.setl_id == lost_settled.setl_id
    assert again.settlement.amounts == lost_settled.amounts
    assert again.settlement.setl_time.seconds - lost_settled.setl_time.seconds in {0, 1}
    other = settle(await town.planned(kept, BILL_FEN), lost_request.key)
    assert (await refusal(desk.Settle(other))).reason == "KEY_REUSED_WITH_OTHER_CONTENT"
    assert (await desk.Settle(trying_request)).settlement.setl_id == trying_settled.setl_id
    assert (await desk.Settle(kept_request)).settlement.setl_id == kept_settled.setl_id
    assert (await desk.Settle(refused_request)).replan.reason == refused_answer.reason
    assert (await desk.RevokeSettle(revocation)).revocation.setl_id == taken_back_refund.setl_id
    assert (await refusal(desk.RevokeSettle(revoke(taken_back_settled.setl_id)))).reason == "ALREADY_REVOKED"
    reversed_again = await desk.ReverseTransaction(reverse(given_back_request.key))
    assert reversed_again.refund.setl_id == given_back_refund.setl_id
    late = settle(await town.planned(open_, BILL_FEN), buried)
    assert (await refusal(desk.Settle(late))).reason == "REQUEST_PREDATES_RESTORE"
    assert (await town.settlement.fetchval("SELECT epoch FROM coordinator")) == 2

    await restores.close_alarms(town)
    for family in (kept, lost, trying):
        assert await town.money(family) == PAID
    for family in (taken_back, given_back, refused, open_):
        assert await town.money(family) == BEFORE
    await town.credited(newcomer.patient)  # The same row of the same file, once more.
    assert await town.money(newcomer) == [(4_321, 0)]
    await town.check()


async def tombstones(town: Town, truth: dict[UUID, str]) -> set[UUID]:
    """What was lost for good: rows that no ledger ever heard of."""
    return truth.keys() - (await states(town)).keys()


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
