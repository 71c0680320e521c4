"""What identity says when it is asked, into our own tables: in whatever order, and after a restore of its database."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from chassis.bus import Bus
from chassis.db import Database
from gongji.identity.v1 import events_pb2
from kernel.ids import PsnNo
from services.settlement.consumer.events import begin_anew
from services.settlement.domain.facts import Caught, Fact
from services.settlement.operations import projecting
from services.settlement.store import projections as projected
from services.settlement.wire.projections import fact_of_identity
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk.test_projections import applied, following
from tests.integration.settlement.engine.statements import Said, hearing
from tests.patience import until

IDENTITY: Final = "identity"
KEPT: Final = "650100000000001"
DOUBLE: Final = "650100000000002"
HOSPITAL: Final = "H65010000001"
AGE_MAX_S: Final = 30
PEOPLE: Final = 1_500
NOW: Final = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
SANCTION: Final = (NOW - timedelta(days=1), NOW + timedelta(days=90))


async def answer(events: Sequence[events_pb2.IdentityEvent], cursor: int) -> AsyncIterator[tuple[Fact, int] | Caught]:
    """Identity's answer with these events."""
    for event in events:
        fact = fact_of_identity(event)
        assert fact is not None
        yield fact, event.version
    yield Caught(cursor, NOW)


async def heard(db: Database, *events: events_pb2.IdentityEvent, cursor: int = 1) -> None:
    """Settlement asked, and this was the answer."""
    await projecting.take_changes(db, source=IDENTITY, facts=answer(events, cursor))


async def sanctioned(db: Database, *psn_nos: str) -> list[bool]:
    """Whether a sanction is in force against each of them."""
    async with db.driver_connection() as connection:
        people = await projected.people(connection, [PsnNo(psn_no) for psn_no in psn_nos], now=NOW)
    return [people[PsnNo(psn_no)].sanctioned for psn_no in psn_nos]


def moved(event: events_pb2.IdentityEvent, psn_no: str) -> events_pb2.IdentityEvent:
    """The same sanctions, of somebody else: his double's record was merged into his."""
    other = events_pb2.IdentityEvent()
    other.CopyFrom(event)
    other.aggregate_id, other.person_changed.person.psn_no = f"person:{psn_no}", psn_no
    return other


async def test_a_doubles_sanction_moves_to_the_record_that_is_kept_whichever_is_told_first(db: Database) -> None:
    """One transaction of identity's told of both; its answer names the one with the smaller number first."""
    before = said.person(DOUBLE, ("310", "650100", "1"), sanctions=[SANCTION])
    await heard(db, said.person(KEPT, ("310", "650100", "1")), before)
    taken_in = moved(before, KEPT)
    taken_in.version = 2
    await heard(db, taken_in, said.person(DOUBLE, ("310", "650100", "4"), version=2))
    assert await sanctioned(db, KEPT, DOUBLE) == [True, False]


async def test_what_was_said_of_a_double_before_takes_nothing_from_the_record_that_is_kept(db: Database) -> None:
    """An older event of the double may come after the merger was heard of, and before its own."""
    first = said.person(DOUBLE, ("310", "650100", "1"))
    sanction = said.person(DOUBLE, ("310", "650100", "1"), version=2, sanctions=[SANCTION])
    await heard(db, said.person(KEPT, ("310", "650100", "1")), first)
    taken_in = moved(sanction, KEPT)
    for event in (taken_in, sanction, said.person(DOUBLE, ("310", "650100", "4"), version=3)):
        await heard(db, event)
    assert await sanctioned(db, KEPT, DOUBLE) == [True, False]


