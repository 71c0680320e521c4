"""What other rooms tell, kept at its version: events in any order, any number of times, and a snapshot at first."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import grpc
import pytest

from chassis.bus import Bus, Stream
from chassis.db import Database
from chassis.inbox import ACK_WAIT_S
from chassis.rpc.client import CALLER
from chassis.rpc.server import Health, RpcServer
from chassis.settings import ProcessSettings
from gongji.family.v1 import binding_pb2, family_pb2
from gongji.family.v1 import family_pb2_grpc as family_grpc
from gongji.identity.v1 import identity_pb2, person_pb2
from gongji.identity.v1 import identity_pb2_grpc as identity_grpc
from kernel.ids import AdmDvs, FixmedinsCode, PsnNo
from services.settlement.consumer import events
from services.settlement.domain.visit import BindingState, Enrolment, InstitutionState
from services.settlement.operations import projecting
from services.settlement.store import projections as projected
from services.settlement.wire.projections import fact_of_identity
from tests.integration.settlement.desk import said
from tests.patience import insisted, until

PATIENT: Final = "650100000000001"
FUNDER: Final = "650500000000003"
HOSPITAL: Final = FixmedinsCode("H65010000001")
NOW: Final = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)


@asynccontextmanager
async def following(db: Database, bus: Bus) -> AsyncIterator[None]:
    """Both streams are followed within the block."""
    tasks = [asyncio.create_task(consumer.run()) for consumer in events.consumers(db, bus, ack_wait_s=ACK_WAIT_S)]
    try:
        yield
    finally:
        pending = set(tasks)
        while pending:  # More than once: waiting for NATS may end at the moment of a cancellation and swallow it.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=1)


async def applied(db: Database, table: str, version: int) -> bool:
    """Whether the table's one row has this version."""
    async with db.driver_connection() as connection:
        return bool(await connection.fetchval(f"SELECT version FROM {table}") == version)  # noqa: S608  Our own name.


async def test_the_newest_version_stands_however_events_arrive(db: Database, bus: Bus) -> None:
    """Shuffled and said three times over, the events leave what the last version says, once."""
    states = [("310", "650100", "1"), ("310", "650100", "2"), ("310", "650500", "1"), ("310", "650500", "4")]
    sanction = (NOW - timedelta(days=1), NOW + timedelta(days=90))
    history = [
        said.person(PATIENT, state, version=version, sanctions=[sanction] * (version >= 3))
        for version, state in enumerate(states, 1)
    ]
    order = [*history, *history[:3], *history[:3]]
    random.Random(7).shuffle(order)
    for event in order:
        event.event_id = str(uuid4())
    await said.say(bus, order)
    async with following(db, bus):
        await until(lambda: applied(db, "persons", 4))
        await said.say(bus, [said.institution(HOSPITAL)])  # What comes after it has been read means: all before was.
        await until(lambda: applied(db, "institutions", 1))
    async with db.driver_connection() as connection:
        people = await projected.people(connection, [PsnNo(PATIENT)], now=NOW)
        sanctions = await connection.fetchval("SELECT count(*) FROM sanctions")
    assert people[PsnNo(PATIENT)].enrolments == (Enrolment("310", AdmDvs("650500"), "4"),)
    assert (people[PsnNo(PATIENT)].sanctioned, sanctions) == (True, 1)


async def test_a_death_is_known_until_it_is_taken_back(db: Database) -> None:
    """It reaches what the rules read; a report that was withdrawn leaves nothing."""
    for version, death_date in enumerate(("2026-11-20", ""), 1):
        fact = fact_of_identity(said.person(PATIENT, version=version, death_date=death_date))
        assert fact is not None
        async with db.transaction() as connection:
            await projecting.apply(connection, [(fact, version)])
        async with db.driver_connection() as connection:
            people = await projected.people(connection, [PsnNo(PATIENT)], now=NOW)
        assert people[PsnNo(PATIENT)].deceased is bool(death_date)


