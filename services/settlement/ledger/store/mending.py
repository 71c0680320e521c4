"""What an operator's command reads and writes of a ledger beside its commands: the fence, alarms, suspense tasks."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final
from uuid import UUID

from services.settlement.ledger.domain.model import AccountKey, AccountKind, SuspenseTask
from services.settlement.ledger.store.sets import Connection

_RAISE_EPOCH: Final = "UPDATE ledger_state SET epoch = $2 WHERE area = $1 AND epoch < $2"
_TASKS: Final = """
    SELECT t.credit_id, t.leg_no, t.psn_no, t.account_kind, t.amount_fen, t.created_at, t.done_at
    FROM suspense_tasks AS t
    JOIN unnest($1::uuid[], $2::int2[]) AS wanted(credit_id, leg_no) USING (credit_id, leg_no)
"""
_END_TASK: Final = """
    UPDATE suspense_tasks SET done_at = clock_timestamp() WHERE credit_id = $1 AND leg_no = $2 AND done_at IS NULL
"""
_CLOSE_ALARM: Final = """
    UPDATE alarms SET done_at = clock_timestamp()
    WHERE subject_id = $1 AND kind = ANY ($2::text[]) AND done_at IS NULL RETURNING kind
"""


async def raise_epoch(connection: Connection, area: str, epoch: int) -> None:
    """From now on this ledger refuses what a coordinator of an older epoch says (protocol, "Restore")."""
    await connection.execute(_RAISE_EPOCH, area, epoch)


async def load_tasks(
    connection: Connection, keys: Collection[tuple[UUID, int]]
) -> dict[tuple[UUID, int], SuspenseTask]:
    """Those of the suspense tasks that there are, done or not."""
    found = await connection.fetch(_TASKS, [credit_id for credit_id, _ in keys], [leg_no for _, leg_no in keys])
    return {
        (record["credit_id"], record["leg_no"]): SuspenseTask(
            credit_id=record["credit_id"],
            leg_no=record["leg_no"],
            account=AccountKey(record["psn_no"], AccountKind(record["account_kind"])),
            amount_fen=record["amount_fen"],
            created_at=record["created_at"],
            done_at=record["done_at"],
        )
        for record in found
    }


async def end_tasks(connection: Connection, tasks: Iterable[SuspenseTask]) -> None:
    """Ends tasks whose money has left suspense in the same transaction."""
    for task in tasks:
        await connection.execute(_END_TASK, task.credit_id, task.leg_no)


async def close_alarms(connection: Connection, subject_id: UUID, kinds: Collection[str]) -> list[str]:
    """Ends open alarms about one payment or credit; the kinds that were open. The next contradiction raises it anew."""
    return [record["kind"] for record in await connection.fetch(_CLOSE_ALARM, subject_id, list(kinds))]
