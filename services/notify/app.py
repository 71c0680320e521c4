"""The notify process: settings on top, constructors from top to bottom, main."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from pydantic import Field

from chassis.bus import Bus
from chassis.db import Database
from chassis.migrate import Migrations
from chassis.process import Process, run
from chassis.rpc.client import channel
from chassis.rpc.server import RpcServer
from chassis.settings import Address, ServiceSettings, load
from kernel.callers import service
from services.notify import consumer
from services.notify.api import NotifyApi
from services.notify.clients import Identity
from services.notify.operations.watching import Watchers

NAME: Final = "notify"
MIGRATIONS: Final = Path(__file__).parent / "migrations"


class Settings(ServiceSettings):
    """What the notify process is told."""

    identity_address: Address = Field(
        description="Where identity answers: its snapshot is read once, when this database is new.",
        examples=["identity:7001"],
    )
    watch_poll_s: float = Field(
        default=0.5, gt=0, le=60, description="Pause between two looks for messages that another replica has written."
    )
    watchers_max: int = Field(
        default=10_000, ge=1, le=1_000_000, description="Live streams at once; one more is refused."
    )


async def serve(process: Process, settings: Settings) -> None:
    """Runs the process until it is asked to stop."""
    database = await process.enter(
        Database(settings.database_url, application=process.name, pool_size=settings.database_pool_size)
    )
    bus = await process.enter(
        Bus(settings.nats_url, name=process.name, prefix=settings.bus_prefix, nkey_file=settings.nats_nkey_file)
    )
    identity = Identity(await process.enter(channel(settings.identity_address, caller=service(NAME))))
    watchers = Watchers(database, poll_s=settings.watch_poll_s, watchers_max=settings.watchers_max)
    await consumer.read_snapshot(database, identity)
    for one in consumer.consumers(database, bus, identity, watchers.ring):
        process.supervise("events", one.run())
    process.supervise("watchers", watchers.run())

    server = RpcServer(settings, process.health)
    NotifyApi(database, watchers).add_to(server)
    process.supervise("farewell", _say_farewell(server.draining, watchers))
    await process.ready(await process.listen(server))
    await process.stopped()


async def _say_farewell(draining: asyncio.Event, watchers: Watchers) -> None:
    """Live streams would last for ever: they end when the server begins to stop."""
    await draining.wait()
    watchers.close()


def main() -> None:
    """``python -m services.notify.app``, with ``migrate`` to bring the database to the newest schema and end."""
    settings = load(Settings)
    run(NAME, settings, serve, migrations=Migrations(MIGRATIONS, [settings.database_url]))


if __name__ == "__main__":
    main()
