"""What coordinator and ledgers must agree on: I3, I4, I8, I10.

**Why a difference that is found here is one, though every database moves while they are read.** There is no snapshot
over several databases, so a comparison uses only what cannot change back, read in an order that leaves no gap:

- A payment's state moves along TRYING → COMMITTED → DONE or TRYING → ABORTED → CLOSED, a branch's along HELD →
  CONFIRMED or HELD → CANCELLED; neither ever moves back, and the legs of both never change.
- *Coordinator first, then the ledgers.* What a row said when it was read, its ledgers must bear out ever after: its
  state is durable before any command that follows from it, and after every vote or acknowledgement that led to it. So
  COMMITTED allows HELD (CONFIRM is on its way) and CONFIRMED, DONE only CONFIRMED, ABORTED everything but CONFIRMED,
  CLOSED nothing that holds or took money. A row that was TRYING is not judged in this direction: it may have moved.
- *Ledgers first, then the coordinator.* A branch that was seen HELD has a payment, because TRYING is durable before TRY
  is sent; one that was seen CONFIRMED has a payment that is COMMITTED or DONE whenever it is read after that.

Thus each comparison is true at every instant after its second reading, and a finding needs no second look. A second
look would even be wrong: a ledger that confirms before the decision is made contradicts itself for a moment only.
It follows that all databases must be read at their primaries; a copy that lags behind would break the order.

A round that is not whole compares what was open in the round before or is open now, what began since, and what the
ledgers have booked since (``Followed``); the rest was compared in a final state, which cannot change.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg

from ops.verify.premiums import check_premiums
from ops.verify.report import Report

CHUNK_SIZE: Final = 2_000
CLOCKS_DIFFER_MAX: Final = timedelta(minutes=2)
"""Payment ids begin with the time at which a coordinator made them; this allows for its clock and for a slow commit."""
_FIRST: Final = UUID(int=0)
_OPEN: Final = frozenset({"TRYING", "ASKED", "COMMITTED", "ABORTED"})
"""ASKED is TRYING with the receiver asked: every ledger has voted HELD (protocol, "Acceptance")."""
_CREDITS: Final = frozenset({"REFUND", "CREDIT"})
_FINISHED_AT_LEDGER: Final = {
    "ASKED": frozenset({"HELD", "CONFIRMED", "CANCELLED"}),
    "COMMITTED": frozenset({"HELD", "CONFIRMED"}),
    "DONE": frozenset({"CONFIRMED"}),
    "ABORTED": frozenset({"HELD", "REFUSED", "BLOCKED", "CANCELLED", "NONE"}),
    "CLOSED": frozenset({"REFUSED", "BLOCKED", "CANCELLED", "NONE"}),
}
"""Which branch states each state of a payment that ledgers vote on allows, once the coordinator has been seen in it."""

_PAYMENTS: Final = """
    SELECT payment_id, kind, CASE WHEN state = 'TRYING' AND pending_at IS NOT NULL THEN 'ASKED' ELSE state END AS state,
           legs, amount_fen FROM payments
     WHERE payment_id > $1 AND kind <> 'TOMBSTONE' ORDER BY payment_id LIMIT $2
"""
_THESE_PAYMENTS: Final = """
    SELECT payment_id, kind, CASE WHEN state = 'TRYING' AND pending_at IS NOT NULL THEN 'ASKED' ELSE state END AS state,
           legs, amount_fen FROM payments
     WHERE payment_id = ANY($1) AND kind <> 'TOMBSTONE'
"""
_OPEN_PAYMENTS: Final = "SELECT payment_id FROM payments WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED')"
_HELD_OR_CONFIRMED: Final = """
    SELECT payment_id, state FROM branches WHERE payment_id > $1 AND state IN ('HELD', 'CONFIRMED')
     ORDER BY payment_id LIMIT $2
"""
_THESE_HELD_OR_CONFIRMED: Final = """
    SELECT payment_id, state FROM branches WHERE payment_id = ANY($1) AND state IN ('HELD', 'CONFIRMED')
"""

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
    taken_fen: int
    brought_fen: int | None
    """What the legs bring that receive; None if there are none."""


@dataclass
class Followed:
    """What the next round, if it is not whole, has to compare."""

    began_at: datetime
    """By the coordinator database's clock."""
    open: set[UUID] = field(default_factory=set)


async def check_across(
    coordinator: asyncpg.Connection,
    ledgers: Mapping[str, asyncpg.Connection],
    report: Report,
    *,
    before: Followed | None = None,
    touched: Mapping[str, Collection[UUID]] | None = None,
) -> Followed:
    """Both directions: from the payments to the branches, and from the branches to the payments.

    Given what a round before has left and the payments and credits that each ledger has ``touched`` since, only that
    is compared, together with what is new and what is open.
    """
    known = {*ledgers, *report.unreadable}
    followed = Followed(await coordinator.fetchval("SELECT clock_timestamp()"))
    followed.open |= {row["payment_id"] for row in await coordinator.fetch(_OPEN_PAYMENTS)}
    async for rows in _payments(coordinator, before, followed, touched or {}):
        followed.open |= {row.payment_id for row in rows if row.state in _OPEN}
        voted = [row for row in rows if row.kind not in _CREDITS]
        credits_ = [row for row in rows if row.kind in _CREDITS]
        for area, ledger in ledgers.items():
            await _check_branches(ledger, area, voted, report)
            await _check_credits(ledger, area, credits_, report)
        _check_sums(rows, known, report)
    for area, ledger in ledgers.items():
        only = None if before is None else (touched or {}).get(area, ())
        async for branches in _branches(ledger, only):
            await _check_decided(coordinator, area, branches, report)
    await _check_keys(coordinator, report, whole=before is None)
    return followed


