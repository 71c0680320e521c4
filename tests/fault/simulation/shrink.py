"""A failing scenario made small: fewer operations, fewer faults, as long as it still fails (delta debugging)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeVar

from tests.fault.simulation.decisions import Decisions
from tests.fault.simulation.run import Result, run
from tests.fault.simulation.scenario import Fault

Item = TypeVar("Item")
RUNS_MAX: Final = 400


def rule_of(violation: str) -> str:
    """``I3: …`` → ``I3``: a smaller story must break the same rule."""
    return violation.split(":", 1)[0]


def shrunk(failing: Result, decisions: Decisions, *, runs_max: int = RUNS_MAX) -> Result:
    """The smallest failing run found: no single operation and no single fault can be left out (within ``runs_max``)."""
    smallest, runs = failing, 0
    rule = rule_of(failing.violation)

    def still_fails(result: Result) -> bool:
        nonlocal smallest
        if rule_of(result.violation) != rule or not result.violation:
            return False
        smallest = result
        return True

    def attempt(**changes: object) -> bool:
        nonlocal runs
        runs += 1
        if runs > runs_max:
            return False
        return still_fails(run(replace(smallest.scenario, **changes), decisions))  # type: ignore[arg-type]

    before = None
    while before != smallest.scenario and runs <= runs_max:
        before = smallest.scenario
        _fewer(smallest.scenario.operations, lambda kept: attempt(operations=kept))
        _fewer(smallest.scenario.faults, lambda kept: attempt(faults=kept))
        for fault in smallest.scenario.faults:
            if fault.kind == "CRASH_AT":
                # A crash at the nth commit keeps every commit before it; one at an instant keeps none.
                attempt(faults=tuple(_timed(it, smallest) if it is fault else it for it in smallest.scenario.faults))
    return smallest


def _timed(fault: Fault, result: Result) -> Fault:
    """The same crash, told by the instant at which it struck."""
    at_ms = result.crashed_at_ms.get(fault, 0) + int(fault.after)
    return Fault("CRASH", fault.node, at_ms, fault.for_ms)


def _fewer(items: Sequence[Item], fails: Callable[[tuple[Item, ...]], bool]) -> None:
    """Leaves out halves, then quarters, down to single items, keeping what is left failing."""
    kept = tuple(items)
    size = max(len(kept) // 2, 1)
    while kept:
        start = 0
        while start < len(kept):
            fewer = kept[:start] + kept[start + size :]
            if fails(fewer):
                kept = fewer
            else:
                start += size
        if size == 1:
            return
        size = max(size // 2, 1)


def story(result: Result) -> str:
    """A run that can be read: what was asked, what went wrong, what happened."""
    scenario = result.scenario
    lines = [
        f"{result.violation}",
        "",
        f"Seed {scenario.seed}, beginning at {scenario.start.isoformat()}.",
        "What was asked for (a bill is sent 1,000 ms after its time):",
        *(f"  {operation}" for operation in scenario.operations),
        "What went wrong:" if scenario.faults else "Nothing went wrong in the world.",
        *(f"  {fault}" for fault in scenario.faults),
        "What happened:",
        *(f"  {line}" for line in result.trace),
    ]
    return "\n".join(lines)
