"""Ten thousand payments in flight when every coordinator dies: how long until none of them is undecided."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final

import asyncpg
import pytest

from kernel.ids import AdmDvs
from ops import household
from ops.embedded.databases import Databases
from ops.embedded.nats import EmbeddedNats
from ops.embedded.world import SERVICES, Service, Starting, World
from ops.places import Places
from ops.verify.run import verify
from tests.e2e.town import HAMI, URUMQI, Family, Resident, Town, new_resident, town_in, written_policies
from tests.fault.victims import (
    COORDINATOR,
    FAR_LEDGER,
    FAR_LEDGER_SERVICE,
    LEDGER,
    SECOND,
    SECOND_SERVICE,
    starts_of,
)
from tests.servers import new_folder, take_down

pytestmark = pytest.mark.long

TURPAN: Final = AdmDvs("650400")
CHANGJI: Final = AdmDvs("652300")
AREAS: Final = (URUMQI, TURPAN, HAMI, CHANGJI)
KEPT_BY: Final = {LEDGER: f"{URUMQI},{TURPAN}", FAR_LEDGER: f"{HAMI},{CHANGJI}"}
FILLER: Final = "filler"
TEN_THOUSAND: Final = {"COMMITTED": 3_400, "ABORTED": 3_300, "TRYING": 3_300}
FEWER: Final = {"COMMITTED": 1_000, "ABORTED": 1_000, "TRYING": 1_000}
PAIRS: Final = ((URUMQI, HAMI), (TURPAN, CHANGJI), (URUMQI, CHANGJI))
"""The areas of a payment's legs; three patterns in turn. The two of a pair are kept by different processes."""
LEG_FEN: Final = 10
BILL_FEN: Final = 1_000
ENOUGH_FEN: Final = 1_000_000
FILLED_MAX_S: Final = 240.0
RECOVERED_MAX_S: Final = 90.0
POLL_S: Final = 0.1
VOTES_S: Final = {"COMMITTED": "240", "ABORTED": "240", "TRYING": "20"}
"""How long the ledgers may vote: long enough to begin so many payments on a busy machine."""
_SERVICES: Final = (
    *SERVICES,
    FAR_LEDGER_SERVICE,
    SECOND_SERVICE,
    Service(FILLER, "tests.fault.filler", SECOND_SERVICE.takes),
)


@dataclass(frozen=True, slots=True)
class Field:
    """A town over four areas, the families whose plans serve as patterns, and connections to look with."""

    town: Town
    patterns: Mapping[str, str]
    """By the state that its payments come to: the ids of plans."""
    coordinator: asyncpg.Connection
    ledgers: Mapping[AdmDvs, asyncpg.Connection]

    @property
    def world(self) -> World:
        """The processes."""
        return self.town.world

    async def states(self) -> dict[str, int]:
        """How many payments are open, by state."""
        rows = await self.coordinator.fetch(
            "SELECT state, count(*) FROM payments WHERE state IN ('TRYING', 'COMMITTED', 'ABORTED') GROUP BY 1"
        )
        return dict(rows)

    async def held(self) -> int:
        """How many branches are held, over all areas."""
        return sum(
            [await one.fetchval("SELECT count(*) FROM branches WHERE state = 'HELD'") for one in self.ledgers.values()]
        )


@pytest.fixture(scope="module")
async def field(postgres: Databases, starting: Starting) -> AsyncIterator[Field]:
    """Two ledger processes with two areas each, their settings as they ship."""
    if not EmbeddedNats.installed():
        pytest.skip("the embedded NATS server is not installed, and no other may be killed")
    async with AsyncExitStack() as stack:
        broker = EmbeddedNats(new_folder("nats"))
        stack.push_async_callback(broker.destroy)
        await broker.start()
        folder = new_folder("field")
        world = World(
            folder,
            databases=postgres,
            nats_url=broker.url,
            database_prefix=f"w{uuid.uuid4().hex[:12]}",
            areas=AREAS,
            policies=written_policies(folder / "policies"),
            starting=starting,
            environment={"GONGJI_ENVIRONMENT": "test"},
            services=_SERVICES,
        )
        stack.push_async_callback(take_down, world, postgres)
        await world.start(["identity", "family", COORDINATOR])
        for name, areas in KEPT_BY.items():
            await world.start_process(name, environment={"GONGJI_LEDGER_AREAS": areas})
        town = await stack.enter_async_context(town_in(world))
        paying = [await town.family(*_people(pair)) for pair in PAIRS]
        refused = await town.family(*_people(PAIRS[0]))
        plans = [(await town.planned(family, BILL_FEN)).plan_id for family in (*paying, refused)]
        for family in (*paying, refused):
            await _enough(town, family)
        await town.freeze(refused.funders[-1])
        coordinator = await _connected(stack, world.database_url(COORDINATOR))
        ledgers = {area: await _connected(stack, world.ledger_database_url(area)) for area in AREAS}
        paid = ",".join(plans[:-1])
        patterns = {"COMMITTED": paid, "ABORTED": plans[-1], "TRYING": paid}
        yield Field(town, patterns, coordinator, ledgers)


