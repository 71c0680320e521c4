"""The identity room in the test's own process: real gRPC, PostgreSQL and NATS, and a clock that tests may set."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from chassis.bus import Bus, Stream
from chassis.db import Database
from chassis.migrate import migrate
from chassis.outbox import OutboxPublisher
from chassis.rpc.client import channel
from chassis.rpc.server import Health, RpcServer
from gongji.identity.v1 import (
    attestations_pb2_grpc,
    cards_pb2_grpc,
    credentials_pb2,
    credentials_pb2_grpc,
    events_pb2,
    identity_pb2,
    identity_pb2_grpc,
    institutions_pb2,
    institutions_pb2_grpc,
    kinship_pb2_grpc,
    person_pb2,
    rights_pb2_grpc,
    risk_pb2_grpc,
    sanctions_pb2_grpc,
)
from kernel.failures import Failure
from kernel.randomness import SYSTEM_RANDOMNESS
from ops.embedded.databases import Databases
from services.identity.api.attestations import AttestationApi
from services.identity.api.cards import CardApi
from services.identity.api.credentials import CredentialApi
from services.identity.api.identity import IdentityApi
from services.identity.api.institutions import InstitutionApi
from services.identity.api.kinship import KinshipApi
from services.identity.api.rights import RightsApi
from services.identity.api.risk import RiskApi
from services.identity.api.room import Room, check_caller
from services.identity.api.sanctions import SanctionApi
from services.identity.app import MIGRATIONS, NAME, Settings
from services.identity.domain.sealing import Seals
from services.identity.operations.cards import CardRoom
from services.identity.operations.credentials import Presentation
from services.identity.operations.decoding import Decoder
from services.identity.operations.pins import Pins
from services.identity.operations.registry import BatchFileRegistry
from services.identity.operations.secrets_file import make_secrets_file, read_secrets
from services.identity.operations.signing_keys import SigningKeys, check_secrets
from tests.patience import insisted
from tests.servers import NatsServer

START = datetime(2026, 7, 1, 4, 30, tzinfo=UTC)
HOSPITAL = "H65010000001"
WANG = {"certno": "650103198503124518", "psn_name": "王建国", "psn_no": "650100000000001"}
LI = {"certno": "652201198707250027", "psn_name": "李秀英", "psn_no": "650500000000002"}
CHILD = {"certno": "650103201805063313", "psn_name": "王小明", "psn_no": "650100000000003"}


class SetClock:
    """A clock that stands until a test moves it."""

    def __init__(self) -> None:
        self.instant = START

    def now(self) -> datetime:
        """The instant that was set."""
        return self.instant

    def advance(self, **by: float) -> None:
        """Moves on, by what ``timedelta`` takes."""
        self.instant += timedelta(**by)


@dataclass
class Identity:
    """A running room, and what a test does with it."""

    stub: identity_pb2_grpc.IdentityServiceAsyncStub
    credentials: credentials_pb2_grpc.CredentialServiceAsyncStub
    cards: cards_pb2_grpc.CardServiceAsyncStub
    attestations: attestations_pb2_grpc.AttestationServiceAsyncStub
    kinship: kinship_pb2_grpc.KinshipServiceAsyncStub
    sanctions: sanctions_pb2_grpc.SanctionServiceAsyncStub
    institutions: institutions_pb2_grpc.InstitutionServiceAsyncStub
    rights: rights_pb2_grpc.RightsServiceAsyncStub
    risk: risk_pb2_grpc.RiskServiceAsyncStub
    clock: SetClock
    database: Database
    keys: SigningKeys
    bus: Bus
    address: str = ""

    async def register(self, **fields: Any) -> identity_pb2.RegisterPersonResponse:  # noqa: ANN401  Any field there is.
        """Registers a person by identity card, unless the fields say otherwise."""
        request = identity_pb2.RegisterPersonRequest(
            **({"psn_cert_type": person_pb2.CERTIFICATE_TYPE_RESIDENT_ID} | fields)
        )
        return await self.stub.RegisterPerson(request)

    async def person(self, psn_no: str) -> person_pb2.Person:
        """The person as others may know him."""
        answer = await self.stub.GetPerson(identity_pb2.GetPersonRequest(psn_no=psn_no, purpose="TEST"))
        return answer.person

    async def hospital(self, state: str = "DESIGNATED", **fields: Any) -> person_pb2.Institution:  # noqa: ANN401  As above.
        """The hospital described so, in this state; while it is designated, somebody is signed in at its T1."""
        code = fields.get("fixmedins_code", HOSPITAL)
        wanted = person_pb2.InstitutionState.Value(f"INSTITUTION_STATE_{state}")
        try:
            known = await self.institutions.GetInstitution(institutions_pb2.GetInstitutionRequest(fixmedins_code=code))
            stands = known.institution.state
        except Failure:
            stands = wanted
        standard: dict[str, Any] = {
            "fixmedins_code": HOSPITAL,
            "fixmedins_name": "共济医院",
            "state": stands,
            "wallet_capable": True,
        }
        answer = await self.institutions.RegisterInstitution(
            institutions_pb2.RegisterInstitutionRequest(
                institution=person_pb2.Institution(**(standard | fields)), opter="zhang01"
            )
        )
        institution = answer.institution if stands == wanted else await self.decide(state, fixmedins_code=code)
        if state == "DESIGNATED":
            await self.signed_in(fixmedins_code=code)
        return institution

    async def decide(
        self, state: str, *, fixmedins_code: str = HOSPITAL, opter: str = "zhang01", cause: str = "年度考核"
    ) -> person_pb2.Institution:
        """An officer decides about an institution."""
        said = {"fixmedins_code": fixmedins_code, "opter": opter, "cause": cause}
        match state:
            case "SUSPENDED":
                suspend = institutions_pb2.SuspendInstitutionRequest(**said)
                return (await self.institutions.SuspendInstitution(suspend)).institution
            case "ENDED":
                end = institutions_pb2.EndInstitutionRequest(**said)
                return (await self.institutions.EndInstitution(end)).institution
            case _:
                resume = institutions_pb2.ResumeInstitutionRequest(**said)
                return (await self.institutions.ResumeInstitution(resume)).institution

    async def code(self, psn_no: str, **fields: str) -> str:
        """A fresh code of this person."""
        return (await self.credentials.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=psn_no, **fields))).code

    async def decode(self, code: str = "", **fields: Any) -> credentials_pb2.DecodeCredentialResponse:  # noqa: ANN401  As above.
        """What the hospital's first terminal gets for a code, or for what the fields say instead."""
        shown: dict[str, Any] = {"code": code} if code else {}
        desk = {"fixmedins_code": HOSPITAL, "terminal_no": "T1", "business_type": "01301", "mdtrt_id": "M1"}
        return await self.credentials.DecodeCredential(
            credentials_pb2.DecodeCredentialRequest(**shown, **{**desk, **fields})
        )

    async def signed_in(self, terminal_no: str = "T1", *, fixmedins_code: str = HOSPITAL) -> None:
        """Registers a terminal and signs it in."""
        await self.institutions.RegisterTerminal(
            institutions_pb2.RegisterTerminalRequest(
                fixmedins_code=fixmedins_code, terminal_no=terminal_no, terminal_name="收费一窗口", opter="li01"
            )
        )
        await self.institutions.SignIn(
            institutions_pb2.SignInRequest(fixmedins_code=fixmedins_code, terminal_no=terminal_no, opter="li01")
        )

    async def snapshot(self) -> dict[str, events_pb2.IdentityEvent]:
        """Every aggregate's latest event."""
        answers = self.stub.StreamSnapshot(identity_pb2.StreamSnapshotRequest(), timeout=60)
        return {answer.event.aggregate_id: answer.event async for answer in answers}

    async def told(self, aggregate: str, version: int) -> list[events_pb2.IdentityEvent]:
        """The events of an aggregate as they stand in the stream, once this version is among them."""
        stream = Stream(self.bus.prefix, NAME)
        async with asyncio.timeout(60):
            while True:
                found = [event for event in await self._stream_content(stream) if event.aggregate_id == aggregate]
                if any(event.version == version for event in found):
                    return found
                await asyncio.sleep(0.05)

    async def _stream_content(self, stream: Stream) -> list[events_pb2.IdentityEvent]:
        state = await insisted(lambda: self.bus.ensure_stream(stream))
        jetstream = self.bus.client.jetstream()
        events = []
        for seq in range(max(state.first_seq, 1), state.last_seq + 1):
            message = await jetstream.get_msg(stream.name, seq)
            event = events_pb2.IdentityEvent.FromString(message.data or b"")
            headers = message.headers or {}
            assert message.subject == stream.subject(event.WhichOneof("fact") or "")
            assert headers["Nats-Msg-Id"] == event.event_id
            assert headers["Gongji-Aggregate"] == event.aggregate_id
            assert headers["Gongji-Version"] == str(event.version)
            events.append(event)
        return events


