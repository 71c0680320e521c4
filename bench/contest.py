"""Rounds of turns: every contender at every level in each round, in an order that turns from round to round."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from bench.contenders import Contender, Gongji, Peer, PgBench
from bench.floor import Floor, make_database
from bench.measure import assert_durable
from bench.pace import Report
from bench.place import Servers, gongji_on, ledger_urls, servers_in
from bench.population import Population, Signer
from ops.embedded.world import World
from ops.places import Places
from ops.verify.run import Audit

NAMES: Final = ("settle", "visits", "floor", "two_phase", "dbos")
"""The contenders."""
LEVELS: Final = (1, 8, 32, 64, 128)
SHARES_OF_PEAK: Final = (0.25, 0.50, 0.75)
PEERS: Final = (("bench.two_phase", "two_phase", "two-phase commit"), ("bench.dbos_saga", "dbos", "DBOS"))
"""Module, name and title."""
OPEN_LOOP: Final = ("settle", "visits", "two_phase")
"""Who is driven at fixed rates too: shares of its own peak in the same round."""


Whoever = TypeVar("Whoever")
"""Whoever takes turns."""


class Violated(Exception):  # noqa: N818  It is a finding.
    """`gongji verify` has found something after a run."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 3.0
    families: int = 12_000
    levels: tuple[int, ...] = LEVELS
    contenders: tuple[str, ...] = ()
    """Those alone; none stands for all."""


def is_whole(plan: Plan) -> bool:
    """Whether it measures all that the document shows, and no less of anything."""
    usual = Plan()
    enough = plan.rounds >= usual.rounds and plan.seconds >= usual.seconds and plan.families >= usual.families
    return enough and not plan.contenders and plan.levels == usual.levels


@dataclass
class Results:
    """Each reading of each cell, round by round."""

    durable: dict[str, str] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)
    closed: dict[str, dict[int, list[Report]]] = field(default_factory=dict)
    opened: dict[str, dict[float, list[Report]]] = field(default_factory=dict)
    cold: dict[str, list[Report]] = field(default_factory=dict)
    order: list[list[str]] = field(default_factory=list)
    violations: int = 0
    compared: int = 0


async def contest(folder: Path, plan: Plan) -> Results:
    """The whole comparison; Violated if anything does not hold afterwards."""
    results = Results()
    async with servers_in(folder) as servers:
        results.durable = await assert_durable(servers)
        async with arena(servers, folder, plan) as (contenders, world):
            results.titles = {contender.name: contender.title for contender in contenders}
            audit = Audit(places_of(world))
            for number in range(plan.rounds):
                order = order_of(contenders, number)
                results.order.append([contender.name for contender in order])
                for contender in order:
                    await _turn(contender, plan, results)
                await checked(audit, results, whole=number == plan.rounds - 1)
            for contender in contenders:
                await _check_peer(contender, results)
    return results


@asynccontextmanager
async def arena(servers: Servers, folder: Path, plan: Plan) -> AsyncIterator[tuple[list[Contender], World]]:
    """The contenders with their databases, none of them running."""
    signer, population, families = Signer.new(), Population(), range(plan.families)
    say(f"{plan.families:,} families are written ...")
    world_folder = folder / "world"
    async with gongji_on(servers, world_folder, families=plan.families, signer=signer, population=population) as world:
        await world.stop()
        contenders: list[Contender] = [
            Gongji(servers, world, signer, population, families, visits=False),
            Gongji(servers, world, signer, population, families, visits=True),
            PgBench(servers, Floor(servers, population, plan.families, folder)),
            *(
                Peer(servers, world, population, families, module, name, title, max(plan.levels))
                for module, name, title in PEERS
            ),
        ]
        if plan.contenders:
            contenders = [contender for contender in contenders if contender.name in plan.contenders]
        for contender in contenders:
            match contender:
                case Peer():
                    await contender.clone()
                case PgBench():
                    await make_database(servers, population, plan.families)
        yield contenders, world


def order_of(contenders: Sequence[Whoever], number: int) -> list[Whoever]:
    """Begun by another each round, and every second round backwards."""
    step = 1 if number % 2 == 0 else -1
    return [contenders[(number + step * place) % len(contenders)] for place in range(len(contenders))]


async def _turn(contender: Contender, plan: Plan, results: Results) -> None:
    """One contender's turn in one round."""
    try:
        results.cold.setdefault(contender.name, []).append(await contender.start())
        peak_per_s = 0.0
        for in_flight in plan.levels:
            report = await contender.closed(in_flight=in_flight, seconds=plan.seconds)
            results.closed.setdefault(contender.name, {}).setdefault(in_flight, []).append(report)
            peak_per_s = max(peak_per_s, report["per_s"])
            say(
                f"  {contender.title}: {in_flight} in flight, {report['per_s']:,.0f}/s,"
                f" p50 {report['p50_ms']:.1f} ms, p99 {report['p99_ms']:.1f} ms"
            )
        for share in SHARES_OF_PEAK if contender.name in OPEN_LOOP else ():
            opened = await contender.opened(rate=share * peak_per_s, seconds=plan.seconds)
            if opened is not None:
                results.opened.setdefault(contender.name, {}).setdefault(share, []).append(opened)
                say(
                    f"  {contender.title}: {share * peak_per_s:,.0f}/s due, p50 {opened['p50_ms']:.1f} ms,"
                    f" p99 {opened['p99_ms']:.1f} ms"
                )
    finally:
        await contender.stop()


def places_of(world: World) -> Places:
    """For `gongji verify`."""
    return Places(world.database_url("settlement"), ledger_urls(world))


async def checked(audit: Audit, results: Results, *, whole: bool) -> None:
    """`gongji verify` over ours; Violated with what it found."""
    report = await audit.round(whole=whole)
    results.violations += report.violations
    results.compared += report.compared
    if report.violations:
        raise Violated("\n".join(str(finding) for finding in report.findings))
    say(f"  gongji verify: no violation ({report.compared:,} rows compared)")


async def _check_peer(contender: Contender, results: Results) -> None:
    """A peer writes the same rows, so the same command looks at them; the floor has a check of its own."""
    match contender:
        case Peer():
            urls = {area: contender.urls[area] for area in contender.population.areas}
            await checked(Audit(Places(contender.urls["settlement"], urls)), results, whole=True)
        case PgBench():
            await contender.floor.check()


def say(line: str) -> None:
    """Progress, for the person who waits."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()