async def test_after_a_restore_what_identity_says_counts_whatever_was_heard_before(db: Database, bus: Bus) -> None:
    """Versions begin anew where the backup ended: a sanction imposed since has one that had been passed before."""
    await said.say(bus, [said.person(KEPT, ("310", "650100", "1"), version=7)])
    async with following(db, bus):
        await until(lambda: applied(db, "persons", 7))
    await begin_anew(db)
    await heard(db, said.person(KEPT, ("310", "650100", "1"), version=3))
    assert await sanctioned(db, KEPT) == [False]
    await heard(db, said.person(KEPT, ("310", "650100", "1"), version=4, sanctions=[SANCTION]), cursor=2)
    assert await sanctioned(db, KEPT) == [True]
    await said.say(bus, [said.person(KEPT, ("310", "650100", "1"), version=5)])
    async with following(db, bus):
        await until(lambda: applied(db, "persons", 5))
    assert await sanctioned(db, KEPT) == [False]


async def test_a_sanction_that_a_restore_lost_stands_until_identity_says_more(db: Database) -> None:
    """An officer types it in again; until then nobody is paid because a backup was too old."""
    await heard(db, said.person(KEPT, ("310", "650100", "1"), version=7, sanctions=[SANCTION]))
    await heard(db, said.institution(HOSPITAL, version=7, sanctions=[SANCTION]))
    await begin_anew(db)
    await heard(db, said.person(KEPT, ("310", "650100", "2"), version=3), said.institution(HOSPITAL, version=3))
    assert await sanctioned(db, KEPT) == [True]
    async with db.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM institution_sanctions") == 1
    anew = (SANCTION[0] + timedelta(hours=1), SANCTION[1])
    await heard(
        db,
        said.person(KEPT, ("310", "650100", "2"), version=4, sanctions=[anew]),
        said.institution(HOSPITAL, version=4),
    )
    async with db.driver_connection() as connection:
        assert await connection.fetchval("SELECT array_agg(from_at) FROM sanctions") == [anew[0]]
        assert await connection.fetchval("SELECT count(*) FROM institution_sanctions") == 0


async def test_after_a_restore_older_news_do_not_overtake_newer_ones(db: Database) -> None:
    """What NATS brought while everything was read anew stands against the page that was read before."""
    await heard(db, said.institution(HOSPITAL, version=9))
    await begin_anew(db)
    await heard(db, said.institution(HOSPITAL, version=5, sanctions=[SANCTION]))
    await heard(db, said.institution(HOSPITAL, version=4))
    async with db.driver_connection() as connection:
        assert await connection.fetchval("SELECT version FROM institutions") == 5
        assert await connection.fetchval("SELECT count(*) FROM institution_sanctions") == 1


async def test_a_clock_that_was_set_back_does_not_make_old_news_recent(db: Database) -> None:
    """What was heard "in an hour" was heard nobody knows when; the next answer counts as what it is."""
    await heard(db)
    async with db.driver_connection() as connection:
        await connection.execute("UPDATE projection_freshness SET asked_at = now() + interval '1 hour'")
    assert await projecting.last_heard(db, source=IDENTITY) == (1, math.inf)
    await heard(db, cursor=2)
    known = await projecting.last_heard(db, source=IDENTITY)
    assert known is not None
    assert (known[0], known[1] < AGE_MAX_S) == (2, True)


async def test_thousands_of_changes_cost_a_few_statements(db: Database) -> None:
    """A sanction behind a batch file of people counts in time; what is said again costs one for each batch."""
    people = [said.person(f"650100{number:09d}", ("310", "650100", "1")) for number in range(PEOPLE)]
    queries: list[str] = []

    def note(statement: Said) -> None:
        if not statement.is_the_drivers:
            queries.append(statement.query)

    counts = []
    for _ in range(2):
        queries.clear()
        with hearing(db, note):
            await heard(db, *people)
            await asyncio.sleep(0)  # The driver tells in the loop's next turn.
        counts.append(len([query for query in queries if "persons" in query or "enrolments" in query]))
    batches = PEOPLE // projecting.SNAPSHOT_BATCH_SIZE
    assert counts[0] <= 3 * batches
    assert counts[1] == batches
    async with db.driver_connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM enrolments") == PEOPLE
