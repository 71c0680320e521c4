"""What the peers' processes have in common: told what to do as ``bench.load`` is, the families in turn."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from bench.pace import Report, closed, opened, serve
from bench.population import Population
from bench.rows import Payment, payment_of


@dataclass(frozen=True, slots=True)
class Told:
    """What a peer's process is told first: where its databases are (also ``system``), for whom, how many at once."""

    urls: dict[str, str]
    population: Population
    families: deque[int]
    in_flight_max: int

    @classmethod
    def read(cls) -> Told:
        """The first line."""
        told: dict[str, Any] = json.loads(sys.stdin.readline())
        population = Population(tuple(told["areas"]), told["sharing"])
        return cls(told["urls"], population, deque(range(*told["families"])), told["in_flight_max"])

    def next_payment(self) -> Payment:
        """The next family's bill."""
        family = self.families.popleft()
        self.families.append(family)
        return payment_of(self.population, family)


async def drive(told: Told, settle: Callable[[Payment], Awaitable[None]]) -> None:
    """Order after order, until there are no more."""

    async def once() -> None:
        await settle(told.next_payment())

    async def run_closed(*, in_flight: int, seconds: float, warm: int, count_max: int) -> Report:
        return await closed(once, in_flight=in_flight, seconds=seconds, warm=warm, count_max=count_max)

    async def run_opened(*, rate: float, seconds: float) -> Report:
        return await opened(once, rate=rate, seconds=seconds)

    await serve({"closed": run_closed, "opened": run_opened})
