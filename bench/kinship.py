"""Whether VerifyKinship costs the same among a million people as among ten thousand: (``python -m bench.identity``).

Two identity services stand on one PostgreSQL, each on a registry of its own with families of one shape, written by
COPY. The same questions are asked of as many families in both, in the larger one spread over all its pages.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import asyncpg

from bench.contest import order_of, say
from bench.document import span, spread_of, table, verdict
from bench.measure import cost_of
from bench.place import Servers
from chassis.rpc.client import channel
from gongji.identity.v1 import kinship_pb2, person_pb2
from gongji.identity.v1.kinship_pb2_grpc import KinshipServiceStub
from kernel.callers import parsed_caller
from ops.embedded.world import Service, World

if TYPE_CHECKING:
    from gongji.identity.v1.kinship_pb2_grpc import KinshipServiceAsyncStub

SIZES: Final = (10_000, 1_000_000)
"""People."""
SMALL_SIZES: Final = (1_000, 20_000)
RATIO_MAX: Final = 2.0
"""What a question may cost in the larger registry, times the same in the smaller: time alone, and CPU under load."""
ROUNDS: Final = 5
CALLS_ALONE: Final = 2_000
CALLS_TOGETHER: Final = 6_000
IN_FLIGHT: Final = 32
WARM_CALLS: Final = 300
ASKED_FAMILIES: Final = 1_000
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SEALED: Final = bytes(46)
"""As long as a sealed number; nobody opens it."""

MEMBERS: Final = (
    (1935, "1"), (1937, "2"),  # The old couple.
    (1960, "1"), (1962, "2"),  # Their elder son and his wife.
    (1985, "2"), (1984, "1"),  # The wife's and his daughter, and her husband.
    (2010, "1"),  # Their son.
    (1963, "1"),  # The old couple's younger son.
    (1982, "2"),  # The elder son's daughter from before.
    (2013, "2"),  # Another daughter of the fourth generation.
)  # fmt: skip
"""Year of birth and sex of each of a family's ten, four generations."""
PARENTS: Final = ((0, 2), (1, 2), (0, 7), (1, 7), (2, 4), (3, 4), (2, 8), (4, 6), (5, 6), (4, 9), (5, 9))
MARRIAGES: Final = ((0, 1, 1956), (2, 3, 1983), (4, 5, 2008))
QUESTIONS: Final = (
    (0, 2, person_pb2.RELATION_PARENT),
    (6, 4, person_pb2.RELATION_CHILD),
    (0, 4, person_pb2.RELATION_PATERNAL_GRANDPARENT),
    (6, 3, person_pb2.RELATION_DAUGHTERS_CHILD),
    (4, 8, person_pb2.RELATION_SIBLING),
    (2, 7, person_pb2.RELATION_SIBLING),
    (4, 5, person_pb2.RELATION_SPOUSE),
    (5, 2, person_pb2.RELATION_UNSPECIFIED),  # In-law only.
    (0, 6, person_pb2.RELATION_UNSPECIFIED),  # A great-grandfather.
)
"""What one of a family is to another, and the answer that must come."""


def psn_no(family: int, member: int) -> str:
    """The number of one of a family."""
    return f"65{family * len(MEMBERS) + member:013}"


def people(families: int) -> Iterator[tuple[Any, ...]]:
    """The rows of ``persons``."""
    for family in range(families):
        for member, (year, gend) in enumerate(MEMBERS):
            number = psn_no(family, member)
            index = hashlib.sha256(number.encode()).digest()
            born = date(year, 1 + family % 12, 1 + family % 28)
            yield (number, "RESIDENT_ID", _SEALED, _SEALED, "k1", index, "王**", born, gend, 1, _NOW)


