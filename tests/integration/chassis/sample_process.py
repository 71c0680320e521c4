"""A process made of chassis parts alone; the tests start it and tell it how to behave by WHAT."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from pathlib import Path

from chassis.bus import Bus, Stream
from chassis.db import Database
from chassis.migrate import Migrations
from chassis.outbox import OutboxPublisher
from chassis.process import Process, run
from chassis.rpc.server import RpcServer
from chassis.settings import ServiceSettings, load
from gongji.identity.v1 import identity_pb2, identity_pb2_grpc


class Identity(identity_pb2_grpc.IdentityServiceServicer):
    """Answers after a moment."""

    async def GetPerson(self, _request: object, _context: object) -> identity_pb2.GetPersonResponse:  # noqa: N802
        """Takes half a second."""
        await asyncio.sleep(0.5)
        return identity_pb2.GetPersonResponse(certno_masked="done")


async def _crash() -> None:
    await asyncio.sleep(0.2)
    raise RuntimeError("the task has a fault")


async def _linger() -> None:
    while True:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


async def serve(process: Process, settings: ServiceSettings) -> None:
    """As an app.py does it."""
    database = await process.enter(Database(settings.database_url, application=process.name))
    bus = await process.enter(Bus(settings.nats_url, name=process.name, prefix=settings.bus_prefix))
    process.supervise("outbox", OutboxPublisher(database, bus, Stream(settings.bus_prefix, "sample")).run())
    match os.environ.get("WHAT"):
        case "crash":
            process.supervise("crash", _crash())
        case "linger":
            process.supervise("linger", _linger())
        case "broken":
            raise LookupError("cannot be built")
    server = RpcServer(settings, process.health)
    server.add(identity_pb2_grpc.add_IdentityServiceServicer_to_server, Identity())  # type: ignore[abstract]  # One call.
    await process.ready(await process.listen(server))
    await process.stopped()


if __name__ == "__main__":
    loaded = load(ServiceSettings)
    run("sample", loaded, serve, migrations=Migrations(Path(__file__).parent / "migrations", [loaded.database_url]))
