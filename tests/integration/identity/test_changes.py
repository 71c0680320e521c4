"""What was told, for rooms that ask: the snapshot, and what changed since a cursor, without a gap."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import Final

import pytest

from chassis.db import Database
from chassis.migrate import migrate
from gongji.identity.v1 import events_pb2, identity_pb2
from kernel.failures import Failure, Kind
from ops.embedded.postgres import EmbeddedPostgres
from services.identity.app import MIGRATIONS
from services.identity.store import events
from tests.integration.identity.conftest import HOSPITAL, LI, WANG, Identity, StartIdentity, refusal
from tests.integration.settlement.engine.statements import Said, hearing
from tests.servers import new_folder

WRITERS: Final = 6
ROUNDS: Final = 25
_PLACE: Final = """
INSERT INTO latest_events (aggregate, version, payload) VALUES ($1, $2, $3)
ON CONFLICT (aggregate) DO UPDATE SET version = excluded.version, payload = excluded.payload"""


async def asked(identity: Identity, after: str = "") -> tuple[dict[str, int], str, datetime]:
    """What changed since the cursor, as aggregate and version; the next cursor, and what time it reaches to."""
    found: dict[str, int] = {}
    answers = identity.stub.StreamChanges(identity_pb2.StreamChangesRequest(after=after), timeout=60)
    async for answer in answers:
        if answer.cursor:
            return found, answer.cursor, answer.as_of_time.ToDatetime(tzinfo=UTC)
        found[answer.event.aggregate_id] = answer.event.version
    raise AssertionError("the answer does not say how far it reaches")


def payload(aggregate: str, version: int) -> bytes:
    """Some event."""
    return events_pb2.IdentityEvent(aggregate_id=aggregate, version=version).SerializeToString()


async def since(database: Database, after: int) -> tuple[dict[str, int], int]:
    """As ``asked``, without the network."""
    found: dict[str, int] = {}
    async for part in events.changes(database, after=after):
        if isinstance(part, events.Caught):
            return found, part.cursor
        for each in part:
            event = events_pb2.IdentityEvent.FromString(each)
            found[event.aggregate_id] = event.version
    raise AssertionError("the answer does not say how far it reaches")


async def settled(identity: Identity, after: int = 0) -> int:
    """A cursor after which nothing comes, of whatever was written before.

    Transactions of anybody on this server, in other databases too, hold the cursor back while they are under way, and
    what lies above it is told once more.
    """
    while True:
        found, after = await since(identity.database, after)
        if not found:
            return after
        await asyncio.sleep(0.01)


async def test_the_snapshot_holds_the_latest_event_of_everything(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every aggregate once, as it was told last, over more than one page."""
    monkeypatch.setattr(events, "SNAPSHOT_PAGE_SIZE_MAX", 2)
    await identity.register(**WANG)
    await identity.register(**LI)
    await identity.stub.Enrol(identity_pb2.EnrolRequest(psn_no=WANG["psn_no"], insutype="310", insuplc_admdvs="650100"))
    await identity.hospital()
    snapshot = await identity.snapshot()
    (kid,) = identity.keys.ring.kids
    assert {name: event.version for name, event in snapshot.items()} == {
        f"person:{WANG['psn_no']}": 2,
        f"person:{LI['psn_no']}": 1,
        f"institution:{HOSPITAL}": 1,
        f"terminal:{HOSPITAL}/T1": 2,
        f"key:{kid}": 1,
    }
    for name, event in snapshot.items():
        assert (await identity.told(name, event.version))[-1] == event


