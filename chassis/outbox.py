"""Events leave through a table: written in the transaction of the change, published afterwards, kept for a week.

The row is the guarantee. JetStream may lose what it acknowledged (a wiped disk, a restored snapshot): as soon as the
stream is seen to be new, shorter, or cut at its beginning, everything kept is published again, and the consumers'
inboxes drop what they know (protocol rule 8).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import telemetry
from chassis.bus import MESSAGE_ID_HEADER, Bus, Stream, StreamState
from chassis.db import Database, announce_commit, is_transient
from chassis.faults import fault_point
from kernel.failures import Failure, Kind

_log = telemetry.logger("outbox")

AGGREGATE_HEADER: Final = "Gongji-Aggregate"
VERSION_HEADER: Final = "Gongji-Version"
KEPT: Final = timedelta(days=7)
BATCH_SIZE_MAX: Final = 200
POLL_S: Final = 0.5
SPACING_S: Final = 0.05
"""Events that come so soon after a look at the table wait for company; nobody pays by an event."""
STREAM_CHECK_S: Final = 5.0
PURGE_S: Final = 600.0
PURGE_SIZE_MAX: Final = 5_000
RESET_SIZE_MAX: Final = 10_000
"""A week of a province's events is far more than one statement may change within its timeout."""
UNMET: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands for the stream's age while rows are being reset: until the last of them no acknowledgement counts."""
TROUBLE_PAUSE_S: Final = 0.5

DDL_V1: Final = (
    """CREATE TABLE outbox (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        event_id uuid NOT NULL,
        aggregate text NOT NULL,
        version bigint NOT NULL,
        subject text NOT NULL,
        payload bytea NOT NULL,
        traceparent text NOT NULL,
        occurred_at timestamptz NOT NULL,
        stream_seq bigint,
        published_at timestamptz,
        CONSTRAINT outbox_published CHECK ((stream_seq IS NULL) = (published_at IS NULL))
    )""",
    "CREATE INDEX outbox_unpublished ON outbox (id) WHERE published_at IS NULL",
    """CREATE TABLE outbox_stream (
        stream text PRIMARY KEY,
        created timestamptz NOT NULL,
        last_seq bigint NOT NULL
    )""",
)
"""What a room's migration executes, statement by statement; a later change becomes DDL_V2 and never edits this one."""


