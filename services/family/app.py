"""The family process: settings on top, constructors from top to bottom, main."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from pydantic import Field

from chassis.bus import Bus, Stream
from chassis.clock import database_clock
from chassis.db import Database
from chassis.files import built_from, read_yaml_folder
from chassis.migrate import Migrations
from chassis.outbox import OutboxPublisher
from chassis.process import Process, run
from chassis.rpc.client import channel
from chassis.rpc.server import RpcServer
from chassis.settings import ServiceSettings, load, made_at_start
from kernel.callers import service
from kernel.policy import PolicySet
from kernel.randomness import SYSTEM_RANDOMNESS
from services.family import consumer
from services.family.api import FamilyApi, Room
from services.family.clients import Identity, Ledgers
from services.family.operations.people import People
from services.family.recovery import Recovery

NAME: Final = "family"
MIGRATIONS: Final = Path(__file__).parent / "migrations"


class Settings(ServiceSettings):
    """What the family process is told."""

    policies_folder: Path = Field(
        description="The folder of region policies (YAML, one file for each area or province).",
        examples=["/etc/gongji/policies"],
    )
    policies_preset: str | None = Field(
        default=None,
        description="The preset laid above all areas; none if empty.",
        examples=["intra-province-strict"],
    )
    identity_address: str = Field(
        description="Where identity answers: kinship, and persons whose event has not arrived yet.",
        examples=["identity:7001"],
    )
    invitation_days: int = Field(
        default=7, ge=1, le=365, description="How many days an invitation to a family group can be accepted."
    )
    ledger_wait_s: float = Field(
        default=2.0, gt=0, le=2.5, description="How long a request waits for a funder's ledger before it goes on alone."
    )
    recovery_sweep_s: float = Field(
        default=1.0, gt=0, le=60, description="Pause between two looks for bindings that a ledger has not answered."
    )


async def serve(process: Process, settings: Settings, *, policies: PolicySet) -> None:
    """Runs the process until it is asked to stop."""
    database = await process.enter(
        Database(settings.database_url, application=process.name, pool_size=settings.database_pool_size)
    )
    clock = await database_clock(process, database)
    bus = await process.enter(
        Bus(settings.nats_url, name=process.name, prefix=settings.bus_prefix, nkey_file=settings.nats_nkey_file)
    )
    identity = Identity(await process.enter(channel(settings.identity_address, caller=service(NAME))))
    ledgers = Ledgers(bus, wait_s=settings.ledger_wait_s)
    stream = Stream(settings.bus_prefix, NAME, settings.stream_replicas)
    process.supervise("outbox", OutboxPublisher(database, bus, stream).run())
    await consumer.read_snapshot(database, identity)
    process.supervise("persons", consumer.persons(database, bus).run())
    process.supervise("kinship", consumer.kinship(database, bus).run())
    recovery = Recovery(
        database=database,
        identity=identity,
        ledgers=ledgers,
        policies=policies,
        clock=clock,
        sweep_s=settings.recovery_sweep_s,
    )
    process.supervise("recovery", recovery.run())

    server = RpcServer(settings, process.health)
    api = FamilyApi(
        Room(
            database=database,
            identity=identity,
            ledgers=ledgers,
            policies=policies,
            people=People(database, identity),
            clock=clock,
            randomness=SYSTEM_RANDOMNESS,
            invitation_days=settings.invitation_days,
        )
    )
    api.add_to(server)
    await process.ready(await process.listen(server))
    await process.stopped()


def main() -> None:
    """``python -m services.family.app``, with ``migrate`` to bring the database to the newest schema and end."""
    settings = load(Settings)
    build = partial(PolicySet.of_documents, preset=settings.policies_preset)
    policies = made_at_start(lambda: built_from(read_yaml_folder(settings.policies_folder), build), what="policies")
    run(
        NAME,
        settings,
        partial(serve, policies=policies),
        migrations=Migrations(MIGRATIONS, [settings.database_url]),
    )


if __name__ == "__main__":
    main()
