"""Settlement asks identity by itself: what NATS does not bring is heard, and too long a silence pauses mutual aid.

Identity is played by a server of ours at the edge; the real one, with real processes, is in tests/e2e.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.db import Database
from chassis.process import Process
from chassis.rpc.server import Health, RpcServer
from chassis.settings import ProcessSettings
from gongji.identity.v1 import identity_pb2
from gongji.identity.v1 import identity_pb2_grpc as identity_grpc
from gongji.settlement.v1 import settlement_pb2 as pb
from gongji_terminal import Care
from gongji_terminal.msgid import next_msgid
from kernel.failures import Failure, Kind
from ops.embedded.databases import Databases
from services.settlement import app, recovery
from services.settlement.consumer import events
from tests.integration.settlement.desk import said
from tests.integration.settlement.desk import town as building
from tests.integration.settlement.desk.test_settle import family, planned
from tests.integration.settlement.desk.town import URUMQI, Town
from tests.patience import until
from tests.servers import NatsServer

SWEEP_S: Final = 0.1
AGE_MAX_S: Final = 1.0
OTHER_TERMINAL: Final = 97
"""Stands in the msgid of a request made by hand."""
PAUSED: Final = "MUTUAL_AID_PAUSED"


@dataclass
class Identity(identity_grpc.IdentityServiceServicer):
    """Identity, as far as its changes go: what it says next, and whether it says anything at all."""

    new: list[Any] = field(default_factory=list)
    asked_after: list[str] = field(default_factory=list)
    is_away: bool = False
    is_silent: bool = False
    answers_after_s: float = 0.0
    is_restored: bool = False
    hung_up: int = 0
    """How many snapshots settlement gave up waiting for."""

    async def StreamSnapshot(  # noqa: N802  As generated.
        self,
        _: identity_pb2.StreamSnapshotRequest,
        __: Any,  # noqa: ANN401  As above.
    ) -> AsyncIterator[identity_pb2.StreamSnapshotResponse]:
        """Nothing was ever said."""
        try:
            while self.is_silent:  # noqa: ASYNC110  The test says so by an attribute.
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            self.hung_up += 1
            raise
        for event in self.new[:0]:
            yield identity_pb2.StreamSnapshotResponse(event=event)

    async def StreamChanges(  # noqa: N802  As above.
        self,
        request: identity_pb2.StreamChangesRequest,
        context: Any,  # noqa: ANN401  As above.
    ) -> AsyncIterator[identity_pb2.StreamChangesResponse]:
        """What is new, and a cursor that counts the answers."""
        if self.is_away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        while self.is_silent:  # noqa: ASYNC110  The test says so by an attribute.
            await asyncio.sleep(0.05)
        await asyncio.sleep(self.answers_after_s)
        self.asked_after.append(request.after)
        if self.is_restored and request.after:
            self.is_restored = False
            raise Failure(Kind.PRECONDITION, "CHANGES_CURSOR_AHEAD", field="after")
        told, self.new = self.new, []
        for event in told:
            yield identity_pb2.StreamChangesResponse(event=event)
        as_of = Timestamp()
        as_of.FromDatetime(datetime.now(UTC))
        yield identity_pb2.StreamChangesResponse(cursor=str(len(self.asked_after)), as_of_time=as_of)


@pytest.fixture(scope="module")
async def identity(nats: NatsServer) -> AsyncIterator[tuple[Identity, str]]:
    """It answers at an address."""
    played = Identity()  # type: ignore[abstract]  # Nothing else is called.
    async with _answering(played, nats) as address:
        yield played, address


@pytest.fixture(scope="module")
async def following_town(
    postgres: Databases,
    nats: NatsServer,
    identity: tuple[Identity, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[Town]:
    """A town whose settlement asks identity ten times a second and believes it for one."""
    settings: dict[str, Any] = {
        "identity_address": identity[1],
        "identity_sweep_s": SWEEP_S,
        "identity_age_max_s": AGE_MAX_S,
    }
    async with building.town(postgres, nats, tmp_path_factory.mktemp("following"), **settings) as built:
        yield built


@pytest.fixture
async def heard(following_town: Town, identity: tuple[Identity, str]) -> AsyncIterator[tuple[Town, Identity]]:
    """The town and identity, which answers before and after."""
    played = identity[0]
    yield following_town, played
    played.is_away = played.is_silent = False
    await told_since(played)


async def told_since(identity: Identity) -> None:
    """Settlement has asked once more from now on, and been answered."""
    asked = len(identity.asked_after)
    await until(lambda: _more(identity, asked + 1))


async def _more(identity: Identity, asked: int) -> bool:
    return len(identity.asked_after) > asked


async def skipped(town: Town, patient: str) -> list[tuple[str, str]]:
    """Who is left out of the patient's plan, and why."""
    plan = (await town.desk.PreSettle(town.presented(patient, 6_000), timeout=60)).plan
    return [(each.psn_no, each.reason) for each in plan.skipped]


