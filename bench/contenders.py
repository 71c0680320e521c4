"""The contenders: Gongji and those it is compared with, each started for its turn and measured in the same way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import asyncpg

from bench.floor import Floor
from bench.measure import cost_of, until_quiet
from bench.pace import COUNT_MAX, Report
from bench.place import Client, Servers, ledger_urls, replica_names, start_processes
from bench.population import Population, Signer, refill
from ops.embedded.world import World

RATE_FIRST_PER_S: Final = 400
RATE_RISE_MAX: Final = 2.5
"""Plans are made for so many times the fastest rate so far; should they be used up, the reading is shorter."""
WARM_MIN: Final = 20


class Contender(Protocol):
    """One way to settle. ``start`` and ``stop`` are one turn; between them it is measured."""

    name: str
    title: str

    async def start(self) -> Report:
        """Begins a turn; what the cold cases took, in ms by name."""

    async def closed(self, *, in_flight: int, seconds: float) -> Report:
        """A closed loop; the report of ``pace`` with the cost per settlement."""

    async def opened(self, *, rate: float, seconds: float) -> Report | None:
        """An open loop, where the contender can be driven so."""

    async def stop(self) -> None:
        """Ends the turn."""


@dataclass
class Gongji:
    """Ours: terminals → settlement → NATS → two ledgers, all as in production. ``visits`` adds PreSettle to each."""

    servers: Servers
    world: World
    signer: Signer
    population: Population
    families: range
    visits: bool
    replicas: int = 1
    name: str = ""
    title: str = ""
    _client: Client | None = None
    _fastest_per_s: float = 0.0

    def __post_init__(self) -> None:
        self.name = "visits" if self.visits else "settle"
        self.title = "Gongji, PreSettle + Settle" if self.visits else "Gongji, Settle"

    @property
    def settlement_url(self) -> str:
        """The coordinator's database."""
        return self.world.database_url("settlement")

    async def start(self) -> Report:
        """Starts the processes; cold are the first Settle of all and the first call over a channel just opened."""
        await refill(ledger_urls(self.world))
        await start_processes(self.world, replicas=self.replicas)
        self._client = await Client.terminals(
            self.world,
            signer=self.signer,
            population=self.population,
            families=self.families,
            replicas=self.replicas,
        )
        first = await self._one()
        count = await self._ready(WARM_MIN)
        await self._client.order("closed", visits=False, in_flight=1, seconds=1.0, warm=0, count_max=count)
        return {
            "first Settle after start, one PreSettle before it": first,
            "first call of a fresh channel, a Settle": await self._one(fresh=True),
        }

    async def _one(self, *, fresh: bool = False) -> float:
        """The latency of one Settle, in ms; ``fresh`` opens a channel between the making of its plan and it."""
        assert self._client is not None  # noqa: S101  For the type checker, here and below: the turn has begun.
        await self._ready(1)
        if fresh:
            await self._client.order("connect")
        report = await self._client.order("closed", visits=False, in_flight=1, seconds=1.0, warm=0, count_max=1)
        return float(report["p50_ms"])

    async def _ready(self, count: int) -> int:
        assert self._client is not None  # noqa: S101  As above.
        await until_quiet(self.settlement_url)
        await refill(ledger_urls(self.world))
        count = min(count, len(self.families))
        if not self.visits or count <= WARM_MIN:
            await self._client.order("prepare", count=count)
        return count

    async def closed(self, *, in_flight: int, seconds: float, count_max: int = COUNT_MAX) -> Report:
        """Plans enough are made before."""
        warm = max(WARM_MIN, 2 * in_flight)
        guess = RATE_FIRST_PER_S if in_flight == 1 else RATE_RISE_MAX * max(self._fastest_per_s, RATE_FIRST_PER_S)
        count_max = await self._ready(min(count_max, warm + round(guess * seconds)))
        order = {"in_flight": in_flight, "seconds": seconds, "warm": warm, "count_max": count_max}
        report = await self._measured("closed", order)
        self._fastest_per_s = max(self._fastest_per_s, report["per_s"])
        return report

    async def burst(self, *, in_flight: int) -> float:
        """So many at once and no more: settlements a second until the last is done."""
        assert self._client is not None  # noqa: S101  As above.
        await self._ready(in_flight)
        order = {"in_flight": in_flight, "seconds": 60.0, "warm": 0, "count_max": in_flight}
        return float((await self._client.order("closed", visits=False, **order))["per_s"])

    async def opened(self, *, rate: float, seconds: float) -> Report | None:
        """Likewise."""
        await self._ready(round(rate * seconds) + 1)
        return await self._measured("opened", {"rate": rate, "seconds": seconds})

    async def _measured(self, do: str, order: Mapping[str, Any]) -> Report:
        assert self._client is not None  # noqa: S101  As above.
        processes = self.processes()
        async with cost_of(self.servers, processes, self.settlement_url) as cost:
            report = await self._client.order(do, visits=self.visits, **order)
        return {**report, **cost.each(report["done"])}

    def processes(self) -> dict[str, int]:
        """The pids of this turn by name, also the terminals'."""
        names = [*replica_names(self.replicas), "ledger"]
        pids = {"nats": self.servers.nats.pid, **{name: self.world.pid(name) for name in names}}
        if self._client is not None:
            pids["client"] = self._client.pid
        return {name: pid for name, pid in pids.items() if pid is not None}

    async def stop(self) -> None:
        """Ends the terminals and the processes."""
        if self._client is not None:
            await self._client.stop()
            self._client = None
        await self.world.stop()