async def test_each_fact_reaches_its_table(db: Database, bus: Bus) -> None:
    """A person, an institution, its terminal, a key and a binding are read out as they were told."""
    await said.say(
        bus,
        [
            said.person(FUNDER, ("310", "650500", "1"), ("390", "650100", "2")),
            said.institution(
                HOSPITAL,
                person_pb2.INSTITUTION_STATE_SUSPENDED,
                wallet_capable=False,
                inpatient=False,
                agreement=("2026-01-01", "2026-12-31"),
                sanctions=[(NOW, NOW + timedelta(days=90))],
            ),
            said.terminal(HOSPITAL),
            said.signing_key("k1", b"k" * 32),
            said.binding(FUNDER, PATIENT, area="650500", order=2),
        ],
    )
    async with following(db, bus):
        for table in ("persons", "institutions", "terminals", "signing_keys", "bindings"):
            await until(lambda table=table: applied(db, table, 1))  # type: ignore[misc]  # Bound early, as ruff asks.
    async with db.driver_connection() as connection:
        people = await projected.people(connection, [PsnNo(FUNDER)], now=NOW)
        found, terminal = await projected.find_institution(connection, HOSPITAL, now=NOW, terminal_no="T01")
        nobody = await projected.find_institution(connection, HOSPITAL, now=NOW - timedelta(days=1), terminal_no="T9")
        key = await projected.find_signing_key(connection, "k1")
        (binding,) = await projected.bindings_of(connection, PsnNo(PATIENT))
    assert {enrolment.insutype for enrolment in people[PsnNo(FUNDER)].enrolments} == {"310", "390"}
    assert found is not None
    assert (found.state, found.wallet_capable, found.inpatient) == (InstitutionState.SUSPENDED, False, False)
    assert (found.agreement_from, found.agreement_to) == (date(2026, 1, 1), date(2026, 12, 31))
    assert terminal is not None
    assert (terminal.in_service, terminal.sign_no) == (True, "S1")
    assert nobody == (replace(found, sanctioned=False), None)
    assert found.sanctioned
    assert key is not None
    assert (key.public_key, key.not_before < datetime.now(UTC) < key.not_after) == (b"k" * 32, True)
    assert (binding.funder, binding.state, binding.relation, binding.order) == (
        FUNDER,
        BindingState.ACTIVE,
        "SPOUSE",
        2,
    )
    assert binding.authorisation_id == said.authorisation_id(FUNDER, PATIENT)


async def test_a_sanction_counts_from_its_beginning_to_its_end(db: Database, bus: Bus) -> None:
    """It is judged at the instant of the visit, not when the event came."""
    period = (NOW, NOW + timedelta(days=90))
    await said.say(bus, [said.person(PATIENT, ("310", "650100", "1"), sanctions=[period])])
    async with following(db, bus):
        await until(lambda: applied(db, "persons", 1))
    told = {}
    async with db.driver_connection() as connection:
        for instant in (NOW - timedelta(seconds=1), NOW, period[1] - timedelta(seconds=1), period[1]):
            people = await projected.people(connection, [PsnNo(PATIENT)], now=instant)
            told[instant] = people[PsnNo(PATIENT)].sanctioned
    assert list(told.values()) == [False, True, True, False]


async def test_a_key_that_was_ended_stays_ended_whatever_comes_later(db: Database, bus: Bus) -> None:
    """Its older version comes again by the stream, and in an answer of identity's: it is not revived."""
    alive = said.signing_key("k1", b"k" * 32)
    ended = said.signing_key("k1", b"k" * 32, version=2, ended=True)
    async with following(db, bus):
        await said.say(bus, [ended, alive, said.institution(HOSPITAL)])
        await until(lambda: applied(db, "institutions", 1))
    fact = fact_of_identity(alive)
    assert fact is not None
    async with db.transaction() as connection:
        await projecting.apply(connection, [(fact, alive.version)])
    async with db.driver_connection() as connection:
        key = await projected.find_signing_key(connection, "k1")
    assert key is not None
    assert key.not_after == ended.signing_key_activated.not_after_time.ToDatetime(tzinfo=UTC) <= datetime.now(UTC)


async def test_an_event_of_a_later_release_is_passed_over(db: Database, bus: Bus) -> None:
    """A fact that this release does not know stops nobody."""
    unknown = said.institution(HOSPITAL, version=1)
    unknown.ClearField("institution_changed")
    subject_of = said.institution(HOSPITAL, version=2)
    await said.say(bus, [said.person(PATIENT)])
    stream = Stream(bus.prefix, "identity")
    headers = {"Nats-Msg-Id": unknown.event_id, "Gongji-Aggregate": unknown.aggregate_id, "Gongji-Version": "1"}
    subject = stream.subject("institution_changed")
    await insisted(lambda: bus.publish(subject, unknown.SerializeToString(), headers=headers))
    await said.say(bus, [subject_of])
    async with following(db, bus):
        await until(lambda: applied(db, "institutions", 2))


