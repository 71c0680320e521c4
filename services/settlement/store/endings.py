"""Closings and moves of accounts, from the request to the end of the account."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Final
from uuid import UUID

from kernel.ids import AdmDvs, PsnNo
from kernel.money import Fen
from services.settlement.domain.split import Role
from services.settlement.store.payments import Connection

_COLUMNS: Final = """request_id, psn_no, role, area, to_area, cause, past_fen, current_fen, tries, state, refusal,
    traceparent"""
_INSERT: Final = """
INSERT INTO account_endings (request_id, psn_no, role, area, to_area, cause, past_fen, current_fen, traceparent,
                             next_drive_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, now() + $10::interval) ON CONFLICT (request_id) DO NOTHING"""
_LOAD: Final = f"SELECT {_COLUMNS} FROM account_endings WHERE request_id = $1"  # noqa: S608  Constants.
_ADVANCE: Final = """
UPDATE account_endings SET state = $3, refusal = $4,
    finished_at = CASE WHEN $3 IN ('CLOSED', 'REFUSED') THEN clock_timestamp() END
WHERE request_id = $1 AND state = $2 RETURNING clock_timestamp()"""
_TRY_ANEW: Final = """
UPDATE account_endings SET tries = tries + 1, past_fen = $3, current_fen = $4
WHERE request_id = $1 AND state = 'PENDING' AND tries = $2"""
_UNDER_WAY: Final = """
SELECT area FROM account_endings
WHERE finished_at IS NULL AND psn_no = $1 AND role = 'OWN' AND (area = $3 OR (to_area = $2 AND state = 'PENDING'))
ORDER BY created_at LIMIT 1"""
_TAKE_DUE: Final = f"""
WITH due AS (
    SELECT request_id AS id FROM account_endings
    WHERE finished_at IS NULL AND next_drive_at <= clock_timestamp()
    ORDER BY next_drive_at LIMIT $1 FOR UPDATE SKIP LOCKED
)
UPDATE account_endings SET attempts = attempts + 1,
    next_drive_at = clock_timestamp() + least($2::interval * power(2, least(attempts, 16)), $3::interval)
FROM due WHERE request_id = ANY (ARRAY[due.id]) RETURNING {_COLUMNS}"""  # noqa: S608  Constants.


class EndingState(Enum):
    """Where the end of an account stands; the comment says who acts next."""

    PENDING = "PENDING"  # A move's money is transferred, the ledger is told.
    CLOSING = "CLOSING"  # The ledger closes it with the end of the last hold; it is asked whether it has.
    CLOSED = "CLOSED"  # Nobody.
    REFUSED = "REFUSED"  # Nobody: the account is as it was; of one that moves, what it may have given has come back.


@dataclass(frozen=True, slots=True)
class Ending:
    """That an account shall end: closed for a cause, or (``to_area``) moved with so much of its money.

    ``tries`` counts the transfers of a move that came to nothing, so that the next one has a key of its own.
    """

    request_id: UUID
    psn_no: PsnNo
    role: Role
    area: AdmDvs
    to_area: AdmDvs | None
    cause: str
    past_fen: Fen = 0
    current_fen: Fen = 0
    tries: int = 0
    state: EndingState = EndingState.PENDING
    refusal: str = ""
    traceparent: str = ""

    @property
    def is_over(self) -> bool:
        """Whether nobody has anything to do any more."""
        return self.state in {EndingState.CLOSED, EndingState.REFUSED}

    def asks_the_same(self, other: Ending) -> bool:
        """Whether two requests of one id want the same."""
        return (self.psn_no, self.role, self.area, self.to_area, self.cause) == (
            other.psn_no,
            other.role,
            other.area,
            other.to_area,
            other.cause,
        )


async def insert(connection: Connection, ending: Ending, *, lease: timedelta) -> Ending:
    """Stores it under its request's id; the one that stands there, this or an earlier one."""
    await connection.execute(
        _INSERT,
        ending.request_id,
        ending.psn_no,
        ending.role.value,
        ending.area,
        ending.to_area,
        ending.cause,
        ending.past_fen,
        ending.current_fen,
        ending.traceparent,
        lease,
    )
    stored = await load(connection, ending.request_id)
    if stored is None:
        raise LookupError("an ending that was just stored is not there")
    return stored


async def load(connection: Connection, request_id: UUID) -> Ending | None:
    """The ending of a request; None if it was never stored."""
    row = await connection.fetchrow(_LOAD, request_id)
    return None if row is None else _of(row)


async def area_under_way(connection: Connection, psn_no: PsnNo, from_area: AdmDvs, to_area: AdmDvs) -> AdmDvs | None:
    """Whose end a move between these areas must wait for: of the new account, or of one that still gives to the old."""
    area: AdmDvs | None = await connection.fetchval(_UNDER_WAY, psn_no, from_area, to_area)
    return area


async def advance(connection: Connection, ending: Ending, state: EndingState, *, refusal: str = "") -> datetime | None:
    """The next state, by compare-and-set on the one that ``ending`` has; when, or None if another was first."""
    moment: datetime | None = await connection.fetchval(
        _ADVANCE, ending.request_id, ending.state.value, state.value, refusal
    )
    return moment


async def try_anew(connection: Connection, ending: Ending, past_fen: Fen, current_fen: Fen) -> Ending:
    """So much is to be transferred under the next key, unless another has seen to that; the ending as it stands."""
    await connection.execute(_TRY_ANEW, ending.request_id, ending.tries, past_fen, current_fen)
    return await load(connection, ending.request_id) or ending


async def take_due(connection: Connection, *, limit: int, pause: timedelta, pause_max: timedelta) -> list[Ending]:
    """Takes up to ``limit`` that are not over; others leave them for the pause, which grows."""
    return [_of(row) for row in await connection.fetch(_TAKE_DUE, limit, pause, pause_max)]


def _of(row: Any) -> Ending:  # noqa: ANN401  Untyped driver.
    return Ending(
        request_id=row["request_id"],
        psn_no=row["psn_no"],
        role=Role(row["role"]),
        area=row["area"],
        to_area=row["to_area"],
        cause=row["cause"],
        past_fen=row["past_fen"],
        current_fen=row["current_fen"],
        tries=row["tries"],
        state=EndingState(row["state"]),
        refusal=row["refusal"],
        traceparent=row["traceparent"],
    )
