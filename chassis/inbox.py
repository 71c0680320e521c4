"""Events arrive through a durable JetStream consumer and take effect once each, however often they are delivered.

Two kinds of consumer:

* ``latest_only=True`` (projections): an event is handled if its version is newer than what is known of its aggregate.
  Events carry the aggregate's whole public state, so of several in one batch only the newest is handled.
* ``latest_only=False`` (notify): every event is handled once, known by its id, in whatever order it comes.

The handler runs in the transaction that also records the event, and the message is acknowledged after the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import nats.errors
import nats.js.errors
import sqlalchemy as sa
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from sqlalchemy.dialects.postgresql import BYTEA
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import telemetry
from chassis.bus import MESSAGE_ID_HEADER, Bus, Stream
from chassis.db import Database, is_transient
from chassis.faults import awaited_fault_point, fault_point
from chassis.outbox import AGGREGATE_HEADER, VERSION_HEADER
from kernel.failures import Failure, Kind

_log = telemetry.logger("inbox")

BATCH_SIZE_MAX: Final = 100
FETCH_WAIT_S: Final = 2.0
FETCH_MARGIN_S: Final = 3.0
ACK_WAIT_S: Final = 30.0
IN_FLIGHT_MAX: Final = 1_000
SILENCE_CHECK_S: Final = 10.0
TROUBLE_PAUSE_S: Final = 1.0
STREAM_PAUSE_MIN_S: Final = 0.02
STREAM_PAUSE_MAX_S: Final = 1.0
ATTEMPTS_MAX: Final = 8
REDRIVE_S: Final = 1.0
"""How often dead letters are looked for that a person wants tried again."""
NAK_DELAY_MAX_S: Final = 60
VERSION_MAX: Final = 2**63 - 1
"""What the columns hold; no outbox writes a greater one."""
KEPT: Final = timedelta(days=15)
"""Longer than outbox rows are kept, so that an event published again is still known."""
PURGE_S: Final = 3_600.0

DDL_V1: Final = (
    """CREATE TABLE inbox (
        consumer text NOT NULL,
        event_id uuid NOT NULL,
        received_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (consumer, event_id)
    )""",
    "CREATE INDEX inbox_received_at ON inbox USING brin (received_at)",
    """CREATE TABLE inbox_version (
        consumer text NOT NULL,
        aggregate text NOT NULL,
        version bigint NOT NULL,
        PRIMARY KEY (consumer, aggregate)
    )""",
    """CREATE TABLE inbox_dead (
        consumer text NOT NULL,
        event_id uuid NOT NULL,
        subject text NOT NULL,
        aggregate text NOT NULL,
        version bigint NOT NULL,
        payload bytea NOT NULL,
        traceparent text NOT NULL,
        problem text NOT NULL,
        died_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (consumer, event_id)
    )""",
)
"""What a room's migration executes, statement by statement; a later change becomes DDL_V2 and never edits this one."""

DDL_V2: Final = ("ALTER TABLE inbox_dead ADD COLUMN stream text, ADD COLUMN redrive_at timestamptz",)
"""Lets a person have a dead letter tried again; the stream says which of a room's consumers it belongs to."""