async def test_what_nats_does_not_bring_is_asked_for(heard: tuple[Town, Identity]) -> None:
    """A sanction that was never published counts with the next answer; said again, and by NATS, it changes nothing."""
    town, identity = heard
    patient, near, _ = await family(town)
    now = datetime.now(UTC)
    sanctioned = said.person(
        near, ("310", URUMQI, "1"), version=2, sanctions=[(now - timedelta(days=1), now + timedelta(days=90))]
    )
    for _ in range(2):
        identity.new = [sanctioned]
        await told_since(identity)
    assert await skipped(town, patient) == [(near, "SANCTIONED")]
    await town.tell(sanctioned)
    assert await skipped(town, patient) == [(near, "SANCTIONED")]


async def test_each_question_goes_on_from_the_last_answer(heard: tuple[Town, Identity]) -> None:
    """The cursor of an answer is the next question's; it stands in the database with the time it reaches to."""
    town, identity = heard
    await told_since(identity)
    asked = list(identity.asked_after)
    assert asked[0] == ""
    assert asked[1:] == [str(number) for number in range(1, len(asked))]
    async with town.database.driver_connection() as connection:
        row = await connection.fetchrow("SELECT cursor, now() - as_of AS age FROM projection_freshness")
    assert row["cursor"] >= len(asked) - 1
    assert row["age"] < timedelta(seconds=5)


@pytest.mark.parametrize("how", ["is_away", "is_silent"])
async def test_without_news_mutual_aid_pauses_and_the_patients_own_money_goes_on(
    heard: tuple[Town, Identity], how: str
) -> None:
    """PreSettle leaves every funder out, Settle of a plan with funders is refused before the hold; then all goes on."""
    town, identity = heard
    patient, near, far = await family(town)
    async with town.terminal() as (terminal, _):
        with_funders = await planned(terminal, patient, 6_000)
        assert [funder.psn_no for funder in with_funders.funders] == [near, far]
        setattr(identity, how, True)

        async def is_paused() -> bool:
            return (near, "IDENTITY_STALE") in await skipped(town, patient)

        await until(is_paused)
        assert await skipped(town, patient) == [(near, "IDENTITY_STALE"), (far, "IDENTITY_STALE")]
        before = await town.stored()
        msgid = next_msgid(terminal.fixmedins_code, OTHER_TERMINAL, now=datetime.now(UTC))
        request = pb.SettleRequest(
            key=terminal._key("2207", msgid),
            plan_id=with_funders.plan_id,
            plan_digest=with_funders.digest,
        )
        assert await town.refused(town.desk.Settle(request, timeout=60)) == PAUSED
        assert await town.stored() == before
        assert await town.balance(near, URUMQI) == (2_000, 0)
        other = await town.person(past=900)
        own = await terminal.settle(await planned(terminal, other, 500), care=Care.OUTPATIENT)
        assert isinstance(own, pb.Settlement)

        setattr(identity, how, False)
        paid = await _settled(town, request)
        assert [funder.psn_no for funder in paid.funders] == [near, far]
        # What has begun under a key is told whatever identity does afterwards.
        setattr(identity, how, True)
        await until(is_paused_for(town, await family(town)))
        again = await town.desk.Settle(request, timeout=60)
        assert again.settlement == paid
    await town.settled_down()


