"""Lets recovery take a payment or a freeze up now: one compare-and-set with its audit record, no more.

Nothing here decides about money: the row's state, the votes and the ledgers do, as ever.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg

from ops.consent import Change, Consent, record
from ops.payments.databases import COORDINATOR, Databases
from ops.payments.story import UnknownPaymentError, find_payment
from services.settlement.saga.restoring import UNCLEAR

COMMAND: Final = "payments drive"
POLL_S: Final = 0.1


class CannotDriveError(Exception):
    """Nothing was changed, and the message says why."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What would be changed: ``next_drive_at`` of this row, as long as it still stands exactly so."""

    table: str  # payments, or account_commands: a freeze or its end.
    subject_id: UUID
    kind: str
    state: str
    attempts: int
    quarantine: str
    next_drive_at: datetime
    due_in_s: float
    """Negative when recovery should have taken it up already; then there is nothing to change."""

    @property
    def is_finished(self) -> bool:
        """Nothing is left to do."""
        return self.state in {"DONE", "CLOSED", "REFUSED"}

    @property
    def is_due(self) -> bool:
        """It waits for a coordinator alone."""
        return self.due_in_s <= 0


_NOW: Final = {
    "payments": """
        SELECT 'payments' AS table, payment_id AS subject_id, kind, state, attempts, quarantine, next_drive_at,
               extract(epoch FROM next_drive_at - clock_timestamp())::float8 AS due_in_s
          FROM payments WHERE payment_id = $1""",
    "account_commands": """
        SELECT 'account_commands' AS table, request_id AS subject_id,
               CASE WHEN frozen THEN 'FREEZE' ELSE 'UNFREEZE' END AS kind, state, attempts, '' AS quarantine,
               next_drive_at, extract(epoch FROM next_drive_at - clock_timestamp())::float8 AS due_in_s
          FROM account_commands WHERE request_id = $1""",
}
_READY: Final = "SELECT to_regclass('operator_actions') IS NOT NULL AS yes"
_BRING_FORWARD: Final = {
    "payments": """
        UPDATE payments SET next_drive_at = clock_timestamp()
         WHERE payment_id = $1 AND state = $2 AND attempts = $3 AND next_drive_at = $4
           AND next_drive_at > clock_timestamp()
        RETURNING next_drive_at""",
    "account_commands": """
        UPDATE account_commands SET next_drive_at = clock_timestamp()
         WHERE request_id = $1 AND state = $2 AND attempts = $3 AND next_drive_at = $4
           AND next_drive_at > clock_timestamp()
        RETURNING next_drive_at""",
}


async def propose(databases: Databases, name: str) -> Proposal:
    """How a payment, or the freeze of that request_id, stands.

    UnknownPaymentError if neither is known; CannotDriveError where no audit record could be kept.
    """
    subject_id, row = await find_payment(databases, name)
    if row is not None and row["quarantine"] == UNCLEAR and row["state"] == "TRYING":
        raise CannotDriveError("a restore has put it aside: `gongji restore decide` decides it, nobody drives it")
    if not (await databases.rows(COORDINATOR, _READY))[0]["yes"]:
        raise CannotDriveError("this settlement database has no table operator_actions: migrate it first")
    for statement in _NOW.values():
        if rows := await databases.rows(COORDINATOR, statement, subject_id):
            return _proposal(rows[0])
    raise UnknownPaymentError(f"the coordinator knows no payment {subject_id}; `explain` asks the ledgers as well")


async def bring_forward(connection: asyncpg.Connection, proposal: Proposal, consent: Consent) -> datetime:
    """The change and its audit record in one transaction; CannotDriveError if the row has moved on meanwhile."""
    async with connection.transaction():
        now: datetime | None = await connection.fetchval(
            _BRING_FORWARD[proposal.table],
            proposal.subject_id,
            proposal.state,
            proposal.attempts,
            proposal.next_drive_at,
        )
        if now is None:
            raise CannotDriveError("it has moved on by itself meanwhile; nothing was changed")
        before = {
            "next_drive_at": proposal.next_drive_at.isoformat(),
            "state": proposal.state,
            "attempts": proposal.attempts,
        }
        change = Change(proposal.subject_id, before, {"next_drive_at": now.isoformat()})
        await record(connection, COMMAND, consent, [change])
    return now


async def watch(databases: Databases, proposal: Proposal, *, wait_s: float) -> Proposal:
    """How it stands once it is finished, or after ``wait_s``."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait_s
    while True:
        row = _proposal((await databases.rows(COORDINATOR, _NOW[proposal.table], proposal.subject_id))[0])
        if row.is_finished or loop.time() >= end:
            return row
        await asyncio.sleep(POLL_S)


def _proposal(row: Any) -> Proposal:  # noqa: ANN401  Untyped driver.
    return Proposal(**dict(row))
