"""`gongji payments explain` tells a payment's whole story, `quarantine` what waits for a person."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Final
from uuid import UUID, uuid4

import asyncpg

from chassis.migrate import drift, migrate
from gongji.settlement.v1 import settlement_pb2 as pb
from ops.payments.meaning import ALARM, NEXT_OF_PAYMENT, PAYMENT_QUARANTINE
from services.settlement.app import MIGRATIONS
from services.settlement.ledger.domain.model import AlarmKind
from services.settlement.saga.coordinator import CONTRADICTIONS
from services.settlement.saga.restoring import UNCLEAR
from services.settlement.tables import METADATA
from tests.e2e.asking import new_key, reverse, revoke, settle
from tests.e2e.town import HAMI, HOSPITAL, URUMQI
from tests.integration.payments.conftest import OnCall

BILL_FEN: Final = 10_000


async def test_a_revoked_bill_is_told_from_its_plan_to_its_messages(on_call: OnCall) -> None:
    """The timeline holds plan, votes, decision, entries, events, messages and the refund, in order of time."""
    town = on_call.town
    family = await town.pair()
    settled = await town.paid(family, BILL_FEN)
    revoked = (await town.desks.settlement.RevokeSettle(revoke(settled.setl_id))).revocation
    await town.at_rest()
    await town.told()
    said = await on_call.says("explain", settled.setl_id, "--json")
    story = said.document
    assert (said.exit_code, story["payment"]["state"], story["troubles"]) == (0, "DONE", []), said
    assert story["ledgers"] == {URUMQI: "CONFIRMED", HAMI: "CONFIRMED"}
    assert story["links"]["refunded by"] == revoked.setl_id
    timeline = [(moment["where"], moment["what"].partition(":")[0].partition(",")[0]) for moment in story["timeline"]]
    for expected in (
        ("settlement", "plan written"),
        ("settlement", "TRYING written"),
        (f"ledger {URUMQI}", "HELD"),
        (f"ledger {HAMI}", "HELD"),
        ("settlement", "COMMITTED by compare-and-set"),
        ("settlement", "bill_settled written to the outbox"),
        (f"ledger {HAMI}", "CONFIRMED"),
        ("settlement", "DONE written"),
        ("notify", "bill_settled taken in"),
        ("settlement", f"refund {revoked.setl_id} COMMITTED"),
    ):
        assert expected in timeline, timeline
    times = [moment["at"] for moment in story["timeline"]]
    assert all(earlier <= later for earlier, later in pairwise(times))
    refund = (await on_call.says("explain", revoked.setl_id, "--json")).document
    assert refund["links"]["refunds"] == settled.setl_id
    assert refund["ledgers"] == {URUMQI: "CREDITED", HAMI: "CREDITED"}


async def test_a_settlement_is_derived_anew_by_the_command(on_call: OnCall) -> None:
    """`gongji settlement explain` tells by whom each fen is paid and that it agrees; nobody's payment ends with 2."""
    town = on_call.town
    settled = await town.paid(await town.pair(), BILL_FEN)
    told = await on_call.hears("settlement", "explain", settled.setl_id)
    assert (told.exit_code, "agrees" in told.out, "cash" in told.out) == (0, True, True), told
    document = (await on_call.hears("settlement", "explain", settled.setl_id, "--json")).document
    assert (document["setl_id"], document["agrees"], document["differences"]) == (settled.setl_id, True, [])
    assert sum(source["past_fen"] + source["current_fen"] for source in document["sources"]) == BILL_FEN
    assert (await on_call.hears("settlement", "explain", str(uuid4()))).exit_code == 2


async def test_a_payment_is_found_by_its_key_and_nothing_personal_is_told(on_call: OnCall) -> None:
    """institution/infno/msgid names the same payment; of the people only psn_no is told, to eyes and to machines."""
    town = on_call.town
    family = await town.pair()
    settled = await town.paid(family, BILL_FEN)
    await town.at_rest()
    row = await town.payment(settled.key)
    assert row is not None
    by_key = await on_call.says("explain", f"{row['fixmedins_code']}/{row['infno']}/{row['msgid']}", "--json")
    assert by_key.document["payment_id"] == settled.setl_id
    by_eye = await on_call.says("explain", settled.setl_id)
    assert family.patient.psn_no in by_eye.out
    assert [secret for secret in town.personal if secret in by_eye.out + by_key.out] == []


async def test_a_refusal_is_told_with_its_reason_and_new_plan(on_call: OnCall) -> None:
    """A frozen funder's ledger is seen to refuse, and the plan that was offered instead is linked."""
    town = on_call.town
    family = await town.pair()
    plan = await town.planned(family, BILL_FEN)
    await town.freeze(family.funders[0])
    answer = await town.desks.settlement.Settle(settle(plan))
    assert answer.WhichOneof("outcome") == "replan"
    await town.at_rest()
    payment_id = await town.settlement.fetchval(
        "SELECT payment_id FROM payments WHERE plan_id = $1::uuid", plan.plan_id
    )
    story = (await on_call.says("explain", str(payment_id), "--json")).document
    assert (story["payment"]["state"], story["ledgers"][HAMI]) == ("CLOSED", "REFUSED")
    assert story["links"]["new plan"] == answer.replan.plan.plan_id
    refused = [moment["why"] for moment in story["timeline"] if moment["what"] == "REFUSED"]
    assert [why.partition(",")[0] for why in refused] == [story["payment"]["reason"]]


