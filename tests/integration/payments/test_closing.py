"""`gongji alarms`, `gongji suspense` and `gongji deadletters`: what waits for a person is ended, with its record."""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.e2e.asking import revoke
from tests.e2e.town import HAMI, URUMQI, new_resident
from tests.integration.payments.conftest import OnCall, Said

SURE: Final = ("--yes", "--reason", "found out", "--operator", "lin")
TRIED_MAX_S: Final = 60.0
_ACTIONS: Final = "SELECT command FROM operator_actions WHERE subject_id = $1 ORDER BY action_no"


async def actions(on_call: OnCall, subject_id: UUID) -> list[str]:
    """The commands in the audit record about a subject, oldest first."""
    return [row["command"] for row in await on_call.town.settlement.fetch(_ACTIONS, subject_id)]


@pytest.mark.long
async def test_an_alarm_is_closed_once_a_person_says_so_and_its_story_tells_it(on_call: OnCall) -> None:
    """Without consent nothing changes; closed, it is in no list, and the audit record says who and why."""
    settled = await on_call.town.paid(await on_call.town.pair(), 10_000)
    await on_call.town.at_rest()
    payment_id, ledger = UUID(settled.setl_id), on_call.town.ledgers[URUMQI]
    await ledger.execute("INSERT INTO alarms VALUES ('CONFIRM_WITHOUT_HOLD', $1, now(), now())", payment_id)
    listed = await on_call.hears("alarms", "list", "--json")
    assert (listed.exit_code, [one["subject_id"] for one in listed.document]) == (1, [settled.setl_id]), listed
    nobody = await on_call.hears("alarms", "close", settled.setl_id)
    assert (nobody.exit_code, await actions(on_call, payment_id)) == (2, []), nobody
    closed = await on_call.hears("alarms", "close", settled.setl_id, *SURE)
    assert (closed.exit_code, "CONFIRM_WITHOUT_HOLD" in closed.out) == (0, True), closed
    assert (await on_call.hears("alarms", "list")).exit_code == 0
    assert (await on_call.hears("alarms", "close", settled.setl_id, *SURE)).exit_code == 2
    story = await on_call.says("explain", settled.setl_id, "--json")
    assert [moment["who"] for moment in story.document["timeline"] if "alarms close" in moment["what"]] == [
        "operator lin"
    ]


async def test_money_in_suspense_goes_by_entries_where_the_officer_says_and_only_once(on_call: OnCall) -> None:
    """Into another account of the ledger, or out of it to the fund; verify finds every sum as it should be."""
    town = on_call.town
    first, second = await town.pairs(2)
    heir = (await town.family(new_resident(HAMI, past_fen=500))).patient
    settled = [await town.paid(family, 13_000) for family in (first, second)]
    await town.at_rest()
    for family in (first, second):  # Emptied, then closed: what comes back has nowhere to go.
        await town.ledgers[HAMI].execute(
            "UPDATE accounts SET state = 'CLOSED' WHERE psn_no = $1", family.funders[0].psn_no
        )
    refunds = [(await town.desks.settlement.RevokeSettle(revoke(one.setl_id))).revocation for one in settled]
    await town.at_rest()
    listed = (await on_call.hears("suspense", "list", "--json")).document
    assert sorted(one["credit_id"] for one in listed) == sorted(one.setl_id for one in refunds)
    assert {one["amount_fen"] for one in listed} == {10_000}
    leg = str(listed[0]["leg_no"])

    wrong = await on_call.hears("suspense", "close", refunds[0].setl_id, leg, "--to", "999999999999999", *SURE)
    assert (wrong.exit_code, "ACCOUNT_NOT_FOUND" in wrong.problem) == (2, True), wrong
    to_heir = await on_call.hears("suspense", "close", refunds[0].setl_id, leg, "--to", str(heir.psn_no), *SURE)
    out = await on_call.hears("suspense", "close", refunds[1].setl_id, leg, "--to", "fund", *SURE)
    again = await on_call.hears("suspense", "close", refunds[1].setl_id, leg, "--to", "fund", *SURE)
    assert (to_heir.exit_code, out.exit_code, again.exit_code) == (0, 0, 2), (to_heir, out, again)
    assert (await on_call.hears("suspense", "list")).exit_code == 0
    past = "SELECT past_fen FROM accounts WHERE psn_no = $1"
    assert await town.ledgers[HAMI].fetchval(past, heir.psn_no) == 10_500
    book = "SELECT sum(amount_fen)::bigint FROM entries WHERE book = 'SUSPENSE'"
    assert await town.ledgers[HAMI].fetchval(book) == 0
    assert await actions(on_call, UUID(refunds[1].setl_id)) == ["suspense close"]
    await town.check()


@pytest.mark.long
async def test_a_dead_letter_is_shown_tried_again_by_its_consumer_or_given_up(on_call: OnCall) -> None:
    """One that cannot be read stays dead with its new problem; given up, only its audit record is left."""
    room = await asyncpg.connect(on_call.town.world.database_url("notify"))
    event_id = uuid4()
    try:
        await room.execute(
            """INSERT INTO inbox_dead (consumer, event_id, subject, aggregate, version, payload, traceparent, problem,
                                       stream)
               VALUES ('notify', $1, 'bill_settled', 'payment:x', 1, 'rubbish', '', 'as it was', $2)""",
            event_id,
            f"{on_call.town.world.bus_prefix}-settlement",
        )
        shown = await on_call.hears("deadletters", "show", str(event_id))
        assert "as it was" in shown.out, shown
        asked = await on_call.hears("deadletters", "redrive", str(event_id), *SURE)
        assert asked.exit_code == 0, asked
        async with asyncio.timeout(TRIED_MAX_S):
            while (found := await letter(on_call, event_id))["tried_again"]:  # noqa: ASYNC110  The database tells.
                await asyncio.sleep(0.2)
        assert found["problem"] != "as it was"
        closed = await on_call.hears("deadletters", "close", str(event_id), *SURE)
        assert (closed.exit_code, (await on_call.hears("deadletters", "list")).exit_code) == (0, 0), closed
    finally:
        await room.execute("DELETE FROM inbox_dead WHERE event_id = $1", event_id)
        await room.close()
    assert await actions(on_call, event_id) == ["deadletters redrive", "deadletters close"]


async def letter(on_call: OnCall, event_id: UUID) -> dict[str, object]:
    """A dead letter as it is listed."""
    listed: Said = await on_call.hears("deadletters", "list", "--json")
    (found,) = [one for one in listed.document if one["event_id"] == str(event_id)]
    return dict(found)