@dataclass
class Peer:
    """A peer's process on clones of the populated databases."""

    servers: Servers
    world: World
    population: Population
    families: range
    module: str
    name: str
    title: str
    in_flight_max: int
    """The size of each of its pools: the largest number in flight of the whole run."""
    _urls: dict[str, str] = field(default_factory=dict)
    _client: Client | None = None

    async def clone(self) -> None:
        """Makes its databases: copies of ours, with funders without a limit; and one of its own."""
        sources = {"settlement": self.world.database_url("settlement"), **ledger_urls(self.world)}
        for name, url in sources.items():
            template = url.partition("/?")[0].partition("?")[0].rpartition("/")[2]
            self._urls[name] = await self.servers.postgres.create_database(
                f"bench_{self.name}_{name}", template=template
            )
        self._urls["system"] = await self.servers.postgres.create_database(f"bench_{self.name}_system")
        for area in self.population.areas:
            connection = await asyncpg.connect(self._urls[area])
            try:
                await connection.execute("UPDATE authorisations SET authorised_fen = NULL")
                await connection.execute("VACUUM FULL ANALYZE")
            finally:
                await connection.close()

    @property
    def urls(self) -> dict[str, str]:
        """By name: settlement, the areas, system."""
        return self._urls

    async def start(self) -> Report:
        """Starts its process; cold is its first payment."""
        told = {
            "urls": self._urls,
            "areas": self.population.areas,
            "sharing": self.population.sharing,
            "families": [self.families.start, self.families.stop],
            "in_flight_max": self.in_flight_max,
        }
        self._client = await Client.start(self.module, told)
        report = await self._client.order("closed", in_flight=1, seconds=1.0, warm=0, count_max=1)
        return {"first after start": report["p50_ms"]}

    async def closed(self, *, in_flight: int, seconds: float) -> Report:
        """After as many as are in flight, twice."""
        warm = max(WARM_MIN, 2 * in_flight)
        return await self._measured(
            "closed", {"in_flight": in_flight, "seconds": seconds, "warm": warm, "count_max": COUNT_MAX}
        )

    async def opened(self, *, rate: float, seconds: float) -> Report | None:
        """At this rate."""
        return await self._measured("opened", {"rate": rate, "seconds": seconds})

    async def _measured(self, do: str, order: Mapping[str, Any]) -> Report:
        assert self._client is not None  # noqa: S101  For the type checker: the turn has begun.
        async with cost_of(self.servers, {"client": self._client.pid}, None) as cost:
            report = await self._client.order(do, **order)
        return {**report, **cost.each(report["done"])}

    async def stop(self) -> None:
        """Ends its process."""
        if self._client is not None:
            await self._client.stop()
            self._client = None


@dataclass
class PgBench:
    """The floor as a contender; its clients are connected anew for each measurement."""

    servers: Servers
    floor: Floor
    name: str = "floor"
    title: str = "floor (pgbench)"

    async def start(self) -> Report:
        """Nothing is kept running."""
        return {}

    async def closed(self, *, in_flight: int, seconds: float) -> Report:
        """So many clients of pgbench."""
        async with cost_of(self.servers, {}, None) as cost:
            report, client_cpu_s = await self.floor.closed(in_flight=in_flight, seconds=seconds)
        cost.cpu_s["client"] = client_cpu_s
        return {**report, **cost.each(report["done"])}

    async def opened(self, *, rate: float, seconds: float) -> Report | None:  # noqa: ARG002  As a Contender has it.
        """Not asked for."""
        return None

    async def stop(self) -> None:
        """Nothing runs."""
