"""Cards, their PINs, and what became of each."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from kernel.ids import PsnNo
from services.identity.domain.card import HELD, PIN_TRIES_MAX, Card, CardState, Pin
from services.identity.domain.sealing import Sealed
from services.identity.tables.cards import CARD_CHANGES, CARDS


class CardChange(Enum):
    """What became of a card; the value is what the database keeps."""

    ISSUED = "ISSUED"
    ACTIVATED = "ACTIVATED"
    LOST = "LOST"
    ENDED = "ENDED"
    PIN_CHANGED = "PIN_CHANGED"
    PIN_UNLOCKED = "PIN_UNLOCKED"


async def insert_card(
    connection: AsyncConnection, card: Card, *, sealed: Sealed, card_no_index: bytes, opter: str
) -> bool:
    """Whether the card is new; the caller holds the person's lock and has seen that he holds none."""
    statement = (
        insert(CARDS)
        .values(
            card_id=card.card_id,
            psn_no=card.psn_no,
            card_no_index=card_no_index,
            card_no_sealed=sealed.content,
            key_id=sealed.key_id,
            card_no_masked=card.card_no_masked,
            state=card.state.value,
            issued_at=card.issued_at,
            issued_by=opter,
        )
        .on_conflict_do_nothing(constraint="cards_card_no")
        .returning(CARDS.c.card_id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def card_of_number(connection: AsyncConnection, card_no_index: bytes, *, lock: bool = False) -> Card | None:
    """The card with this number; with ``lock``, nobody else changes it until this transaction ends."""
    return await _one(connection, sa.select(CARDS).where(CARDS.c.card_no_index == card_no_index), lock=lock)


async def card_of_id(connection: AsyncConnection, card_id: UUID, *, lock: bool = False) -> Card | None:
    """The card of this id, whosever; with ``lock`` as above."""
    return await _one(connection, sa.select(CARDS).where(CARDS.c.card_id == card_id), lock=lock)


async def held_card(connection: AsyncConnection, psn_no: PsnNo, *, lock: bool = False) -> Card | None:
    """The card that a person holds, active or not yet."""
    held = CARDS.c.state.in_(sorted(state.value for state in HELD))
    return await _one(connection, sa.select(CARDS).where(CARDS.c.psn_no == psn_no, held), lock=lock)


async def last_card(connection: AsyncConnection, psn_no: PsnNo) -> Card | None:
    """The card that was issued last to a person."""
    statement = sa.select(CARDS).where(CARDS.c.psn_no == psn_no).order_by(CARDS.c.card_id.desc()).limit(1)
    return await _one(connection, statement, lock=False)


async def cards_before(connection: AsyncConnection, psn_no: PsnNo, before: UUID | None, *, limit: int) -> list[Card]:
    """So many of a person's cards, newest first, from behind this one."""
    statement = sa.select(CARDS).where(CARDS.c.psn_no == psn_no).order_by(CARDS.c.card_id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(CARDS.c.card_id < before)
    return [_card(row) for row in await connection.execute(statement)]


async def begin_try(connection: AsyncConnection, card_no_index: bytes) -> Card | None:
    """The active card with one more try counted; None if there is no such card or it is locked.

    Of tries at once each is counted, and after the fifth none is begun: this is decided under the row's lock.
    """
    statement = (
        sa.update(CARDS)
        .where(
            CARDS.c.card_no_index == card_no_index,
            CARDS.c.state == CardState.ACTIVE.value,
            CARDS.c.pin_tries < PIN_TRIES_MAX,
        )
        .values(pin_tries=CARDS.c.pin_tries + 1)
        .returning(CARDS)
    )
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _card(row)


async def end_tries(connection: AsyncConnection, card_id: UUID, pin: Pin) -> bool:
    """Whether the card is active and this is its PIN still; its tries begin anew then."""
    statement = (
        sa.update(CARDS)
        .where(CARDS.c.card_id == card_id, CARDS.c.state == CardState.ACTIVE.value, CARDS.c.pin_hash == pin.hash)
        .values(pin_tries=0)
        .returning(CARDS.c.card_id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def activate(connection: AsyncConnection, card_id: UUID, pin: Pin, *, place: str, now: datetime) -> None:
    """The card is active with this PIN; the caller holds its lock."""
    await connection.execute(
        sa.update(CARDS)
        .where(CARDS.c.card_id == card_id)
        .values(
            state=CardState.ACTIVE.value,
            activated_at=now,
            activated_place=place,
            pin_hash=pin.hash,
            pin_salt=pin.salt,
            pin_tries=0,
        )
    )


async def set_pin(connection: AsyncConnection, card_id: UUID, pin: Pin | None) -> None:
    """Another PIN, or with None the same one; its tries begin anew. The caller holds the card's lock."""
    values = {} if pin is None else {"pin_hash": pin.hash, "pin_salt": pin.salt}
    await connection.execute(sa.update(CARDS).where(CARDS.c.card_id == card_id).values(pin_tries=0, **values))


async def end_card(
    connection: AsyncConnection, card_id: UUID, state: CardState, *, opter: str, cause: str, now: datetime
) -> None:
    """The card is lost or has ended; the caller holds its lock."""
    await connection.execute(
        sa.update(CARDS)
        .where(CARDS.c.card_id == card_id)
        .values(state=state.value, ended_at=now, ended_by=opter, end_cause=cause)
    )


async def note(
    connection: AsyncConnection, card_id: UUID, change: CardChange, *, opter: str, cause: str = "", now: datetime
) -> None:
    """Records who did what to a card."""
    await connection.execute(
        sa.insert(CARD_CHANGES).values(card_id=card_id, change=change.value, opter=opter, cause=cause, changed_at=now)
    )


async def _one(connection: AsyncConnection, statement: sa.Select[tuple[object, ...]], *, lock: bool) -> Card | None:
    if lock:
        statement = statement.with_for_update(key_share=True)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else _card(row)


def _card(row: sa.Row[tuple[object, ...]]) -> Card:
    return Card(
        card_id=row.card_id,
        psn_no=PsnNo(row.psn_no),
        card_no_masked=row.card_no_masked,
        state=CardState(row.state),
        issued_at=row.issued_at,
        activated_at=row.activated_at,
        pin=None if row.pin_hash is None else Pin(row.pin_hash, row.pin_salt),
        pin_tries=row.pin_tries,
    )