StartIdentity = Callable[..., Awaitable[Identity]]


async def refusal(work: Awaitable[object]) -> tuple[str, str, str]:
    """The code, reason and field of the refusal that the call ends in."""
    with pytest.raises(Failure) as refused:
        await work
    failure = refused.value
    return failure.kind.value, failure.reason, failure.metadata.get("field", "")


@pytest.fixture
def secrets_file(tmp_path: Path) -> Path:
    """Fresh secrets."""
    path = tmp_path / "identity.json"
    make_secrets_file(path)
    return path


@pytest.fixture(scope="session")
async def template(postgres: Databases) -> AsyncIterator[str]:
    """The name of a migrated database that tests copy: migrating anew for each would take longer than the tests."""
    name = f"identity_{uuid.uuid4().hex}"
    await migrate(await postgres.create_database(name), MIGRATIONS)
    yield name
    await postgres.drop_database(name)


@pytest.fixture
async def migrated(postgres: Databases, template: str) -> AsyncIterator[str]:
    """The URL of a migrated database of this test alone."""
    name = f"test_{uuid.uuid4().hex}"
    yield await postgres.create_database(name, template=template)
    await postgres.drop_database(name)


@pytest.fixture
async def start_identity(
    migrated: str, nats: NatsServer, bus_prefix: str, secrets_file: Path
) -> AsyncIterator[StartIdentity]:
    """Starts replicas of the room on one database and one bus; all are stopped at the end."""
    settings = Settings(
        database_url=migrated, nats_url=nats.url, bus_prefix=bus_prefix, identity_secrets_file=secrets_file
    )
    async with AsyncExitStack() as stack:

        async def start(clock: SetClock | None = None, *, sandbox_verifiers: bool = False) -> Identity:
            clock = clock or SetClock()
            db = await stack.enter_async_context(Database(migrated, application="identity"))
            bus = await stack.enter_async_context(Bus(nats.url, name="identity", prefix=bus_prefix))
            seals = Seals(read_secrets(secrets_file))
            await check_secrets(database=db, seals=seals)
            publisher = asyncio.create_task(OutboxPublisher(db, bus, Stream(bus_prefix, NAME)).run())
            stack.push_async_callback(_ended, publisher)
            keys = SigningKeys(
                database=db,
                seals=seals,
                lifetime=timedelta(days=settings.signing_key_days),
                token_lifetime=timedelta(hours=settings.ec_token_lifetime_h),
                clock=clock,
                randomness=SYSTEM_RANDOMNESS,
            )
            await keys.refresh()
            server = RpcServer(settings, Health(), check_call=check_caller)
            room = Room(
                database=db,
                seals=seals,
                keys=keys,
                clock=clock,
                randomness=SYSTEM_RANDOMNESS,
                code_lifetime_s=settings.code_lifetime_s,
                sandbox_verifiers=sandbox_verifiers,
            )
            for face in (IdentityApi, AttestationApi, SanctionApi, InstitutionApi, RightsApi, RiskApi):
                face(room).add_to(server)
            decoder = Decoder(db, clock)
            cards = CardRoom(db, seals, Pins(seals), decoder, SYSTEM_RANDOMNESS)
            ec_token_lifetime = timedelta(hours=settings.ec_token_lifetime_h)
            CredentialApi(room, Presentation(cards, keys, ec_token_lifetime)).add_to(server)
            CardApi(room, cards).add_to(server)
            KinshipApi(room, BatchFileRegistry(db)).add_to(server)
            ports = await server.start()
            stack.push_async_callback(server.stop, 0)
            opened = await stack.enter_async_context(
                channel(f"127.0.0.1:{ports['grpc']}", caller=None, call_timeout_s=60)
            )
            # The port may have been a former test's, whose connection gRPC shares with us until it has noticed its end.
            await opened.channel_ready()
            return Identity(
                identity_pb2_grpc.IdentityServiceStub(opened),
                credentials_pb2_grpc.CredentialServiceStub(opened),
                cards_pb2_grpc.CardServiceStub(opened),
                attestations_pb2_grpc.AttestationServiceStub(opened),
                kinship_pb2_grpc.KinshipServiceStub(opened),
                sanctions_pb2_grpc.SanctionServiceStub(opened),
                institutions_pb2_grpc.InstitutionServiceStub(opened),
                rights_pb2_grpc.RightsServiceStub(opened),
                risk_pb2_grpc.RiskServiceStub(opened),
                clock,
                db,
                keys,
                bus,
                address=f"127.0.0.1:{ports['grpc']}",
            )

        yield start


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
async def identity(start_identity: StartIdentity) -> Identity:
    """One running room."""
    return await start_identity()
