"""What is stuck: everything under way that should long be finished, with who acts next. Reads only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any, Final
from uuid import UUID

from ops.payments.databases import COORDINATOR, Databases, Row, ledger_at
from ops.payments.meaning import (
    ACCOUNT_COMMAND_NEXT,
    DEAD_LETTER_NEXT,
    HOLD_NEXT,
    NEXT_OF_PAYMENT,
    OUTBOX_NEXT,
    QUARANTINE_NEXT,
    Actor,
)

SHOWN_MAX: Final = 100
"""The oldest of each kind are shown one by one; all are counted."""


class Kind(Enum):
    """What can be stuck, most urgent first."""

    PAYMENT = "payment"
    HOLD = "hold"
    ACCOUNT_COMMAND = "account command"
    DEAD_LETTER = "dead letter"
    OUTBOX = "outbox"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is stuck: where it stands, since when, what comes next and who acts."""

    kind: Kind
    where: str
    subject: str
    state: str
    age_s: float  # Since it should have been finished.
    attempts: int
    next: str
    actor: Actor
    details: str = ""

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {**asdict(self), "kind": self.kind.value, "actor": self.actor.value, "age_s": round(self.age_s, 1)}


@dataclass
class Stuck:
    """Everything found. ``totals`` counts also what is not shown one by one."""

    older_than_s: float
    findings: list[Finding] = field(default_factory=list)
    totals: dict[Kind, int] = field(default_factory=dict)
    unreachable: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_clear(self) -> bool:
        """Nothing is stuck, as far as everything could be read."""
        return not self.findings and not self.unreachable

    def add(self, rows: Sequence[Row], findings: Sequence[Finding]) -> None:
        """Findings of one kind from one database, whose rows tell how many there are in all."""
        for finding in findings[:1]:
            self.totals[finding.kind] = self.totals.get(finding.kind, 0) + int(rows[0]["total"])
        self.findings += findings

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "older_than_s": self.older_than_s,
            "totals": {kind.value: self.totals.get(kind, 0) for kind in Kind},
            "findings": [finding.as_json() for finding in self.findings],
            "unreachable": dict(self.unreachable),
        }


# An open payment should have moved on at its deadline (TRYING) or soon after its decision.
_PAYMENTS: Final = """
    SELECT payment_id, kind, state, quarantine, attempts, legs,
           extract(epoch FROM clock_timestamp() - coalesce(decided_at, deadline_at))::float8 AS age_s,
           extract(epoch FROM next_drive_at - clock_timestamp())::float8 AS next_s, count(*) OVER () AS total
      FROM payments
     WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED')
       AND (quarantine <> '' OR coalesce(decided_at, deadline_at) < clock_timestamp() - $1::interval)
     ORDER BY coalesce(decided_at, deadline_at) LIMIT $2"""
_BRANCHES: Final = """
    SELECT payment_id AS id, state FROM branches WHERE payment_id = ANY($1::uuid[])
    UNION ALL SELECT credit_id, 'CREDITED' FROM credits WHERE credit_id = ANY($1::uuid[])"""
_HOLDS: Final = """
    SELECT payment_id, inquiries, extract(epoch FROM clock_timestamp() - inquire_at)::float8 AS age_s,
           extract(epoch FROM next_inquire_at - clock_timestamp())::float8 AS next_s, count(*) OVER () AS total
      FROM branches WHERE state = 'HELD' AND inquire_at < clock_timestamp() - $1::interval
     ORDER BY inquire_at LIMIT $2"""
_ACCOUNT_COMMANDS: Final = """
    SELECT request_id, area, frozen, attempts, extract(epoch FROM clock_timestamp() - created_at)::float8 AS age_s,
           extract(epoch FROM next_drive_at - clock_timestamp())::float8 AS next_s, count(*) OVER () AS total
      FROM account_commands WHERE state = 'PENDING' AND created_at < clock_timestamp() - $1::interval
     ORDER BY created_at LIMIT $2"""
# A dead letter is healed once its consumer has taken in a newer version of the aggregate, or the event itself.
_DEAD_LETTERS: Final = """
    SELECT d.consumer, d.event_id, d.subject, d.aggregate, d.problem,
           extract(epoch FROM clock_timestamp() - d.died_at)::float8 AS age_s, count(*) OVER () AS total
      FROM inbox_dead d
     WHERE NOT EXISTS (SELECT FROM inbox_version v
                        WHERE v.consumer = d.consumer AND v.aggregate = d.aggregate AND v.version >= d.version)
       AND NOT EXISTS (SELECT FROM inbox i WHERE i.consumer = d.consumer AND i.event_id = d.event_id)
     ORDER BY d.died_at LIMIT $1"""
_OUTBOX: Final = """
    SELECT count(*) AS total, extract(epoch FROM clock_timestamp() - min(occurred_at))::float8 AS age_s
      FROM outbox WHERE published_at IS NULL AND occurred_at < clock_timestamp() - $1::interval"""
_DONE_THERE: Final = {
    "COMMITTED": frozenset({"CONFIRMED", "CREDITED"}),
    "ABORTED": frozenset({"REFUSED", "BLOCKED", "CANCELLED"}),
    "TRYING": frozenset({"HELD"}),
}
"""What a ledger's branch shows once the ledger has done its part in each state of a payment."""
_CONSUMERS: Final = (COORDINATOR, "family", "notify")
_SPEAKERS: Final = (COORDINATOR, "identity", "family")


