"""The settlement process: settings on top, constructors from top to bottom, main."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Final

from pydantic import Field

from chassis.bus import Bus, Stream
from chassis.db import Database
from chassis.files import built_from, read_yaml_folder
from chassis.migrate import Migrations
from chassis.outbox import OutboxPublisher
from chassis.process import Process, run
from chassis.rpc.server import RpcServer
from chassis.settings import EXIT_BAD_SETTINGS, ServiceSettings, load
from chassis.telemetry import SYSTEM_RANDOMNESS
from gongji.settlement.v1.account_pb2_grpc import add_AccountServiceServicer_to_server
from gongji.settlement.v1.settlement_pb2_grpc import add_SettlementServiceServicer_to_server
from kernel.clock import SystemClock
from kernel.failures import Failure
from kernel.policy import PolicySet
from services.settlement.api.account import AccountApi
from services.settlement.api.settlement import SettlementApi
from services.settlement.clients import LedgerClient
from services.settlement.consumer import events
from services.settlement.operations.engine import Engine
from services.settlement.operations.planning import Desk

NAME: Final = "settlement"
MIGRATIONS: Final = Path(__file__).parent / "migrations"


class Settings(ServiceSettings):
    """What the settlement process is told."""

    policies_folder: Path = Field(
        description="The folder of region policies (YAML, one file for each area or province).",
        examples=["/etc/gongji/policies"],
    )
    policies_preset: str | None = Field(
        default=None,
        description="The preset laid above all areas; none if empty.",
        examples=["intra-province-strict"],
    )
    identity_address: str | None = Field(
        default=None,
        description="Where identity answers: its snapshot is read once, when this database is new.",
        examples=["identity:7001"],
    )
    family_address: str | None = Field(
        default=None,
        description="Where family answers: its snapshot is read once, when this database is new.",
        examples=["family:7001"],
    )


async def serve(process: Process, settings: Settings, *, policies: PolicySet) -> None:
    """Runs the process until it is asked to stop."""
    clock = SystemClock()
    database = await process.enter(
        Database(settings.database_url, application=process.name, pool_size=settings.database_pool_size)
    )
    bus = await process.enter(Bus(settings.nats_url, name=process.name, prefix=settings.bus_prefix))
    stream = Stream(settings.bus_prefix, NAME, settings.stream_replicas)
    process.supervise("outbox", OutboxPublisher(database, bus, stream).run())
    await events.read_snapshots(
        database, identity_address=settings.identity_address, family_address=settings.family_address
    )
    for consumer in events.consumers(database, bus):
        process.supervise("events", consumer.run())

    desk = Desk(database, LedgerClient(), policies)
    engine = Engine()
    server = RpcServer(settings, process.health)
    server.add(add_SettlementServiceServicer_to_server, SettlementApi(desk, engine, clock, SYSTEM_RANDOMNESS))
    server.add(add_AccountServiceServicer_to_server, AccountApi(desk, engine, clock))
    await process.ready(await process.listen(server))
    await process.stopped()


def read_policies(folder: Path, preset: str | None) -> PolicySet:
    """The policies in force; a file that is unknown, contradictory or out of range is refused with its line."""
    return built_from(read_yaml_folder(folder), partial(PolicySet.of_documents, preset=preset))


def main() -> None:
    """``python -m services.settlement.app``, with ``migrate`` to bring the database to the newest schema and end."""
    settings = load(Settings)
    try:
        policies = read_policies(settings.policies_folder, settings.policies_preset)
    except Failure as failure:
        sys.stderr.write(f"The policies are not usable: {failure}\n")
        sys.exit(EXIT_BAD_SETTINGS)
    run(
        NAME,
        settings,
        partial(serve, policies=policies),
        migrations=Migrations(MIGRATIONS, [settings.database_url]),
    )


if __name__ == "__main__":
    main()
