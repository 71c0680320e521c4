"""`gongji verify` sees what is wrong: each invariant, broken by hand in a sound system, is found by its name."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from string import Template
from typing import Final
from uuid import UUID

import asyncpg
import pytest
from typer.testing import CliRunner

from chassis.migrate import migrate
from gongji_terminal.journal import EntryState, Journal, Told
from ops.embedded.databases import Databases
from ops.main import app
from ops.places import Places
from ops.verify.across import check_across
from ops.verify.chain import check_chain
from ops.verify.ledger import check_ledger
from ops.verify.report import INVARIANTS, Report
from ops.verify.run import verify
from services.settlement.app import MIGRATIONS
from services.settlement.ledger.app import MIGRATIONS as LEDGER_MIGRATIONS
from services.settlement.ledger.store.sealing import seal_block

AREA: Final = "650100"
HOSPITAL: Final = "H65010000001"
PATIENT: Final = "650100000000001"
FUNDER: Final = "650100000000002"
NOW: Final = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
LEAVE: Final = UUID(int=0xA)
PATIENTS_MONEY, FUNDERS_MONEY = UUID(int=1), UUID(int=2)
PAID, HELD, TAKEN_BACK, REFUND, CALLED_OFF, NEVER_SEEN = (UUID(int=number) for number in range(3, 9))
NAMES: Final = {name: str(value) for name, value in globals().items() if name.isupper()}
"""What statements below call by name: people and payments."""
_GUARDED: Final = "SELECT DISTINCT tgrelid::regclass::text AS name FROM pg_trigger WHERE NOT tgisinternal"


async def insert(connection: asyncpg.Connection, table: str, **columns: object) -> None:
    """One row."""
    places = ", ".join(f"${place}" for place in range(1, len(columns) + 1))
    statement = f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})"  # noqa: S608  Our own tables.
    await connection.execute(statement, *columns.values())


async def make_coordinator(connection: asyncpg.Connection) -> None:
    """Credits, a payment done, one whose CONFIRM is on its way, one taken back, one called off, and a tombstone."""
    rows: Sequence[tuple[UUID, str, str, str, list[int], UUID | None]] = (
        (PATIENTS_MONEY, "CREDIT", "DONE", "CREDIT", [1_000], None),
        (FUNDERS_MONEY, "CREDIT", "DONE", "CREDIT", [500], None),
        (PAID, "SETTLE", "DONE", "2207", [100, 200], None),
        (HELD, "SETTLE", "COMMITTED", "2207", [50], None),
        (TAKEN_BACK, "SETTLE", "DONE", "2207", [30], None),
        (REFUND, "REFUND", "DONE", "2208", [30], TAKEN_BACK),
        (CALLED_OFF, "SETTLE", "CLOSED", "2207", [40], None),
        (NEVER_SEEN, "TOMBSTONE", "CLOSED", "2207", [], None),
    )
    for payment_id, kind, state, infno, amounts, original in rows:
        settles = kind == "SETTLE"
        legs = [
            {"leg_no": number, "area": AREA, "past_fen": amount_fen, "current_fen": 0}
            for number, amount_fen in enumerate(amounts, 1)
        ]
        await insert(
            connection,
            "payments",
            payment_id=payment_id,
            kind=kind,
            state=state,
            fixmedins_code=HOSPITAL,
            infno=infno,
            msgid=f"m{payment_id.int}",
            request_hash=b"" if kind == "TOMBSTONE" else bytes(32),
            psn_no=None if kind == "TOMBSTONE" else PATIENT,
            year=2026,
            plan_id=UUID(int=100 + payment_id.int) if settles else None,
            original_id=original,
            legs=json.dumps(legs),
            amount_fen=sum(amounts),
            reason="REVERSED" if state == "CLOSED" else "",
            epoch=1,
            deadline_at=NOW if settles else None,
            decided_at=NOW,
            finished_at=None if state == "COMMITTED" else NOW,
        )


async def make_ledger(connection: asyncpg.Connection) -> None:
    """The same story as the area's ledger has it."""
    for psn_no, balance_fen, held_fen in ((PATIENT, 900, 50), (FUNDER, 300, 0)):
        await connection.execute(
            "INSERT INTO accounts VALUES ($1, 'PERSONAL', 2026, $2, 0, $3, 0, false, 'OPEN')",
            psn_no,
            balance_fen,
            held_fen,
        )
    await insert(
        connection,
        "authorisations",
        authorisation_id=LEAVE,
        state="OPEN",
        funder_psn_no=FUNDER,
        beneficiary_psn_no=PATIENT,
        authorised_fen=400,
        used_fen=200,
        held_fen=0,
        version=1,
        opened_used_fen=0,
    )
    for payment_id, state in (
        (PAID, "CONFIRMED"),
        (HELD, "HELD"),
        (TAKEN_BACK, "CONFIRMED"),
        (CALLED_OFF, "CANCELLED"),
    ):
        await insert(
            connection,
            "branches",
            payment_id=payment_id,
            state=state,
            digest=bytes(32),
            created_at=NOW,
            inquire_at=datetime.now(UTC) + timedelta(minutes=10),
            next_inquire_at=NOW,
        )
    await add_leg(connection, PAID, 1, PATIENT, 100)
    await add_leg(connection, PAID, 2, FUNDER, 200)
    await add_leg(connection, HELD, 1, PATIENT, 50)
    await add_leg(connection, TAKEN_BACK, 1, PATIENT, 30, refunded_fen=30)
    await add_leg(connection, CALLED_OFF, 1, PATIENT, 40)
    await add_credit(connection, PATIENTS_MONEY, PATIENT, 1_000, "CARRIED_OVER")
    await add_credit(connection, FUNDERS_MONEY, FUNDER, 500, "CARRIED_OVER")
    await add_credit(connection, REFUND, PATIENT, 30, "REFUND", original=TAKEN_BACK)
    await book(connection, PAID, "PAYMENT", "CLEARING", {1: (PATIENT, -100), 2: (FUNDER, -200)})
    await book(connection, TAKEN_BACK, "PAYMENT", "CLEARING", {1: (PATIENT, -30)})
    async with connection.transaction():
        assert await seal_block(connection, AREA, entries_max=100, after=timedelta(0)) == 11


