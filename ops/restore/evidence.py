"""What the ledgers and the coordinator hold of each payment, read in parts; nothing is judged here."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from chassis.db import Database
from services.settlement.saga.payment import AccountAfter
from services.settlement.wire.origin import Origin, origin_in

CHUNK_SIZE: Final = 2_000
_FIRST: Final = UUID(int=0)

_COLUMNS: Final = """
    SELECT payment_id, kind, state, quarantine, legs, amount_fen, original_id,
           fixmedins_code || '/' || infno || '/' || msgid AS key, decided_at
      FROM payments """
_PAYMENTS: Final = f"{_COLUMNS} WHERE payment_id > $1 AND kind <> 'TOMBSTONE' ORDER BY payment_id LIMIT $2"
_PAYMENT: Final = f"{_COLUMNS} WHERE payment_id = $1"
_KNOWN: Final = "SELECT payment_id FROM payments WHERE payment_id = ANY ($1::uuid[])"
_BRANCH_IDS: Final = "SELECT payment_id AS id FROM branches WHERE payment_id > $1 ORDER BY payment_id LIMIT $2"
_CREDIT_IDS: Final = """
    SELECT credit_id AS id FROM credits WHERE credit_id > $1 AND purpose <> 'SUSPENSE' ORDER BY credit_id LIMIT $2"""
_BRANCHES: Final = """
    SELECT b.payment_id, b.state, b.created_at, b.decided_at, b.refusal_reason, b.refusal_leg_no, b.origin,
           l.leg_no, l.past_fen + l.current_fen AS amount_fen, l.after_past_fen, l.after_current_fen,
           l.after_held_past_fen, l.after_held_current_fen, l.after_year
      FROM branches b LEFT JOIN branch_legs l USING (payment_id)
     WHERE b.payment_id = ANY ($1::uuid[]) ORDER BY b.payment_id, l.leg_no"""
_CREDITS: Final = """
    SELECT c.credit_id, c.purpose, c.original_payment_id, c.booked_at, c.origin,
           (SELECT sum(l.past_fen + l.current_fen)::bigint FROM credit_legs l WHERE l.credit_id = c.credit_id)
               AS amount_fen
      FROM credits c WHERE c.credit_id = ANY ($1::uuid[])"""


@dataclass(frozen=True, slots=True)
class PaymentSeen:
    """A payment as the coordinator has it."""

    payment_id: UUID
    kind: str
    state: str
    quarantine: str
    areas: tuple[str, ...]
    amount_fen: int
    original_id: UUID | None
    key: str
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class BranchSeen:
    """A payment's part as one ledger has it; ``balances`` are the accounts after the hold."""

    payment_id: UUID
    state: str
    created_at: datetime
    decided_at: datetime | None
    refusal_reason: str
    refusal_leg_no: int
    amount_fen: int
    balances: tuple[AccountAfter, ...]
    origin: Origin | None


@dataclass(frozen=True, slots=True)
class CreditSeen:
    """A credit or refund as one ledger has booked it."""

    credit_id: UUID
    purpose: str
    original_id: UUID | None
    booked_at: datetime
    amount_fen: int
    origin: Origin | None


async def payments(coordinator: Database) -> AsyncIterator[list[PaymentSeen]]:
    """Every payment of the coordinator but tombstones, in parts."""
    after = _FIRST
    while True:
        async with coordinator.driver_connection() as connection:
            rows = await connection.fetch(_PAYMENTS, after, CHUNK_SIZE)
        if not rows:
            return
        after = rows[-1]["payment_id"]
        yield [_payment(row) for row in rows]


async def payment(coordinator: Database, payment_id: UUID) -> PaymentSeen | None:
    """One payment of the coordinator."""
    async with coordinator.driver_connection() as connection:
        row = await connection.fetchrow(_PAYMENT, payment_id)
    return None if row is None else _payment(row)


def _payment(row: Mapping[str, Any]) -> PaymentSeen:
    return PaymentSeen(
        payment_id=row["payment_id"],
        kind=row["kind"],
        state=row["state"],
        quarantine=row["quarantine"],
        areas=tuple(dict.fromkeys(str(leg["area"]) for leg in row["legs"])),
        amount_fen=row["amount_fen"],
        original_id=row["original_id"],
        key=row["key"],
        decided_at=row["decided_at"],
    )


async def unknown_branches(coordinator: Database, ledger: Database) -> list[UUID]:
    """The branches of a ledger whose payments the coordinator does not know."""
    return await _unknown(coordinator, ledger, _BRANCH_IDS)


async def unknown_credits(coordinator: Database, ledger: Database) -> list[UUID]:
    """The credits and refunds of a ledger that the coordinator does not know."""
    return await _unknown(coordinator, ledger, _CREDIT_IDS)


async def _unknown(coordinator: Database, ledger: Database, statement: str) -> list[UUID]:
    found: list[UUID] = []
    after = _FIRST
    while True:
        async with ledger.driver_connection() as connection:
            ids = [row["id"] for row in await connection.fetch(statement, after, CHUNK_SIZE)]
        if not ids:
            return found
        after = ids[-1]
        async with coordinator.driver_connection() as connection:
            known = {row["payment_id"] for row in await connection.fetch(_KNOWN, ids)}
        found += [one for one in ids if one not in known]


async def branches(ledger: Database, payment_ids: Collection[UUID]) -> dict[UUID, BranchSeen]:
    """Those of the payments that a ledger knows."""
    if not payment_ids:
        return {}
    async with ledger.driver_connection() as connection:
        rows = await connection.fetch(_BRANCHES, list(payment_ids))
    grouped: dict[UUID, list[Mapping[str, Any]]] = {}
    for row in rows:
        grouped.setdefault(row["payment_id"], []).append(row)
    return {payment_id: _branch(found) for payment_id, found in grouped.items()}


def _branch(rows: Sequence[Mapping[str, Any]]) -> BranchSeen:
    first = rows[0]
    legs = [row for row in rows if row["leg_no"] is not None]
    return BranchSeen(
        payment_id=first["payment_id"],
        state=first["state"],
        created_at=first["created_at"],
        decided_at=first["decided_at"],
        refusal_reason=first["refusal_reason"] or "",
        refusal_leg_no=first["refusal_leg_no"] or 0,
        amount_fen=sum(row["amount_fen"] for row in legs),
        balances=tuple(
            AccountAfter(
                row["leg_no"],
                row["after_past_fen"],
                row["after_current_fen"],
                row["after_held_past_fen"],
                row["after_held_current_fen"],
                row["after_year"],
                frozen=False,  # A hold is placed on an account alone that is not.
            )
            for row in legs
            if row["after_year"] is not None
        ),
        origin=origin_in(first["origin"]),
    )


async def credits_of(ledger: Database, credit_ids: Collection[UUID]) -> dict[UUID, CreditSeen]:
    """Those of the credits that a ledger has booked."""
    if not credit_ids:
        return {}
    async with ledger.driver_connection() as connection:
        rows = await connection.fetch(_CREDITS, list(credit_ids))
    return {
        row["credit_id"]: CreditSeen(
            credit_id=row["credit_id"],
            purpose=row["purpose"],
            original_id=row["original_payment_id"],
            booked_at=row["booked_at"],
            amount_fen=row["amount_fen"],
            origin=origin_in(row["origin"]),
        )
        for row in rows
    }
