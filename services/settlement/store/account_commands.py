"""Freezes and their ends on their way to the ledger."""

from __future__ import annotations

import json
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from kernel.ids import AdmDvs, PsnNo
from services.settlement.domain.split import Role
from services.settlement.wire.ledger import Balance

Connection: TypeAlias = Any
"""A raw asyncpg connection (the driver publishes no types); JSON is text on it."""

_COLUMNS: Final = "request_id, area, psn_no, frozen, cause, state, refusal, balance, traceparent"
_INSERT: Final = """
INSERT INTO account_commands (request_id, area, psn_no, frozen, cause, state, traceparent, next_drive_at)
VALUES ($1, $2, $3, $4, $5, 'PENDING', $6, now() + $7::interval) ON CONFLICT (request_id) DO NOTHING"""
_LOAD: Final = f"SELECT {_COLUMNS} FROM account_commands WHERE request_id = $1"  # noqa: S608  Constants.
_ANSWER: Final = """
UPDATE account_commands SET state = $2, refusal = $3, balance = $4::jsonb, finished_at = clock_timestamp()
WHERE request_id = $1 AND state = 'PENDING' RETURNING finished_at"""
_EARLIER: Final = """(
    SELECT e.request_id FROM account_commands AS e
    WHERE e.state = 'PENDING' AND e.psn_no = c.psn_no AND e.area = c.area
        AND (e.created_at, e.request_id) < (c.created_at, c.request_id) LIMIT 1) IS NOT NULL"""
"""Not EXISTS, which would become a join of all that are pending with all that are."""
_IS_NEXT: Final = f"SELECT NOT ({_EARLIER}) FROM account_commands AS c WHERE c.request_id = $1"  # noqa: S608  Constants.
_TAKE_DUE: Final = f"""
WITH due AS (
    SELECT c.request_id AS id FROM account_commands AS c
    WHERE c.state = 'PENDING' AND c.next_drive_at <= clock_timestamp() AND NOT ({_EARLIER})
    ORDER BY c.next_drive_at LIMIT $1 FOR UPDATE OF c SKIP LOCKED
)
UPDATE account_commands SET attempts = attempts + 1,
    next_drive_at = clock_timestamp() + least($2::interval * power(2, least(attempts, 16)), $3::interval)
FROM due WHERE request_id = ANY (ARRAY[due.id]) RETURNING {_COLUMNS}"""  # noqa: S608  Constants.


@dataclass(frozen=True, slots=True)
class FreezeRequest:
    """What an account shall be, and, once its ledger has answered, what became of it."""

    request_id: UUID
    area: AdmDvs
    psn_no: PsnNo
    frozen: bool
    cause: str
    traceparent: str
    refusal: str = ""
    balance: Balance | None = None

    @property
    def is_answered(self) -> bool:
        """Whether the ledger has answered."""
        return self.balance is not None or self.refusal != ""

    def asks_the_same(self, other: FreezeRequest) -> bool:
        """Whether two requests of one id want the same."""
        return (self.area, self.psn_no, self.frozen, self.cause) == (
            other.area,
            other.psn_no,
            other.frozen,
            other.cause,
        )


async def insert(connection: Connection, request: FreezeRequest, *, lease: timedelta) -> FreezeRequest:
    """Stores a request under its id; the one that stands there, ours or an earlier one."""
    await connection.execute(
        _INSERT,
        request.request_id,
        request.area,
        request.psn_no,
        request.frozen,
        request.cause,
        request.traceparent,
        lease,
    )
    return await load(connection, request.request_id)


async def load(connection: Connection, request_id: UUID) -> FreezeRequest:
    """A request that is known to be stored."""
    return _of(await connection.fetchrow(_LOAD, request_id))


async def is_next(connection: Connection, request_id: UUID) -> bool:
    """Whether no earlier request for the same account still waits for its ledger's answer."""
    found: bool = await connection.fetchval(_IS_NEXT, request_id)
    return found


async def answer(connection: Connection, request_id: UUID, told: Balance | str) -> datetime | None:
    """Stores the ledger's answer, the account after it or the reason of a refusal; when, or None if not the first."""
    refusal = told if isinstance(told, str) else ""
    balance = None if isinstance(told, str) else json.dumps(_document(told))
    instant: datetime | None = await connection.fetchval(
        _ANSWER, request_id, "REFUSED" if refusal else "DONE", refusal, balance
    )
    return instant


async def take_due(
    connection: Connection, *, limit: int, pause: timedelta, pause_max: timedelta
) -> list[FreezeRequest]:
    """Takes up to ``limit`` requests without an answer, of each account the first; others leave them for the pause."""
    return [_of(row) for row in await connection.fetch(_TAKE_DUE, limit, pause, pause_max)]


def _document(balance: Balance) -> list[Any]:
    return [balance.role.value if isinstance(value, Role) else value for value in astuple(balance)]


def _of(row: Any) -> FreezeRequest:  # noqa: ANN401  Untyped driver.
    balance = None
    if row["balance"] is not None:
        psn_no, role, *rest = row["balance"]
        balance = Balance(psn_no, Role(role), *rest)
    return FreezeRequest(
        request_id=row["request_id"],
        area=row["area"],
        psn_no=row["psn_no"],
        frozen=row["frozen"],
        cause=row["cause"],
        traceparent=row["traceparent"],
        refusal=row["refusal"],
        balance=balance,
    )