async def add_leg(
    connection: asyncpg.Connection, payment_id: UUID, leg_no: int, psn_no: str, past_fen: int, *, refunded_fen: int = 0
) -> None:
    """A leg of a branch; the funder's is under the authorisation."""
    after = ("after_past_fen", "after_current_fen", "after_held_past_fen", "after_held_current_fen", "after_year")
    await insert(
        connection,
        "branch_legs",
        payment_id=payment_id,
        leg_no=leg_no,
        psn_no=psn_no,
        account_kind="PERSONAL",
        role="FUNDER" if psn_no == FUNDER else "OWN",
        past_fen=past_fen,
        current_fen=0,
        year=2026,
        authorisation_id=LEAVE if psn_no == FUNDER else None,
        floor_fen=0,
        floor_past=False,
        floor_current=False,
        refunded_fen=refunded_fen,
        **dict.fromkeys(after, 0),
    )


async def add_credit(
    connection: asyncpg.Connection,
    credit_id: UUID,
    psn_no: str,
    past_fen: int,
    purpose: str,
    *,
    original: UUID | None = None,
) -> None:
    """Money that came into an account, with its entries."""
    await insert(
        connection,
        "credits",
        credit_id=credit_id,
        purpose=purpose,
        digest=bytes(32),
        original_payment_id=original,
        booked_at=NOW,
    )
    await insert(
        connection,
        "credit_legs",
        credit_id=credit_id,
        leg_no=1,
        psn_no=psn_no,
        account_kind="PERSONAL",
        past_fen=past_fen,
        current_fen=0,
        year=2026,
        suspense=False,
        after_year=2026,
    )
    contra = "CLEARING" if purpose == "REFUND" else "FUND_INFLOW"
    await book(connection, credit_id, purpose, contra, {1: (psn_no, past_fen)})


async def book(
    connection: asyncpg.Connection, source_id: UUID, kind: str, contra: str, amounts: dict[int, tuple[str, int]]
) -> None:
    """Entries of one source, by leg, and the contra entry that makes them sum to zero."""
    for leg_no, (psn_no, amount_fen) in amounts.items():
        account = {"book": "PERSONAL", "psn_no": psn_no, "part": "PAST", "balance_after_fen": 0}
        await insert(
            connection,
            "entries",
            source_id=source_id,
            leg_no=leg_no,
            kind=kind,
            amount_fen=amount_fen,
            booked_at=NOW,
            **account,
        )
    total_fen = -sum(amount_fen for _, amount_fen in amounts.values())
    await insert(
        connection,
        "entries",
        source_id=source_id,
        leg_no=0,
        kind=kind,
        book=contra,
        amount_fen=total_fen,
        booked_at=NOW,
    )


@pytest.fixture(scope="module")
async def places(postgres: Databases) -> AsyncIterator[Places]:
    """Two databases with a sound system in them; whoever spoils it rolls that back."""
    mark = uuid.uuid4().hex[:12]
    names, urls = {"settlement": f"test_{mark}_settlement", AREA: f"test_{mark}_ledger_{AREA}"}, {}
    for what, folder, make in (("settlement", MIGRATIONS, make_coordinator), (AREA, LEDGER_MIGRATIONS, make_ledger)):
        urls[what] = await postgres.create_database(names[what])
        await migrate(urls[what], folder)
        connection = await asyncpg.connect(urls[what])
        await make(connection)
        await connection.close()
    yield Places(urls["settlement"], {AREA: urls[AREA]})
    for name in names.values():
        await postgres.drop_database(name)


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
}