async def find_stuck(databases: Databases, *, older_than: timedelta) -> Stuck:
    """What should have been finished ``older_than`` ago, by each database's own clock."""
    stuck = Stuck(older_than.total_seconds(), unreachable=databases.unreachable)
    rows = await databases.rows(COORDINATOR, _PAYMENTS, older_than, SHOWN_MAX)
    branches = await _branches(databases, [row["payment_id"] for row in rows])
    stuck.add(rows, [_payment(row, databases, branches) for row in rows])
    for area in databases.areas:
        where = ledger_at(area)
        rows = await databases.rows(where, _HOLDS, older_than, SHOWN_MAX)
        stuck.add(rows, [_hold(row, where) for row in rows])
    rows = await databases.rows(COORDINATOR, _ACCOUNT_COMMANDS, older_than, SHOWN_MAX)
    stuck.add(rows, [_account_command(row) for row in rows])
    for where in _CONSUMERS:
        rows = await databases.rows(where, _DEAD_LETTERS, SHOWN_MAX)
        stuck.add(rows, [_dead_letter(row, where) for row in rows])
    for where in _SPEAKERS:
        rows = [row for row in await databases.rows(where, _OUTBOX, older_than) if row["total"]]
        stuck.add(rows, [_outbox(row, where) for row in rows])
    return stuck


async def _branches(databases: Databases, payment_ids: Sequence[UUID]) -> dict[tuple[UUID, str], str]:
    found = {}
    for area in databases.areas if payment_ids else ():
        for row in await databases.rows(ledger_at(area), _BRANCHES, payment_ids):
            found[row["id"], area] = row["state"]
    return found


def _branch(databases: Databases, branches: Mapping[tuple[UUID, str], str], payment_id: UUID, area: str) -> str:
    if not databases.can_read(ledger_at(area)):
        return "could not be read"
    return branches.get((payment_id, area), "nothing there")


def _payment(row: Row, databases: Databases, branches: Mapping[tuple[UUID, str], str]) -> Finding:
    legs: list[dict[str, Any]] = json.loads(row["legs"])
    states = {
        area: _branch(databases, branches, row["payment_id"], area)
        for area in dict.fromkeys(str(leg["area"]) for leg in legs)
    }
    done = _DONE_THERE[row["state"]]
    waits = [f"{ledger_at(area)} ({state})" for area, state in states.items() if state not in done]
    told, actor = NEXT_OF_PAYMENT[row["kind"], row["state"]]
    if row["quarantine"]:
        told, actor = QUARANTINE_NEXT, Actor.PERSON
    return Finding(
        kind=Kind.PAYMENT,
        where=COORDINATOR,
        subject=str(row["payment_id"]),
        state=f"{row['kind']} {row['state']}" + (f", quarantine {row['quarantine']}" if row["quarantine"] else ""),
        age_s=row["age_s"],
        attempts=row["attempts"],
        next=f"{told}; {when(row['next_s'])}",
        actor=actor,
        details=f"waits for {', '.join(waits)}" if waits else "every ledger has done its part; the last write is due",
    )


def _hold(row: Row, where: str) -> Finding:
    return Finding(
        kind=Kind.HOLD,
        where=where,
        subject=str(row["payment_id"]),
        state="HELD",
        age_s=row["age_s"],
        attempts=row["inquiries"],
        next=f"{HOLD_NEXT}; {when(row['next_s'])}",
        actor=Actor.LEDGER,
        details="the coordinator has not decided, or its answer does not arrive",
    )


def _account_command(row: Row) -> Finding:
    return Finding(
        kind=Kind.ACCOUNT_COMMAND,
        where=COORDINATOR,
        subject=str(row["request_id"]),
        state="FREEZE PENDING" if row["frozen"] else "UNFREEZE PENDING",
        age_s=row["age_s"],
        attempts=row["attempts"],
        next=f"{ACCOUNT_COMMAND_NEXT}; {when(row['next_s'])}",
        actor=Actor.COORDINATOR,
        details=f"waits for {ledger_at(row['area'])}",
    )


def _dead_letter(row: Row, where: str) -> Finding:
    return Finding(
        kind=Kind.DEAD_LETTER,
        where=where,
        subject=str(row["event_id"]),
        state=f"{row['subject']} of {row['aggregate']}",
        age_s=row["age_s"],
        attempts=0,
        next=DEAD_LETTER_NEXT,
        actor=Actor.PERSON,
        details=f"consumer {row['consumer']}: {row['problem']}",
    )


def _outbox(row: Row, where: str) -> Finding:
    return Finding(
        kind=Kind.OUTBOX,
        where=where,
        subject=f"{row['total']} events",
        state="UNPUBLISHED",
        age_s=row["age_s"],
        attempts=0,
        next=OUTBOX_NEXT,
        actor=Actor.PUBLISHER,
    )


def when(next_s: float) -> str:
    """When the next attempt is due, in words."""
    return f"due in {next_s:.0f} s" if next_s > 0 else f"due since {-next_s:.0f} s: is its process running?"