def facts(families: int) -> Iterator[tuple[Any, ...]]:
    """The rows of ``kinship_facts``, all verified."""
    told = len(PARENTS) + len(MARRIAGES)
    for family in range(families):
        links: list[tuple[str, int, int, date | None]] = [("PARENT_OF", *pair, None) for pair in PARENTS]
        links += [("MARRIED_TO", one, other, date(year, 5, 1)) for one, other, year in MARRIAGES]
        for place, (kind, one, other, begin) in enumerate(links):
            fact_id = UUID(int=(0x7 << 76) | (0b10 << 62) | (family * told + place))
            pair = psn_no(family, one), psn_no(family, other)
            yield (fact_id, kind, *pair, "HOUSEHOLD_REGISTER", begin, "VERIFIED", 1, _NOW)


_PEOPLE_COLUMNS: Final = (
    "psn_no", "certificate_kind", "certno_sealed", "name_sealed", "key_id", "certno_index", "name_masked", "brdy",
    "gend", "version", "registered_at",
)  # fmt: skip
_FACT_COLUMNS: Final = (
    "fact_id", "kind", "psn_no", "other_psn_no", "evidence", "from_date", "state", "version", "submitted_at",
)  # fmt: skip


async def populate(url: str, families: int) -> float:
    """Writes the families into identity's database, which is empty; how many seconds it took."""
    began_s = time.monotonic()
    connection = await asyncpg.connect(url)
    try:
        # What is written is sound by itself; to look up each fact's two people would take longer than the writing.
        await connection.execute("SET session_replication_role = replica")
        await connection.copy_records_to_table("persons", records=people(families), columns=_PEOPLE_COLUMNS)
        await connection.copy_records_to_table("kinship_facts", records=facts(families), columns=_FACT_COLUMNS)
        # As a registry that has stood for a while: nothing left for the server to do beside the questions.
        for name in ("persons", "kinship_facts"):
            await connection.execute(f"VACUUM (FREEZE, ANALYZE) {name}", timeout=600)
        await connection.execute("CHECKPOINT", timeout=600)
    finally:
        await connection.close()
    return time.monotonic() - began_s