async def test_a_snapshot_shows_one_moment(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while the snapshot is read is not in it, and lies beyond its cursor."""
    monkeypatch.setattr(events, "SNAPSHOT_PAGE_SIZE_MAX", 1)
    await identity.register(**WANG)
    pages = events.snapshot(identity.database)
    first, caught = await anext(pages)
    await identity.register(**LI)
    rest = [page async for page, at in pages if at == caught]
    assert len([*first, *(payload for page in rest for payload in page)]) == 2
    assert len(await identity.snapshot()) == 3
    changed, _ = await since(identity.database, caught.cursor)
    assert changed[f"person:{LI['psn_no']}"] == 1


async def test_a_snapshots_first_message_says_where_to_go_on(identity: Identity) -> None:
    """Its cursor brings what came after it; no later message repeats it."""
    await identity.register(**WANG)
    snapshot = [
        answer async for answer in identity.stub.StreamSnapshot(identity_pb2.StreamSnapshotRequest(), timeout=60)
    ]
    await identity.register(**LI)
    assert [bool(answer.cursor) for answer in snapshot] == [True, False]
    assert (await asked(identity, snapshot[0].cursor))[0][f"person:{LI['psn_no']}"] == 1


async def test_from_the_beginning_everything_comes_and_then_only_what_changed(identity: Identity) -> None:
    """An empty cursor brings what the snapshot does; the cursor of that answer brings what came after it."""
    await identity.register(**WANG)
    await identity.hospital()
    everything, cursor, _ = await asked(identity)
    assert everything == {name: event.version for name, event in (await identity.snapshot()).items()}
    cursor = str(await settled(identity, int(cursor)))
    before = datetime.now(UTC)
    await identity.hospital("SUSPENDED")
    changed, later, as_of = await asked(identity, cursor)
    assert changed == {f"institution:{HOSPITAL}": 2}
    assert int(later) >= int(cursor)
    assert as_of >= before


async def test_pages_bring_everything_once(identity: Identity, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what one transaction told of many aggregates, when the page ends in the middle of it."""
    monkeypatch.setattr(events, "CHANGES_PAGE_SIZE_MAX", 2)
    cursor = await settled(identity)
    told = {f"some:{number}": 1 for number in range(7)}
    async with identity.database.driver_transaction() as connection:
        for aggregate, version in told.items():
            await connection.execute(_PLACE, aggregate, version, payload(aggregate, version))
    seen = [
        events_pb2.IdentityEvent.FromString(each).aggregate_id
        async for part in events.changes(identity.database, after=cursor)
        if not isinstance(part, events.Caught)
        for each in part
    ]
    assert seen == sorted(told)


async def test_what_a_slow_transaction_commits_late_is_not_skipped(identity: Identity) -> None:
    """It took its number before others that have committed and were asked for meanwhile."""
    cursor = await settled(identity)
    async with identity.database.driver_transaction() as slow:
        await slow.execute(_PLACE, "some:slow", 1, payload("some:slow", 1))
        async with identity.database.driver_transaction() as quick:
            await quick.execute(_PLACE, "some:quick", 1, payload("some:quick", 1))
        meanwhile, later = await since(identity.database, cursor)
        assert meanwhile == {"some:quick": 1}
    afterwards, _ = await since(identity.database, later)
    assert afterwards["some:slow"] == 1


async def test_nothing_is_missed_whoever_commits_when(identity: Identity) -> None:
    """Writers that overlap, dawdle and write the same aggregates, and a reader that never stops asking: he ends even.

    What he has heard of each aggregate is its last version, though no answer holds more than what is new.
    """
    chance = random.Random(20)
    heard: dict[str, int] = {}
    versions = dict.fromkeys(range(4), 0)
    writing = True

    async def write(number: int) -> None:
        for own in range(ROUNDS):
            async with identity.database.driver_transaction() as connection:
                if chance.random() < 0.5:
                    await connection.execute("SELECT pg_current_xact_id()")  # Its number, long before its row.
                await asyncio.sleep(chance.random() * 0.01)
                shared = chance.choice(list(versions))
                await connection.execute("SELECT pg_advisory_xact_lock($1)", shared)
                versions[shared] += 1
                name, version = f"some:{shared}", versions[shared]
                await connection.execute(_PLACE, name, version, payload(name, version))
                await connection.execute(_PLACE, f"own:{number}", own + 1, payload(f"own:{number}", own + 1))
                await asyncio.sleep(chance.random() * 0.01)

    async def read() -> int:
        cursor = 0
        while writing:
            found, cursor = await since(identity.database, cursor)
            heard.update({name: max(version, heard.get(name, 0)) for name, version in found.items()})
        return cursor

    reader = asyncio.create_task(read())
    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    writing = False
    found, _ = await since(identity.database, await reader)
    heard.update(found)
    async with identity.database.driver_connection() as connection:
        stands = dict(await connection.fetch("SELECT aggregate, version FROM latest_events"))
    assert heard == stands


async def test_asking_when_nothing_changed_costs_one_statement(identity: Identity) -> None:
    """However many aggregates there are; the outbox may be publishing, in a transaction of its own, meanwhile."""
    await identity.hospital()
    cursor = str(await settled(identity))
    said: list[str] = []

    def note(statement: Said) -> None:
        if not statement.is_the_drivers:
            said.append(statement.query)

    with hearing(identity.database, note):
        assert (await asked(identity, cursor))[0] == {}
        await asyncio.sleep(0)  # The driver tells in the loop's next turn.
    of_the_outbox = [query for query in said if "outbox" in query or query.startswith(("BEGIN", "COMMIT"))]
    assert [query for query in said if query not in of_the_outbox] == [events._CHANGES]


async def test_the_question_is_answered_by_the_index(identity: Identity) -> None:
    """The plan reads what changed, not the table."""
    async with identity.database.driver_connection() as connection:
        await connection.execute("INSERT INTO latest_events SELECT 'x:' || n, 1, '' FROM generate_series(1, 5000) n")
        await connection.execute("ANALYZE latest_events")
        rows = await connection.fetch(f"EXPLAIN {events._CHANGES}", 2**40, "", 500)
    plan = "\n".join(row[0] for row in rows)
    assert "latest_events_changed" in plan
    assert "Seq Scan" not in plan


async def test_a_cursor_of_a_database_that_was_restored_is_refused_by_name(identity: Identity) -> None:
    """No transaction here is so far; whoever asks begins anew. Rubbish is refused as such."""
    ahead = identity.stub.StreamChanges(identity_pb2.StreamChangesRequest(after="9" * 18), timeout=60)
    assert (await refusal(anext(aiter(ahead))))[:2] == ("FAILED_PRECONDITION", "CHANGES_CURSOR_AHEAD")
    for rubbish in ("-1", "1x", "9" * 19):
        malformed = identity.stub.StreamChanges(identity_pb2.StreamChangesRequest(after=rubbish), timeout=60)
        assert (await refusal(anext(aiter(malformed))))[:2] == ("INVALID_ARGUMENT", "REQUEST_INVALID")


async def test_a_copy_that_may_lag_is_nobodys_word() -> None:
    """Whoever asked it would take old news for recent: it answers by name that it is one, and with nothing else."""
    if not EmbeddedPostgres.installed():
        pytest.skip("a copy needs a server of our own")
    server = EmbeddedPostgres(new_folder("copy"), settings={"shared_buffers": "16MB"})
    try:
        await server.start()
        url = await server.create_database("identity")
        await migrate(url, MIGRATIONS)
        await server.stop()
        assert server.cluster is not None
        (server.cluster / "standby.signal").touch()
        await server.start()
        async with Database(url) as copy:
            with pytest.raises(Failure) as changes:
                await since(copy, 0)
            with pytest.raises(Failure) as snapshot:
                await anext(events.snapshot(copy))
    finally:
        await server.destroy()
    for refused in (changes.value, snapshot.value):
        assert (refused.kind, refused.reason) == (Kind.UNAVAILABLE, "CHANGES_OF_A_COPY")


async def test_one_replica_goes_on_from_the_others_cursor(start_identity: StartIdentity) -> None:
    """The cursor is the database's, not the process's."""
    one, other = await start_identity(), await start_identity()
    cursor = str(await settled(one))
    await one.register(**WANG)
    assert (await asked(other, cursor))[0] == {f"person:{WANG['psn_no']}": 1}