def outbox_table(metadata: sa.MetaData) -> sa.Table:
    """The outbox and its memory of the stream, as part of a room's tables (the same as DDL_V1)."""
    sa.Table(
        "outbox_stream",
        metadata,
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
    )
    outbox = sa.Table(
        "outbox",
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("event_id", sa.Uuid, nullable=False),
        sa.Column("aggregate", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("payload", BYTEA, nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stream_seq", sa.BigInteger),
        sa.Column("published_at", sa.DateTime(timezone=True)),
        sa.CheckConstraint("(stream_seq IS NULL) = (published_at IS NULL)", name="outbox_published"),
    )
    sa.Index("outbox_unpublished", outbox.c.id, postgresql_where=outbox.c.published_at.is_(None))
    return outbox


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """A fact to be told. ``version`` grows with every event of its aggregate: two events never share one.

    ``aggregate`` is unique within the service (``person:...``, ``payment:...``), ``subject`` is the event's name in
    snake case (``payment_settled``), ``payload`` the serialised message. An empty traceparent means the current one.
    """

    event_id: UUID
    aggregate: str
    version: int
    subject: str
    payload: bytes
    occurred_at: datetime
    traceparent: str = ""


_TYPES: Final = ("uuid[]", "text[]", "bigint[]", "text[]", "bytea[]", "text[]", "timestamptz[]")
COLUMNS: Final = "event_id, aggregate, version, subject, payload, traceparent, occurred_at"
"""What ``row_of`` fills: for a room whose own statement puts an event beside its change."""
_PUT_DRIVER: Final = (
    f"INSERT INTO outbox ({COLUMNS}) SELECT {COLUMNS} FROM unnest("  # noqa: S608  Constants.
    + ", ".join(f"${position}::{name}" for position, name in enumerate(_TYPES, start=1))
    + f") WITH ORDINALITY AS e ({COLUMNS}, position) ORDER BY position"
)
_PUT: Final = sa.text(
    f"INSERT INTO outbox ({COLUMNS}) VALUES (:event_id, :aggregate, :version, :subject, :payload, :traceparent, "  # noqa: S608  Constants.
    ":occurred_at)"
)


async def put(connection: AsyncConnection, events: Sequence[OutgoingEvent]) -> None:
    """Writes events in the transaction of this connection; they are published once it has committed."""
    if not events:
        return
    rows = _rows(events)
    await connection.execute(_PUT, [dict(zip(COLUMNS.split(", "), row, strict=True)) for row in rows])
    announce_commit(connection)


async def put_driver(connection: Any, events: Sequence[OutgoingEvent]) -> None:  # noqa: ANN401  Untyped driver.
    """As ``put``, on a raw asyncpg connection, in one statement however many events there are."""
    if not events:
        return
    await connection.execute(_PUT_DRIVER, *(list(column) for column in zip(*_rows(events), strict=True)))
    announce_commit(connection)


def _rows(events: Sequence[OutgoingEvent]) -> list[tuple[Any, ...]]:
    if len({(event.aggregate, event.version) for event in events}) != len(events):
        raise ValueError("two events of one aggregate share a version; a consumer would drop one of them")
    return [row_of(event) for event in events]


def row_of(event: OutgoingEvent) -> tuple[Any, ...]:
    """An event's row, in the order of COLUMNS. Whoever inserts it himself says ``announce_commit`` as well."""
    return (
        event.event_id,
        event.aggregate,
        event.version,
        event.subject,
        event.payload,
        event.traceparent or telemetry.traceparent(),
        event.occurred_at,
    )


_TAKE: Final = f"""
SELECT id, {COLUMNS} FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED"""  # noqa: S608  Constants.
_MARK: Final = """
WITH known AS (
    UPDATE outbox_stream SET last_seq = greatest(last_seq, $3) WHERE stream = $1 AND created = $2 RETURNING last_seq
)
UPDATE outbox SET published_at = now(), stream_seq = done.seq
FROM unnest($4::bigint[], $5::bigint[]) AS done (id, seq)
WHERE outbox.id = ANY (ARRAY[done.id]) AND EXISTS (SELECT FROM known)"""
_KNOWN: Final = "SELECT created, last_seq FROM outbox_stream WHERE stream = $1 FOR UPDATE"
_OLDEST: Final = "SELECT stream_seq FROM outbox WHERE published_at IS NOT NULL ORDER BY id LIMIT 1"
_MEET: Final = """
INSERT INTO outbox_stream (stream, created, last_seq) VALUES ($1, $2, 0)
ON CONFLICT (stream) DO UPDATE SET created = $2, last_seq = 0"""
_RESET: Final = """
WITH part AS MATERIALIZED (SELECT id FROM outbox WHERE published_at IS NOT NULL AND id > $1 ORDER BY id LIMIT $2),
done AS (
    UPDATE outbox SET published_at = NULL, stream_seq = NULL FROM part WHERE outbox.id = ANY (ARRAY[part.id])
)
SELECT count(*) AS events, max(id) AS last_id FROM part"""
"""What was looked at counts, not what was changed: another process may delete some of it meanwhile (``purge``), and a
part that comes out smaller is not the last one."""
_PURGE: Final = """
DELETE FROM outbox WHERE published_at IS NOT NULL AND id IN (
    SELECT id FROM outbox WHERE id < coalesce(
        (SELECT id FROM outbox WHERE published_at IS NULL OR published_at >= now() - $1::interval ORDER BY id LIMIT 1),
        9223372036854775807)
    ORDER BY id LIMIT $2)"""


class OutboxPublisher:
    """Publishes the outbox of one database to one stream, in id order, for ever; several may run side by side.

    Order within an aggregate holds within a batch; two publishers may overtake each other, which consumers bear by
    ignoring older versions.
    """

    def __init__(self, database: Database, bus: Bus, stream: Stream) -> None:
        self._database = database
        self._bus = bus
        self._stream = stream
        self._wake = asyncio.Event()
        self._created: datetime | None = None
        self._checked_at = self._purged_at = self._published_at = float("-inf")
        self._reconnects = -1
        database.on_announced_commit(self._wake.set)

    async def run(self) -> None:
        """Runs until cancelled. Trouble with NATS or the database is waited out; anything else ends it."""
        troubled = False
        while True:
            try:
                published = await self._step()
            except Exception as error:
                if not (is_transient(error) or (isinstance(error, Failure) and error.kind is Kind.UNAVAILABLE)):
                    raise
                if not troubled:
                    _log.warning("events wait in the outbox", stream=self._stream.name, problem=str(error)[:200])
                troubled = True
                self._checked_at = float("-inf")
                await asyncio.sleep(TROUBLE_PAUSE_S)
                continue
            if troubled:
                _log.info("events flow again", stream=self._stream.name)
                troubled = False
            if published < BATCH_SIZE_MAX:
                await self._rest()

    async def drain(self) -> None:
        """Publishes what is unpublished now, then returns (for tests)."""
        while await self._step():
            pass

    async def _rest(self) -> None:
        try:
            async with asyncio.timeout(POLL_S):
                await self._wake.wait()
        except TimeoutError:
            pass
        await asyncio.sleep(max(self._published_at + SPACING_S - asyncio.get_running_loop().time(), 0.0))
        self._wake.clear()

    async def _step(self) -> int:
        now = asyncio.get_running_loop().time()
        if now - self._purged_at >= PURGE_S:
            await self.purge()
            self._purged_at = now
        if now - self._checked_at >= STREAM_CHECK_S or self._reconnects != self._bus.reconnects:
            self._reconnects = self._bus.reconnects
            await self._check_stream()
            self._checked_at = now
        return await self._publish_batch()

    async def purge(self) -> None:
        """Deletes what was published more than a week ago, oldest first."""
        async with self._database.driver_connection() as connection:
            while await connection.execute(_PURGE, KEPT, PURGE_SIZE_MAX) == f"DELETE {PURGE_SIZE_MAX}":
                pass

    async def _publish_batch(self) -> int:
        self._published_at = asyncio.get_running_loop().time()
        async with self._database.driver_transaction() as connection:
            rows = await connection.fetch(_TAKE, BATCH_SIZE_MAX)
            if not rows:
                return 0
            fault_point("outbox.publish.before_send")
            acks = await asyncio.gather(*(self._publish(row) for row in rows), return_exceptions=True)
            done = [(row["id"], seq) for row, seq in zip(rows, acks, strict=True) if isinstance(seq, int)]
            if done:
                ids, seqs = [row_id for row_id, _ in done], [seq for _, seq in done]
                told = await connection.execute(_MARK, self._stream.name, self._created, max(seqs), ids, seqs)
                if told != f"UPDATE {len(done)}":
                    # Another publisher has met a new stream meanwhile: these acknowledgements may be the old one's.
                    raise Failure(Kind.UNAVAILABLE, "BUS_UNAVAILABLE")
                fault_point("outbox.publish.before_commit")
        fault_point("outbox.publish.after_commit")
        for ack in acks:
            if isinstance(ack, BaseException):
                raise ack
        return len(rows)

    async def _publish(self, row: Any) -> int:  # noqa: ANN401  Untyped driver.
        headers = {
            MESSAGE_ID_HEADER: str(row["event_id"]),
            AGGREGATE_HEADER: row["aggregate"],
            VERSION_HEADER: str(row["version"]),
        }
        if row["traceparent"]:
            headers[telemetry.TRACEPARENT] = row["traceparent"]
        subject = self._stream.subject(row["subject"])
        return (await self._bus.publish(subject, row["payload"], headers=headers, stream=self._stream.name)).seq

    async def _check_stream(self) -> None:
        state = await self._bus.ensure_stream(self._stream)
        async with self._database.driver_transaction() as connection:
            known = await connection.fetchrow(_KNOWN, self._stream.name)
            oldest = await connection.fetchval(_OLDEST)
            lost = known is None or _has_lost(state, known["created"], known["last_seq"], oldest)
            if lost:
                # Durable before the first row is reset: whoever dies in between, the next one begins again.
                await connection.execute(_MEET, self._stream.name, UNMET)
                fault_point("outbox.stream_lost.before_commit")
        if lost:
            fault_point("outbox.stream_lost.after_commit")
            events = await self._reset()
            fault_point("outbox.stream_met.before_commit")
            async with self._database.driver_connection() as connection:
                await connection.execute(_MEET, self._stream.name, state.created)
            fault_point("outbox.stream_met.after_commit")
            if events:
                _log.warning(
                    "the stream is not the one we knew: what is kept is published again",
                    stream=self._stream.name,
                    events=events,
                )
        self._created = state.created

    async def _reset(self) -> int:
        """Makes everything kept unpublished again, a part at a time; how much that was."""
        events = last_id = 0
        while True:
            async with self._database.driver_connection() as connection:
                part = await connection.fetchrow(_RESET, last_id, RESET_SIZE_MAX)
            fault_point("outbox.reset.after_commit")
            events += int(part["events"])
            if part["events"] < RESET_SIZE_MAX:
                return events
            last_id = part["last_id"]


def _has_lost(state: StreamState, created: datetime, last_seq: int, oldest_kept: int | None) -> bool:
    """Whether the stream no longer holds all that it acknowledged and we still keep."""
    cut = oldest_kept is not None and oldest_kept < state.first_seq
    return state.created != created or state.last_seq < last_seq or cut
