"""Money in the areas' suspense books: listed, and brought where an officer says, by a command of the ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from kernel.ids import PsnNo
from ops.consent import Change, Consent, record
from ops.sources import CannotMendError, Sources
from services.settlement.ledger.domain.commands import CreditReply, ReleaseSuspense, Request
from services.settlement.ledger.domain.model import AccountKey, AccountKind
from services.settlement.ledger.operations import execute
from services.settlement.ledger.store.locking import AreaWriter

COMMAND: Final = "suspense close"
_OPEN: Final = """
    SELECT credit_id, leg_no, psn_no, account_kind, amount_fen, created_at FROM suspense_tasks
     WHERE done_at IS NULL AND ($1::uuid IS NULL OR credit_id = $1) ORDER BY created_at, credit_id, leg_no"""


_MOVED: Final = """
    SELECT DISTINCT ON (psn_no) psn_no, to_area FROM account_endings
     WHERE psn_no = ANY ($1::text[]) AND role = 'OWN' AND to_area IS NOT NULL AND state <> 'REFUSED'
     ORDER BY psn_no, created_at DESC, request_id"""


@dataclass(frozen=True, slots=True)
class OpenTask:
    """Money of one ledger that found no account; ``psn_no`` is whose it was to be."""

    area: str
    credit_id: UUID
    leg_no: int
    psn_no: str
    account_kind: str
    amount_fen: int
    created_at: datetime
    moved_to: str = ""
    """The area where the owner's personal account is since it moved; empty where it did not, or is here again."""

    def as_json(self) -> dict[str, object]:
        """For machines; the amount in fen."""
        return {
            "area": self.area,
            "credit_id": str(self.credit_id),
            "leg_no": self.leg_no,
            "psn_no": self.psn_no,
            "account_kind": self.account_kind,
            "amount_fen": self.amount_fen,
            "created_at": self.created_at.isoformat(),
            "moved_to": self.moved_to,
        }


async def find(sources: Sources, credit_id: UUID | None = None) -> list[OpenTask]:
    """The open tasks of every ledger, or those of one credit or transfer."""
    found = []
    for area, ledger in sources.ledgers.items():
        async with ledger.driver_connection() as connection:
            found += [OpenTask(area=area, **dict(row)) for row in await connection.fetch(_OPEN, credit_id)]
    async with sources.coordinator.driver_connection() as connection:
        rows = await connection.fetch(_MOVED, [task.psn_no for task in found])
    now_in = {row["psn_no"]: row["to_area"] for row in rows}
    return [replace(task, moved_to=_moved_to(task, now_in)) for task in found]


def _moved_to(task: OpenTask, now_in: Mapping[str, str]) -> str:
    area = now_in.get(task.psn_no, "") if task.account_kind == AccountKind.PERSONAL.value else ""
    return "" if area == task.area else area


def account_named(name: str) -> AccountKey | None:
    """The account that ``PSN_NO``, ``PSN_NO/WALLET`` or ``fund`` names; None is the fund. ValueError otherwise."""
    if name == "fund":
        return None
    psn_no, _, kind = name.partition("/")
    if not psn_no.isdigit():
        raise ValueError(f"{name!r} names no account: write a psn_no, psn_no/WALLET, or fund")
    return AccountKey(PsnNo(psn_no), AccountKind(kind or "PERSONAL"))


async def close(sources: Sources, task: OpenTask, consent: Consent, *, to: AccountKey | None) -> None:
    """Brings the money there with entries and ends the task, in one transaction of the ledger.

    The audit record is written first; CannotMendError if the ledger refuses, and then a second one says so.
    """
    where = "the fund" if to is None else f"{to.psn_no}/{to.kind.value}"
    before = {f"leg {task.leg_no}": f"{task.amount_fen} fen in suspense of {task.area}"}
    change = Change(task.credit_id, before, {f"leg {task.leg_no}": where})
    async with sources.coordinator.driver_transaction() as connection:
        await record(connection, COMMAND, consent, [change])
    request = Request(ReleaseSuspense(task.credit_id, task.leg_no, to))
    (reply,) = await execute(writer=AreaWriter(sources.ledgers[task.area], task.area), requests=[request])
    refused = "it failed technically" if not isinstance(reply, CreditReply) else reply.refusal and reply.refusal.reason
    if refused:
        async with sources.coordinator.driver_transaction() as connection:
            undone = Change(task.credit_id, before, {f"leg {task.leg_no}": f"unchanged: {refused}"})
            await record(connection, COMMAND, consent, [undone])
        raise CannotMendError(f"ledger {task.area} refuses: {refused}; nothing was moved")
