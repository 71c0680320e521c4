"""`gongji payments stuck` and `drive` on a real system whose ledger dies in the middle of a payment."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from pathlib import Path
from typing import Final
from uuid import uuid4

import asyncpg
import pytest

from gongji.settlement.v1 import account_pb2
from kernel.failures import Failure
from ops.consent import Consent
from ops.payments.command import parsed_duration
from ops.payments.databases import COORDINATOR, connect, opened
from ops.payments.driving import CannotDriveError, bring_forward, propose
from ops.places import find_places
from tests.e2e.town import HAMI, Town
from tests.fault.victims import FAR_LEDGER, arm, died, revive
from tests.integration.payments.conftest import OnCall, run_payments

BILL_FEN: Final = 10_000
OVERDUE_MAX_S: Final = 30.0


async def committed_without_its_ledger(town: Town) -> str:
    """A bill whose hospital was told OK, and whose far ledger died before it could book; the payment's id."""
    family = await town.pair()
    await arm(town.world, FAR_LEDGER, "ledger.confirm.before_commit")
    settled = await town.paid(family, BILL_FEN)
    await died(town.world, FAR_LEDGER)
    return str(settled.setl_id)


async def recovery_rests(town: Town, subject_id: str, *, table: str = "payments", key: str = "payment_id") -> None:
    """Puts its next attempt a minute off, as many failures would have done."""
    rests = f"UPDATE {table} SET next_drive_at = clock_timestamp() + interval '1 minute' WHERE {key} = $1::uuid"  # noqa: S608  Our own tables.
    assert await town.settlement.execute(rests, subject_id) == "UPDATE 1"


async def until_overdue(town: Town, payment_id: str) -> None:
    """The hold's time has been over for more than a second."""
    end = time.monotonic() + OVERDUE_MAX_S
    overdue = "SELECT inquire_at < clock_timestamp() - interval '1.1 s' FROM branches WHERE payment_id = $1::uuid"
    while not await town.ledgers[HAMI].fetchval(overdue, payment_id):
        assert time.monotonic() < end, "the hold does not become overdue"
        await asyncio.sleep(0.1)


async def test_a_system_at_rest_has_nothing_stuck(on_call: OnCall) -> None:
    """At rest, `stuck` and `quarantine` find nothing and end with 0."""
    await on_call.town.at_rest()
    stuck = await on_call.says("stuck")
    assert (stuck.exit_code, stuck.out) == (0, "nothing is stuck for more than 60 s\n"), stuck
    assert (await on_call.says("quarantine")).exit_code == 0


async def test_a_payment_that_waits_for_a_dead_ledger_is_found_told_and_driven(on_call: OnCall) -> None:
    """`stuck` names payment and hold; nothing is changed unasked; `drive` finishes it once the ledger is back."""
    town = on_call.town
    payment_id = await committed_without_its_ledger(town)
    await recovery_rests(town, payment_id)
    await until_overdue(town, payment_id)
    stuck = await on_call.says("stuck", "--older-than", "1s", "--json")
    assert stuck.exit_code == 1, stuck
    found = {(one["kind"], one["where"]): one for one in stuck.document["findings"] if one["subject"] == payment_id}
    payment, hold = found["payment", "settlement"], found["hold", f"ledger {HAMI}"]
    assert (payment["state"], payment["actor"], payment["details"]) == (
        "SETTLE COMMITTED",
        "coordinator",
        f"waits for ledger {HAMI} (HELD)",
    )
    assert (hold["state"], hold["actor"]) == ("HELD", "ledger")

    told = await on_call.says("explain", payment_id)
    assert (told.exit_code, "CONFIRM is sent again until every ledger has booked it" in told.out) == (0, True), told

    for without in ((), ("--yes",)):
        refused = await on_call.says("drive", payment_id, *without)
        assert refused.exit_code == 2, refused
    declined = await on_call.answers("n", "drive", payment_id, "--reason", "a try")
    assert (declined.exit_code, "nothing was changed" in declined.problem) == (2, True), declined
    assert "to be changed: payments.next_drive_at" in declined.out
    recorded = "SELECT operator, command, reason FROM operator_actions WHERE subject_id = $1::uuid"
    assert await town.settlement.fetch(recorded, payment_id) == []

    await revive(town.world, FAR_LEDGER)
    driven = await on_call.says(
        "drive", payment_id, "--yes", "--operator", "wang", "--reason", "the ledger is back", "--wait", "30"
    )
    assert (driven.exit_code, "DONE: finished" in driven.out) == (0, True), driven
    actions = await town.settlement.fetch(recorded, payment_id)
    assert [tuple(row) for row in actions] == [("wang", "payments drive", "the ledger is back")]
    again = await on_call.says("drive", payment_id, "--yes", "--reason", "once more")
    assert (again.exit_code, "nothing to drive" in again.out) == (0, True), again
    moments = (await on_call.says("explain", payment_id, "--json")).document["timeline"]
    assert [moment["why"] for moment in moments if moment["who"] == "operator wang"] == ["the ledger is back"]
    await town.check()


