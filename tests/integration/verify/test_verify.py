"""`gongji verify` sees what is wrong: each invariant, broken by hand in a sound system, is found by its name."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from random import SystemRandom
from string import Template
from typing import Final

import asyncpg
import pytest

from gongji_terminal.journal import EntryState, Journal, Told
from kernel.ids import time_ordered_uuid
from ops.places import Places
from ops.verify.across import check_across
from ops.verify.chain import check_chain
from ops.verify.claims import check_claims
from ops.verify.clearing import check_clearing
from ops.verify.days import check_days
from ops.verify.ledger import check_ledger
from ops.verify.report import INVARIANTS, Report
from ops.verify.run import Audit, verify
from ops.verify.stays import check_stays
from ops.verify.years import check_years
from tests.integration.verify.sound import AREA, HELD, HOSPITAL, NAMES, NOW, PAID

_GUARDED: Final = "SELECT DISTINCT tgrelid::regclass::text AS name FROM pg_trigger WHERE NOT tgisinternal"


async def violated(places: Places, *, coordinator: str = "SELECT", ledger: str = "SELECT") -> set[str]:
    """What does not hold once these statements have spoilt the one or the other; then they are rolled back.

    In a statement ``$PAID`` stands for that payment's id, and so on; rows that are written once can be changed.
    """
    report = Report()
    async with AsyncExitStack() as stack:
        connections = []
        for url, statements in ((places.coordinator_url, coordinator), (places.ledger_urls[AREA], ledger)):
            connection = await asyncpg.connect(url)
            stack.push_async_callback(connection.close)
            transaction = connection.transaction()
            await transaction.start()
            stack.push_async_callback(transaction.rollback)
            for guarded in await connection.fetch(_GUARDED):
                await connection.execute(f"ALTER TABLE {guarded['name']} DISABLE TRIGGER USER")
            await connection.execute(Template(statements).substitute(NAMES))
            connections.append(connection)
        await check_ledger(connections[1], AREA, report)
        await check_chain(connections[1], AREA, report)
        await check_across(connections[0], {AREA: connections[1]}, report)
        await check_days(connections[0], report)
        await check_clearing(connections[0], report)
        await check_years(connections[0], report)
        await check_stays(connections[0], report)
        await check_claims(connections[0], report)
    return violations(report)


def violations(report: Report) -> set[str]:
    """The names of what does not hold."""
    return {name for name, check in report.checks.items() if check.violations}


SEALED: Final = frozenset(
    {"a leg booked twice", "entries that do not sum to zero", "a confirmed leg that took nothing"}
)
"""What cannot be done without touching entries that are sealed."""


async def journal_of(folder: Path, state: EntryState, *, setl_id: str = "") -> Path:
    """A terminal's journal that says of the paid bill what it was told."""
    file = folder / "journal.sqlite"
    async with Journal(file) as journal:
        entry = await journal.write(
            fixmedins_code=HOSPITAL,
            terminal=1,
            infno="2207",
            now=NOW,
            make_msgid=lambda _: f"m{PAID.int}",
            make_request=lambda _: b"",
        )
        await journal.note_told(entry, Told(state, setl_id=setl_id), now=NOW)
    return file


async def test_a_sound_system_has_no_violation_and_every_invariant_looks_at_rows(
    places: Places, tmp_path: Path
) -> None:
    """Nothing is violated, and nothing is so because there was nothing to look at."""
    report = await verify(places, journals=[await journal_of(tmp_path, EntryState.SETTLED, setl_id=str(PAID))])
    assert (violations(report), report.skipped) == (set(), {})
    assert {name for name, check in report.checks.items() if not check.checked} == set()
    assert report.waiting == {"payments COMMITTED": 1}


