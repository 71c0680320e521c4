"""Wallets, the areas their money follows from, and the transfers between relatives: statements on the raw connection.

A transfer's state is its payment's (``store.payments``); here stands what both of its people list.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeAlias
from uuid import UUID

from kernel.ids import AdmDvs, PaymentId, PsnNo
from kernel.money import Fen
from kernel.values import value
from services.settlement.domain.split import Role
from services.settlement.domain.wallet import Gift, TransferShown, TransferState, Wallet

Connection: TypeAlias = Any
"""A raw asyncpg connection (the driver publishes no types)."""

_COLUMNS: Final = "w.psn_no, w.wallet_id, w.area, w.opener_psn_no, w.opened_at, w.version"
_FIND: Final = f"SELECT {_COLUMNS} FROM wallets w WHERE w.psn_no = ANY ($1::text[])"  # noqa: S608  Constants.
_LOCKED: Final = f"SELECT {_COLUMNS} FROM wallets w WHERE w.psn_no = $1 FOR UPDATE"  # noqa: S608  Constants.
_OPEN: Final = """
INSERT INTO wallets (psn_no, wallet_id, area, opener_psn_no, opened_at, version)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING RETURNING psn_no"""
_CHANGE: Final = """
INSERT INTO wallet_changes (request_id, psn_no, area, attestation_id, changed_at) VALUES ($1, $2, $3, $4, $5)"""
_CHANGED: Final = "SELECT psn_no, area FROM wallet_changes WHERE request_id = $1"
_SET_AREA: Final = "UPDATE wallets SET area = $2, version = $3 WHERE psn_no = $1"


async def find(connection: Connection, psn_nos: Collection[PsnNo]) -> dict[PsnNo, Wallet]:
    """The wallets of those of the persons who have one."""
    return {row["psn_no"]: _wallet(row) for row in await connection.fetch(_FIND, list(psn_nos))}


async def locked(connection: Connection, psn_no: PsnNo) -> Wallet | None:
    """A person's wallet, which nobody else changes until the transaction ends."""
    row = await connection.fetchrow(_LOCKED, psn_no)
    return None if row is None else _wallet(row)


async def insert(connection: Connection, wallet: Wallet, *, attestation_id: UUID) -> bool:
    """Whether the wallet is new; False if the person has one or the request has opened another."""
    opened = await connection.fetchval(
        _OPEN, wallet.psn_no, wallet.wallet_id, wallet.area, wallet.opener, wallet.opened_at, wallet.version
    )
    if opened is None:
        return False
    await connection.execute(_CHANGE, wallet.wallet_id, wallet.psn_no, wallet.area, attestation_id, wallet.opened_at)
    return True


async def changed_by(connection: Connection, request_id: UUID) -> tuple[PsnNo, AdmDvs] | None:
    """Whose wallet a request has opened or moved, and to where; None of a request that has done neither."""
    row = await connection.fetchrow(_CHANGED, request_id)
    return None if row is None else (PsnNo(row["psn_no"]), AdmDvs(row["area"]))


async def set_area(connection: Connection, wallet: Wallet, *, request_id: UUID, now: datetime) -> None:
    """A wallet in its new area."""
    await connection.execute(_SET_AREA, wallet.psn_no, wallet.area, wallet.version)
    await connection.execute(_CHANGE, request_id, wallet.psn_no, wallet.area, None, now)


def _wallet(row: Any) -> Wallet:  # noqa: ANN401  Untyped driver.
    return Wallet(
        wallet_id=row["wallet_id"],
        psn_no=PsnNo(row["psn_no"]),
        area=AdmDvs(row["area"]),
        opener=row["opener_psn_no"],
        opened_at=row["opened_at"],
        version=row["version"],
    )


# Areas that a wallet was used in before. What comes back there, by a return or a refund, follows it.

_FOLLOW: Final = """
INSERT INTO wallet_moves (move_id, psn_no, from_area) VALUES ($1, $2, $3)
ON CONFLICT (psn_no, from_area) DO UPDATE SET looks = 0, next_look_at = now()"""
_LOOK_AGAIN: Final = """
UPDATE wallet_moves SET looks = 0, next_look_at = now() WHERE psn_no = $1 AND from_area = $2"""
_TAKE_DUE: Final = """
WITH due AS (
    SELECT d.move_id, coalesce(p.merged_into, d.psn_no) AS to_psn_no
    FROM wallet_moves d LEFT JOIN persons p ON p.psn_no = ANY (ARRAY[d.psn_no])
    WHERE d.next_look_at <= clock_timestamp()
    ORDER BY d.next_look_at LIMIT $1 FOR UPDATE OF d SKIP LOCKED
)
UPDATE wallet_moves m SET looks = m.looks + 1,
    next_look_at = clock_timestamp() + least($2::interval * power(2, least(m.looks, 16)), $3::interval)
FROM due, wallets w WHERE m.move_id = ANY (ARRAY[due.move_id]) AND w.psn_no = ANY (ARRAY[due.to_psn_no])
RETURNING m.move_id, m.psn_no, due.to_psn_no, m.from_area, m.to_area, m.carried_fen, m.carries, w.area"""
_BEGIN_CARRY: Final = """
UPDATE wallet_moves SET carried_fen = $3, to_area = $4, carries = carries + 1
WHERE move_id = $1 AND carries = $2 AND carried_fen IS NULL RETURNING move_id"""
_END_CARRY: Final = """
UPDATE wallet_moves SET carried_fen = NULL, to_area = NULL,
    looks = CASE WHEN $3 THEN 0 ELSE looks END, next_look_at = CASE WHEN $3 THEN now() ELSE next_look_at END
WHERE move_id = $1 AND carries = $2"""