async def test_a_freeze_that_waits_for_a_dead_ledger_is_found_and_driven(on_call: OnCall) -> None:
    """`stuck` names the ledger it waits for; `drive` takes its request_id, and the ledger's answer ends it."""
    town, request_id = on_call.town, str(uuid4())
    family = await town.pair()
    await town.world.kill_process(FAR_LEDGER)
    with pytest.raises(Failure):
        await town.desks.accounts.FreezeAccount(
            account_pb2.FreezeAccountRequest(
                psn_no=family.funders[0].psn_no, area=HAMI, cause="COURT_ORDER", request_id=request_id
            ),
            timeout=1,
        )
    await recovery_rests(town, request_id, table="account_commands", key="request_id")
    await asyncio.sleep(1.1)
    stuck = (await on_call.says("stuck", "--older-than", "1s", "--json")).document
    assert [(one["kind"], one["state"], one["details"]) for one in stuck["findings"]] == [
        ("account command", "FREEZE PENDING", f"waits for ledger {HAMI}")
    ]
    await revive(town.world, FAR_LEDGER)
    driven = await on_call.says("drive", request_id, "--yes", "--reason", "the ledger is back", "--wait", "30")
    assert (driven.exit_code, "DONE: finished" in driven.out) == (0, True), driven
    assert await town.settlement.fetchval("SELECT state FROM account_commands WHERE request_id = $1", request_id) == (
        "DONE"
    )


async def test_a_row_that_has_moved_on_is_not_driven(on_call: OnCall) -> None:
    """The compare-and-set refuses an old reading, and then no audit record is written."""
    town = on_call.town
    payment_id = await committed_without_its_ledger(town)
    await recovery_rests(town, payment_id)
    places = find_places(data=on_call.data, coordinator=None, ledgers=None, areas="")
    async with opened(places) as databases:
        old = await propose(databases, payment_id)
    writer = await connect(places.coordinator_url, read_only=False)
    await bring_forward(writer, old, Consent("li", "first"))
    with pytest.raises(CannotDriveError):
        await bring_forward(writer, old, Consent("li", "second"))
    reasons = await writer.fetch("SELECT reason FROM operator_actions WHERE subject_id = $1::uuid", payment_id)
    assert [row["reason"] for row in reasons] == ["first"]
    with pytest.raises(asyncpg.RestrictViolationError):
        await writer.execute("UPDATE operator_actions SET reason = 'another'")
    await writer.close()
    await revive(town.world, FAR_LEDGER)
    await town.check()


async def test_dead_letters_and_outboxes_are_found_until_they_are_healed(on_call: OnCall) -> None:
    """A dead letter counts until its consumer has taken in a newer version; so does an event nobody published."""
    notify = await asyncpg.connect(on_call.town.world.database_url("notify"))
    identity = await asyncpg.connect(on_call.town.world.database_url("identity"))
    await notify.execute(
        """INSERT INTO inbox_dead (consumer, event_id, subject, aggregate, version, payload, traceparent, problem)
           VALUES ('planted', gen_random_uuid(), 'person_changed', 'person:1', 3, '', '', 'KeyError: ward')"""
    )
    async with identity.transaction():
        # Uncommitted rows are not seen by the publisher, and not by the command either; a lock keeps it from this one.
        await identity.execute("LOCK TABLE outbox_stream IN ACCESS EXCLUSIVE MODE")
        planted = await asyncpg.connect(on_call.town.world.database_url("identity"))
        await planted.execute(
            """INSERT INTO outbox (event_id, aggregate, version, subject, payload, traceparent, occurred_at)
               VALUES (gen_random_uuid(), 'planted:1', 1, 'planted', '', '', now() - interval '1 hour')"""
        )
        stuck = (await on_call.says("stuck", "--json")).document
        await planted.execute("DELETE FROM outbox WHERE subject = 'planted'")
        await planted.close()
    letters = [one for one in stuck["findings"] if one["kind"] == "dead letter"]
    outboxes = [one for one in stuck["findings"] if one["kind"] == "outbox"]
    assert [(one["where"], one["actor"]) for one in letters] == [("notify", "person")]
    assert [(one["where"], one["subject"]) for one in outboxes] == [("identity", "1 events")]
    await notify.execute("INSERT INTO inbox_version VALUES ('planted', 'person:1', 4)")
    assert (await on_call.says("stuck")).exit_code == 0
    await notify.close()
    await identity.close()


async def test_a_ledger_out_of_reach_is_named_and_the_rest_is_told(on_call: OnCall, tmp_path: Path) -> None:
    """A ledger's database that does not answer ends with 1 and its name; the coordinator's ends with 2."""
    nowhere = "postgresql://nobody@127.0.0.1:1/none"
    on_call.write_running(tmp_path / "one", on_call.running() | {f"gongji_ledger_{HAMI}": nowhere})
    stuck = await run_payments("stuck", "--json", "--data", str(tmp_path / "one"))
    assert (stuck.exit_code, list(stuck.document["unreachable"])) == (1, [f"ledger {HAMI}"]), stuck
    on_call.write_running(tmp_path / "two", on_call.running() | {"gongji_settlement": nowhere})
    for arguments in (("stuck",), ("quarantine",), ("explain", "no/such/payment"), ("drive", "x/y/z")):
        assert (await run_payments(*arguments, "--data", str(tmp_path / "two"))).exit_code == 2
    assert (await run_payments("stuck", "--data", str(tmp_path / "none"))).exit_code == 2


async def test_who_only_looks_cannot_write(on_call: OnCall) -> None:
    """Every connection but the one that drives refuses to change a row."""
    places = find_places(data=on_call.data, coordinator=None, ledgers=None, areas="")
    async with opened(places) as databases:
        assert sorted(databases.connections) == [
            "family", "identity", "ledger 650100", "ledger 650500", "notify", "settlement",
        ]  # fmt: skip
        with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
            await databases.rows(COORDINATOR, "UPDATE payments SET attempts = 0 RETURNING 1")


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("60s", 60), ("5m", 300), ("5min", 300), ("2h", 7_200), ("1d", 86_400)]
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    """A number is seconds, a unit says otherwise."""
    assert parsed_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "-5", "1.5h", "5 weeks", "99999999"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(ValueError, match="is no duration"):
        parsed_duration(text)
