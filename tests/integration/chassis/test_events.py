"""Outbox and inbox over a real stream: nothing lost, nothing twice, whatever the broker forgets."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import inbox, outbox, telemetry
from chassis.bus import MESSAGE_ID_HEADER, Bus, Stream
from chassis.db import Database
from chassis.inbox import Consumer, IncomingEvent
from chassis.migrate import migrate
from chassis.outbox import AGGREGATE_HEADER, VERSION_HEADER, OutboxPublisher, OutgoingEvent, put, put_driver
from kernel.failures import Failure, Kind
from tests.integration.chassis.conftest import MIGRATIONS
from tests.patience import until

NOW = datetime(2026, 1, 5, 10, tzinfo=UTC)
UPSERT = sa.text(
    "INSERT INTO person VALUES (:aggregate, :version) ON CONFLICT (psn_no) DO UPDATE SET version = EXCLUDED.version"
)

WAITING_FOR_A_LOCK = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
)


def event(aggregate: str, version: int) -> OutgoingEvent:
    """An event of this aggregate."""
    return OutgoingEvent(uuid.uuid4(), aggregate, version, "person_changed", b"%d" % version, NOW)


class Reader:
    """Handles events by noting them in the table ``person`` and in memory; fails as it is told."""

    def __init__(self) -> None:
        self.handled: list[tuple[str, int]] = []
        self.traces: list[str] = []
        self.committed: list[tuple[str, int]] = []
        self.errors: dict[str, list[Exception]] = {}

    async def handle(self, connection: AsyncConnection, event: IncomingEvent) -> None:
        """Notes the event, unless an error is due for its aggregate."""
        assert event.payload == b"%d" % event.version
        await connection.execute(UPSERT, {"aggregate": event.aggregate, "version": event.version})
        if self.errors.get(event.aggregate):
            raise self.errors[event.aggregate].pop(0)
        self.handled.append((event.aggregate, event.version))
        self.traces.append(telemetry.trace_id())

    def after_commit(self, events: Sequence[IncomingEvent]) -> None:
        """Notes what took effect."""
        self.committed += [(event.aggregate, event.version) for event in events]


@asynccontextmanager
async def running(work: Awaitable[None]) -> AsyncIterator[None]:
    """Runs the work beside the block; an error of it is an error of the test."""
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        if task.done():
            await task
        task.cancel()
        await asyncio.wait([task])


async def put_and_fail(db: Database, outgoing: OutgoingEvent) -> None:
    """Writes the event and then breaks the transaction."""
    async with db.transaction() as connection:
        await put(connection, [outgoing])
        raise LookupError


async def unpublished(db: Database) -> int:
    """How many rows of the outbox wait."""
    async with db.driver_connection() as driver:
        return int(await driver.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"))


@pytest.fixture
def stream(bus: Bus) -> Stream:
    """The stream of this test."""
    return Stream(bus.prefix, "identity")


@pytest.fixture
async def reading_db(new_database: Callable[[], Awaitable[str]]) -> AsyncIterator[Database]:
    """Another service's database."""
    url = await new_database()
    await migrate(url, MIGRATIONS)
    async with Database(url, pool_size=4) as opened:
        yield opened


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chassis.inbox.FETCH_WAIT_S", 0.3)
    monkeypatch.setattr("chassis.inbox.SILENCE_CHECK_S", 0.5)
    monkeypatch.setattr("chassis.inbox.TROUBLE_PAUSE_S", 0.1)
    monkeypatch.setattr("chassis.outbox.STREAM_CHECK_S", 0.3)


async def all_published(db: Database) -> bool:
    """Whether every event is marked: after the broker's word, which may come later than the event at its reader."""
    return await unpublished(db) == 0