def is_paused_for(town: Town, people: tuple[str, str, str]) -> Any:  # noqa: ANN401  A condition.
    """Whether the patient's funders are left out by now."""

    async def paused() -> bool:
        return (people[1], "IDENTITY_STALE") in await skipped(town, people[0])

    return paused


async def _settled(town: Town, request: pb.SettleRequest) -> pb.Settlement:
    """The same request again, as its refusal asks for, until it is paid."""
    async with asyncio.timeout(60):
        while True:
            try:
                settled: pb.SettleResponse = await town.desk.Settle(request, timeout=60)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(SWEEP_S)
            else:
                return settled.settlement


async def test_after_a_restore_identity_is_read_from_its_beginning(heard: tuple[Town, Identity]) -> None:
    """A cursor that it no longer knows is forgotten at once, and mutual aid does not pause for it."""
    town, identity = heard
    patient, _, _ = await family(town)
    await told_since(identity)
    identity.is_restored = True
    asked = len(identity.asked_after)
    await until(lambda: _more(identity, asked + 3))
    assert "" in identity.asked_after[asked:]
    assert await skipped(town, patient) == []


async def test_what_was_decided_while_nobody_listened_counts_from_the_first_bill_on(
    db: Database, database: str, nats: NatsServer, tmp_path: Path
) -> None:
    """A settlement that starts anew asks before it serves, however recently another process of it had asked."""
    played = Identity(answers_after_s=0.3)  # type: ignore[abstract]  # Nothing else is called.
    async with _answering(played, nats) as address, _process(database, nats, tmp_path, address) as (process, settings):
        now = datetime.now(UTC)
        played.new = [said.person("650100000000001", ("310", URUMQI, "1"), sanctions=[(now, now + timedelta(days=90))])]
        freshness = await app.followed(process, settings, db, await app.identity_at(process, settings))
        assert not freshness.is_stale
        async with db.driver_connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM sanctions") == 1


async def test_identity_that_does_not_answer_does_not_keep_settlement_from_serving(
    db: Database, database: str, nats: NatsServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits so long and no longer; mutual aid is paused then, and the patients' own money is not."""
    monkeypatch.setattr(recovery, "FIRST_ANSWER_MAX_S", 0.2)
    played = Identity(is_silent=True)  # type: ignore[abstract]  # As above.
    async with _answering(played, nats) as address, _process(database, nats, tmp_path, address) as (process, settings):
        async with asyncio.timeout(60):
            freshness = await app.followed(process, settings, db, await app.identity_at(process, settings))
        assert freshness.is_stale
        played.is_silent = False


async def test_a_snapshot_that_falls_silent_is_asked_for_anew(
    db: Database, nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that swallows everything does not keep settlement from starting once identity can be heard again."""
    monkeypatch.setattr(events, "SNAPSHOT_SILENCE_MAX_S", 0.2)
    played = Identity(is_silent=True)  # type: ignore[abstract]  # As above.
    async with _answering(played, nats) as address, asyncio.timeout(60):
        reading = asyncio.create_task(events.read_snapshots(db, identity_address=address, family_address=None))
        async with asyncio.timeout(60):
            while played.hung_up < 2:  # noqa: ASYNC110  Another task's.
                await asyncio.sleep(0.05)
        assert not reading.done()
        played.is_silent = False
        await reading


@asynccontextmanager
async def _answering(played: Identity, nats: NatsServer) -> AsyncIterator[str]:
    """Where it answers."""
    server = RpcServer(ProcessSettings(nats_url=nats.url, environment="test"), Health())
    server.add(identity_grpc.add_IdentityServiceServicer_to_server, played)
    ports = await server.start()
    yield f"127.0.0.1:{ports['grpc']}"
    await server.stop(0)


@asynccontextmanager
async def _process(
    url: str, nats: NatsServer, folder: Path, address: str
) -> AsyncIterator[tuple[Process, app.Settings]]:
    """A settlement process before it serves."""
    settings = app.Settings(
        nats_url=nats.url,
        environment="test",
        database_url=url,
        policies_folder=folder,
        identity_address=address,
        identity_sweep_s=20,
    )
    process = Process("settlement", settings)
    try:
        yield process, settings
    finally:
        await process._leave()
