"""The simulated day: an institution is a process, which is killed now and then; then the books are compared."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gongji_terminal.simulation.town import Institution, SimulatedTown

WIND_UP_S: Final = 120.0
"""So long after the day terminals may go on to find out what became of their requests."""
SWITCHED_OFF_S: Final = 0.5
KILLED: Final = -9
TELLS_EVERY_S: Final = 10.0
SHOWN_EVERY_S: Final = 0.5
LINE_BYTES_MAX: Final = 1 << 16


@dataclass
class Told:
    """What the terminals have told so far."""

    counts: Counter[str] = field(default_factory=Counter)
    """paid, revoked, reversed, replanned, refused, silent, died, killed."""
    refusals: Counter[str] = field(default_factory=Counter)
    resumed: set[str] = field(default_factory=set)
    """The msgids whose end a terminal found out after it had died or had no answer."""
    slowest_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def hear(self, line: bytes) -> None:
        """A line of an institution's process; its last one may be torn where it was killed."""
        try:
            event = json.loads(line)
        except ValueError:
            return
        what = event["what"]
        self.counts[what] += 1
        match what:
            case "answered":
                self.slowest_s = max(self.slowest_s, event["seconds"])
            case "refused":
                self.refusals[event["reason"]] += 1
            case "resumed":
                self.resumed.add(event["msgid"])


@dataclass
class Day:
    """A day at a town's institutions; the journals stay in ``folder``."""

    file: Path
    town: SimulatedTown
    folder: Path
    seconds: float
    pause_s: float
    crash_every_s: float
    chance: random.Random
    show: Callable[[Told, float], None]
    shown_every_s: float = TELLS_EVERY_S
    told: Told = field(default_factory=Told)
    _processes: dict[str, Process] = field(default_factory=dict)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def play(self) -> Told:
        """Lets it pass; returns once every terminal knows what became of its requests, or its time for that is over."""
        began = time.monotonic()
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        keepers = [asyncio.create_task(self._keep(institution)) for institution in self.town.institutions]
        others = [asyncio.create_task(self._crash()), asyncio.create_task(self._tell(began))]
        try:
            await asyncio.wait(keepers, timeout=self.seconds, return_when=asyncio.FIRST_EXCEPTION)
            self._over.set()
            others[0].cancel()
            for process in self._processes.values():
                self._close(process)
            _, late = await asyncio.wait(keepers, timeout=WIND_UP_S)
            if late:
                self.told.problems.append(f"{len(late)} institutions have not ended {WIND_UP_S:.0f} s after the day")
        finally:
            for task in (*keepers, *others):
                task.cancel()
            for process in self._processes.values():
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
            ended = await asyncio.gather(*keepers, *others, return_exceptions=True)
        for problem in ended:
            if isinstance(problem, Exception):
                raise problem
        return self.told

    async def _keep(self, institution: Institution) -> None:
        """Starts its process again whenever it was killed; that it ends otherwise before it is told to is a problem."""
        while True:
            process = await self._started(institution)
            if self._over.is_set():
                self._close(process)
            assert process.stdout is not None  # noqa: S101  We asked for a pipe.
            async for line in process.stdout:
                self.told.hear(line)
            code = await process.wait()
            if code != KILLED:
                if code or not self._over.is_set():
                    self.told.problems.append(f"{institution.fixmedins_code} ended with exit code {code}")
                return
            await asyncio.sleep(SWITCHED_OFF_S)

    async def _started(self, institution: Institution) -> Process:
        code = institution.fixmedins_code
        words = (self.file, code, len(institution.desks), self.folder, self.pause_s, self.chance.random())
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "gongji_terminal.simulation.institution"),
            *map(str, words),
            stdin=PIPE,
            stdout=PIPE,
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C is ours alone.
        )
        self._processes[code] = process
        return process

    @staticmethod
    def _close(process: Process) -> None:
        """The day is over: it finds out what is open, and ends."""
        if process.stdin is not None:
            process.stdin.close()

    async def _crash(self) -> None:
        """Now and then all the terminals of an institution are killed at once, wherever they are."""
        while self.crash_every_s:
            await asyncio.sleep(self.crash_every_s * self.chance.uniform(0.5, 1.5))
            process = self._processes.get(self.chance.choice(self.town.institutions).fixmedins_code)
            if process is not None and process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                    self.told.counts["killed"] += 1

    async def _tell(self, began: float) -> None:
        while True:
            await asyncio.sleep(self.shown_every_s)
            self.show(self.told, time.monotonic() - began)
