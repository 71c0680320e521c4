"""The family process: settings on top, constructors from top to bottom, main."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from pydantic import Field

from chassis.bus import Bus, Stream
from chassis.clock import database_clock
from chassis.db import Database
from chassis.following import FollowedFolder
from chassis.migrate import Migrations
from chassis.outbox import OutboxPublisher
from chassis.process import Process, run
from chassis.rpc.client import channel
from chassis.rpc.server import RpcServer
from chassis.settings import Address, ServiceSettings, load, made_at_start
from kernel.callers import service
from kernel.policy import PolicyBook, PolicyShelf
from kernel.randomness import SYSTEM_RANDOMNESS
from services.family import consumer
from services.family.api.counter import CounterApi
from services.family.api.family import FamilyApi
from services.family.api.groups import GroupApi
from services.family.api.room import Room
from services.family.api.uses import UseApi
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
    policies_poll_s: float = Field(
        default=10.0,
        gt=0,
        le=300,
        description="How often that folder is looked at: changed files count without a restart, once they are sound.",
        examples=["10"],
    )
    policies_preset: str | None = Field(
        default=None,
        description="The preset laid above all areas; none if empty.",
        examples=["intra-province-strict"],
    )
    identity_address: Address = Field(
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


async def serve(process: Process, settings: Settings, *, policies: FollowedFolder[PolicyBook]) -> None:
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
    process.supervise("uses", consumer.settlements(database, bus).run())
    process.supervise("moves", consumer.moves(database, bus).run())
    shelf = PolicyShelf(policies.built)
    process.supervise("policies", policies.follow(shelf.exchange, poll_s=settings.policies_poll_s))
    recovery = Recovery(
        database=database,
        identity=identity,
        ledgers=ledgers,
        policies=shelf,
        clock=clock,
        sweep_s=settings.recovery_sweep_s,
    )
    process.supervise("recovery", recovery.run())

    server = RpcServer(settings, process.health)
    room = Room(
        database=database,
        identity=identity,
        ledgers=ledgers,
        policies=shelf,
        people=People(database, identity),
        clock=clock,
        randomness=SYSTEM_RANDOMNESS,
        invitation_days=settings.invitation_days,
    )
    FamilyApi(room).add_to(server)
    GroupApi(room).add_to(server)
    UseApi(room).add_to(server)
    CounterApi(room).add_to(server)
    await process.ready(await process.listen(server))
    await process.stopped()


def main() -> None:
    """``python -m services.family.app``, with ``migrate`` to bring the database to the newest schema and end."""
    settings = load(Settings)
    build = partial(PolicyBook.of_documents, preset=settings.policies_preset)
    policies = made_at_start(
        lambda: FollowedFolder(
            settings.policies_folder, build, what="policies", check_change=PolicyBook.check_followed_by
        ),
        what="policies",
    )
    run(
        NAME,
        settings,
        partial(serve, policies=policies),
        migrations=Migrations(MIGRATIONS, [settings.database_url]),
    )


if __name__ == "__main__":
    main()