def inbox_tables(metadata: sa.MetaData) -> None:
    """The inbox tables as part of a room's tables (the same as DDL_V1 and DDL_V2)."""
    now = sa.func.now()
    inbox = sa.Table(
        "inbox",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
    )
    sa.Index("inbox_received_at", inbox.c.received_at, postgresql_using="brin")
    sa.Table(
        "inbox_version",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("aggregate", sa.Text, primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
    )
    sa.Table(
        "inbox_dead",
        metadata,
        sa.Column("consumer", sa.Text, primary_key=True),
        sa.Column("event_id", sa.Uuid, primary_key=True),
        sa.Column("subject", sa.Text, nullable=False),
        sa.Column("aggregate", sa.Text, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("payload", BYTEA, nullable=False),
        sa.Column("traceparent", sa.Text, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
        sa.Column("died_at", sa.DateTime(timezone=True), nullable=False, server_default=now),
        sa.Column("stream", sa.Text),
        sa.Column("redrive_at", sa.DateTime(timezone=True)),
    )


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """An event as its handler sees it; ``subject`` is the event's name in snake case, without the stream's prefix."""

    event_id: UUID
    aggregate: str
    version: int
    subject: str
    payload: bytes
    traceparent: str


Handle = Callable[[AsyncConnection, IncomingEvent], Awaitable[None]]
"""Does what the event asks for, in the given transaction. May write to the outbox; sends nothing itself."""

_NEWER: Final = sa.text("""
INSERT INTO inbox_version (consumer, aggregate, version)
SELECT :consumer, e.aggregate, e.version
FROM unnest(CAST(:aggregates AS text[]), CAST(:versions AS bigint[])) AS e (aggregate, version) ORDER BY e.aggregate
ON CONFLICT (consumer, aggregate) DO UPDATE SET version = EXCLUDED.version
WHERE inbox_version.version < EXCLUDED.version RETURNING aggregate""")
_UNKNOWN: Final = sa.text("""
INSERT INTO inbox (consumer, event_id)
SELECT :consumer, e.event_id FROM unnest(CAST(:event_ids AS uuid[])) AS e (event_id) ORDER BY e.event_id
ON CONFLICT DO NOTHING RETURNING event_id""")
_BURY: Final = sa.text("""
INSERT INTO inbox_dead (consumer, event_id, subject, aggregate, version, payload, traceparent, problem, stream)
VALUES (:consumer, :event_id, :subject, :aggregate, :version, :payload, :traceparent, :problem, :stream)
ON CONFLICT (consumer, event_id) DO UPDATE
SET problem = EXCLUDED.problem, died_at = EXCLUDED.died_at, redrive_at = NULL""")
_REDRIVEN: Final = """
SELECT event_id, subject, aggregate, version, payload, traceparent FROM inbox_dead
WHERE consumer = $1 AND stream = $2 AND redrive_at <= now() ORDER BY redrive_at LIMIT $3"""
_RISEN: Final = "DELETE FROM inbox_dead WHERE consumer = $1 AND event_id = $2"
_FORGET_VERSIONS: Final = """
DELETE FROM inbox_version WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM inbox_version WHERE consumer = $1 AND split_part(aggregate, ':', 1) = $2 LIMIT $3))"""
_PURGE: Final = "DELETE FROM inbox WHERE received_at < now() - $1::interval"


class Consumer:
    """Reads one stream for one purpose, for ever. Replicas with the same name share the work.

    A handler that fails is tried again with growing pauses; after ATTEMPTS_MAX failures the event becomes a row of
    ``inbox_dead`` and an error in the log. What will pass by itself (the database or another service is away, a
    conflict) is tried for ever and never becomes a dead letter. A new consumer, and one whose stream was made anew,
    starts at the stream's beginning. What was delivered and not acknowledged comes again after ``ack_wait_s``.
    ``after_commit`` hears of the events that took effect.
    """

    def __init__(
        self,
        database: Database,
        bus: Bus,
        stream: Stream,
        *,
        name: str,
        handle: Handle,
        subjects: Sequence[str] = (">",),
        latest_only: bool = True,
        ack_wait_s: float = ACK_WAIT_S,
        after_commit: Callable[[Sequence[IncomingEvent]], None] | None = None,
    ) -> None:
        self._database = database
        self._bus = bus
        self._stream = stream
        self._name = name
        self._handle = handle
        self._subjects = [stream.subject(suffix) for suffix in subjects]
        self._latest_only = latest_only
        self._ack_wait_s = ack_wait_s
        self._after_commit = after_commit
        self._attempts: dict[UUID, int] = {}
        self._purged_at = float("-inf")
        self._redriven_at = float("-inf")

    async def run(self) -> None:
        """Runs until cancelled. Trouble with NATS or the database is waited out."""
        while True:
            subscription: JetStreamContext.PullSubscription | None = None
            try:
                subscription = await self._subscribe()
                await self._consume(subscription)
            except Exception as error:
                if not (isinstance(error, nats.errors.Error) or _passes(error) or is_transient(error)):
                    raise
                _log.warning("the consumer is rebuilt", consumer=self._name, problem=type(error).__name__)
                await asyncio.sleep(TROUBLE_PAUSE_S)
            finally:
                if subscription is not None:
                    await self._unsubscribe(subscription)

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        await self._wait_for_stream()
        config = ConsumerConfig(
            durable_name=self._name,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=self._ack_wait_s,
            max_ack_pending=IN_FLIGHT_MAX,
            filter_subjects=self._subjects,
        )
        async with asyncio.timeout(FETCH_MARGIN_S):
            await self._bus.client.jsm().add_consumer(self._stream.name, config)
            return await self._bus.client.jetstream().pull_subscribe_bind(durable=self._name, stream=self._stream.name)

    async def _wait_for_stream(self) -> None:
        """The stream is made by whoever says its facts, with the copies that its owner's settings ask for."""
        pause_s = STREAM_PAUSE_MIN_S
        while await self._bus.stream_state(self._stream) is None:
            if pause_s == STREAM_PAUSE_MIN_S:
                _log.info("the stream is not there yet", consumer=self._name, stream=self._stream.name)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, STREAM_PAUSE_MAX_S)

    async def _unsubscribe(self, subscription: JetStreamContext.PullSubscription) -> None:
        try:
            async with asyncio.timeout(FETCH_MARGIN_S):
                await subscription.unsubscribe()
        except (nats.errors.Error, OSError, TimeoutError):
            pass  # It is gone one way or another; the next one gets a new inbox.

    async def _consume(self, subscription: JetStreamContext.PullSubscription) -> None:
        """Works until the subscription looks dead; then returns, to be built anew."""
        loop = asyncio.get_running_loop()
        reconnects = self._bus.reconnects
        heard_at = loop.time()
        while reconnects == self._bus.reconnects:
            await self._redrive(loop.time())
            messages = await self._fetch(subscription)
            if messages:
                heard_at = loop.time()
                await self._take(messages)
                continue
            await self._purge(loop.time())
            if loop.time() - heard_at >= SILENCE_CHECK_S:
                info = await subscription.consumer_info()
                if info.num_pending:
                    _log.warning("the subscription fell silent", consumer=self._name, waiting=info.num_pending)
                    return
                heard_at = loop.time()

    async def _fetch(self, subscription: JetStreamContext.PullSubscription) -> list[Msg]:
        try:
            async with asyncio.timeout(FETCH_WAIT_S + FETCH_MARGIN_S):
                return list(await subscription.fetch(BATCH_SIZE_MAX, timeout=FETCH_WAIT_S))
        except TimeoutError:
            return []

    async def _take(self, messages: list[Msg]) -> None:
        known: list[tuple[Msg, IncomingEvent]] = []
        for message in messages:
            event = _event_of(message, self._stream)
            if event is None:
                _log.error("a message is not an event and was dropped", consumer=self._name, subject=message.subject)
                await message.term()
            else:
                known.append((message, event))
        try:
            await self._apply([event for _, event in known])
        except Exception as error:  # noqa: BLE001  A handler's fault belongs to its event; each is tried alone below.
            if is_transient(error):
                _log.warning("events wait for the database", consumer=self._name, problem=type(error).__name__)
                await asyncio.sleep(TROUBLE_PAUSE_S)
                for message, _ in known:
                    await message.nak()
                return
            for message, event in known:
                await self._take_alone(message, event)
            return
        for message, _ in known:
            await message.ack()
        await awaited_fault_point("inbox.ack.after_send")

    async def _take_alone(self, message: Msg, event: IncomingEvent) -> None:
        """One event in a transaction of its own, so that a bad one harms no other."""
        try:
            with telemetry.traced(telemetry.child_of(telemetry.parsed_traceparent(event.traceparent))):
                await self._apply([event])
        except Exception as error:  # noqa: BLE001  As above: it is tried again, and in the end becomes a dead letter.
            if _passes(error) or is_transient(error):
                _log.warning("an event waits", consumer=self._name, problem=str(error)[:200], **_facts(event))
                await message.nak(delay=TROUBLE_PAUSE_S)
                return
            attempts = self._attempts[event.event_id] = self._attempts.get(event.event_id, 0) + 1
            if attempts < ATTEMPTS_MAX:
                _log.exception("an event could not be handled", consumer=self._name, attempts=attempts, **_facts(event))
                await message.nak(delay=min(2**attempts / 2, NAK_DELAY_MAX_S))
                return
            await self._bury(event, error)
            await message.term()
        else:
            await message.ack()
        self._attempts.pop(event.event_id, None)

    async def _apply(self, events: list[IncomingEvent]) -> None:
        """Handles those of the events that are new, all in one transaction."""
        if not events:
            return
        async with self._database.transaction() as connection:
            fresh = await (self._newer(connection, events) if self._latest_only else self._unknown(connection, events))
            for event in fresh:
                with telemetry.traced(telemetry.child_of(telemetry.parsed_traceparent(event.traceparent))):
                    await self._handle(connection, event)
            fault_point("inbox.take.before_commit")
        fault_point("inbox.take.after_commit")
        if fresh and self._after_commit is not None:
            self._after_commit(fresh)

    async def _newer(self, connection: AsyncConnection, events: list[IncomingEvent]) -> list[IncomingEvent]:
        newest: dict[str, IncomingEvent] = {}
        for event in events:
            if event.aggregate not in newest or newest[event.aggregate].version < event.version:
                newest[event.aggregate] = event
        rows = await connection.execute(
            _NEWER,
            {
                "consumer": self._name,
                "aggregates": list(newest),
                "versions": [event.version for event in newest.values()],
            },
        )
        fresh = set(rows.scalars())
        # In one order for everybody who writes the same rows: nobody waits for somebody who waits for him.
        return [event for aggregate, event in sorted(newest.items()) if aggregate in fresh]

    async def _unknown(self, connection: AsyncConnection, events: list[IncomingEvent]) -> list[IncomingEvent]:
        by_id = {event.event_id: event for event in events}
        rows = await connection.execute(_UNKNOWN, {"consumer": self._name, "event_ids": list(by_id)})
        fresh = set(rows.scalars())
        return [event for event_id, event in by_id.items() if event_id in fresh]

    async def _bury(self, event: IncomingEvent, error: Exception) -> None:
        problem = telemetry.redacted(f"{type(error).__name__}: {error}")[:2_000]
        async with self._database.transaction() as connection:
            await connection.execute(
                _BURY,
                {
                    "consumer": self._name,
                    "event_id": event.event_id,
                    "subject": event.subject,
                    "aggregate": event.aggregate,
                    "version": event.version,
                    "payload": event.payload,
                    "traceparent": event.traceparent,
                    "problem": problem,
                    "stream": self._stream.name,
                },
            )
        _log.error("an event became a dead letter", consumer=self._name, problem=type(error).__name__, **_facts(event))

    async def _redrive(self, now: float) -> None:
        """Tries dead letters again that a person has asked for; one that fails is a dead letter as before."""
        if now - self._redriven_at < REDRIVE_S:
            return
        self._redriven_at = now
        async with self._database.driver_connection() as connection:
            rows = await connection.fetch(_REDRIVEN, self._name, self._stream.name, BATCH_SIZE_MAX)
        for row in rows:
            event = IncomingEvent(**dict(row))
            try:
                await self._apply([event])
            except Exception as error:  # noqa: BLE001  It belongs to this one event.
                if not (_passes(error) or is_transient(error)):
                    await self._bury(event, error)
                continue
            async with self._database.driver_connection() as connection:
                await connection.execute(_RISEN, self._name, event.event_id)
            _log.info("a dead letter was taken in after all", consumer=self._name, **_facts(event))

    async def _purge(self, now: float) -> None:
        if now - self._purged_at < PURGE_S:
            return
        self._purged_at = now
        try:
            async with self._database.driver_connection() as connection:
                await connection.execute(_PURGE, KEPT)
        except Exception as error:
            if not is_transient(error):
                raise


async def forget_versions(connection: Any, consumer: str, kind: str, *, rows_max: int) -> int:  # noqa: ANN401  Untyped driver.
    """Lets the next event of each aggregate count, whatever its version, so many rows at once; how many there were.

    For aggregates whose owner was restored from a backup and counts anew from there; a kind is what stands before the
    colon. On a raw connection.
    """
    said: str = await connection.execute(_FORGET_VERSIONS, consumer, kind, rows_max)
    return int(said.rpartition(" ")[2])


def _passes(error: BaseException) -> bool:
    """Whether a failure speaks of a moment, not of the event."""
    return isinstance(error, Failure) and error.kind in {
        Kind.UNAVAILABLE,
        Kind.DEADLINE,
        Kind.CONFLICT,
        Kind.EXHAUSTED,
    }


def _facts(event: IncomingEvent) -> dict[str, str | int]:
    return {"event_id": str(event.event_id), "subject": event.subject, "version": event.version}


def _event_of(message: Msg, stream: Stream) -> IncomingEvent | None:
    headers = message.headers or {}
    try:
        aggregate, version = headers[AGGREGATE_HEADER], int(headers[VERSION_HEADER])
        if not (aggregate.isprintable() and 0 < version <= VERSION_MAX):
            return None  # No row could keep it, not even as a dead letter.
        return IncomingEvent(
            event_id=UUID(headers[MESSAGE_ID_HEADER]),
            aggregate=aggregate,
            version=version,
            subject=message.subject.removeprefix(stream.subject("")),
            payload=message.data,
            traceparent=str(telemetry.parsed_traceparent(headers.get(telemetry.TRACEPARENT)) or ""),
        )
    except (KeyError, ValueError):
        return None
