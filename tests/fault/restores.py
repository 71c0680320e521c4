"""Backups of a town's databases, taken while whoever writes them is stopped, and the operator's commands by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

from ops.closing import alarms
from ops.consent import Consent
from ops.embedded.databases import Databases
from ops.places import Places
from ops.restore import flow
from ops.restore.comparing import Comparison
from ops.sources import opened
from tests.e2e.town import AREAS, HAMI, Town, looked_into
from tests.fault.victims import COORDINATOR, FAR_LEDGER, revive

WHY: Final = "a restore drill"
OPERATOR: Final = "drill"
CONSENT: Final = Consent(OPERATOR, WHY)


def places(town: Town) -> Places:
    """Where the town's databases are, as ``gongji up`` writes them down."""
    rooms = ("identity", "family", "notify")
    return Places(
        town.world.database_url("settlement"),
        {area: town.world.ledger_database_url(area) for area in AREAS},
        {room: town.world.database_url(room) for room in rooms},
    )


def _name(url: str) -> str:
    return urlsplit(url).path.removeprefix("/")


class Backups:
    """Backups of the coordinator's database and of Hami's ledger; a restore puts one in the place of what is there."""

    def __init__(self, town: Town, databases: Databases) -> None:
        self._town = town
        self._databases = databases
        self._made: list[str] = []

    async def of_coordinator(self) -> str:
        """A copy of the settlement database; the process is stopped meanwhile."""
        return await self._copied(COORDINATOR, self._town.world.database_url("settlement"))

    async def of_far_ledger(self) -> str:
        """A copy of Hami's ledger; the process is stopped meanwhile."""
        return await self._copied(FAR_LEDGER, self._town.world.ledger_database_url(HAMI))

    async def restore_coordinator(self, backup: str) -> None:
        """The settlement database as it was; nothing works on it."""
        await self._restored(COORDINATOR, self._town.world.database_url("settlement"), backup)

    async def restore_far_ledger(self, backup: str) -> None:
        """Hami's ledger as it was; nothing works on it."""
        await self._restored(FAR_LEDGER, self._town.world.ledger_database_url(HAMI), backup)

    async def drop(self) -> None:
        """Drops the copies."""
        for name in self._made:
            await self._databases.drop_database(name)

    async def _copied(self, process: str, url: str) -> str:
        await self._town.world.stop_process(process)
        await self._town.hang_up()
        name = f"{_name(url)}_{len(self._made)}"
        await self._databases.create_database(name, template=_name(url))
        self._made.append(name)
        await self._connected()
        await revive(self._town.world, process)
        await self._town.reached()
        return name

    async def _restored(self, process: str, url: str, backup: str) -> None:
        await self._town.world.kill_process(process)
        await self._town.hang_up()
        await self._databases.drop_database(_name(url))
        await self._databases.create_database(_name(url), template=backup)
        await self._connected()

    async def _connected(self) -> None:
        self._town.settlement, self._town.ledgers = await looked_into(self._town.world)


async def begin(town: Town) -> None:
    """`gongji restore begin --yes`."""
    await flow.begin(places(town), operator=OPERATOR, reason=WHY, yes=True)


async def compare(town: Town) -> Comparison:
    """`gongji restore compare`."""
    return await flow.compare(places(town), restored_areas=(), quiet=True)


async def finish(town: Town, *, restored_areas: Sequence[str] = ()) -> int:
    """`gongji restore finish --yes`."""
    return await flow.finish(places(town), restored_areas=restored_areas, operator=OPERATOR, reason=WHY, yes=True)


async def decide(town: Town, payment_id: UUID, *, commit: bool) -> None:
    """`gongji restore decide --yes`."""
    await flow.decide(places(town), payment_id, commit=commit, operator=OPERATOR, reason=WHY, yes=True)


async def close_alarms(town: Town) -> int:
    """`gongji alarms close --yes` for every alarm that is open; how many there were."""
    async with opened(places(town)) as sources:
        return await alarms.close(sources, await alarms.find(sources), CONSENT)


async def replay(town: Town, area: str) -> int:
    """`gongji restore replay --yes`."""
    return await flow.replay(places(town), area, operator=OPERATOR, reason=WHY, yes=True)
