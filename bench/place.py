"""Where the bench runs: one PostgreSQL and one NATS, durable as in production, and Gongji's processes on them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.population import POLICY, Population, Signer, populate, utc_now
from ops.embedded.nats import EmbeddedNats
from ops.embedded.postgres import EmbeddedPostgres
from ops.embedded.world import Service, World

PROJECT: Final = Path(__file__).resolve().parents[1]
CLIENT_MAX_S: Final = 600.0
BENCH_SETTINGS: Final = {"max_connections": "1000", "max_prepared_transactions": "400"}
"""Room for the peers' pools and prepared transactions; the rest is as Gongji's embedded server has it, durable."""


@dataclass
class Servers:
    """PostgreSQL and NATS."""

    postgres: EmbeddedPostgres
    nats: EmbeddedNats


@asynccontextmanager
async def servers_in(folder: Path) -> AsyncIterator[Servers]:
    """Both, started in ``folder``; stopped at the end, and their data removed, wherever it lay."""
    postgres = EmbeddedPostgres(folder / "postgres", settings=BENCH_SETTINGS)
    nats = EmbeddedNats(folder / "nats")
    await postgres.start()
    try:
        await nats.start()
        try:
            yield Servers(postgres, nats)
        finally:
            await nats.stop()
    finally:
        await postgres.destroy()


def replica_names(replicas: int) -> list[str]:
    """The settlement processes of a world, by name."""
    return ["settlement", *(f"settlement_{number}" for number in range(2, replicas + 1))]


def services(replicas: int) -> tuple[Service, ...]:
    """The processes that a settlement passes through; identity, family and notify take no part in it."""
    ledger = Service("ledger", "services.settlement.ledger.app", frozenset({"ledgers"}))
    return (
        *(
            Service(name, "services.settlement.app", frozenset({"database", "policies"}))
            for name in replica_names(replicas)
        ),
        ledger,
    )


@asynccontextmanager
async def gongji_on(
    servers: Servers,
    folder: Path,
    *,
    families: int,
    signer: Signer,
    population: Population,
    prefix: str = "bench",
    replicas: int = 1,
) -> AsyncIterator[World]:
    """A world with this many families in it."""
    policies = folder / "policies"
    policies.mkdir(parents=True, exist_ok=True)
    (policies / "650000.yaml").write_text(POLICY, encoding="utf-8")
    world = World(
        folder,
        databases=servers.postgres,
        nats_url=servers.nats.url,
        database_prefix=prefix,
        bus_prefix=prefix,
        areas=population.areas,
        policies=policies,
        services=services(replicas),
    )
    await world.start([])
    await start_processes(world, replicas=replicas)
    try:
        await populate(
            population,
            settlement_url=world.database_url("settlement"),
            ledger_urls=ledger_urls(world),
            families=range(families),
            signer=signer,
            now=utc_now(),
        )
        yield world
    finally:
        await world.stop()


async def start_processes(world: World, *, replicas: int = 1) -> None:
    """The ledgers and the first settlement process, which migrate, then its replicas on the same database."""
    await asyncio.gather(world.start_process("ledger"), world.start_process("settlement"))
    shared = {"GONGJI_DATABASE_URL": world.database_url("settlement")}
    for name in replica_names(replicas)[1:]:
        await world.start_process(name, environment=shared)


def ledger_urls(world: World) -> dict[str, str]:
    """Each area's database."""
    return {area: world.ledger_database_url(area) for area in world.areas}


class Client:
    """A contender's client process, from outside: ``bench.load`` or a peer."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.pid = process.pid

    @classmethod
    async def start(cls, module: str, told: Mapping[str, Any]) -> Client:
        """Starts ``python -m module`` and tells it what it must know; it is ready then."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            cwd=PROJECT,
        )  # fmt: skip
        client = cls(process)
        await client._send(told)
        await client._answer()
        return client

    @classmethod
    async def terminals(
        cls, world: World, *, signer: Signer, population: Population, families: range, replicas: int = 1
    ) -> Client:
        """Starts ``bench.load`` on a world."""
        told = {
            "addresses": [world.address(name) for name in replica_names(replicas)],
            "key": signer.key.as_dict(private=True),
            "areas": population.areas,
            "sharing": population.sharing,
            "families": [families.start, families.stop, families.step],
        }
        return await cls.start("bench.load", told)

    async def order(self, do: str, **arguments: Any) -> dict[str, Any]:  # noqa: ANN401  JSON values.
        """One order and what came of it."""
        await self._send({"do": do, **arguments})
        return await self._answer()

    async def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None  # noqa: S101  For the type checker, here and below: they are pipes.
        line = await asyncio.wait_for(self._process.stdout.readline(), CLIENT_MAX_S)
        if not line:
            raise RuntimeError(f"the client's process ended with {await self._process.wait()}")
        report: dict[str, Any] = json.loads(line)
        return report

    async def stop(self) -> None:
        """Ends it."""
        assert self._process.stdin is not None  # noqa: S101  As above.
        self._process.stdin.close()
        await self._process.wait()

    async def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None  # noqa: S101  As above.
        self._process.stdin.write(json.dumps(message).encode() + b"\n")
        await self._process.stdin.drain()
