"""`gongji accounts close`: a funder has died; what he had, and what comes back later, goes to the heir."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from gongji.identity.v1 import identity_pb2
from gongji.settlement.v1 import account_pb2
from ops import household
from tests.e2e.asking import revoke
from tests.e2e.town import HAMI, URUMQI, new_resident
from tests.integration.payments.conftest import OnCall

SURE = ("--yes", "--reason", "death certificate seen", "--operator", "lin")
TOLD_MAX_S = 30.0
"""The coordinator leaves a closing to the command for five seconds, and then tells the owner."""


async def test_a_dead_funders_balance_and_later_refunds_go_to_the_heir(on_call: OnCall) -> None:
    """Closed with its record; both sums wait in suspense and are brought on; verify finds every sum as it should be."""
    town = on_call.town
    (family,) = await town.pairs(1)
    heir = (await town.family(new_resident(HAMI, past_fen=500))).patient
    settled = await town.paid(family, 13_000)
    await town.at_rest()
    funder, ledger = family.funders[0].psn_no, town.ledgers[HAMI]
    total = "SELECT sum(past_fen + current_fen)::bigint FROM accounts WHERE psn_no = ANY ($1::text[])"
    left_fen = await ledger.fetchval(total, [funder])

    nobody = await on_call.hears("accounts", "close", funder, HAMI, "--cause", "DIED")
    assert (nobody.exit_code, "nobody can be asked" in nobody.problem) == (2, True), nobody
    closed = await on_call.hears("accounts", "close", funder, HAMI, "--cause", "DIED", *SURE)
    assert (closed.exit_code, closed.out.splitlines()[-1].startswith("closed")) == (0, True), closed
    again = await on_call.hears("accounts", "close", funder, HAMI, "--cause", "DIED", *SURE)
    assert (again.exit_code, "no such account" in again.problem) == (2, True), again
    await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))
    await town.at_rest()

    listed = (await on_call.hears("suspense", "list", "--json")).document
    assert sorted(one["amount_fen"] for one in listed) == sorted(fen for fen in (left_fen, 10_000) if fen)
    for one in listed:
        moved = await on_call.hears(
            "suspense", "close", one["credit_id"], str(one["leg_no"]), "--to", str(heir.psn_no), *SURE
        )
        assert moved.exit_code == 0, moved
    assert await ledger.fetchval(total, [funder, heir.psn_no]) == 500 + left_fen + 10_000
    record = "SELECT count(*) FROM operator_actions WHERE command = 'accounts close' AND operator = 'lin'"
    assert await town.settlement.fetchval(record) == 1
    told = "SELECT finished_at IS NOT NULL FROM account_endings WHERE psn_no = $1"
    async with asyncio.timeout(TOLD_MAX_S):
        while not await town.settlement.fetchval(told, funder):  # noqa: ASYNC110  Another process's row.
            await asyncio.sleep(0.1)
    assert (await town.topics(family.funders[0])).count("ACCOUNT_ENDED") == 1
    await town.check()


async def test_what_comes_back_after_a_move_says_where_its_owner_is_now(on_call: OnCall) -> None:
    """`gongji suspense list` names the area, for people and for machines; the officer credits him there."""
    town = on_call.town
    (family,) = await town.pairs(1)
    settled, funder = await town.paid(family, 13_000), family.funders[0].psn_no
    await town.at_rest()
    insured = identity_pb2.EnrolRequest(psn_no=funder, insutype="310", insuplc_admdvs=URUMQI)
    await town.desks.identity.Enrol(insured)
    await town.told()
    await household.credit(town.desks, psn_no=funder, area=URUMQI, past_fen=7)
    request = account_pb2.MoveAccountRequest(psn_no=funder, from_area=HAMI, to_area=URUMQI, request_id=str(uuid4()))
    await town.desks.accounts.MoveAccount(request)
    await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))
    await town.at_rest()
    (waits,) = [one for one in (await on_call.hears("suspense", "list", "--json")).document if one["psn_no"] == funder]
    assert (waits["area"], waits["moved_to"], waits["amount_fen"]) == (HAMI, URUMQI, 10_000)
    shown = await on_call.hears("suspense", "list")
    assert f"{funder}, who moved to {URUMQI}" in shown.out
    moved = await on_call.hears("suspense", "close", waits["credit_id"], str(waits["leg_no"]), "--to", "fund", *SURE)
    assert moved.exit_code == 0, moved
    await town.check()
