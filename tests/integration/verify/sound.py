"""A sound system of one area, by hand: a coordinator's and a ledger's rows that tell the same story."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final
from uuid import UUID

import asyncpg

from services.settlement.domain.clearing import Period
from services.settlement.ledger.store.sealing import seal_block
from services.settlement.store.clearing import CSV_HEADER

AREA: Final = "650100"
HOSPITAL: Final = "H65010000001"
PATIENT: Final = "650100000000001"
FUNDER: Final = "650100000000002"
NOW: Final = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
MONTH: Final = 2026_11
LEAVE: Final = UUID(int=0xA)
PATIENTS_MONEY, FUNDERS_MONEY = UUID(int=1), UUID(int=2)
PAID, HELD, TAKEN_BACK, REFUND, CALLED_OFF, NEVER_SEEN = (UUID(int=number) for number in range(3, 9))
STAYS_PART, STAYS_END = UUID(int=9), UUID(int=10)
NAMES: Final = {name: str(value) for name, value in globals().items() if name.isupper()}
"""What statements below call by name: people and payments."""


_CLAIM: Final = """
    INSERT INTO claims (claim_id, psn_no, area, fixmedins_code, invoice_no, med_type, bill, documents, content)
    VALUES (gen_random_uuid(), '1', '650100', 'H65010000001', 'B-1', '11', '{"medfee_sumamt": 10}', '[]', sha256(''))"""


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
    await insert(
        connection,
        "plans",
        **plan_row(TAKEN_BACK),
        insutype="310",
        pool="",
        deductible_fen=10,
        fund_fen=20,
        large_fen=0,
    )
    await connection.execute(_CLAIM)
    await insert(
        connection,
        "benefit_years",
        psn_no=PATIENT,
        year=2026,
        insutype="310",
        pool="",
        deductible_fen=10,
        fund_fen=20,
        large_fen=0,
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
    await make_stay(connection)
    await make_cleared(connection)
    await make_balanced(connection)


async def make_stay(connection: asyncpg.Connection) -> None:
    """A stay in two parts, wholly paid by the fund."""
    for payment_id, interim in ((STAYS_PART, True), (STAYS_END, False)):
        document = json.dumps({"visit": {"mdtrt_id": "stay"}, "facts": {"interim": interim}})
        await insert(connection, "plans", **{**plan_row(payment_id), "infno": "2303", "document": document})
        await insert(
            connection,
            "payments",
            payment_id=payment_id,
            kind="SETTLE",
            state="DONE",
            fixmedins_code=HOSPITAL,
            infno="2304",
            msgid=f"m{payment_id.int}",
            request_hash=bytes(32),
            psn_no=PATIENT,
            year=2026,
            plan_id=UUID(int=100 + payment_id.int),
            legs="[]",
            amount_fen=0,
            epoch=1,
            created_at=NOW + timedelta(seconds=payment_id.int),
            deadline_at=NOW + timedelta(minutes=1),
            decided_at=NOW + timedelta(minutes=1),
            finished_at=NOW + timedelta(minutes=1),
        )
        await insert(
            connection,
            "stay_settlements",
            payment_id=payment_id,
            psn_no=PATIENT,
            fixmedins_code=HOSPITAL,
            mdtrt_id="stay",
            interim=interim,
        )


async def make_balanced(connection: asyncpg.Connection) -> None:
    """A day of an institution that had nothing, and said so."""
    upload_id, day = UUID(int=200), (NOW - timedelta(days=9)).date()
    await insert(
        connection,
        "reconciliation_uploads",
        upload_id=upload_id,
        fixmedins_code=HOSPITAL,
        stmt_date=day,
        state="COMPARED",
        rows_cnt=0,
        digest=bytes(32),
        ours_cnt=0,
        keep_until=NOW,
        compared_at=NOW,
    )
    await insert(
        connection,
        "reconciliation_days",
        fixmedins_code=HOSPITAL,
        stmt_date=day,
        comparing_id=upload_id,
        compared_id=upload_id,
    )


async def make_cleared(connection: asyncpg.Connection) -> None:
    """The month before was run, and nothing was in it."""
    period = Period.of(NOW).previous
    await insert(
        connection,
        "clearing_runs",
        period=str(period),
        starts_at=period.starts_at,
        ends_at=period.ends_at,
        run_at=NOW,
        run_by="operator:test",
        payments_count=0,
        local_fen=0,
        lines_count=0,
        lines_sha256=sha256(CSV_HEADER.encode()).digest(),
        carried_in_count=0,
        carried_on_count=0,
        carry_reason="",
    )


def plan_row(payment_id: UUID) -> dict[str, object]:
    """The plan that a settlement pays, as far as it must have something everywhere."""
    return {
        "plan_id": UUID(int=100 + payment_id.int),
        "digest": bytes(32),
        "psn_no": PATIENT,
        "year": 2026,
        "patient_version": 0,
        "fixmedins_code": HOSPITAL,
        "infno": "2206",
        "legs": "[]",
        "amount_fen": 0,
        "document": "{}",
        "created_at": NOW,
        "expires_at": NOW + timedelta(seconds=1),
    }


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
        per_month_fen=300,
        counts_months=True,
    )
    await insert(
        connection,
        "authorisation_months",
        authorisation_id=LEAVE,
        month=MONTH,
        used_fen=200,
        held_fen=0,
        limit_fen=300,
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
            month=MONTH,
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