async def test_a_tombstone_is_told_and_an_unknown_id_is_refused(on_call: OnCall) -> None:
    """A reversal before its original shows as what it is; what nobody knows ends with 2."""
    key = new_key()
    await on_call.town.desks.settlement.ReverseTransaction(reverse(key))
    told = await on_call.says("explain", f"{HOSPITAL}/{_infno(key)}/{key.msgid}")
    assert (told.exit_code, "TOMBSTONE CLOSED" in told.out) == (0, True), told
    for unknown in (str(uuid4()), f"{HOSPITAL}/2207/none", "nonsense"):
        assert (await on_call.says("explain", unknown)).exit_code == 2


async def test_a_hold_whose_payment_is_unknown_is_told_from_the_ledger_alone(on_call: OnCall) -> None:
    """After a restore of the coordinator only a ledger knows the payment: that calls for a person (rule 4)."""
    orphan = uuid4()
    ledger = on_call.town.ledgers[HAMI]
    await ledger.execute("INSERT INTO alarms VALUES ('INQUIRE_UNKNOWN', $1, now(), now())", orphan)
    said = await on_call.says("explain", str(orphan), "--json")
    await ledger.execute("DELETE FROM alarms WHERE subject_id = $1", orphan)
    assert (said.exit_code, said.document["payment"], said.document["actor"]) == (1, None, "person"), said


async def test_everything_in_quarantine_is_listed_with_what_to_do(on_call: OnCall) -> None:
    """Payment, alarm, failed command and suspense task: each is shown with its meaning, until it is settled."""
    town, subject = on_call.town, uuid4()
    settled = await town.paid(await town.pair(), BILL_FEN)
    await town.at_rest()
    payment_id, ledger = UUID(settled.setl_id), town.ledgers[URUMQI]
    await town.settlement.execute(
        "UPDATE payments SET quarantine = 'CONFIRM_CONTRADICTED' WHERE payment_id = $1", payment_id
    )
    await ledger.execute("INSERT INTO alarms VALUES ('CONFIRM_WITHOUT_HOLD', $1, now(), now())", payment_id)
    await ledger.execute("INSERT INTO quarantine VALUES ('TRY', $1, 'secret', 'DiskFullError', now(), now())", subject)
    await ledger.execute(
        "INSERT INTO suspense_tasks VALUES ($1, 1, '650100000000001', 'PERSONAL', 1234, now())", subject
    )
    found = await on_call.says("quarantine", "--json")
    shown = await on_call.says("quarantine")
    story = await on_call.says("explain", settled.setl_id, "--json")
    await town.settlement.execute("UPDATE payments SET quarantine = '' WHERE payment_id = $1", payment_id)
    for table in ("alarms", "quarantine", "suspense_tasks"):
        await ledger.execute(f"DELETE FROM {table}")  # noqa: S608  Our own tables.
    assert (found.exit_code, shown.exit_code, story.exit_code) == (1, 1, 1), (found, shown, story)
    assert {(case["where"], case["kind"], case["subject"]) for case in found.document["cases"]} == {
        ("settlement", "payment", settled.setl_id),
        (f"ledger {URUMQI}", "alarm", settled.setl_id),
        (f"ledger {URUMQI}", "command", str(subject)),
        (f"ledger {URUMQI}", "suspense task", str(subject)),
    }
    assert all(case["means"] and case["act"] for case in found.document["cases"])
    assert "secret" not in json.dumps(found.document)
    assert len(story.document["troubles"]) == 2
    assert (await on_call.says("quarantine")).exit_code == 0


def test_every_alarm_and_quarantine_has_a_meaning() -> None:
    """Nothing that the processes write is left without words for the person on call."""
    assert set(ALARM) == {kind.value for kind in AlarmKind}
    assert set(PAYMENT_QUARANTINE) == {*CONTRADICTIONS.values(), UNCLEAR}


async def test_every_state_a_row_may_have_tells_what_comes_next(database: str) -> None:
    """The migrations make the tables that the code names, and the CHECKs allow no state without a next step."""
    await migrate(database, MIGRATIONS)
    assert [line for line in await drift(database, METADATA) if "alembic_version" not in line] == []
    connection = await asyncpg.connect(database)
    checks = await connection.fetch(
        "SELECT pg_get_constraintdef(oid) AS text FROM pg_constraint WHERE conname = 'ck_payments_state_of_kind'"
    )
    await connection.close()
    assert len(checks) == 1
    kinds = {"SETTLE": ("TRYING", "COMMITTED", "DONE", "ABORTED", "CLOSED"), "TOMBSTONE": ("CLOSED",)}
    kinds |= dict.fromkeys(("TRANSFER", "CHARGE"), kinds["SETTLE"]) | dict.fromkeys(
        ("REFUND", "CREDIT"), ("COMMITTED", "DONE")
    )
    assert set(NEXT_OF_PAYMENT) == {(kind, state) for kind, states in kinds.items() for state in states}


def _infno(key: pb.RequestKey) -> str:
    return pb.Infno.Name(key.infno).removeprefix("INFNO_")