LEDGER_SPOILT: Final[dict[str, tuple[str, str]]] = {
    "more held than there is": (
        "I1",
        """ALTER TABLE accounts DROP CONSTRAINT accounts_held_within_balance;
           UPDATE accounts SET held_past_fen = past_fen + 1 WHERE psn_no = '$PATIENT'""",
    ),
    "a hold that the account has forgotten": ("I1", "UPDATE accounts SET held_past_fen = 0"),
    "a balance without entries": ("I2", "UPDATE accounts SET past_fen = past_fen + 1 WHERE psn_no = '$FUNDER'"),
    "entries that do not sum to zero": (
        "I2",
        "UPDATE entries SET amount_fen = amount_fen + 1 WHERE book = 'CLEARING' AND source_id = '$PAID'",
    ),
    "a confirmed leg that took nothing": (
        "I2",
        """DELETE FROM entries WHERE source_id = '$PAID';
           UPDATE accounts SET past_fen = past_fen + CASE psn_no WHEN '$PATIENT' THEN 100 ELSE 200 END""",
    ),
    "a credit that was never booked": ("I3", "DELETE FROM credit_legs WHERE credit_id = '$FUNDERS_MONEY'"),
    "a branch with another amount": (
        "I3",
        """UPDATE branch_legs SET past_fen = 51 WHERE payment_id = '$HELD';
           UPDATE accounts SET held_past_fen = 51 WHERE psn_no = '$PATIENT'""",
    ),
    "a leg booked twice": (
        "I5",
        """ALTER TABLE entries DROP CONSTRAINT entries_booked_once;
           UPDATE entries SET amount_fen = -60 WHERE source_id = '$PAID' AND leg_no = 1;
           INSERT INTO entries (source_id, leg_no, kind, book, psn_no, part, amount_fen, balance_after_fen, booked_at)
           VALUES ('$PAID', 1, 'PAYMENT', 'PERSONAL', '$PATIENT', 'PAST', -40, 0, now())""",
    ),
    "a hold that nobody inquires about": (
        "I6",
        "UPDATE branches SET inquire_at = now() - interval '61 seconds' WHERE state = 'HELD'",
    ),
    "a refund of which the leg knows nothing": (
        "I8",
        "UPDATE branch_legs SET refunded_fen = 0 WHERE payment_id = '$TAKEN_BACK'",
    ),
    "used beside what was confirmed": ("I9", "UPDATE authorisations SET used_fen = used_fen - 1"),
    "an entry put on another's account, and both balances with it": (
        "CHAIN",
        """UPDATE entries SET psn_no = '$FUNDER' WHERE source_id = '$PAID' AND leg_no = 1;
           UPDATE accounts SET past_fen = past_fen + CASE psn_no WHEN '$PATIENT' THEN 100 ELSE -100 END""",
    ),
    "an entry of another day": ("CHAIN", "UPDATE entries SET booked_at = booked_at - interval '1 day'"),
    "more used than authorised": (
        "I9",
        """ALTER TABLE authorisations DROP CONSTRAINT authorisations_within_amount;
           UPDATE authorisations SET authorised_fen = used_fen - 1""",
    ),
    "a month that forgets what it used": ("I9", "UPDATE authorisation_months SET used_fen = used_fen - 1"),
    "a month that is counted nowhere": ("I9", "DELETE FROM authorisation_months"),
    "a month in which nothing was": (
        "I9",
        "INSERT INTO authorisation_months SELECT authorisation_id, 202612, 1, 0, NULL FROM authorisations",
    ),
    "a month above its limit": (
        "I9",
        """ALTER TABLE authorisation_months DROP CONSTRAINT authorisation_months_within_limit;
           UPDATE authorisation_months SET limit_fen = used_fen - 1""",
    ),
}


@pytest.mark.parametrize("how", LEDGER_SPOILT)
async def test_a_ledger_that_is_spoilt_in_one_way_violates_that_invariant_alone(places: Places, how: str) -> None:
    """The invariant is named, and no other one; but the chain's too, where sealed entries are touched."""
    invariant, statements = LEDGER_SPOILT[how]
    assert await violated(places, ledger=statements) == {invariant} | ({"CHAIN"} if how in SEALED else set())


AN_APPROVED_CLAIM: Final = """
    INSERT INTO claim_decisions (claim_id, decision_no, approved, opter, cause)
    SELECT claim_id, 1, true, 'li04', 'in order' FROM claims;
    UPDATE claims SET state = 'APPROVED', hifp_pay = 3, fund_fen = 3, use_year = 2026, use_insutype = '310',
           use_pool = '', use_deductible_fen = 0, use_fund_fen = 3, use_large_fen = 0"""
"""By which its year counts it."""
A_TRANSFER: Final = """
    INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year, epoch,
                          amount_fen, deadline_at, accept_by, legs, pending_at)"""
GIVEN: Final = f"""
    gen_random_uuid(), 'TRANSFER', 'TRYING', '{AREA}', 'TRANSFER', 't1', decode(repeat('00', 32), 'hex'), '1', 2026, 1,
    10, now(), now(), jsonb_build_array(
        jsonb_build_object('leg_no', 1, 'area', '{AREA}', 'role', 'OWN', 'past_fen', 10, 'current_fen', 0),
        jsonb_build_object('leg_no', 2, 'area', '{AREA}', 'role', 'RECEIVER', 'past_fen', {{}}, 'current_fen', 0)
    ), {{}}"""
_CLAIM: Final = """
    INSERT INTO claims (claim_id, psn_no, area, fixmedins_code, invoice_no, med_type, bill, documents, content, state,
                        payment_id, family_fen, fund_fen)
    SELECT gen_random_uuid(), '1', '650100', 'H65010000001', 'A-1', '11', '{{"medfee_sumamt": 10}}', '[]', sha256(''),
           '{state}', p.id, (p.id IS NOT NULL)::int, {fund} FROM (SELECT {payment}::uuid AS id) p"""
