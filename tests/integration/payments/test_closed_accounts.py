"""`gongji accounts close`: a funder has died; what he had, and what comes back later, goes to the heir."""

from __future__ import annotations

import asyncio

from tests.e2e.asking import revoke
from tests.e2e.town import HAMI, new_resident
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
