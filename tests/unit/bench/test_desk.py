"""What `make bench-desk` makes of its readings."""

from __future__ import annotations

from typing import Any

from bench.desk import ALONE, CPU_RATIO_MAX, EMPTY, TAIL_MAX, TITLES, TOGETHER, markdown, summary

_AT_EMPTY_MS = 0.2


def _reading(*, cpu_ms: float, p99_ms: float = 2.0) -> dict[str, float]:
    of_each = {f"cpu_ms.{name}": cpu_ms for name in ("settlement", "ledger", "nats", "postgres", "all")}
    return {**of_each, "commits": 1.0, "per_s": 100.0, "p50_ms": 1.0, "p99_ms": p99_ms}


def _readings(*, ratio_of: dict[str, float], tail: float = 2.0) -> dict[int, dict[str, list[dict[str, float]]]]:
    """Two rounds, the second on a machine half as fast: the ratios are the same in both."""
    return {
        in_flight: {
            kind: [
                _reading(cpu_ms=slowness * _AT_EMPTY_MS * ratio_of.get(kind, 1.0), p99_ms=tail) for slowness in (1, 2)
            ]
            for kind in TITLES
        }
        for in_flight in (ALONE, TOGETHER)
    }


def test_each_round_is_compared_with_its_own_empty_call() -> None:
    """A machine that slows down between two rounds changes the figures, and no ratio."""
    found = summary(_readings(ratio_of={"person": 7.0}))
    costs = found["cost"][str(TOGETHER)]["person"]["cpu_ms.settlement"]
    ratios = found["cpu_ratios"]["cpu_ms.settlement"]["person"]
    assert round(costs["max"] / costs["min"], 6) == 2
    assert [round(ratios[key], 6) for key in ("min", "median", "max")] == [7, 7, 7]


def test_one_aim_that_is_missed_misses_all() -> None:
    """A revocation above its aim, and a tail that is too long; at the aims themselves all is met."""
    at_the_aims = {kind: most - 0.001 for kind, most in CPU_RATIO_MAX.items()}
    assert summary(_readings(ratio_of=at_the_aims, tail=TAIL_MAX))["met"]
    dear = summary(_readings(ratio_of={**at_the_aims, "revoke": CPU_RATIO_MAX["revoke"] + 0.001}))
    assert not dear["met"]
    assert [aim["aim"].partition(":")[0] for aim in dear["aims"] if not aim["met"]] == [TITLES["revoke"]]
    assert not summary(_readings(ratio_of=at_the_aims, tail=TAIL_MAX + 0.001))["met"]


def test_the_section_shows_every_kind_and_every_aim() -> None:
    """A column for each kind in both tables, a line for each aim, and what was missed as missed."""
    found: dict[str, Any] = {
        "date": "2026-01-01",
        "machine": {"processors": 2, "python": "3.11"},
        "rounds": 2,
        "calls": {ALONE: 30, TOGETHER: 150},
        "verify": {"violations": 0, "rows_compared": 1},
        **summary(_readings(ratio_of={EMPTY: 1.0, "visit": 2 * CPU_RATIO_MAX["visit"]})),
    }
    text = markdown(found)
    assert text.count("| " + " | ".join(TITLES.values()) + " |") == 2
    assert [text.count(aim["aim"]) for aim in found["aims"]] == [1] * len(found["aims"])
    assert text.count("**not met**") == 1