@value
class Move:
    """What a wallet left behind in ``from_area``; ``carried_fen`` is on its way to ``to_area``, None if nothing is.

    ``to_psn_no`` is the number that counts of the person: another one where ``psn_no`` was a double.
    """

    move_id: UUID
    psn_no: PsnNo
    to_psn_no: PsnNo
    from_area: AdmDvs
    to_area: AdmDvs | None
    carried_fen: Fen | None
    carries: int
    """How many times money was carried: the number of the present one, if there is one."""
    area: AdmDvs
    """Where the wallet is used now."""


async def follow(connection: Connection, *, move_id: UUID, psn_no: PsnNo, from_area: AdmDvs) -> None:
    """From now on money that is in that area follows the wallet; looked for at once."""
    await connection.execute(_FOLLOW, move_id, psn_no, from_area)


async def look_again(connection: Connection, *, psn_no: PsnNo, area: AdmDvs) -> None:
    """Something may have come into an area that the wallet has left: looked for at once."""
    await connection.execute(_LOOK_AGAIN, psn_no, area)


async def take_due(connection: Connection, *, limit: int, pause: timedelta, pause_max: timedelta) -> list[Move]:
    """Up to ``limit`` areas to be looked at now; others leave each alone for the pause, which doubles in vain."""
    rows = await connection.fetch(_TAKE_DUE, limit, pause, pause_max)
    return [
        Move(
            row["move_id"],
            row["psn_no"],
            row["to_psn_no"],
            row["from_area"],
            row["to_area"],
            row["carried_fen"],
            row["carries"],
            row["area"],
        )
        for row in rows
    ]


async def begin_carry(connection: Connection, move: Move, *, carried_fen: Fen) -> bool:
    """So much is carried from now on; False if somebody else was faster."""
    return await connection.fetchval(_BEGIN_CARRY, move.move_id, move.carries, carried_fen, move.area) is not None


async def end_carry(connection: Connection, move: Move, *, arrived: bool) -> None:
    """Nothing of this carrying is open any more. If it has arrived there is another look at once, else at its time."""
    await connection.execute(_END_CARRY, move.move_id, move.carries, arrived)


# Transfers between relatives.

_LOCK_GIVER: Final = "SELECT pg_advisory_xact_lock(hashtextextended('wallet_transfers ' || $1, 0))"
_OF_DAY: Final = "SELECT count(*) FROM wallet_transfers WHERE giver_psn_no = ANY ($1::text[]) AND day = $2"
_UNDER_WAY: Final = """
SELECT coalesce(sum(t.amount_fen) FILTER (WHERE t.giver_psn_no = ANY ($1::text[]) AND t.source = 'WALLET'), 0)::bigint
           AS outgoing_fen,
       coalesce(sum(t.amount_fen) FILTER (WHERE t.receiver_psn_no = ANY ($1::text[]) AND p.pending_at IS NOT NULL), 0)
           ::bigint AS incoming_fen,
       (SELECT coalesce(sum(m.carried_fen), 0)::bigint FROM wallet_moves m WHERE m.psn_no = ANY ($1::text[]))
           AS following_fen
FROM (
    SELECT * FROM wallet_transfers WHERE giver_psn_no = ANY ($1::text[]) AND day >= $2
    UNION
    SELECT * FROM wallet_transfers WHERE receiver_psn_no = ANY ($1::text[]) AND day >= $2
) t JOIN payments p ON p.payment_id = ANY (ARRAY[t.payment_id]) WHERE p.state = 'TRYING'"""
_FORMER_AREAS: Final = """
SELECT DISTINCT from_area FROM wallet_moves WHERE psn_no = ANY ($1::text[]) ORDER BY from_area"""
_RECORD: Final = """
INSERT INTO wallet_transfers
    (payment_id, request_id, giver_psn_no, receiver_psn_no, source, relation, amount_fen, day)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"""
