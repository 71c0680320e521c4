"""What waits for a person: quarantines, alarms, suspense tasks, each with what it means and what to do. Reads only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Final

from kernel.money import yuan_text
from ops.payments.databases import COORDINATOR, Databases, ledger_at
from ops.payments.meaning import (
    ALARM,
    FAILED_COMMAND,
    PAYMENT_QUARANTINE,
    SUSPENSE_TASK,
    UNKNOWN_ALARM,
    UNKNOWN_QUARANTINE,
    Meaning,
)

SHOWN_MAX: Final = 500


@dataclass(frozen=True, slots=True)
class Case:
    """One thing that a person must look at."""

    where: str
    kind: str
    subject: str
    what: str
    since: datetime
    times: int
    means: str
    act: str

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {**asdict(self), "since": self.since.isoformat()}


@dataclass
class Quarantine:
    """All open cases, and what could not be read."""

    cases: list[Case] = field(default_factory=list)
    unreachable: Mapping[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """For machines."""
        return {"cases": [case.as_json() for case in self.cases], "unreachable": dict(self.unreachable)}


_PAYMENTS: Final = """
    SELECT payment_id, kind, state, quarantine, attempts, coalesce(decided_at, created_at) AS since
      FROM payments WHERE quarantine <> '' ORDER BY 6 LIMIT $1"""
_ALARMS: Final = """
    SELECT kind, subject_id, raised_at, times FROM alarms WHERE done_at IS NULL ORDER BY raised_at LIMIT $1"""
# The command itself may hold more than a log should, so it stays where it is.
_COMMANDS: Final = """
    SELECT command_kind, command_id, problem, first_failed_at, failures
      FROM quarantine WHERE done_at IS NULL ORDER BY first_failed_at LIMIT $1"""
_SUSPENSE: Final = """
    SELECT credit_id, leg_no, psn_no, account_kind, amount_fen, created_at
      FROM suspense_tasks WHERE done_at IS NULL ORDER BY created_at LIMIT $1"""


async def find_quarantined(databases: Databases) -> Quarantine:
    """Every open case at the coordinator and at the ledgers that answer."""
    found = Quarantine(unreachable=databases.unreachable)
    for row in await databases.rows(COORDINATOR, _PAYMENTS, SHOWN_MAX):
        meaning = PAYMENT_QUARANTINE.get(row["quarantine"], UNKNOWN_QUARANTINE)
        what = f"{row['quarantine']} ({row['kind']} {row['state']})"
        found.cases.append(
            _case(COORDINATOR, "payment", row["payment_id"], what, row["since"], row["attempts"], meaning)
        )
    for area in databases.areas:
        found.cases += await _at_ledger(databases, ledger_at(area))
    return found


async def _at_ledger(databases: Databases, where: str) -> list[Case]:
    cases = []
    for row in await databases.rows(where, _ALARMS, SHOWN_MAX):
        meaning = ALARM.get(row["kind"], UNKNOWN_ALARM)
        cases.append(_case(where, "alarm", row["subject_id"], row["kind"], row["raised_at"], row["times"], meaning))
    for row in await databases.rows(where, _COMMANDS, SHOWN_MAX):
        what = f"{row['command_kind']}: {row['problem']}"
        cases.append(
            _case(where, "command", row["command_id"], what, row["first_failed_at"], row["failures"], FAILED_COMMAND)
        )
    for row in await databases.rows(where, _SUSPENSE, SHOWN_MAX):
        what = f"{yuan_text(row['amount_fen'])} of {row['psn_no']} ({row['account_kind']}), leg {row['leg_no']}"
        cases.append(_case(where, "suspense task", row["credit_id"], what, row["created_at"], 1, SUSPENSE_TASK))
    return cases


def _case(where: str, kind: str, subject: object, what: str, since: datetime, times: int, meaning: Meaning) -> Case:
    return Case(where, kind, str(subject), what, since, times, meaning.means, meaning.act)
