"""Messages, the numbers given to them, and names: SQL only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from sqlalchemy import func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.db import Database
from kernel.ids import PsnNo
from services.notify.domain.facts import PersonTold
from services.notify.domain.messages import Message, Topic
from services.notify.domain.texts import Words
from services.notify.tables import INBOXES, MESSAGES, PERSONS, PROJECTION_SOURCES

WRITER_LOCK_KEY: Final = 0x676F6E676A690002
"""One writer at a time. Writers touch many people in the order of their events, and would lock each other out."""

_LOCK: Final = text("SELECT pg_advisory_xact_lock(:key)")
_WRITE: Final = text("""
WITH said AS (
    SELECT * FROM unnest(
        CAST(:cause_ids AS uuid[]), CAST(:psn_nos AS text[]), CAST(:topics AS text[]), CAST(:texts_zh AS text[]),
        CAST(:texts_en AS text[]), CAST(:occurred_ats AS timestamptz[]), CAST(:amounts AS bigint[]),
        CAST(:setl_ids AS text[])
    ) WITH ORDINALITY AS s (cause_id, psn_no, topic, text_zh, text_en, occurred_at, amount_fen, setl_id, position)
), fresh AS (
    SELECT said.*, row_number() OVER (PARTITION BY psn_no ORDER BY position) AS place FROM said
    WHERE NOT EXISTS (
        SELECT FROM messages m
        WHERE m.cause_id = said.cause_id AND m.psn_no = said.psn_no AND m.topic = said.topic
    )
), numbered AS (
    INSERT INTO inboxes (psn_no, last_message_no) SELECT psn_no, count(*) FROM fresh GROUP BY psn_no ORDER BY psn_no
    ON CONFLICT (psn_no) DO UPDATE SET last_message_no = inboxes.last_message_no + EXCLUDED.last_message_no
    RETURNING psn_no, last_message_no
)
INSERT INTO messages (
    psn_no, message_no, cause_id, topic, text_zh, text_en, occurred_at, amount_fen, setl_id
)
SELECT f.psn_no, n.last_message_no - count(*) OVER (PARTITION BY f.psn_no) + f.place,
    f.cause_id, f.topic, f.text_zh, f.text_en, f.occurred_at, f.amount_fen, f.setl_id
FROM fresh f JOIN numbered n USING (psn_no)
RETURNING psn_no""")

_MOVE: Final = text("""
WITH theirs AS (
    SELECT message_no, row_number() OVER (ORDER BY message_no) AS place FROM messages m
    WHERE m.psn_no = :double AND NOT EXISTS (
        SELECT FROM messages o WHERE o.cause_id = m.cause_id AND o.psn_no = :keep AND o.topic = m.topic
    )
), numbered AS (
    INSERT INTO inboxes (psn_no, last_message_no) SELECT :keep, count(*) FROM theirs HAVING count(*) > 0
    ON CONFLICT (psn_no) DO UPDATE SET last_message_no = inboxes.last_message_no + EXCLUDED.last_message_no
    RETURNING last_message_no
)
UPDATE messages m
SET psn_no = :keep, message_no = n.last_message_no - (SELECT count(*) FROM theirs) + t.place
FROM theirs t, numbered n WHERE m.psn_no = :double AND m.message_no = t.message_no
RETURNING m.psn_no""")
"""A double's messages behind those of the number that counts, in their order. What both were told stays where it is."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """A message with the number its person knows it by."""

    message_no: int
    message: Message


async def write(connection: AsyncConnection, messages: Sequence[Message]) -> set[PsnNo]:
    """Writes those of the messages that nobody has been sent yet, in this order; the people who got one."""
    if not messages:
        return set()
    await connection.execute(_LOCK, {"key": WRITER_LOCK_KEY})
    messages = await _to_numbers_that_count(connection, messages)
    written = await connection.execute(
        _WRITE,
        {
            "cause_ids": [message.cause_id for message in messages],
            "psn_nos": [message.psn_no for message in messages],
            "topics": [message.topic.value for message in messages],
            "texts_zh": [message.text.zh for message in messages],
            "texts_en": [message.text.en for message in messages],
            "occurred_ats": [message.occurred_at for message in messages],
            "amounts": [message.amount_fen for message in messages],
            "setl_ids": [message.setl_id for message in messages],
        },
    )
    return {PsnNo(psn_no) for psn_no in written.scalars()}


