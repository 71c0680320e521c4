"""The world of one run: virtual time, a network that may do anything, nodes that die, and the trace of it all."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from tests.fault.simulation.scenario import Fault, Scenario

Action: TypeAlias = Callable[[], None]

DELAY_MS: Final = (1, 25)
LATE_MS: Final = (200, 14_000)
"""A late message may come long after the vote's deadline, and after everyone has gone on."""


class Violation(AssertionError):  # noqa: N818  What it is: a rule of protocol.md was broken.
    """Something that must hold did not."""


class Node:
    """Something that can die: its memory is lost, its rows stay. ``life`` tells one incarnation from the next."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_up = True
        self.life = 0
        self.commits = 0

    def forget(self) -> None:
        """Loses everything that is only in memory."""

    def awake(self) -> None:
        """Starts (again): timers begin anew."""


class World:
    """Virtual milliseconds, events in one order, and the fate of every message and commit, decided by the seed alone.

    A fate is a function of (seed, what it is about, how often that was before), not of one running stream of chance:
    so a scenario with one operation less still treats the others alike, and shrinking finds short stories.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.now_ms = 0
        self.trace: list[str] = []
        self.nodes: dict[str, Node] = {}
        self.injected: Counter[str] = Counter()
        self.seen: Counter[str] = Counter()
        self.crashed_at_ms: dict[Fault, int] = {}
        self._queue: list[tuple[int, int, Action]] = []
        self._order = 0
        self._start = scenario.start.astimezone(UTC)
        self._salt = scenario.seed.to_bytes(16, "big", signed=True)
        self._times: Counter[str] = Counter()
        self._crashes = {
            (fault.node, fault.nth, fault.after): fault for fault in scenario.faults if fault.kind == "CRASH_AT"
        }
        self._windows = {
            kind: [it for it in scenario.faults if it.kind == kind] for kind in ("STORM", "PARTITION", "NO_ACK")
        }

    @property
    def now(self) -> datetime:
        """The present instant of every database's clock."""
        return self._start + timedelta(milliseconds=self.now_ms)

    def instant(self, at_ms: int) -> datetime:
        """The instant of a virtual millisecond."""
        return self._start + timedelta(milliseconds=at_ms)

    def tell(self, line: str) -> None:
        """One line of the trace."""
        self.trace.append(f"{self.now_ms:>6} ms  {line}")

    @property
    def digest(self) -> str:
        """Tells one trace from another."""
        return hashlib.blake2b("\n".join(self.trace).encode(), digest_size=16).hexdigest()

    # Time.

    def after(self, delay_ms: int, action: Action) -> None:
        """Does something later; at one instant, in the order in which it was asked for."""
        self._order += 1
        heapq.heappush(self._queue, (self.now_ms + delay_ms, self._order, action))

    def after_at(self, node: Node, delay_ms: int, action: Action) -> None:
        """Does something at a node later, if the same life of it still lasts."""
        life = node.life

        def act() -> None:
            if node.is_up and node.life == life:
                action()

        self.after(delay_ms, act)

    def run(self, until_ms: int) -> None:
        """Lets time go by."""
        while self._queue and self._queue[0][0] <= until_ms:
            self.now_ms, _, action = heapq.heappop(self._queue)
            action()
        self.now_ms = until_ms

    # Chance.

    def fate(self, about: str) -> bytes:
        """Sixteen bytes of chance about this, other ones each time it happens."""
        self._times[about] += 1
        content = f"{about}/{self._times[about]}".encode()
        return hashlib.blake2b(content, key=self._salt, digest_size=16).digest()

    # Faults.

    def add(self, node: Node) -> None:
        """A node, with the faults that will strike it."""
        self.nodes[node.name] = node
        for fault in self.scenario.faults:
            if fault.kind == "CRASH" and fault.node == node.name:
                self.after(fault.at_ms, lambda fault=fault: self._die(fault))  # type: ignore[misc]

    def _die(self, fault: Fault) -> None:
        node = self.nodes[fault.node]
        if not node.is_up:
            return
        self.injected["crashes"] += 1
        self.crashed_at_ms.setdefault(fault, self.now_ms)
        self.tell(f"{node.name} DIES")
        node.is_up, node.life = False, node.life + 1
        node.forget()
        self.after(fault.for_ms, lambda: self._rise(node))

    def _rise(self, node: Node) -> None:
        self.tell(f"{node.name} starts again")
        node.is_up = True
        node.awake()

    def is_storm(self) -> Fault | None:
        """The storm of this moment, if there is one."""
        return next((it for it in self._windows["STORM"] if it.at_ms <= self.now_ms < it.at_ms + it.for_ms), None)

    def is_cut_off(self, node: str) -> bool:
        """Whether this node hears and says nothing."""
        return any(
            it.node == node and it.at_ms <= self.now_ms < it.at_ms + it.for_ms for it in self._windows["PARTITION"]
        )

    def is_troubled(self, node: str) -> bool:
        """Whether this node's database leaves it without acknowledgements, or answers late."""
        return any(it.node == node and it.at_ms <= self.now_ms < it.at_ms + it.for_ms for it in self._windows["NO_ACK"])

    def send(self, source: str, target: str, about: str, deliver: Action) -> None:
        """A message: it arrives, or not, or twice, or late, in any order."""
        if self.is_cut_off(source) or self.is_cut_off(target):
            self.injected["cut off"] += 1
            self.tell(f"{source} → {target}: {about}: LOST, cut off")
            return
        fate = self.fate(f"{source}>{target}:{about}")
        delay = DELAY_MS[0] + fate[0] % (DELAY_MS[1] - DELAY_MS[0])
        storm = self.is_storm()
        if storm is not None:
            chance = [int.from_bytes(fate[n : n + 2], "big") % 1000 for n in (2, 4, 6)]
            if chance[0] < storm.lost:
                self.injected["lost"] += 1
                self.tell(f"{source} → {target}: {about}: LOST")
                return
            if chance[1] < storm.doubled:
                self.injected["doubled"] += 1
                again = delay + int.from_bytes(fate[8:10], "big") % 4_000
                self.after(again, lambda: self._arrive(source, target, f"{about} (again)", deliver))
            if chance[2] < storm.late:
                self.injected["late"] += 1
                delay = LATE_MS[0] + int.from_bytes(fate[10:12], "big") % (LATE_MS[1] - LATE_MS[0])
        self.after(delay, lambda: self._arrive(source, target, about, deliver))

    def _arrive(self, source: str, target: str, about: str, deliver: Action) -> None:
        node = self.nodes.get(target)
        if (node is not None and not node.is_up) or self.is_cut_off(target) or self.is_cut_off(source):
            self.tell(f"{source} → {target}: {about}: nobody hears it")
            return
        self.tell(f"{source} → {target}: {about}")
        deliver()

    def commit(self, node: Node, about: str, transaction: Action) -> bool:
        """Carries out one transaction of a node, or not; whether the node lives to see it acknowledged.

        False: the node died before or after it, or the acknowledgement was lost, having happened or not.
        """
        node.commits += 1
        crash = self._crashes.get((node.name, node.commits, False))
        if crash is not None:
            self.tell(f"{node.name} is about to commit: {about}")
            self._die(crash)
            return False
        fate = self.fate(f"{node.name}|{about}")
        if self.is_troubled(node.name) and fate[0] < 64:
            self.injected["no acknowledgement"] += 1
            happened = fate[1] < 128
            self.tell(
                f"{node.name} commits: {about}: NO ACKNOWLEDGEMENT, {'happened' if happened else 'did not happen'}"
            )
            if happened:
                transaction()
            return False
        self.tell(f"{node.name} commits: {about}")
        transaction()
        crash = self._crashes.get((node.name, node.commits, True))
        if crash is not None:
            self._die(crash)
            return False
        return True
