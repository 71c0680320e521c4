"""The capacity model: shares sum to one, a quiet area pays more a settlement, the page shows what it computes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.capacity import COMMAND, LATEST, markdown, page
from bench.contest import NAMES, Plan
from bench.document import SCALE, shown
from bench.nation import (
    ACCOUNTS,
    DAYS,
    HOUR_SHARE,
    NATS_PER_S,
    PEAK,
    PROCESSES,
    area_shares,
    cores,
    limits,
    loads,
    measured,
    peak_per_s,
)

COSTS = {"1": (100.0, 8.0), "8": (400.0, 4.0), "64": (1_000.0, 2.0)}
"""By calls in flight: settlements a second, and milliseconds of CPU of each process."""


def _cell(per_s: float, cpu_ms: float) -> dict[str, dict[str, float]]:
    figures = {
        "per_s": per_s, "p50_ms": 9.0, "commits": 3.0, "wal_bytes": 10_000.0,
        **{f"cpu_ms.{process}": cpu_ms for process in PROCESSES},
    }  # fmt: skip
    return {key: {"median": value} for key, value in figures.items()}


def _contest() -> dict[str, Any]:
    return {
        "date": "2026-01-01",
        "machine": {"processors": 2},
        "titles": {"settle": "Gongji, Settle"},
        "closed": {"settle": {level: _cell(*figures) for level, figures in COSTS.items()}},
    }


def test_the_areas_shares_sum_to_one_and_fall() -> None:
    """330 areas, none larger than the one before; the largest is a megacity."""
    shares = area_shares()
    assert sum(shares) == pytest.approx(1.0)
    assert shares == sorted(shares, reverse=True)
    assert 17e6 < ACCOUNTS.value * shares[0] < 20e6


def test_the_peak_is_above_the_busiest_hours_mean() -> None:
    """By the factor that is assumed: 8.76 a second where a year's mean is one."""
    a_year = 365 * 86_400
    mean_of_the_hour_per_s = a_year / DAYS.value * HOUR_SHARE.value / 3_600
    assert peak_per_s(a_year) == pytest.approx(PEAK.value * mean_of_the_hour_per_s) == pytest.approx(8.76)


def test_a_rate_between_two_levels_costs_what_the_lower_one_costs() -> None:
    """The cost is never taken from a level that was faster than the rate asked for."""
    what = measured(_contest(), {})
    assert [what.at(per_s).in_flight for per_s in (1.0, 100.0, 399.0, 400.0, 5_000.0)] == [1, 1, 1, 8, 64]


def test_the_nation_needs_at_least_what_its_peak_costs_at_best() -> None:
    """And at most what it would cost if everybody were alone, but for what sums of floats leave out."""
    what, load = measured(_contest(), {}), loads()[2]
    busy = cores(load, what)["ledger"]
    assert peak_per_s(load.a_year) * 2.0 / 1_000 <= busy <= peak_per_s(load.a_year) * 8.0 / 1_000 * 1.000_001


def test_a_ledger_process_ends_where_its_core_is_full() -> None:
    """Half of the ledgers' 2 ms for each settlement is one area's."""
    assert limits(measured(_contest(), {}))["ledger process"] == pytest.approx(1_000.0)


def test_the_nation_pays_visits_where_they_were_measured() -> None:
    """Their cost, and six requests for each with the balances; an area's writer ends by what Settle alone takes."""
    settle, contest = measured(_contest(), {}), _contest()
    contest["titles"]["visits"] = "Gongji, PreSettle + Settle"
    contest["closed"]["visits"] = {"64": _cell(500.0, 3.0)}
    visits = measured(contest, {})
    assert visits.best.cpu_ms["ledger"] == 3.0
    assert (settle.requests, visits.requests) == (4, 6)
    assert limits(visits)["nats"] == NATS_PER_S.value / 6
    assert limits(visits)["area writer"] == limits(settle)["area writer"]
    assert "is a whole visit" in markdown(visits)
    assert "is a Settle alone" in markdown(settle)


def test_what_a_settlement_stores_is_taken_from_growth_once_it_was_measured() -> None:
    """Before that, from an earlier short run."""
    growth = {"data": {"worlds": {"large": {"bytes_a_settlement": {"settlement": 1_000.0, "650100": 500.0}}}}}
    assert measured(_contest(), growth).bytes_stored == 1_500.0
    assert not measured(_contest(), {}).stored_is_measured


def test_the_page_shows_what_its_source_gives() -> None:
    """docs/scale.md and the file that it is computed from are kept together; `make bench-capacity` makes them so."""
    assert shown(SCALE, COMMAND) == page(LATEST)


def test_the_page_says_so_where_it_stands_on_a_short_run(tmp_path: Path) -> None:
    """By what the run was, not by the name of its file."""
    short = source_of(tmp_path / "latest.json", rounds=2)
    whole = source_of(tmp_path / "other.json", rounds=Plan().rounds)
    assert page(short).startswith("Computed from a short run")
    assert page(whole).startswith("### What is assumed")


def source_of(path: Path, *, rounds: int) -> Path:
    """A contest's file, of all contenders at all levels, with so many rounds."""
    usual, found = Plan(), _contest()
    cells = {str(level): found["closed"]["settle"]["64"] for level in usual.levels}
    found["closed"] = dict.fromkeys(NAMES, cells)
    found["titles"] = {name: name for name in NAMES}
    found["plan"] = {"rounds": rounds, "seconds": usual.seconds, "families": usual.families}
    path.write_text(json.dumps(found), encoding="utf-8")
    return path