_BY_REQUEST: Final = """
SELECT payment_id FROM wallet_transfers WHERE giver_psn_no = ANY ($1::text[]) AND request_id = $2
ORDER BY giver_psn_no <> $3 LIMIT 1"""
_RECEIVER: Final = "SELECT receiver_psn_no FROM wallet_transfers WHERE payment_id = $1"
_SHOWN: Final = """
SELECT t.payment_id, t.giver_psn_no = ANY ($1::text[]) AS is_given, coalesce(o.name_masked, '') AS other_name,
       t.relation, t.amount_fen, t.source, p.state, p.reason, p.pending_at IS NOT NULL AS was_asked, p.created_at,
       p.accept_by, p.decided_at
FROM page t JOIN payments p ON p.payment_id = ANY (ARRAY[t.payment_id])
LEFT JOIN persons o ON o.psn_no = ANY (
    ARRAY[CASE WHEN t.giver_psn_no = ANY ($1::text[]) THEN t.receiver_psn_no ELSE t.giver_psn_no END])
ORDER BY t.payment_id DESC"""
_PAGE: Final = f"""
WITH page AS (
    (SELECT * FROM wallet_transfers WHERE giver_psn_no = ANY ($1::text[]) AND ($2::uuid IS NULL OR payment_id < $2)
     ORDER BY payment_id DESC LIMIT $3)
    UNION
    (SELECT * FROM wallet_transfers WHERE receiver_psn_no = ANY ($1::text[]) AND ($2::uuid IS NULL OR payment_id < $2)
     ORDER BY payment_id DESC LIMIT $3)
    ORDER BY payment_id DESC LIMIT $3
) {_SHOWN}"""  # noqa: S608  Constants.
_ONE: Final = f"""
WITH page AS (
    SELECT * FROM wallet_transfers
    WHERE payment_id = $2 AND (giver_psn_no = ANY ($1::text[]) OR receiver_psn_no = ANY ($1::text[]))
) {_SHOWN}"""  # noqa: S608  Constants.


async def lock_giver(connection: Connection, giver: PsnNo) -> None:
    """Until the transaction ends nobody else counts this giver's transfers."""
    await connection.execute(_LOCK_GIVER, giver)


async def of_day(connection: Connection, numbers: Sequence[PsnNo], day: date) -> int:
    """How many transfers these numbers of a giver have begun that day, whatever became of them (domain §3)."""
    counted: int = await connection.fetchval(_OF_DAY, numbers, day)
    return counted


@value
class UnderWay:
    """Money of a wallet that is neither quite in it nor out of it."""

    outgoing_fen: Fen
    """Given out of it and not decided yet: held."""
    incoming_fen: Fen
    """Awaits its person's yes, and is still the givers'."""
    following_fen: Fen
    """Its own, carried just now from where it was before."""


async def under_way(connection: Connection, numbers: Sequence[PsnNo], *, since: date) -> UnderWay:
    """Of the wallets of these numbers, and of transfers that began on that day or later."""
    row = await connection.fetchrow(_UNDER_WAY, numbers, since)
    return UnderWay(row["outgoing_fen"], row["incoming_fen"], row["following_fen"])


async def record(connection: Connection, gift: Gift, *, payment_id: PaymentId, relation: str, day: date) -> None:
    """A transfer beside its payment."""
    await connection.execute(
        _RECORD,
        payment_id,
        gift.request_id,
        gift.giver,
        gift.receiver,
        gift.source.value,
        relation,
        gift.amount_fen,
        day,
    )


async def former_areas(connection: Connection, numbers: Sequence[PsnNo]) -> list[AdmDvs]:
    """Where the wallets of these numbers were used before."""
    return [AdmDvs(row["from_area"]) for row in await connection.fetch(_FORMER_AREAS, numbers)]


async def by_request(connection: Connection, numbers: Sequence[PsnNo], request_id: UUID) -> PaymentId | None:
    """The transfer that a giver's request has begun, under the first of his numbers if under several."""
    found: PaymentId | None = await connection.fetchval(_BY_REQUEST, numbers, request_id, numbers[0])
    return found


async def receiver(connection: Connection, transfer_id: PaymentId) -> PsnNo | None:
    """Whom a transfer is for; None if it is none between relatives."""
    found: PsnNo | None = await connection.fetchval(_RECEIVER, transfer_id)
    return found


async def page(
    connection: Connection, numbers: Sequence[PsnNo], *, before: UUID | None, size: int
) -> list[TransferShown]:
    """So many transfers of a person, by all his numbers, the latest first, before that one."""
    return [_shown(row) for row in await connection.fetch(_PAGE, numbers, before, size)]


async def shown(connection: Connection, transfer_id: PaymentId, *, to: Sequence[PsnNo]) -> TransferShown | None:
    """One transfer as the person with these numbers sees it; None if he has no part in it."""
    row = await connection.fetchrow(_ONE, to, transfer_id)
    return None if row is None else _shown(row)


def _shown(row: Any) -> TransferShown:  # noqa: ANN401  Untyped driver.
    return TransferShown(
        transfer_id=row["payment_id"],
        is_given=row["is_given"],
        other_name=row["other_name"],
        relation=row["relation"],
        amount_fen=row["amount_fen"],
        source=Role(row["source"]),
        state=_state(row["state"], was_asked=row["was_asked"]),
        cause=row["reason"],
        begun_at=row["created_at"],
        accept_by=row["accept_by"],
        decided_at=row["decided_at"],
    )


def _state(state: str, *, was_asked: bool) -> TransferState:
    if state == "TRYING":
        return TransferState.PENDING_ACCEPT if was_asked else TransferState.HOLDING
    if state in {"COMMITTED", "DONE"}:
        return TransferState.ACCEPTED
    return TransferState.RETURNED if was_asked else TransferState.REFUSED
