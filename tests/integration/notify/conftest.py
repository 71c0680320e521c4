"""Identity, family, notify and a ledger on real servers; settlement's events are published by the tests themselves."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.rpc.client import channel
from gongji.notify.v1 import notify_pb2, notify_pb2_grpc
from gongji.settlement.v1 import events_pb2, settlement_pb2
from ops.embedded.databases import Databases
from ops.embedded.world import SERVICES, Service, Starting, World
from tests.integration.family.house import HAMI, House, house_of
from tests.patience import say, until
from tests.servers import NatsServer, new_folder

SECOND: Final = Service("notify2", "services.notify.app", frozenset({"identity"}))
"""Another replica of notify, on the same database."""
SERVICE_NAMES: Final = ("identity", "family", "ledger", "notify")
AT: Final = datetime(2026, 11, 20, 16, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Desk:
    """A person's way to messages, and a voice that speaks as settlement does."""

    house: House
    notify: notify_pb2_grpc.NotifyServiceAsyncStub
    published: list[str] = field(default_factory=list)

    async def publish(self, event: events_pb2.SettlementEvent) -> None:
        """As settlement's outbox does."""
        await say(self.house.bus, event)

    async def page(self, psn_no: str, *, before: int = 0, limit: int = 0) -> notify_pb2.ListMessagesResponse:
        """A page of a person's messages."""
        return await self.notify.ListMessages(
            notify_pb2.ListMessagesRequest(psn_no=psn_no, before_message_no=before, messages_max=limit)
        )

    async def topics(self, psn_no: str) -> list[str]:
        """The topics of a person's messages, oldest first."""
        messages = (await self.page(psn_no, limit=200)).messages
        return [notify_pb2.Topic.Name(message.topic).removeprefix("TOPIC_") for message in reversed(messages)]

    async def until_told(self, psn_no: str, count: int) -> list[notify_pb2.Message]:
        """The person's messages, oldest first, once there are so many."""

        async def enough() -> bool:
            return len((await self.page(psn_no, limit=200)).messages) >= count

        await until(enough)
        return list((await self.page(psn_no, limit=200)).messages)[::-1]


def credited(psn_no: str, amount_fen: int = 100) -> events_pb2.SettlementEvent:
    """Money came into a person's account."""
    event = _event()
    event.account_credited.psn_no = psn_no
    event.account_credited.amount_fen = amount_fen
    return event


def settled(patient: str, funder: str) -> events_pb2.SettlementEvent:
    """A hospital bill of 200 yuan: 30 of the patient's own, 120 of a funder, the rest in cash."""
    event = _event()
    bill = event.bill_settled
    bill.setl_id, bill.fixmedins_code = event.aggregate_id, "H65050000001"
    bill.patient_psn_no, bill.patient_name_masked = patient, "王*国"
    bill.psn_part_amt, bill.psn_cash_pay = 200_00, 50_00
    own, relative = settlement_pb2.SOURCE_ROLE_OWN, settlement_pb2.SOURCE_ROLE_FUNDER
    bill.changes.add(psn_no=patient, role=own, area=HAMI, current_fen=30_00, balance_after_fen=1)
    bill.changes.add(psn_no=funder, role=relative, area=HAMI, past_fen=100_00, current_fen=20_00, balance_after_fen=2)
    return event


def _event() -> events_pb2.SettlementEvent:
    occurred = Timestamp()
    occurred.FromDatetime(AT)
    event_id = str(uuid.uuid4())
    return events_pb2.SettlementEvent(
        event_id=event_id, aggregate_id=f"payment:{event_id}", version=1, occurred_time=occurred
    )


@pytest.fixture(scope="session")
async def desk(postgres: Databases, nats: NatsServer, starting: Starting) -> AsyncIterator[Desk]:
    """The system, shared by the tests of this folder; each makes people of its own and leaves every process running."""
    folder, name = new_folder("notify"), f"n{uuid.uuid4().hex[:12]}"
    folder.mkdir()
    policies = folder / "policies"
    policies.mkdir()
    (policies / "default.yaml").write_text("area: default\npolicy: {}\n", encoding="utf-8")
    world = World(
        folder,
        databases=postgres,
        nats_url=nats.url,
        database_prefix=name,
        bus_prefix=name,
        areas=[HAMI],
        policies=policies,
        starting=starting,
        services=[*(service for service in SERVICES if service.name in SERVICE_NAMES), SECOND],
        environment={"GONGJI_DATABASE_POOL_SIZE": "4"},
    )
    try:
        await world.start(SERVICE_NAMES)
        async with house_of(world) as house, channel(world.address("notify"), caller=None, call_timeout_s=60) as notify:
            yield Desk(house, notify_pb2_grpc.NotifyServiceStub(notify))
    finally:
        await world.stop()
        await world.drop_databases()
        await nats.remove_streams(name)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def second(desk: Desk) -> AsyncIterator[Callable[..., Awaitable[notify_pb2_grpc.NotifyServiceAsyncStub]]]:
    """Starts a second replica of notify with more settings; it is stopped after the test."""
    world = desk.house.world
    async with AsyncExitStack() as stack:

        async def start(**settings: str) -> notify_pb2_grpc.NotifyServiceAsyncStub:
            await stack.enter_async_context(_second(world, settings))
            opened = await stack.enter_async_context(channel(world.address("notify2"), caller=None, call_timeout_s=60))
            await opened.channel_ready()
            return notify_pb2_grpc.NotifyServiceStub(opened)

        yield start


@asynccontextmanager
async def _second(world: World, settings: dict[str, str]) -> AsyncIterator[None]:
    told = {f"GONGJI_{name}": value for name, value in settings.items()}
    url = world.database_url("notify")
    await world.start_process("notify2", environment={"GONGJI_DATABASE_URL": url, **told})
    try:
        yield
    finally:
        await world.stop_process("notify2")
