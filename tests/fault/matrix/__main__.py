"""``python -m tests.fault.matrix``: plays every cell of the crash matrix, a line for each, then the figures."""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import AsyncExitStack
from fnmatch import fnmatchcase

from ops.embedded.nats import EmbeddedNats
from tests.e2e.town import Town
from tests.fault.matrix.cells import CELLS, NAMES, Cell, Nats
from tests.fault.matrix.scene import Scene, scene_in
from tests.fault.matrix.stage import Played, mended, play
from tests.fault.worlds import LEASE_S, VOTE_DEADLINE_S, mortal_town
from tests.nursery import nursery
from tests.servers import (
    end_left_processes,
    new_folder,
    new_session,
    postgres_server,
    processes_left,
    remove_session_folder,
)


class Run:
    """All cells that were asked for, shared out over several worlds side by side."""

    def __init__(self, cells: Sequence[Cell]) -> None:
        self._waiting = list(reversed(cells))
        self._count = len(cells)
        self.played: list[Played] = []
        self.failed: dict[str, str] = {}

    async def work(self, world: int) -> None:
        """One world until nothing is left to play; one that cannot go on leaves the rest to the others."""
        try:
            await self._work(world)
        except Exception as error:  # noqa: BLE001  The other worlds play on; the run fails in the end.
            self.failed[f"world {world}"] = "".join(traceback.format_exception(error))
            say(f"FAILED world {world}: {type(error).__name__}: {str(error)[:300]}")

    async def _work(self, world: int) -> None:
        """Servers of its own; it starts, plays what is left, and goes."""
        async with AsyncExitStack() as stack:
            broker = EmbeddedNats(new_folder("nats"))
            await broker.start()
            stack.push_async_callback(broker.destroy)
            starting = stack.enter_context(nursery())
            databases = await stack.enter_async_context(postgres_server())
            town: Town = await stack.enter_async_context(mortal_town(databases, broker, starting))
            scene = await stack.enter_async_context(scene_in(town, broker))
            while self._waiting:
                await self._play(scene, self._waiting.pop(), world)
            await town.told()
            await scene.check()

    async def _play(self, scene: Scene, cell: Cell, world: int) -> None:
        try:
            played = await play(scene, cell)
        except Exception as error:  # noqa: BLE001  Whatever a cell ends with is the cell's result; the next one is played.
            self.failed[str(cell)] = "".join(traceback.format_exception(error))
            say(f"{self._done:4d}/{self._count} [{world}] FAILED {cell}: {type(error).__name__}: {str(error)[:300]}")
            await mended(scene)
        else:
            self.played.append(played)
            say(f"{self._done:4d}/{self._count} [{world}] {played}")

    @property
    def _done(self) -> int:
        return len(self.played) + len(self.failed)


def summary(played: Sequence[Played]) -> list[str]:
    """Minimum, median and maximum of the time to drain, by what became of NATS and how often the process died."""
    lines = ["", "seconds from the first death until everything was at rest"]
    lines.append(f"{'NATS':8}{'deaths':8}{'cells':>6}{'min':>8}{'median':>8}{'max':>8}   of it until ready (median)")
    for nats in Nats:
        for twice in (False, True):
            group = [one for one in played if one.cell.nats is nats and one.cell.twice is twice]
            if group:
                drained = [one.drained_s for one in group]
                figures = (min(drained), statistics.median(drained), max(drained))
                ready = statistics.median(one.ready_s for one in group)
                lines.append(
                    f"{nats.value:8}{'two' if twice else 'one':8}{len(group):6d}"
                    + "".join(f"{figure:8.1f}" for figure in figures)
                    + f"   {ready:.1f}"
                )
    by_clock = sum(1 for one in played if one.again.endswith(" s"))
    lines.append(
        f"In each figure: the restart of the process, {LEASE_S:g} s lease of recovery (3 s in production), its sweep"
        f" every 0.5 s, and at most {VOTE_DEADLINE_S} s to the votes' deadline."
    )
    if by_clock:
        lines.append(f"{by_clock} second deaths came by the clock, because recovery did not pass their point.")
    return lines


def say(line: str) -> None:
    """One line for whoever watches."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def run(cells: Sequence[Cell], workers: int) -> int:
    """Plays the cells; the exit code."""
    began_at = time.monotonic()
    say(f"{len(cells)} cells in {workers} worlds")
    matrix = Run(cells)
    async with asyncio.TaskGroup() as group:
        for world in range(1, min(workers, len(cells)) + 1):
            group.create_task(matrix.work(world))
    for line in summary(matrix.played):
        say(line)
    for name, text in matrix.failed.items():
        say(f"\nFAILED {name}\n{text}")
        if name in NAMES:
            say(f"Alone: python -m tests.fault.matrix --cell {name}")
    whole_s = time.monotonic() - began_at
    say(f"{len(matrix.played)} of {len(cells)} cells hold, {len(matrix.failed)} failed, in {whole_s / 60:.1f} min")
    return 1 if matrix.failed else 0


def main() -> None:
    """Reads what to play, plays it, and leaves nothing behind."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.matrix", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="worlds side by side")
    parser.add_argument("--only", metavar="PATTERN", help="cells whose name holds this, or fits it (* and ?)")
    parser.add_argument("--cell", metavar="NAME", action="append", help="one cell by its name; may be repeated")
    parser.add_argument("--list", action="store_true", help="only say the names")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.cell or () if name not in NAMES]:
        parser.error(f"no cell is called {', '.join(unknown)}; --list says which there are")
    cells = [NAMES[name] for name in arguments.cell] if arguments.cell else list(CELLS)
    if arguments.only:
        pattern = f"*{arguments.only}*"
        cells = [cell for cell in cells if fnmatchcase(str(cell), pattern)]
        if not cells:
            parser.error(f"no cell's name fits {arguments.only}")
    if arguments.list:
        for cell in cells:
            say(str(cell))
        return
    new_session()
    code = 1
    try:
        code = asyncio.run(run(cells, arguments.workers))
    finally:
        if left := end_left_processes() if processes_left() else []:
            say("these processes were left over (now killed):\n  " + "\n  ".join(left))
            code = 1
        remove_session_folder()
    sys.exit(code)


if __name__ == "__main__":
    main()