def _people(areas: Sequence[AdmDvs]) -> list[Resident]:
    """A patient without money of his own, and a funder in each of these areas."""
    return [new_resident(), *(new_resident(area, past_fen=LEG_FEN) for area in areas)]


async def _enough(town: Town, family: Family) -> None:
    """After the plan was made with LEG_FEN from each, enough for thousands of such plans."""
    for funder in family.funders:
        await household.credit(town.desks, psn_no=funder.psn_no, area=funder.area, past_fen=ENOUGH_FEN, row="enough")


async def _connected(stack: AsyncExitStack, url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(url)
    stack.push_async_callback(connection.close)
    return connection


async def put_in_flight(field: Field, state: str, count: int, series: int) -> None:
    """Begins payments of one state in a process of their own, which is killed when they have all come to it.

    No ledger hears what it decides; where it is to decide nothing, the ledgers of half of the areas hear nothing.
    """
    told = {
        "FILL_PLANS": field.patterns[state],
        "FILL_COUNT": str(count),
        "FILL_SERIES": str(series),
        "FILL_LOST": KEPT_BY[FAR_LEDGER] if state == "TRYING" else "",
        "GONGJI_DATABASE_URL": field.world.database_url(COORDINATOR),
        "GONGJI_VOTE_DEADLINE_S": VOTES_S[state],
    }
    await field.world.start_process(FILLER, environment=told)
    end = time.monotonic() + FILLED_MAX_S
    while (await field.states()).get(state, 0) < count:
        assert time.monotonic() < end, await field.states()
        await asyncio.sleep(POLL_S)
    await field.world.kill_process(FILLER)


async def passed(field: Field, *states: str) -> float:
    """Waits until no payment is in any of these states; the monotonic clock then."""
    end = time.monotonic() + RECOVERED_MAX_S
    while found := {state: count for state, count in (await field.states()).items() if state in states}:
        assert time.monotonic() < end, found
        await asyncio.sleep(POLL_S)
    return time.monotonic()


def taken_up(field: Field, names: tuple[str, ...]) -> dict[str, int]:
    """How many payments each process's recovery has taken up so far, as its log says."""
    counts = dict.fromkeys(names, 0)
    for name in (name for name in names if field.world.log(name).exists()):
        for line in field.world.log(name).read_text(encoding="utf-8").splitlines():
            if "taken up by recovery" in line and (told := json.loads(line)).get("what") == "payments":
                counts[name] += told["count"]
    return counts


@pytest.mark.parametrize(
    ("replicas", "in_flight"),
    [((COORDINATOR, SECOND), TEN_THOUSAND), ((COORDINATOR,), FEWER)],
    ids=["ten thousand by two", "fewer by one"],
)
async def test_thousands_of_payments_in_flight_are_decided_by_whoever_is_started(
    field: Field, say: Callable[[str], None], replicas: tuple[str, ...], in_flight: Mapping[str, int]
) -> None:
    """All coordinators are dead; those that are started share the work, and nothing stays held or undecided."""
    for name in (COORDINATOR, SECOND):
        await field.world.kill_process(name)
    began = time.monotonic()
    for position, (state, count) in enumerate(in_flight.items()):
        await put_in_flight(field, state, count, series=3 * len(replicas) + position)
    dead_at = time.monotonic()
    assert await field.states() == in_flight
    held, before = await field.held(), taken_up(field, replicas)
    overdue_at = time.monotonic() + await field.coordinator.fetchval(
        "SELECT extract(epoch FROM max(deadline_at) - now())::float8 FROM payments WHERE state = 'TRYING'"
    )

    await asyncio.gather(
        *(field.world.start_process(name, environment=starts_of(field.world, name)) for name in replicas)
    )
    ready_at = time.monotonic()
    booked_at = await passed(field, "COMMITTED")
    decided_at = await passed(field, "TRYING")
    at_rest_at = await passed(field, *in_flight)
    by = {name: count - before[name] for name, count in taken_up(field, replicas).items()}
    booked, overdue, decided, at_rest = (
        f"{at - ready_at:+.1f} s" for at in (booked_at, overdue_at, decided_at, at_rest_at)
    )
    say(
        f"{sum(in_flight.values()):,} in flight ({dict(in_flight)}; {held:,} branches held; put there in "
        f"{dead_at - began:.0f} s), {len(replicas)} coordinators started: ready after {ready_at - dead_at:.1f} s; "
        f"from there all that was paid is booked at {booked}, the last deadline is at {overdue}, none is undecided at "
        f"{decided}, all is at rest at {at_rest}; taken up by {by}"
    )
    while await field.held():
        assert time.monotonic() < at_rest_at + RECOVERED_MAX_S
        await asyncio.sleep(POLL_S)
    assert min(by.values()) >= sum(by.values()) // (3 * len(replicas)), by
    urls = {str(area): field.world.ledger_database_url(area) for area in AREAS}
    report = (await verify(Places(field.world.database_url(COORDINATOR), urls), journals=())).as_json()
    assert (report["violations"], report["waiting"]) == (0, {}), report
