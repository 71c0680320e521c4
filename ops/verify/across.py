"""What coordinator and ledgers must agree on: I3, I4, I10.

The databases are read one after the other while the system runs, so a comparison may only use what cannot have changed
in between. A payment's state only moves forward, and a decision is durable before any ledger hears of it. So the
coordinator is read first and last, the ledgers in between: what was finished at the first reading must be so at the
ledgers; what a ledger has confirmed must be decided at the last.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import asyncpg

from ops.verify.report import Report

CHUNK_SIZE: Final = 2_000
_FIRST: Final = UUID(int=0)
_FINISHED_AT_LEDGER: Final = {
    "COMMITTED": frozenset({"HELD", "CONFIRMED"}),
    "DONE": frozenset({"CONFIRMED"}),
    "ABORTED": frozenset({"HELD", "REFUSED", "BLOCKED", "CANCELLED", "NONE"}),
    "CLOSED": frozenset({"REFUSED", "BLOCKED", "CANCELLED", "NONE"}),
}
"""Which branch states each state of a settlement allows, once the coordinator has been seen in it."""

Legs = Mapping[int, int]
"""Amount in fen by leg number."""


@dataclass(frozen=True, slots=True)
class PaymentRow:
    """A payment as the coordinator knew it at the first reading: legs by area."""

    payment_id: UUID
    kind: str
    state: str
    legs: Mapping[str, Legs]
    amount_fen: int


async def check_across(
    coordinator: asyncpg.Connection, ledgers: Mapping[str, asyncpg.Connection], report: Report
) -> None:
    """Both directions: from the payments to the branches, and from the branches to the payments."""
    after = _FIRST
    while rows := await _payments(coordinator, after):
        after = rows[-1].payment_id
        settlements = [row for row in rows if row.kind == "SETTLE"]
        credits_ = [row for row in rows if row.kind in {"REFUND", "CREDIT"}]
        for area, ledger in ledgers.items():
            await _check_branches(ledger, area, settlements, report)
            await _check_credits(ledger, area, credits_, report)
        _check_sums(rows, ledgers, report)
    for area, ledger in ledgers.items():
        await _check_decided(coordinator, ledger, area, report)
    await _check_keys(coordinator, report)


async def _payments(coordinator: asyncpg.Connection, after: UUID) -> list[PaymentRow]:
    found = await coordinator.fetch(
        """SELECT payment_id, kind, state, legs, amount_fen FROM payments
            WHERE payment_id > $1 AND kind <> 'TOMBSTONE' ORDER BY payment_id LIMIT $2""",
        after,
        CHUNK_SIZE,
    )
    rows = []
    for row in found:
        by_area: dict[str, dict[int, int]] = {}
        legs = json.loads(row["legs"]) if isinstance(row["legs"], str) else row["legs"]
        for leg in legs:
            by_area.setdefault(leg["area"], {})[leg["leg_no"]] = leg["past_fen"] + leg["current_fen"]
        rows.append(PaymentRow(row["payment_id"], row["kind"], row["state"], by_area, row["amount_fen"]))
    return rows


async def _check_branches(
    ledger: asyncpg.Connection, area: str, payments: Sequence[PaymentRow], report: Report
) -> None:
    concerned = [row for row in payments if area in row.legs and row.state != "TRYING"]
    found = await ledger.fetch(
        """SELECT b.payment_id, b.state, l.leg_no, l.past_fen + l.current_fen AS amount_fen
             FROM branches b LEFT JOIN branch_legs l USING (payment_id) WHERE b.payment_id = ANY($1)""",
        [row.payment_id for row in concerned],
    )
    states: dict[UUID, str] = {}
    legs: dict[UUID, dict[int, int]] = {}
    for record in found:
        states[record["payment_id"]] = record["state"]
        if record["leg_no"] is not None:
            legs.setdefault(record["payment_id"], {})[record["leg_no"]] = record["amount_fen"]
    report.checked("I3", len(concerned))
    for row in concerned:
        state = states.get(row.payment_id, "NONE")
        if state not in _FINISHED_AT_LEDGER[row.state]:
            report.violated("I3", f"payment {row.payment_id} is {row.state}, but {state} at ledger {area}")
        elif state in {"HELD", "CONFIRMED"} and legs.get(row.payment_id) != row.legs[area]:
            report.violated("I3", f"payment {row.payment_id}: ledger {area} has other amounts than the payment")


async def _check_credits(ledger: asyncpg.Connection, area: str, payments: Sequence[PaymentRow], report: Report) -> None:
    done = [row for row in payments if area in row.legs and row.state == "DONE"]
    found = await ledger.fetch(
        "SELECT credit_id, leg_no, past_fen + current_fen AS amount_fen FROM credit_legs WHERE credit_id = ANY($1)",
        [row.payment_id for row in done],
    )
    booked: dict[UUID, dict[int, int]] = {}
    for record in found:
        booked.setdefault(record["credit_id"], {})[record["leg_no"]] = record["amount_fen"]
    report.checked("I3", len(done))
    for row in done:
        if booked.get(row.payment_id) != row.legs[area]:
            report.violated("I3", f"{row.kind} {row.payment_id} is DONE, but ledger {area} did not book it so")


def _check_sums(rows: Sequence[PaymentRow], ledgers: Mapping[str, object], report: Report) -> None:
    for row in rows:
        if sum(sum(legs.values()) for legs in row.legs.values()) != row.amount_fen:
            report.violated("I3", f"payment {row.payment_id}: its legs do not sum to {row.amount_fen}")
        for area in row.legs.keys() - ledgers.keys():
            report.violated("I3", f"payment {row.payment_id} concerns ledger {area}, which is not among those checked")


async def _check_decided(
    coordinator: asyncpg.Connection, ledger: asyncpg.Connection, area: str, report: Report
) -> None:
    """Held or confirmed there ⇒ known here; confirmed there ⇒ decided here, whatever was read before."""
    after = _FIRST
    while branches := await ledger.fetch(
        """SELECT payment_id, state FROM branches WHERE payment_id > $1 AND state IN ('HELD', 'CONFIRMED')
            ORDER BY payment_id LIMIT $2""",
        after,
        CHUNK_SIZE,
    ):
        after = branches[-1]["payment_id"]
        known = {
            row["payment_id"]: row["state"]
            for row in await coordinator.fetch(
                "SELECT payment_id, state FROM payments WHERE payment_id = ANY($1)",
                [branch["payment_id"] for branch in branches],
            )
        }
        for branch in branches:
            state = known.get(branch["payment_id"])
            confirmed = branch["state"] == "CONFIRMED"
            report.checked("I3" if confirmed else "I4")
            if state is None:
                report.violated(
                    "I4", f"ledger {area} has {branch['payment_id']} {branch['state']}, a payment unknown here"
                )
            elif confirmed and state not in {"COMMITTED", "DONE"}:
                report.violated("I3", f"ledger {area} confirmed {branch['payment_id']}, which is {state} here")


async def _check_keys(coordinator: asyncpg.Connection, report: Report) -> None:
    report.checked("I10", await coordinator.fetchval("SELECT count(*) FROM payments"))
    for row in await coordinator.fetch(
        """SELECT fixmedins_code, infno, msgid, count(*) AS outcomes FROM payments
            GROUP BY 1, 2, 3 HAVING count(*) > 1"""
    ):
        report.violated("I10", f"the key {row['fixmedins_code']}/{row['infno']}/{row['msgid']} has {row['outcomes']}")
    report.checked("I8", await coordinator.fetchval("SELECT count(*) FROM payments WHERE original_id IS NOT NULL"))
    for row in await coordinator.fetch(
        """SELECT original_id, count(*) AS refunds FROM payments
            WHERE original_id IS NOT NULL GROUP BY 1 HAVING count(*) > 1"""
    ):
        report.violated("I8", f"payment {row['original_id']} has {row['refunds']} refunds")
    for state, count in await coordinator.fetch(
        "SELECT state, count(*) FROM payments WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED') GROUP BY 1"
    ):
        report.open(f"payments {state}", count)
    report.open(
        "payments in quarantine", await coordinator.fetchval("SELECT count(*) FROM payments WHERE quarantine <> ''")
    )