async def test_events_of_a_commit_arrive_in_order_and_those_of_a_rollback_never(
    db: Database, reading_db: Database, bus: Bus, stream: Stream
) -> None:
    """Both ways of writing the outbox; the trace of the writer is the trace of the reader; what commits is told."""
    reader = Reader()
    consumer = Consumer(
        reading_db, bus, stream, name="copy", handle=reader.handle, latest_only=False, after_commit=reader.after_commit
    )
    publisher = OutboxPublisher(db, bus, stream)
    trace = telemetry.new_trace()
    async with running(publisher.run()), running(consumer.run()):
        with telemetry.traced(trace):
            async with db.transaction() as connection:
                await put(connection, [event("a", 1), event("a", 2)])
            with pytest.raises(LookupError):
                await put_and_fail(db, event("b", 1))
            async with db.driver_transaction() as driver:
                await put_driver(driver, [event("a", 3), event("c", 1)])
        await until(lambda: len(reader.committed) == 4)
        await until(partial(all_published, db))
    assert reader.handled == reader.committed == [("a", 1), ("a", 2), ("a", 3), ("c", 1)]
    assert set(reader.traces) == {trace.trace_id}


async def test_a_commit_wakes_the_publisher(
    db: Database, bus: Bus, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event goes out long before the next poll is due."""
    monkeypatch.setattr("chassis.outbox.POLL_S", 30.0)
    publisher = OutboxPublisher(db, bus, stream)
    async with running(publisher.run()):
        await asyncio.sleep(0.3)

        async def none_left() -> bool:
            return await unpublished(db) == 0

        for version in (1, 2):
            async with db.transaction() as connection:
                await put(connection, [event("a", version)])
            await until(none_left, within_s=60)


async def test_a_redelivered_or_older_event_has_no_second_effect(
    db: Database, reading_db: Database, bus: Bus, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same events published thrice: each is handled once by id, and a projection only goes forward."""
    monkeypatch.setattr("chassis.bus.DUPLICATE_WINDOW_S", 0.2)
    by_id, latest = Reader(), Reader()
    publisher = OutboxPublisher(db, bus, stream)
    async with (
        running(Consumer(reading_db, bus, stream, name="ids", handle=by_id.handle, latest_only=False).run()),
        running(Consumer(reading_db, bus, stream, name="latest", handle=latest.handle).run()),
    ):
        async with db.transaction() as connection:
            await put(connection, [event("a", 2), event("b", 1)])
        await publisher.drain()
        await until(lambda: len(by_id.handled) == 2 and len(latest.handled) == 2)
        async with db.driver_connection() as driver:
            rows = await driver.fetch("SELECT event_id, aggregate, version, payload FROM outbox ORDER BY id")
        for _ in range(2):
            await asyncio.sleep(0.3)  # Until JetStream no longer drops them for us.
            for row in rows:
                headers = {
                    "Nats-Msg-Id": str(row["event_id"]),
                    "Gongji-Aggregate": row["aggregate"],
                    "Gongji-Version": str(row["version"]),
                }
                again = await bus.publish(stream.subject("person_changed"), row["payload"], headers=headers)
                assert not again.duplicate
        async with db.transaction() as connection:
            await put(connection, [event("a", 1), event("b", 2)])
        await publisher.drain()
        await until(lambda: ("b", 2) in by_id.handled and ("b", 2) in latest.handled)
    assert sorted(by_id.handled) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
    assert sorted(latest.handled) == [("a", 2), ("b", 1), ("b", 2)]


async def test_what_comes_together_is_handled_in_the_order_of_the_aggregates(
    db: Database, reading_db: Database, bus: Bus, stream: Stream
) -> None:
    """Whoever else writes the same rows in the order of their keys then waits for nobody who waits for him."""
    reader = Reader()
    consumer = Consumer(reading_db, bus, stream, name="settlement", handle=reader.handle)
    async with db.transaction() as connection:
        await put(connection, [event(name, 1) for name in ("C", "A", "B")])
    async with running(OutboxPublisher(db, bus, stream).run()):
        await until(lambda: all_published(db))
    async with running(consumer.run()):
        await until(lambda: len(reader.handled) == 3)
    assert reader.handled == [("A", 1), ("B", 1), ("C", 1)]


async def test_a_wiped_stream_is_filled_again_and_nobody_notices(
    db: Database, reading_db: Database, bus: Bus, stream: Stream
) -> None:
    """The stream is deleted with events unread; all of them arrive, once each, also at a consumer that comes later."""
    reader, late = Reader(), Reader()
    publisher = OutboxPublisher(db, bus, stream)
    async with running(publisher.run()):
        async with running(Consumer(reading_db, bus, stream, name="one", handle=reader.handle).run()):
            async with db.transaction() as connection:
                await put(connection, [event(f"p{number}", 1) for number in range(50)])
            await until(lambda: len(reader.handled) == 50)
        async with db.transaction() as connection:
            await put(connection, [event(f"q{number}", 1) for number in range(50)])

        async def all_out() -> bool:
            return await unpublished(db) == 0

        await until(all_out)
        await bus.client.jsm().delete_stream(stream.name)
        async with (
            running(Consumer(reading_db, bus, stream, name="one", handle=reader.handle).run()),
            running(Consumer(reading_db, bus, stream, name="two", handle=late.handle).run()),
        ):
            await until(lambda: len(reader.handled) == 100 and len(late.handled) == 100)
            await bus.client.jsm().delete_stream(stream.name)
            async with db.transaction() as connection:
                await put(connection, [event("after", 1)])
            await until(lambda: ("after", 1) in reader.handled and ("after", 1) in late.handled)
            await until(all_out)
    for each in (reader, late):
        assert len(each.handled) == len(set(each.handled)) == 101


async def test_filling_a_stream_again_is_done_in_parts_and_ends_whoever_dies_in_between(
    db: Database, bus: Bus, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A week of events is too much for one statement: after the first part the publisher dies, another one goes on."""
    monkeypatch.setattr("chassis.outbox.RESET_SIZE_MAX", 8)
    async with db.transaction() as connection:
        await put(connection, [event(f"p{number}", 1) for number in range(30)])
    await OutboxPublisher(db, bus, stream).drain()
    await bus.client.jsm().delete_stream(stream.name)

    async def dies_at_the_second_part(self: OutboxPublisher) -> int:
        async with self._database.driver_connection() as connection:
            await connection.fetchrow(outbox._RESET, 0, 8)
        raise LookupError

    with monkeypatch.context() as patched:
        patched.setattr(OutboxPublisher, "_reset", dies_at_the_second_part)
        with pytest.raises(LookupError):
            await OutboxPublisher(db, bus, stream).drain()
    assert await unpublished(db) == 8
    await OutboxPublisher(db, bus, stream).drain()
    assert await unpublished(db) == 0
    state = await bus.ensure_stream(stream)
    assert (state.first_seq, state.last_seq) == (1, 30)


async def test_a_stream_is_filled_to_the_end_although_some_of_what_is_kept_is_deleted_meanwhile(
    db: Database, bus: Bus, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A part that shrinks while its rows are waited for is not taken for the last one."""
    monkeypatch.setattr("chassis.outbox.RESET_SIZE_MAX", 8)
    async with db.transaction() as connection:
        await put(connection, [event(f"p{number}", 1) for number in range(30)])
    await OutboxPublisher(db, bus, stream).drain()
    await bus.client.jsm().delete_stream(stream.name)

    async def waits_for_the_lock() -> bool:
        async with db.driver_connection() as driver:
            return bool(await driver.fetchval(WAITING_FOR_A_LOCK))

    async with asyncio.timeout(60):
        async with db.driver_transaction() as purging:
            await purging.execute("DELETE FROM outbox WHERE id IN (SELECT id FROM outbox ORDER BY id LIMIT 3)")
            filling = asyncio.create_task(OutboxPublisher(db, bus, stream).drain())
            await until(waits_for_the_lock)
        await filling
    state = await bus.ensure_stream(stream)
    assert (state.first_seq, state.last_seq) == (1, 27)


async def test_a_stream_that_lost_its_beginning_is_filled_again(
    db: Database, bus: Bus, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Purged without being deleted: the creation time is the same, yet what is kept is published again."""
    monkeypatch.setattr("chassis.bus.DUPLICATE_WINDOW_S", 0.2)
    publisher = OutboxPublisher(db, bus, stream)
    async with db.transaction() as connection:
        await put(connection, [event("a", version) for version in range(1, 6)])
    await publisher.drain()
    await bus.client.jsm().purge_stream(stream.name)
    assert (await bus.ensure_stream(stream)).first_seq == 6
    async with running(publisher.run()):

        async def filled() -> bool:
            state = await bus.ensure_stream(stream)
            return state.last_seq - state.first_seq + 1 >= 5

        await until(filled, within_s=60)


async def test_an_event_that_cannot_be_handled_becomes_a_dead_letter_and_harms_no_other(
    db: Database, reading_db: Database, bus: Bus, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bad event is tried as often as allowed, then buried; its half-done work is nowhere; the others go on."""
    monkeypatch.setattr(inbox, "ATTEMPTS_MAX", 3)
    monkeypatch.setattr(inbox, "NAK_DELAY_MAX_S", 0.1)
    reader = Reader()
    reader.errors["bad"] = [ValueError("no such person 650103198503124518")] * 10
    async with db.transaction() as connection:
        await put(connection, [event("a", 1), event("bad", 1), event("b", 1)])
    await OutboxPublisher(db, bus, stream).drain()

    async def buried() -> bool:
        async with reading_db.driver_connection() as driver:
            return bool(await driver.fetchval("SELECT count(*) FROM inbox_dead"))

    consumer = Consumer(reading_db, bus, stream, name="strict", handle=reader.handle, after_commit=reader.after_commit)
    async with running(consumer.run()):
        await until(buried)
        await until(lambda: sorted(reader.committed) == [("a", 1), ("b", 1)])
    async with reading_db.driver_connection() as driver:
        dead = await driver.fetchrow("SELECT aggregate, problem FROM inbox_dead")
        persons = [row["psn_no"] for row in await driver.fetch("SELECT psn_no FROM person ORDER BY 1")]
    assert tuple(dead) == ("bad", "ValueError: no such person [redacted]")
    assert persons == ["a", "b"]


async def test_a_dead_letter_that_a_person_asks_for_is_taken_in_once_its_cause_is_mended(
    db: Database, reading_db: Database, bus: Bus, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried again while the cause lasts it stays dead, with the newer problem; after that it takes effect once."""
    monkeypatch.setattr(inbox, "ATTEMPTS_MAX", 1)
    monkeypatch.setattr(inbox, "REDRIVE_S", 0.05)
    reader = Reader()
    # In its batch, alone, and when it is tried again for the first time.
    reader.errors["bad"] = [ValueError("first"), ValueError("first"), ValueError("second")]
    async with db.transaction() as connection:
        await put(connection, [event("bad", 1)])
    await OutboxPublisher(db, bus, stream).drain()

    async def problem() -> str | None:
        async with reading_db.driver_connection() as driver:
            told: str | None = await driver.fetchval("SELECT problem FROM inbox_dead WHERE redrive_at IS NULL")
            return told

    async def ask() -> None:
        async with reading_db.driver_connection() as driver:
            await driver.execute("UPDATE inbox_dead SET redrive_at = now()")

    async def first() -> bool:
        return await problem() == "ValueError: first"

    async def second() -> bool:
        return await problem() == "ValueError: second"

    async def gone() -> bool:
        async with reading_db.driver_connection() as driver:
            return not await driver.fetchval("SELECT count(*) FROM inbox_dead")

    consumer = Consumer(reading_db, bus, stream, name="risen", handle=reader.handle, after_commit=reader.after_commit)
    async with running(consumer.run()):
        await until(first)
        await ask()
        await until(second)
        await ask()
        await until(gone)
    assert reader.committed == [("bad", 1)]


async def test_what_passes_by_itself_is_tried_until_it_has_passed(
    db: Database, reading_db: Database, bus: Bus, stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another service's absence never makes a dead letter, however long it lasts."""
    monkeypatch.setattr(inbox, "ATTEMPTS_MAX", 2)
    reader = Reader()
    reader.errors["a"] = [Failure(Kind.UNAVAILABLE, "SERVICE_UNAVAILABLE")] * 6
    async with db.transaction() as connection:
        await put(connection, [event("a", 1)])
    await OutboxPublisher(db, bus, stream).drain()
    async with running(Consumer(reading_db, bus, stream, name="patient", handle=reader.handle).run()):
        await until(lambda: reader.handled == [("a", 1)])
    async with reading_db.driver_connection() as driver:
        assert await driver.fetchval("SELECT count(*) FROM inbox_dead") == 0


async def test_two_publishers_and_two_replicas_share_the_work(
    db: Database, reading_db: Database, bus: Bus, stream: Stream
) -> None:
    """Six hundred events, two of each: every event takes effect once."""
    reader = Reader()
    async with (
        running(OutboxPublisher(db, bus, stream).run()),
        running(OutboxPublisher(db, bus, stream).run()),
        running(Consumer(reading_db, bus, stream, name="shared", handle=reader.handle, latest_only=False).run()),
        running(Consumer(reading_db, bus, stream, name="shared", handle=reader.handle, latest_only=False).run()),
    ):
        for number in range(6):
            async with db.driver_transaction() as driver:
                await put_driver(driver, [event(f"{number}-{item}", 1) for item in range(100)])
        await until(lambda: len(reader.handled) >= 600)
        await asyncio.sleep(0.3)
    assert len(reader.handled) == len(set(reader.handled)) == 600


async def test_a_message_that_is_no_event_is_dropped_and_the_next_one_handled(
    db: Database, reading_db: Database, bus: Bus, stream: Stream
) -> None:
    """Without our headers a message cannot be told apart from another; nor with headers that no row could keep."""
    reader = Reader()
    await bus.ensure_stream(stream)
    await bus.publish(stream.subject("person_changed"), b"garbage")
    for aggregate, version in (("a", str(2**63)), ("a", "0"), ("a", "one"), ("a\x00", "1")):
        headers = {MESSAGE_ID_HEADER: str(uuid.uuid4()), AGGREGATE_HEADER: aggregate, VERSION_HEADER: version}
        await bus.publish(stream.subject("person_changed"), b"garbage", headers=headers)
    async with db.transaction() as connection:
        await put(connection, [event("a", 1)])
    await OutboxPublisher(db, bus, stream).drain()

    async def nothing_is_left() -> bool:
        info = await bus.client.jsm().consumer_info(stream.name, "sane")
        return (info.num_pending, info.num_ack_pending) == (0, 0)

    consumer = Consumer(reading_db, bus, stream, name="sane", handle=reader.handle)
    async with running(consumer.run()):
        await until(lambda: reader.handled == [("a", 1)])
        await until(nothing_is_left)


async def test_only_the_subjects_asked_for_arrive(db: Database, reading_db: Database, bus: Bus, stream: Stream) -> None:
    """A consumer of one kind of event is not woken for another."""
    reader = Reader()
    other = OutgoingEvent(uuid.uuid4(), "x", 1, "institution_changed", b"1", NOW)
    async with db.transaction() as connection:
        await put(connection, [other, event("a", 1)])
    await OutboxPublisher(db, bus, stream).drain()
    consumer = Consumer(
        reading_db, bus, stream, name="persons", handle=reader.handle, subjects=["person_changed"], latest_only=False
    )
    async with running(consumer.run()):
        await until(lambda: bool(reader.handled))
    assert reader.handled == [("a", 1)]


async def test_rows_published_a_week_ago_are_deleted_and_no_others(db: Database, bus: Bus, stream: Stream) -> None:
    """Old and published goes; young stays, and old but unpublished stays."""
    publisher = OutboxPublisher(db, bus, stream)
    async with db.transaction() as connection:
        await put(connection, [event("a", version) for version in range(1, 5)])
    await publisher.drain()
    async with db.driver_connection() as driver:
        await driver.execute("UPDATE outbox SET published_at = now() - interval '8 days' WHERE version <= 2")
        await publisher.purge()
        assert [row["version"] for row in await driver.fetch("SELECT version FROM outbox ORDER BY id")] == [3, 4]


async def test_two_events_of_one_version_are_refused_before_they_are_written(db: Database) -> None:
    """A consumer would drop one of them, so the writer hears of it."""
    with pytest.raises(ValueError, match="share a version"):
        async with db.transaction() as connection:
            await put(connection, [event("a", 1), event("a", 1)])