async def _to_numbers_that_count(connection: AsyncConnection, messages: Sequence[Message]) -> list[Message]:
    """The messages to the numbers that count; of two that are one person's now, the first."""
    wanted = sorted({message.psn_no for message in messages})
    merged = select(PERSONS.c.psn_no, PERSONS.c.merged_into).where(
        PERSONS.c.psn_no.in_(wanted), PERSONS.c.merged_into.is_not(None)
    )
    counts = {row.psn_no: PsnNo(row.merged_into) for row in await connection.execute(merged)}
    found: dict[tuple[UUID, PsnNo, Topic], Message] = {}
    for message in messages:
        to = counts.get(message.psn_no, message.psn_no)
        found.setdefault((message.cause_id, to, message.topic), replace(message, psn_no=to))
    return list(found.values())


async def before(database: Database, psn_no: PsnNo, *, message_no: int | None, rows_max: int) -> list[StoredMessage]:
    """A person's messages older than a number (None: from the newest), newest first."""
    wanted = select(MESSAGES).where(MESSAGES.c.psn_no == psn_no)
    if message_no is not None:
        wanted = wanted.where(MESSAGES.c.message_no < message_no)
    async with database.transaction() as connection:
        rows = await connection.execute(wanted.order_by(MESSAGES.c.message_no.desc()).limit(rows_max))
        return [_stored(row) for row in rows]


async def after(database: Database, psn_no: PsnNo, *, message_no: int, rows_max: int) -> list[StoredMessage]:
    """A person's messages newer than a number, oldest first."""
    wanted = select(MESSAGES).where(MESSAGES.c.psn_no == psn_no, MESSAGES.c.message_no > message_no)
    async with database.transaction() as connection:
        rows = await connection.execute(wanted.order_by(MESSAGES.c.message_no).limit(rows_max))
        return [_stored(row) for row in rows]


async def last_numbers(database: Database, psn_nos: Iterable[PsnNo]) -> dict[PsnNo, int]:
    """The last message_no of each of these people who has any message."""
    wanted = select(INBOXES).where(INBOXES.c.psn_no == func.any(list(psn_nos)))
    async with database.transaction() as connection:
        return {PsnNo(row.psn_no): row.last_message_no for row in await connection.execute(wanted)}


async def put_person(connection: AsyncConnection, person: PersonTold) -> set[PsnNo]:
    """Keeps a masked name and which number counts, unless something as new or newer is known.

    Of a number that was merged, the messages go to the one that counts; the people who got some by it.
    """
    row = {"version": person.version, "name_masked": person.name_masked, "merged_into": person.merged_into}
    if person.merged_into is not None:
        # Behind the writers' lock: who is told meanwhile is told before, or reads which number counts.
        await connection.execute(_LOCK, {"key": WRITER_LOCK_KEY})
    await connection.execute(
        insert(PERSONS)
        .values(psn_no=person.psn_no, **row)
        .on_conflict_do_update(index_elements=[PERSONS.c.psn_no], set_=row, where=PERSONS.c.version < person.version)
    )
    if person.merged_into is None:
        return set()
    moved = await connection.execute(_MOVE, {"double": person.psn_no, "keep": person.merged_into})
    return {PsnNo(psn_no) for psn_no in moved.scalars()}


async def put_asked_name(connection: AsyncConnection, psn_no: PsnNo, name_masked: str) -> None:
    """Keeps a name that identity answered when asked, until the first event about the person."""
    await connection.execute(
        insert(PERSONS).values(psn_no=psn_no, version=0, name_masked=name_masked).on_conflict_do_nothing()
    )


async def names(connection: AsyncConnection, psn_nos: Iterable[PsnNo]) -> dict[PsnNo, str]:
    """The masked names that are known of these people."""
    wanted = select(PERSONS.c.psn_no, PERSONS.c.name_masked).where(PERSONS.c.psn_no.in_(sorted(psn_nos)))
    return {PsnNo(row.psn_no): row.name_masked for row in await connection.execute(wanted)}


async def has_snapshot(connection: AsyncConnection, source: str) -> bool:
    """Whether this service's snapshot has been read whole."""
    known = await connection.execute(select(PROJECTION_SOURCES.c.source).where(PROJECTION_SOURCES.c.source == source))
    return known.first() is not None


async def note_snapshot(connection: AsyncConnection, source: str) -> None:
    """Remembers that this service's snapshot has been read whole."""
    await connection.execute(
        insert(PROJECTION_SOURCES).values(source=source, snapshot_at=func.now()).on_conflict_do_nothing()
    )


def _stored(row: Any) -> StoredMessage:  # noqa: ANN401  A row's columns are known to the table, not to the type checker.
    return StoredMessage(
        message_no=row.message_no,
        message=Message(
            cause_id=row.cause_id,
            psn_no=PsnNo(row.psn_no),
            topic=Topic(row.topic),
            text=Words(row.text_zh, row.text_en),
            occurred_at=row.occurred_at,
            amount_fen=row.amount_fen,
            setl_id=row.setl_id,
        ),
    )