async def _payments(
    coordinator: asyncpg.Connection, before: Followed | None, now: Followed, touched: Mapping[str, Collection[UUID]]
) -> AsyncIterator[list[PaymentRow]]:
    if before is None:
        named: set[UUID] = set()
        after = _FIRST
    else:
        named = before.open.union(now.open, *touched.values())
        after = _earliest_id(before.began_at - CLOCKS_DIFFER_MAX)
    ids = sorted(named)
    for start in range(0, len(ids), CHUNK_SIZE):
        yield [_parsed(row) for row in await coordinator.fetch(_THESE_PAYMENTS, ids[start : start + CHUNK_SIZE])]
    while found := await coordinator.fetch(_PAYMENTS, after, CHUNK_SIZE):
        after = found[-1]["payment_id"]
        yield [_parsed(row) for row in found if row["payment_id"] not in named]


def _earliest_id(moment: datetime) -> UUID:
    """No id of version 7 made at that moment or later is below this one."""
    return UUID(int=int(moment.timestamp() * 1_000) << 80)


_RECEIVING: Final = frozenset({"RECEIVER", "MOVED_TO"})


def _parsed(row: asyncpg.Record) -> PaymentRow:
    by_area: dict[str, dict[int, int]] = {}
    legs = json.loads(row["legs"]) if isinstance(row["legs"], str) else row["legs"]
    taken: list[int] = []
    brought: list[int] = []
    for leg in legs:
        amount_fen = leg["past_fen"] + leg["current_fen"]
        by_area.setdefault(leg["area"], {})[leg["leg_no"]] = amount_fen
        (brought if leg.get("role") in _RECEIVING else taken).append(amount_fen)
    return PaymentRow(
        row["payment_id"],
        row["kind"],
        row["state"],
        by_area,
        row["amount_fen"],
        sum(taken),
        sum(brought) if brought else None,
    )


async def _check_branches(
    ledger: asyncpg.Connection, area: str, payments: Sequence[PaymentRow], report: Report
) -> None:
    concerned = [row for row in payments if area in row.legs and row.state != "TRYING"]
    if not concerned:
        return
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
    if not done:
        return
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


def _check_sums(rows: Sequence[PaymentRow], areas: Collection[str], report: Report) -> None:
    for row in rows:
        if {row.taken_fen, row.brought_fen} - {None} != {row.amount_fen}:
            report.violated("I3", f"payment {row.payment_id}: its legs do not sum to {row.amount_fen}")
        for area in row.legs.keys() - set(areas):
            report.violated("I3", f"payment {row.payment_id} concerns ledger {area}, which is not among those checked")


async def _branches(ledger: asyncpg.Connection, only: Collection[UUID] | None) -> AsyncIterator[list[asyncpg.Record]]:
    """All that hold or took money; or those among ``only``."""
    if only is not None:
        ids = list(only)
        for start in range(0, len(ids), CHUNK_SIZE):
            yield await ledger.fetch(_THESE_HELD_OR_CONFIRMED, ids[start : start + CHUNK_SIZE])
        return
    after = _FIRST
    while found := await ledger.fetch(_HELD_OR_CONFIRMED, after, CHUNK_SIZE):
        after = found[-1]["payment_id"]
        yield found


async def _check_decided(
    coordinator: asyncpg.Connection, area: str, branches: Sequence[asyncpg.Record], report: Report
) -> None:
    """Held or confirmed there ⇒ known here; confirmed there ⇒ decided here, whatever was read before."""
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
            report.violated("I4", f"ledger {area} has {branch['payment_id']} {branch['state']}, a payment unknown here")
        elif confirmed and state not in {"COMMITTED", "DONE"}:
            report.violated("I3", f"ledger {area} confirmed {branch['payment_id']}, which is {state} here")


async def _check_keys(coordinator: asyncpg.Connection, report: Report, *, whole: bool) -> None:
    """Keys and refunds are unique; both stand in unique indexes, so whole rounds suffice."""
    if whole:
        report.checked("I10", await coordinator.fetchval("SELECT count(*) FROM payments"))
        for row in await coordinator.fetch(
            """SELECT fixmedins_code, infno, msgid, count(*) AS outcomes FROM payments
                GROUP BY 1, 2, 3 HAVING count(*) > 1"""
        ):
            report.violated(
                "I10", f"the key {row['fixmedins_code']}/{row['infno']}/{row['msgid']} has {row['outcomes']}"
            )
        await check_premiums(coordinator, report)
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
