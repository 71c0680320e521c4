"""Acts of events: the coordinator hears of others, loses its stream, or starts without knowing anything."""

from __future__ import annotations

from tests.e2e.town import new_resident
from tests.fault.matrix.accounts import SingleAct
from tests.fault.matrix.scene import until
from tests.fault.victims import COORDINATOR


class Hearing(SingleAct):
    """A person is registered with identity; the coordinator must come to know him."""

    async def prepare(self) -> None:
        """Nobody has heard of him."""
        self.funder = new_resident()

    async def begin(self) -> None:
        """Registered once."""
        await self.scene.town.moves_in(self.funder)

    async def learn(self) -> None:
        """The coordinator has kept him, with his insurance."""
        await until(self._known, "the coordinator has heard of the person")

    async def _known(self) -> bool:
        known = "SELECT count(*) FROM persons JOIN enrolments USING (psn_no) WHERE psn_no = $1"
        return bool(await self.scene.town.settlement.fetchval(known, self.funder.psn_no))


class LosingStream(SingleAct):
    """NATS loses everything while the coordinator runs: what is kept is published again."""

    async def begin(self) -> None:
        """Killed, wiped, started."""
        await self.scene.broker.wipe()
        await self.scene.broker.start()

    async def learn(self) -> None:
        """Every row is published, to the stream that is there now."""
        await until(self._published, "every kept event is in the stream")

    async def _published(self) -> bool:
        town = self.scene.town
        if await town.settlement.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"):
            return False
        return bool(await town.settlement.fetchval("SELECT count(*) FROM outbox_stream WHERE last_seq > 0"))


class StartingAnew(SingleAct):
    """The coordinator does not know that it has read what the others said; it reads it again before it is ready."""

    async def prepare(self) -> None:
        """The notes are gone."""
        await self.scene.town.settlement.execute("DELETE FROM projection_sources")

    async def begin(self) -> None:
        """The start itself is the act."""

    async def learn(self) -> None:
        """Noted again."""
        await self.scene.town.world.ready(COORDINATOR)
        await until(self._noted, "both snapshots are noted")

    async def _noted(self) -> bool:
        return bool(await self.scene.town.settlement.fetchval("SELECT count(*) = 2 FROM projection_sources"))