@pytest.mark.parametrize("how", LEDGER_SPOILT)
async def test_a_ledger_that_is_spoilt_in_one_way_violates_that_invariant_alone(places: Places, how: str) -> None:
    """The invariant is named, and no other one; but the chain's too, where sealed entries are touched."""
    invariant, statements = LEDGER_SPOILT[how]
    assert await violated(places, ledger=statements) == {invariant} | ({"CHAIN"} if how in SEALED else set())


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
    "a hold of which nobody knows": ("I4", "DELETE FROM payments WHERE payment_id = '$HELD'"),
    "two refunds of one payment": (
        "I8",
        """DROP INDEX payments_live_refund;
           INSERT INTO payments (payment_id, kind, state, fixmedins_code, infno, msgid, request_hash, psn_no, year,
                                 original_id, legs, amount_fen, epoch, decided_at, finished_at)
           SELECT gen_random_uuid(), kind, state, fixmedins_code, infno, 'again', request_hash, psn_no, year,
                  original_id, '[]', 0, epoch, now(), now() FROM payments WHERE payment_id = '$REFUND'""",
    ),
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


def said(places: Places, *arguments: str) -> tuple[int, str]:
    """The exit code of ``gongji verify`` and what it printed."""
    urls = ("--coordinator", places.coordinator_url, "--ledgers", places.ledger_urls[AREA].replace(AREA, "{area}"))
    result = CliRunner().invoke(app, ["verify", *urls, "--areas", AREA, *arguments])
    return result.exit_code, result.output


def test_a_watch_tells_each_round_in_a_line_and_looks_at_everything_now_and_then(places: Places) -> None:
    """The first and every second round are whole; with --json each is one document."""
    code, lines = said(places, "--watch", "--rounds", "3", "--every", "0.1", "--whole-every", "2", "--json")
    told = [json.loads(line) for line in lines.splitlines()]
    assert (code, [(one["round"], one["whole"], one["violations"]) for one in told]) == (
        0,
        [(1, True, 0), (2, False, 0), (3, True, 0)],
    )
    assert told[0]["heads"][AREA]["last_entry_no"] == 11
    code, lines = said(places, "--watch", "--rounds", "2", "--every", "0.1")
    assert (code, [line.rpartition(": ")[2] for line in lines.splitlines()]) == (0, ["every invariant holds"] * 2)


def test_what_is_wrong_is_told_in_every_round_until_it_is_mended(places: Places) -> None:
    """A round that looks at changes only would have passed over it; the exit code remembers it."""
    wrong, right = (
        f"UPDATE accounts SET past_fen = past_fen {sign} 1 WHERE psn_no = '{FUNDER}'"  # noqa: S608  Constants.
        for sign in ("+", "-")
    )
    asyncio.run(_execute(places.ledger_urls[AREA], wrong))
    try:
        code, lines = said(places, "--watch", "--rounds", "2", "--every", "0.1")
    finally:
        asyncio.run(_execute(places.ledger_urls[AREA], right))
    told = f"  ✗ I2 ledger {AREA}: account {FUNDER} PERSONAL: balance 301+0, but its entries sum to 300+"
    assert (code, lines.count("1 VIOLATIONS"), lines.count(told)) == (1, 2, 2)


def test_an_anchor_is_written_compared_and_left_alone_when_something_is_wrong(places: Places, tmp_path: Path) -> None:
    """The file keeps the head; a head that was never in the chain is a violation, and stays in the file."""
    file = tmp_path / "heads.json"
    assert said(places, "--anchor", str(file))[0] == 0
    assert said(places, "--anchor", str(file))[0] == 0
    kept = json.loads(file.read_text())
    kept["heads"][AREA]["digest"] = "00" * 32
    file.write_text(json.dumps(kept))
    code, told = said(places, "--anchor", str(file), "--json")
    assert (code, json.loads(told)["invariants"]["CHAIN"]["violations"]) == (1, 1)
    assert json.loads(file.read_text()) == kept


def test_a_database_that_cannot_be_read_is_exit_code_2(places: Places) -> None:
    """Once as a problem, and in a watch as a round that could not be made."""
    away = Places(places.coordinator_url.replace("_settlement", "_nowhere"), places.ledger_urls)
    assert said(away)[0] == 2
    code, lines = said(away, "--watch", "--rounds", "1")
    assert (code, "round 1  could not be made: InvalidCatalogNameError" in lines) == (2, True)


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


def test_every_invariant_is_broken_here() -> None:
    """No invariant is without a way in which these tests break it."""
    broken = {invariant for invariant, _ in (*LEDGER_SPOILT.values(), *COORDINATOR_SPOILT.values())}
    assert broken | {"I7"} == set(INVARIANTS)
