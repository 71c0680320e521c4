"""One area's ledger is lost and comes back as it was some payments ago; the coordinator remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final
from uuid import UUID, uuid4

import pytest

from gongji.identity.v1 import identity_pb2
from gongji.settlement.v1 import account_pb2
from ops import household
from ops.embedded.databases import Databases
from ops.restore.comparing import Difference
from tests.e2e.asking import reverse, revoke, settle
from tests.e2e.town import HAMI, URUMQI, Town, new_resident
from tests.fault import restores
from tests.fault.restores import Backups
from tests.fault.victims import FAR_LEDGER, revive

pytestmark = pytest.mark.long

BILL_FEN: Final = 10_000
BEFORE: Final = [(1_000, 2_000), (10_000, 0)]
PAID: Final = [(0, 0), (3_000, 0)]
QUARANTINED_MAX_S: Final = 60.0


@pytest.fixture
async def backups(town: Town, postgres: Databases) -> AsyncIterator[Backups]:
    """Backups of this town."""
    made = Backups(town, postgres)
    yield made
    await made.drop()


async def test_a_ledger_restored_from_an_older_backup_has_everything_booked_again_once(
    town: Town, backups: Backups
) -> None:
    """Charges, refunds, credits, authorisations and freezes since the backup are there again, balances as before."""
    kept, lost, taken_back, given_back = await town.pairs(4)
    desk = town.desks.settlement
    await town.paid(kept, BILL_FEN)
    revoked = await town.paid(taken_back, BILL_FEN)
    await town.at_rest()
    backup = await backups.of_far_ledger()

    paid = await town.paid(lost, BILL_FEN)
    await desk.RevokeSettle(revoke(revoked.setl_id))
    request = settle(await town.planned(given_back, BILL_FEN))
    assert (await desk.Settle(request)).HasField("settlement")
    await desk.ReverseTransaction(reverse(request.key))
    (new,) = await town.pairs(1)  # Registered, credited and bound since the backup.
    await town.paid(new, BILL_FEN)
    await town.freeze(kept.funders[0])
    await town.at_rest()
    families = (kept, lost, taken_back, given_back, new)
    truth = [await town.money(family) for family in families]
    assert truth == [PAID, PAID, BEFORE, BEFORE, PAID]

    await backups.restore_far_ledger(backup)
    missing = {item.payment_id for item in (await restores.compare(town)).of(Difference.MISSING_CHARGE)}
    assert UUID(paid.setl_id) in missing
    assert await restores.replay(town, HAMI) == 0
    assert not (await restores.compare(town)).items
    assert await restores.replay(town, HAMI) == 0  # Once more changes nothing.
    await revive(town.world, FAR_LEDGER)
    await town.reached()

    assert [await town.money(family) for family in families] == truth
    assert (await town.balances(kept))[1].frozen
    await town.check()
    # What was booked again can be taken back as if nothing had been.
    await desk.RevokeSettle(revoke(paid.setl_id))
    assert await town.money(lost) == BEFORE
    await town.check()


async def test_an_account_and_a_binding_that_have_moved_in_since_the_backup_are_there_again(
    town: Town, backups: Backups
) -> None:
    """With its money, and with what was used in the area that they have left."""
    family = await town.family(new_resident(past_fen=1_000), new_resident(past_fen=10_000))
    funder = family.funders[0].psn_no
    await town.paid(family, BILL_FEN)
    await town.at_rest()
    backup = await backups.of_far_ledger()
    await town.desks.identity.Enrol(identity_pb2.EnrolRequest(psn_no=funder, insutype="310", insuplc_admdvs=HAMI))
    await town.told()
    await household.credit(town.desks, psn_no=funder, area=HAMI, past_fen=1)
    await town.desks.accounts.MoveAccount(
        account_pb2.MoveAccountRequest(psn_no=funder, from_area=URUMQI, to_area=HAMI, request_id=str(uuid4()))
    )
    kept = (
        "SELECT (past_fen, used_fen, authorisations.state) FROM accounts, authorisations"
        " WHERE accounts.psn_no = $1 AND funder_psn_no = $1"
    )
    async with asyncio.timeout(QUARANTINED_MAX_S):
        while await town.ledgers[HAMI].fetchval(kept, funder) is None:  # noqa: ASYNC110  The database is what tells.
            await asyncio.sleep(0.05)
    await town.at_rest()
    truth = await town.ledgers[HAMI].fetchval(kept, funder)
    assert truth == (1_001, 9_000, "OPEN")

    await backups.restore_far_ledger(backup)
    assert await restores.replay(town, HAMI) == 0
    await revive(town.world, FAR_LEDGER)
    await town.reached()
    assert await town.ledgers[HAMI].fetchval(kept, funder) == truth
    await town.check()


async def test_a_confirm_that_a_restored_ledger_does_not_know_is_found_and_booked_by_the_replay(
    town: Town, backups: Backups
) -> None:
    """The coordinator goes on asking, the ledger raises alarms and books nothing, until an operator replays."""
    (family,) = await town.pairs(1)
    await town.at_rest()
    backup = await backups.of_far_ledger()
    settled = await town.paid(family, BILL_FEN)
    await town.at_rest()
    await backups.restore_far_ledger(backup)
    # As if the loss had come before the last acknowledgement.
    await town.settlement.execute(
        "UPDATE payments SET state = 'COMMITTED', finished_at = NULL, next_drive_at = now() WHERE payment_id = $1",
        UUID(settled.setl_id),
    )
    await revive(town.world, FAR_LEDGER)
    quarantine = "SELECT quarantine FROM payments WHERE payment_id = $1"
    async with asyncio.timeout(QUARANTINED_MAX_S):
        while await town.settlement.fetchval(quarantine, UUID(settled.setl_id)) != "CONFIRM_CONTRADICTED":  # noqa: ASYNC110  The database is what tells.
            await asyncio.sleep(0.05)
    assert await restores.replay(town, HAMI) == 0
    await town.at_rest()
    assert await town.money(family) == PAID
    assert await restores.close_alarms(town) >= 1
    await town.check()


async def test_a_charge_whose_money_is_gone_is_left_to_a_person_and_books_nothing(town: Town, backups: Backups) -> None:
    """A restored ledger that worked on before the replay has less money than it owes: nothing goes below zero."""
    (family,) = await town.pairs(1)
    first, second = [await town.planned(family, amount_fen) for amount_fen in (BILL_FEN, BILL_FEN)]
    await town.at_rest()
    backup = await backups.of_far_ledger()
    paid = (await town.desks.settlement.Settle(settle(first))).settlement
    await town.at_rest()
    await backups.restore_far_ledger(backup)
    await revive(town.world, FAR_LEDGER)
    assert (await town.desks.settlement.Settle(settle(second))).replan.reason == "PLAN_STALE"
    again = await town.paid(family, BILL_FEN)  # From the money that the ledger should not have any more.
    await town.at_rest()
    assert await restores.replay(town, HAMI) == 2
    (left,) = (await restores.compare(town)).of(Difference.MISSING_CHARGE)
    assert left.payment_id == UUID(paid.setl_id)
    assert [balance.past_fen for balance in await town.balances(family)] == [0, 0]
    # The hospital gives one of the two back; then there is enough.
    await town.desks.settlement.RevokeSettle(revoke(again.setl_id))
    await town.at_rest()
    assert await restores.replay(town, HAMI) == 0
    assert await town.money(family) == PAID
    await town.check()
