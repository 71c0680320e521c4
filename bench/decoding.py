"""What decoding a code costs identity, beside an empty RPC of the same process (``python -m bench.identity``).

The empty one is gRPC's own health check, which passes none of our layers. Both are called with as many in flight, in
turns, and the processor time is the identity process's alone, as the kernel counts it.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.contest import say
from bench.document import span, spread_of, table, verdict
from bench.measure import cost_of
from bench.place import Servers
from chassis.rpc.client import channel
from gongji.identity.v1 import (
    credentials_pb2,
    credentials_pb2_grpc,
    institutions_pb2,
    institutions_pb2_grpc,
    person_pb2,
)
from kernel.callers import parsed_caller
from ops.embedded.world import Service, World

if TYPE_CHECKING:
    from gongji.identity.v1.credentials_pb2_grpc import CredentialServiceAsyncStub

PEOPLE: Final = 2_000
IN_FLIGHT: Final = 64
CALLS: Final = 6_000
"""Of each kind in each round: a code lives for a minute, and all of a round are issued before it."""
ROUNDS: Final = 5
RATIO_MAX: Final = 3.0
CALL_MAX_S: Final = 30.0
EMPTY: Final = "an empty RPC (health)"
ISSUING: Final = "IssueCode"
DECODING: Final = "DecodeCredential"
HOSPITAL: Final = "H65010000017"
TERMINALS: Final = 16
_NOW: Final = datetime(2026, 1, 1, tzinfo=UTC)
_SEALED: Final = bytes(46)
_PEOPLE_COLUMNS: Final = (
    "psn_no", "certificate_kind", "certno_sealed", "name_sealed", "key_id", "certno_index", "name_masked", "brdy",
    "gend", "version", "registered_at",
)  # fmt: skip
_ENROLMENT_COLUMNS: Final = ("psn_no", "insutype", "insuplc_admdvs", "psn_insu_stas", "changed_at")


def psn_no(number: int) -> str:
    """The number of one of the people."""
    return f"6501{number:011}"


def people() -> Iterator[tuple[Any, ...]]:
    """The rows of ``persons``."""
    for number in range(PEOPLE):
        index = hashlib.sha256(psn_no(number).encode()).digest()
        born = date(1950 + number % 60, 1 + number % 12, 1 + number % 28)
        yield (psn_no(number), "RESIDENT_ID", _SEALED, _SEALED, "k1", index, "王**", born, "1", 1, _NOW)


async def populate(url: str) -> None:
    """Writes the people, each with an enrolment, into identity's database."""
    connection = await asyncpg.connect(url)
    try:
        await connection.copy_records_to_table("persons", records=people(), columns=_PEOPLE_COLUMNS)
        enrolments = ((psn_no(number), "310", "650100", "1", _NOW) for number in range(PEOPLE))
        await connection.copy_records_to_table("enrolments", records=enrolments, columns=_ENROLMENT_COLUMNS)
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


@dataclass
class Room:
    """One identity service with its people, a hospital and its terminals."""

    servers: Servers
    world: World
    credentials: CredentialServiceAsyncStub
    health: Any

    async def reading(self, calls: int) -> dict[str, dict[str, float]]:
        """What a call costs, of each kind; every code that is issued is decoded."""
        codes: list[str] = []

        async def empty(_: int) -> None:
            await self.health.Check(health_pb2.HealthCheckRequest(), timeout=CALL_MAX_S)

        async def issue(n: int) -> None:
            issued = await self.credentials.IssueCode(credentials_pb2.IssueCodeRequest(psn_no=psn_no(n % PEOPLE)))
            codes.append(issued.code)

        async def decode(n: int) -> None:
            request = credentials_pb2.DecodeCredentialRequest(
                code=codes[n],
                fixmedins_code=HOSPITAL,
                terminal_no=f"T{n % TERMINALS}",
                business_type="01301",
                mdtrt_id=f"M{n}",
            )
            if not (await self.credentials.DecodeCredential(request)).ec_token:
                raise RuntimeError("a code was decoded to no token")

        return {
            EMPTY: await self._measured(empty, calls),
            ISSUING: await self._measured(issue, calls),
            DECODING: await self._measured(decode, calls),
        }

    async def _measured(self, call: Callable[[int], Awaitable[None]], calls: int) -> dict[str, float]:
        numbers = iter(range(calls))

        async def work() -> None:
            for number in numbers:
                await call(number)

        pid = self.world.pid("identity")
        assert pid is not None  # noqa: S101  For the type checker: it runs.
        began_s = time.perf_counter()
        async with cost_of(self.servers, {"identity": pid}, None) as cost:
            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))
            seconds = time.perf_counter() - began_s
        each = cost.each(calls)
        return {
            "per_s": calls / seconds,
            "cpu_ms.identity": each["cpu_ms.identity"],
            "cpu_ms.postgres": each["cpu_ms.postgres"],
            "commits": each["commits"],
        }