COORDINATOR_SPOILT: Final[dict[str, tuple[str, str]]] = {
    "done, and still held there": (
        "I3",
        "UPDATE payments SET state = 'DONE', finished_at = now() WHERE payment_id = '$HELD'",
    ),
    "undecided, and confirmed there": (
        "I3",
        """UPDATE payments SET state = 'TRYING', decided_at = NULL, finished_at = NULL
            WHERE payment_id = '$PAID'""",
    ),
    "aborted, and confirmed there": (
        "I3",
        """UPDATE payments SET state = 'ABORTED', reason = 'REVERSED', finished_at = NULL
            WHERE payment_id = '$PAID'""",
    ),
    "committed, and released there": (
        "I3",
        """UPDATE payments SET state = 'COMMITTED', reason = '', finished_at = NULL
            WHERE payment_id = '$CALLED_OFF'""",
    ),
    "legs that are not the amount": (
        "I3",
        "UPDATE payments SET amount_fen = amount_fen + 1 WHERE payment_id = '$PAID'",
    ),
    "a receiver asked, and nothing held": ("I3", f"{A_TRANSFER} SELECT {GIVEN.format(10, 'now()')}"),
    "a transfer that brings more than it takes": ("I3", f"{A_TRANSFER} SELECT {GIVEN.format(11, 'NULL')}"),
    "a hold of which nobody knows": ("I4", "DELETE FROM payments WHERE payment_id = '$HELD'"),
    "two refunds of one payment": (
        "I8",
        """DROP INDEX payments_live_refund;
           INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year,
                                 original_id, legs, amount_fen, epoch, decided_at, finished_at)
           SELECT gen_random_uuid(), kind, state, fixmedins_code, infno, 'again', request_hash, psn_no, year,
                  original_id, '[]', 0, epoch, now(), now() FROM payments WHERE payment_id = '$REFUND'""",
    ),
    "decided in a month that was run, and in none of its lines": (
        "CLEARED",
        "UPDATE payments SET decided_at = '2026-10-31 23:59:59+08' WHERE payment_id = '$HELD'",
    ),
    "a month's file that is another": (
        "CLEARED",
        "UPDATE clearing_runs SET lines_sha256 = decode(repeat('00', 32), 'hex')",
    ),
    "a balanced day with a row that nobody has": (
        "I11",
        """INSERT INTO reconciliation_rows
           SELECT compared_id, 1, compared_id, NULL, '', '', false, '310', '11', 1, 0, 0, 0, 1, 0
             FROM reconciliation_days""",
    ),
    "a year that still counts what was given back": ("YEAR", "UPDATE benefit_years SET fund_fen = 1"),
    "a year that forgot a settlement": (
        "YEAR",
        "UPDATE plans SET plan_id = (SELECT plan_id FROM payments WHERE payment_id = '$PAID') WHERE pool = ''",
    ),
    "a claim that a year counts twice": (
        "YEAR",
        f"{AN_APPROVED_CLAIM}; UPDATE benefit_years SET fund_fen = fund_fen + 3 WHERE psn_no = '1'",  # noqa: S608  Ours.
    ),
    "a year that forgot a claim": (
        "YEAR",
        f"{AN_APPROVED_CLAIM}; DELETE FROM benefit_years WHERE psn_no = '1'",  # noqa: S608  Ours.
    ),
    "a part of a stay that is said to be of another": ("STAY", "UPDATE stay_settlements SET mdtrt_id = 'another'"),
    "a part that its stay has forgotten": (
        "STAY",
        "DELETE FROM stay_settlements WHERE payment_id = '$STAYS_END'",
    ),
    "a stay that went on after its end": (
        "STAY",
        """UPDATE plans SET document = jsonb_set(document, '{facts,interim}', 'false');
           UPDATE stay_settlements SET interim = false""",
    ),
    "a premium without a payment": (
        "I10",
        """INSERT INTO premium_payments VALUES
               (gen_random_uuid(), gen_random_uuid(), '1', '2', 2027, '650100', 'OWN', '', 1)""",
    ),
    "an order of payout with none of its claims": (
        "CLAIM",
        """INSERT INTO payout_orders (order_id, area, opter, lines_count, total_fen, sha256)
           VALUES (gen_random_uuid(), '650100', 'zhang01', 1, 1, sha256(''))""",
    ),
    "an approved claim that nobody approved": ("CLAIM", _CLAIM.format(state="APPROVED", payment="NULL", fund=1)),
    "a claim that pays more than its bill": ("CLAIM", _CLAIM.format(state="SUBMITTED", payment="NULL", fund=11)),
    "a claim whose payment is missing": ("CLAIM", _CLAIM.format(state="REFUSED", payment="gen_random_uuid()", fund=1)),
    "one key with two outcomes": (
        "I10",
        """ALTER TABLE payments DROP CONSTRAINT payments_key;
           UPDATE payments SET msgid = (SELECT msgid FROM payments WHERE payment_id = '$PAID')
            WHERE payment_id = '$NEVER_SEEN'""",
    ),
}