class Identity(identity_grpc.IdentityServiceServicer):
    """Identity, as far as its snapshot goes; the first asking breaks in the middle."""

    def __init__(self, told: list[Any]) -> None:
        self.told = told
        self.asked = 0
        self.callers: set[object] = set()

    async def StreamSnapshot(self, _: Any, context: Any) -> AsyncIterator[identity_pb2.StreamSnapshotResponse]:  # noqa: ANN401, N802  As generated.
        """Everything it has to tell."""
        self.asked += 1
        self.callers.add(dict(context.invocation_metadata()).get(CALLER))
        for number, event in enumerate(self.told):
            if self.asked == 1 and number == 1:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield identity_pb2.StreamSnapshotResponse(event=event)


class Family(family_grpc.FamilyServiceServicer):
    """Family, as far as its snapshot goes."""

    def __init__(self, told: list[Any]) -> None:
        self.told = told
        self.callers: set[object] = set()

    async def StreamSnapshot(self, _: Any, context: Any) -> AsyncIterator[family_pb2.StreamSnapshotResponse]:  # noqa: ANN401, N802  As generated.
        """Everything it has to tell."""
        self.callers.add(dict(context.invocation_metadata()).get(CALLER))
        for event in self.told:
            yield family_pb2.StreamSnapshotResponse(event=event)


@pytest.fixture
async def told_by_snapshot(nats: Any) -> AsyncIterator[tuple[Identity, Family, str]]:  # noqa: ANN401  The fixture's own class.
    """A server with both services' snapshots: (identity, family, address)."""
    identity = Identity(  # type: ignore[abstract]  # Nothing else is called.
        [said.person(PATIENT, ("310", "650500", "2"), version=9), said.institution(HOSPITAL)],
    )
    family = Family(  # type: ignore[abstract]  # As above.
        [said.binding(FUNDER, PATIENT, area="650500", version=4, state=binding_pb2.BINDING_STATE_UNBOUND)],
    )
    settings = ProcessSettings(nats_url=nats.url, environment="test")
    server = RpcServer(settings, Health())
    server.add(identity_grpc.add_IdentityServiceServicer_to_server, identity)
    server.add(family_grpc.add_FamilyServiceServicer_to_server, family)
    ports = await server.start()
    yield identity, family, f"127.0.0.1:{ports['grpc']}"
    await server.stop(0)


async def test_a_new_room_begins_with_the_snapshots(
    db: Database, bus: Bus, told_by_snapshot: tuple[Identity, Family, str]
) -> None:
    """The snapshot is read whole, again after a break; an older event of the stream changes nothing afterwards."""
    identity, family, address = told_by_snapshot
    await events.read_snapshots(db, identity_address=address, family_address=address)
    await said.say(
        bus,
        [
            said.person(PATIENT, ("310", "650100", "1"), version=8),
            said.binding(FUNDER, PATIENT, area="650500", version=3),
            said.person(FUNDER, version=1),
            said.institution(HOSPITAL, person_pb2.INSTITUTION_STATE_ENDED, version=2),
        ],
    )
    async with following(db, bus):
        await until(lambda: applied(db, "institutions", 2))
        await until(lambda: applied(db, "bindings", 4))
    async with db.driver_connection() as connection:
        people = await projected.people(connection, [PsnNo(PATIENT)], now=NOW)
        (binding,) = await projected.bindings_of(connection, PsnNo(PATIENT))
    assert people[PsnNo(PATIENT)].enrolments == (Enrolment("310", AdmDvs("650500"), "2"),)
    assert binding.state is BindingState.UNBOUND
    assert identity.asked == 2
    assert identity.callers | family.callers == {"service:settlement"}


async def test_a_snapshot_is_read_once_in_a_databases_life(
    db: Database, told_by_snapshot: tuple[Identity, Family, str]
) -> None:
    """The second start follows the streams alone."""
    identity, _, address = told_by_snapshot
    for _ in range(2):
        await events.read_snapshots(db, identity_address=address, family_address=address)
    assert identity.asked == 2  # The first broke on purpose.
