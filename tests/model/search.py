"""Breadth first over every state: the rules in each, a shortest way to each, and whether any is stuck."""

from __future__ import annotations

import time
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.model.world import Model, Taken, World


@dataclass(frozen=True, slots=True)
class Finding:
    """What went wrong, and the shortest way there."""

    what: str
    way: list[tuple[World, Taken]]  # Each step with the state it starts from.


@dataclass(frozen=True, slots=True)
class Result:
    """What a search came to."""

    states: int
    transitions: int
    seconds: float
    finding: Finding | None
    rests: Mapping[str, int]  # In how many states it has come to rest, by outcome; empty if the search ended early.


@dataclass(slots=True)
class _Graph:
    worlds: list[World] = field(default_factory=list)
    numbers: dict[World, int] = field(default_factory=dict)
    parents: array[int] = field(default_factory=lambda: array("q"))
    helpful: array[int] = field(default_factory=lambda: array("q"))
    ends: array[int] = field(default_factory=lambda: array("q"))

    def number(self, world: World, parent: int) -> int:
        """The state's number; a new one if it has not been seen."""
        number = self.numbers.get(world)
        if number is None:
            number = self.numbers[world] = len(self.worlds)
            self.worlds.append(world)
            self.parents.append(parent)
        return number


def search(model: Model) -> Result:
    """Everything that can be reached, until a rule is broken; then whether each state can still come to rest."""
    begun = time.perf_counter()
    graph = _Graph()
    graph.number(model.start(), -1)
    transitions, at = 0, 0
    while at < len(graph.worlds):
        world = graph.worlds[at]
        broken = model.broken(world)
        if broken:
            return _result(graph, transitions, begun, Finding(broken, _way(model, graph, at)))
        for step in model.steps(world):
            transitions += 1
            if step.alarm:
                way = [*_way(model, graph, at)]
                way.append(_step_from(model, way, step))
                return _result(graph, transitions, begun, Finding(f"a ledger raises the alarm {step.alarm}", way))
            number = graph.number(model.canonical(step.to), at)
            if step.is_helpful and number != at:
                graph.helpful.append(number)
        graph.ends.append(len(graph.helpful))
        at += 1
    stuck = _first_stuck(model, graph)
    finding = None if stuck is None else Finding("stuck: no way leads to rest from here", _way(model, graph, stuck))
    rests = Counter(model.outcome(world) for world in graph.worlds if model.is_quiet(world))
    return _result(graph, transitions, begun, finding, rests)


def _result(
    graph: _Graph, transitions: int, begun: float, finding: Finding | None, rests: Mapping[str, int] | None = None
) -> Result:
    return Result(len(graph.worlds), transitions, time.perf_counter() - begun, finding, rests or {})


def _first_stuck(model: Model, graph: _Graph) -> int | None:
    """The first state from which no sequence of helpful steps ends in rest; steps mostly lead to later states."""
    rests = bytearray(model.is_quiet(world) for world in graph.worlds)
    is_changed = True
    while is_changed:
        is_changed = False
        for number in range(len(rests) - 1, -1, -1):
            if not rests[number]:
                begin = graph.ends[number - 1] if number else 0
                if any(rests[target] for target in graph.helpful[begin : graph.ends[number]]):
                    rests[number] = is_changed = True
    stuck = rests.find(0)
    return None if stuck < 0 else stuck


def _way(model: Model, graph: _Graph, number: int) -> list[tuple[World, Taken]]:
    """The shortest way to a state, walked again so that coordinators and ledgers keep their names."""
    numbers = [number]
    while (number := graph.parents[number]) >= 0:
        numbers.append(number)
    world, way = model.start(), []
    for wanted in reversed(numbers[:-1]):
        step = next(it for it in model.steps(world) if model.canonical(it.to) == graph.worlds[wanted])
        way.append((world, step))
        world = step.to
    return way


def _step_from(model: Model, way: list[tuple[World, Taken]], step: Taken) -> tuple[World, Taken]:
    """The last step, found again from where the way has led."""
    world = way[-1][1].to if way else model.start()
    return world, next(it for it in model.steps(world) if it.alarm == step.alarm)