@pytest.mark.parametrize(("invariant", "statements"), COORDINATOR_SPOILT.values(), ids=COORDINATOR_SPOILT)
async def test_a_coordinator_that_is_spoilt_in_one_way_violates_that_invariant_alone(
    places: Places, invariant: str, statements: str
) -> None:
    """The invariant is named, and no other one."""
    assert await violated(places, coordinator=statements) == {invariant}


SINCE_THEN: Final[dict[str, tuple[str, str, str, str]]] = {
    "entries that do not sum to zero": (
        "I2",
        AREA,
        """INSERT INTO entries (source_id, leg_no, kind, book, psn_no, part, amount_fen, balance_after_fen, booked_at)
           VALUES ('$NEVER_SEEN', 1, 'MONTHLY', 'PERSONAL', '$PATIENT', 'PAST', 5, 905, now());
           UPDATE accounts SET past_fen = past_fen + 5 WHERE psn_no = '$PATIENT'""",
        """DELETE FROM entries WHERE source_id = '$NEVER_SEEN';
           UPDATE accounts SET past_fen = past_fen - 5 WHERE psn_no = '$PATIENT'""",
    ),
    "a hold that was released, and still counts": (
        "I1",
        AREA,
        """UPDATE branches SET state = 'CANCELLED' WHERE payment_id = '$HELD';
           UPDATE branches SET state = 'HELD' WHERE payment_id = '$CALLED_OFF'""",
        """UPDATE branches SET state = 'HELD' WHERE payment_id = '$HELD';
           UPDATE branches SET state = 'CANCELLED' WHERE payment_id = '$CALLED_OFF'""",
    ),
    "a payment that was open, and is done without being booked": (
        "I3",
        "settlement",
        "UPDATE payments SET state = 'DONE', finished_at = now() WHERE payment_id = '$HELD'",
        "UPDATE payments SET state = 'COMMITTED', finished_at = NULL WHERE payment_id = '$HELD'",
    ),
    "a payment that began and ended meanwhile, and is nowhere booked": (
        "I3",
        "settlement",
        """INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year,
                                 plan_id, legs, amount_fen, epoch, deadline_at, decided_at, finished_at)
           SELECT '$FRESH', kind, state, fixmedins_code, infno, 'new', request_hash, psn_no, year, plan_id, legs,
                  amount_fen, epoch, deadline_at, decided_at, finished_at FROM payments WHERE payment_id = '$PAID'""",
        "DELETE FROM payments WHERE msgid = 'new'",
    ),
}


@pytest.mark.parametrize(("invariant", "where", "spoil", "mend"), SINCE_THEN.values(), ids=SINCE_THEN)
async def test_a_round_that_looks_at_changes_finds_what_was_spoilt_since_the_one_before(
    places: Places, invariant: str, where: str, spoil: str, mend: str
) -> None:
    """What is new, what is held and what was open is looked at again; mended, the next round is sound."""
    audit = Audit(places)
    connection = await asyncpg.connect(places.coordinator_url if where == "settlement" else places.ledger_urls[AREA])
    await connection.execute("SET session_replication_role = replica")
    assert violations(await audit.round()) == set()
    try:
        fresh = time_ordered_uuid(datetime.now(UTC), SystemRandom())
        await connection.execute(Template(spoil).substitute(NAMES, FRESH=str(fresh)))
        found = violations(await audit.round(whole=False))
    finally:
        await connection.execute(Template(mend).substitute(NAMES))
        await connection.close()
    assert invariant in found
    assert violations(await audit.round(whole=False)) == set()


@pytest.mark.parametrize(
    ("state", "setl_id"),
    [(EntryState.REFUSED, ""), (EntryState.REVERSED, ""), (EntryState.SETTLED, str(HELD))],
    ids=["told refused", "told reversed", "told another settlement"],
)
async def test_a_terminal_that_was_told_something_else_violates_i7(
    places: Places, tmp_path: Path, state: EntryState, setl_id: str
) -> None:
    """The bill is paid: whoever was told anything else was told wrong."""
    report = await verify(places, journals=[await journal_of(tmp_path, state, setl_id=setl_id)])
    assert violations(report) == {"I7"}


def test_every_invariant_is_broken_here() -> None:
    """No invariant is without a way in which these tests break it."""
    broken = {invariant for invariant, _ in (*LEDGER_SPOILT.values(), *COORDINATOR_SPOILT.values())}
    assert broken | {"I7"} == set(INVARIANTS)