@dataclass
class Registry:
    """One identity service with its people."""

    name: str
    families: int
    servers: Servers
    world: World
    stub: KinshipServiceAsyncStub
    written_s: float

    def questions(self) -> Iterator[tuple[kinship_pb2.VerifyKinshipRequest, person_pb2.Relation.ValueType]]:
        """Without end: every question of one family after the other, over the whole registry."""
        step = max(self.families // ASKED_FAMILIES, 1)
        for family in cycle(range(0, min(ASKED_FAMILIES, self.families) * step, step)):
            for one, other, relation in QUESTIONS:
                request = kinship_pb2.VerifyKinshipRequest(
                    psn_no=psn_no(family, one), other_psn_no=psn_no(family, other), on_date="2026-07-01"
                )
                yield request, relation

    async def ask(self, request: kinship_pb2.VerifyKinshipRequest, expected: person_pb2.Relation.ValueType) -> None:
        """Asks one; RuntimeError if the answer is another."""
        answer = await self.stub.VerifyKinship(request)
        if answer.relation != expected:
            raise RuntimeError(f"{self.name}: a wrong answer: {answer.relation} instead of {expected}")

    async def reading(self, *, alone: int, together: int) -> dict[str, float]:
        """The time of one question at a time, and the CPU of each with many at once."""
        questions = self.questions()
        for each in islice(questions, WARM_CALLS):
            await self.ask(*each)
        took_ms = []
        for each in islice(questions, alone):
            began_s = time.perf_counter()
            await self.ask(*each)
            took_ms.append(1000 * (time.perf_counter() - began_s))

        async def work() -> None:
            for each in waiting:
                await self.ask(*each)

        waiting = islice(questions, together)
        pid = self.world.pid("identity")
        assert pid is not None  # noqa: S101  For the type checker: it runs.
        began_s = time.perf_counter()
        async with cost_of(self.servers, {"identity": pid}, None) as cost:
            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
            seconds = time.perf_counter() - began_s
        cpu = {key: used for key, used in cost.each(together).items() if key.startswith("cpu_ms.")}
        return {"p50_ms": median(took_ms), "per_s": together / seconds, **cpu}


@asynccontextmanager
async def _registry(servers: Servers, folder: Path, size: int) -> Any:  # noqa: ANN401  An iterator of one Registry.
    name = f"{size:,} people"
    world = World(
        folder / f"kinship_{size}",
        databases=servers.postgres,
        nats_url=servers.nats.url,
        database_prefix=f"kinship_{size}",
        bus_prefix=f"kinship-{size}",
        areas=(),
        services=(Service("identity", "services.identity.app", frozenset({"database", "secrets"})),),
    )
    await world.start()
    try:
        families = size // len(MEMBERS)
        written_s = await populate(world.database_url("identity"), families)
        # Anew, so that no statement was planned for an empty table.
        await world.restart_process("identity")
        async with channel(
            world.address("identity"), caller=parsed_caller("operator:bench"), call_timeout_s=20
        ) as opened:
            yield Registry(name, families, servers, world, KinshipServiceStub(opened), written_s)
    finally:
        await world.stop()


async def compared(
    servers: Servers,
    folder: Path,
    *,
    sizes: tuple[int, int] = SIZES,
    rounds: int = ROUNDS,
    alone: int = CALLS_ALONE,
    together: int = CALLS_TOGETHER,
) -> dict[str, Any]:
    """Both registries in turns: time and CPU of a question in each, and larger ÷ smaller."""
    readings: dict[str, list[dict[str, float]]] = {}
    async with AsyncExitStack() as stack:
        registries: list[Registry] = [
            await stack.enter_async_context(_registry(servers, folder, size)) for size in sizes
        ]
        for registry in registries:
            say(f"  {registry.name}: written in {registry.written_s:.1f} s")
        for number in range(rounds):
            for registry in order_of(registries, number):
                report = await registry.reading(alone=alone, together=together)
                readings.setdefault(registry.name, []).append(report)
                say(f"  {registry.name}: {report['p50_ms']:.2f} ms alone, {report['cpu_ms.all']:.3f} ms of CPU each")
        written = {registry.name: registry.written_s for registry in registries}
    small, large = (readings[f"{size:,} people"] for size in sizes)
    ratios = {key: _ratios(small, large, key) for key in ("p50_ms", "cpu_ms.all")}
    return {
        "rounds": rounds,
        "in_flight": IN_FLIGHT,
        "registries": {
            name: {
                "written_s": written[name],
                "cost": {key: spread_of([report[key] for report in reports]) for key in reports[0]},
            }
            for name, reports in readings.items()
        },
        "ratios": ratios,
        "aim": f"≤ {RATIO_MAX:g}",
        "met": all(each["median"] <= RATIO_MAX for each in ratios.values()),
    }


def _ratios(small: Sequence[Mapping[str, float]], large: Sequence[Mapping[str, float]], key: str) -> dict[str, float]:
    return spread_of([after[key] / before[key] for before, after in zip(small, large, strict=True)])


def markdown(found: Mapping[str, Any]) -> str:
    """For a person, and for docs/performance.md."""
    registries = found["registries"]
    figures = (
        ("p50_ms", "one at a time, p50, ms", 2),
        ("cpu_ms.all", f"CPU, {found['in_flight']} at once, ms", 3),
        ("cpu_ms.identity", "of it identity", 3),
        ("cpu_ms.postgres", "of it PostgreSQL", 3),
        ("per_s", "a second", 0),
    )
    rows = [
        [label, *(span(each["cost"][key], digits) for each in registries.values())] for key, label, digits in figures
    ]
    rows.append(["written in, s", *(f"{each['written_s']:,.0f}" for each in registries.values())])
    ratios = found["ratios"]
    return "\n".join(
        [
            f"{found['rounds']} rounds in turns; median (least–most).\n",
            table(["VerifyKinship", *registries], rows),
            (
                f"Larger ÷ smaller: time **{span(ratios['p50_ms'], 2)}**, CPU **{span(ratios['cpu_ms.all'], 2)}**."
                f" Aim {found['aim']}: {verdict(is_met=found['met'])}.\n"
            ),
        ]
    )