@asynccontextmanager
async def _room(servers: Servers, folder: Path) -> Any:  # noqa: ANN401  An iterator of one Room.
    world = World(
        folder / "decoding",
        databases=servers.postgres,
        nats_url=servers.nats.url,
        database_prefix="decoding",
        bus_prefix="decoding",
        areas=(),
        services=(Service("identity", "services.identity.app", frozenset({"database", "secrets"})),),
    )
    await world.start()
    try:
        await populate(world.database_url("identity"))
        # Anew, so that no statement was planned for an empty table.
        await world.restart_process("identity")
        async with channel(
            world.address("identity"), caller=parsed_caller("operator:bench"), call_timeout_s=CALL_MAX_S
        ) as opened:
            await _open_hospital(institutions_pb2_grpc.InstitutionServiceStub(opened))
            yield Room(
                servers, world, credentials_pb2_grpc.CredentialServiceStub(opened), health_pb2_grpc.HealthStub(opened)
            )
    finally:
        await world.stop()


async def _open_hospital(institutions: institutions_pb2_grpc.InstitutionServiceAsyncStub) -> None:
    await institutions.RegisterInstitution(
        institutions_pb2.RegisterInstitutionRequest(
            institution=person_pb2.Institution(
                fixmedins_code=HOSPITAL, fixmedins_name="共济医院", state=person_pb2.INSTITUTION_STATE_DESIGNATED
            ),
            opter="bench",
        )
    )
    for number in range(TERMINALS):
        terminal_no = f"T{number}"
        await institutions.RegisterTerminal(
            institutions_pb2.RegisterTerminalRequest(
                fixmedins_code=HOSPITAL, terminal_no=terminal_no, terminal_name=f"窗口 {number}", opter="bench"
            )
        )
        await institutions.SignIn(
            institutions_pb2.SignInRequest(fixmedins_code=HOSPITAL, terminal_no=terminal_no, opter="bench")
        )


async def measured(servers: Servers, folder: Path, *, rounds: int = ROUNDS, calls: int = CALLS) -> dict[str, Any]:
    """Empty calls, issuing and decoding in turns, and decoding ÷ empty; a first round warms up and is not counted."""
    readings: dict[str, list[dict[str, float]]] = {}
    async with _room(servers, folder) as room:
        await room.reading(max(calls // 10, IN_FLIGHT))
        for _ in range(rounds):
            for name, report in (await room.reading(calls)).items():
                readings.setdefault(name, []).append(report)
                say(f"  {name}: {report['per_s']:,.0f} a second, {report['cpu_ms.identity']:.3f} ms of CPU each")
    pairs = zip(readings[DECODING], readings[EMPTY], strict=True)
    ratio = spread_of([decoded["cpu_ms.identity"] / empty["cpu_ms.identity"] for decoded, empty in pairs])
    return {
        "rounds": rounds,
        "calls": calls,
        "in_flight": IN_FLIGHT,
        "cost": {
            name: {key: spread_of([report[key] for report in reports]) for key in reports[0]}
            for name, reports in readings.items()
        },
        "ratio": ratio,
        "aim": f"≤ {RATIO_MAX:g}",
        "met": ratio["median"] <= RATIO_MAX,
    }


def markdown(found: Mapping[str, Any]) -> str:
    """For a person, and for docs/performance.md."""
    figures = (
        ("cpu_ms.identity", "CPU of identity, ms", 3),
        ("cpu_ms.postgres", "CPU of PostgreSQL, ms", 3),
        ("commits", "commits", 2),
        ("per_s", "a second", 0),
    )
    cost = found["cost"]
    rows = [[label, *(span(each[key], digits) for each in cost.values())] for key, label, digits in figures]
    return "\n".join(
        [
            (
                f"{found['calls']:,} calls of each kind, {found['in_flight']} in flight, {found['rounds']} rounds in"
                " turns; median (least–most).\n"
            ),
            table(["each call", *cost], rows),
            (
                f"CPU of identity, decoding ÷ empty: **{span(found['ratio'], 2)}**."
                f" Aim {found['aim']}: {verdict(is_met=found['met'])}.\n"
            ),
        ]
    )
