"""The capacity model: shares sum to one, a quiet area pays more a settlement, the page shows what it computes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bench.capacity import COMMAND, markdown
from bench.document import FOLDER, SCALE, kept, shown
from bench.nation import ACCOUNTS, HOUR_SHARE, PROCESSES, area_shares, cores, limits, loads, measured, peak_per_s

COSTS = {"1": (100.0, 8.0), "8": (400.0, 4.0), "64": (1_000.0, 2.0)}
"""By calls in flight: settlements a second, and milliseconds of CPU of each process."""


def _contest() -> dict[str, Any]:
    def cell(per_s: float, cpu_ms: float) -> dict[str, dict[str, float]]:
        figures = {
            "per_s": per_s, "p50_ms": 9.0, "commits": 3.0, "wal_bytes": 10_000.0,
            **{f"cpu_ms.{process}": cpu_ms for process in PROCESSES},
        }  # fmt: skip
        return {key: {"median": value} for key, value in figures.items()}

    return {
        "date": "2026-01-01",
        "machine": {"processors": 2},
        "titles": {"settle": "Gongji, Settle"},
        "closed": {"settle": {level: cell(*figures) for level, figures in COSTS.items()}},
    }


def test_the_areas_shares_sum_to_one_and_fall() -> None:
    """330 areas, none larger than the one before; the largest is a megacity."""
    shares = area_shares()
    assert sum(shares) == pytest.approx(1.0)
    assert shares == sorted(shares, reverse=True)
    assert 17e6 < ACCOUNTS.value * shares[0] < 20e6


def test_the_peak_is_above_the_busiest_hours_mean() -> None:
    """A year of one settlement a second, day and night, has a peak of more than two."""
    assert peak_per_s(365 * 86_400) > 24 * HOUR_SHARE.value


def test_a_rate_between_two_levels_costs_what_the_lower_one_costs() -> None:
    """The cost is never taken from a level that was faster than the rate asked for."""
    what = measured(_contest(), {})
    assert [what.at(per_s).in_flight for per_s in (1.0, 100.0, 399.0, 400.0, 5_000.0)] == [1, 1, 1, 8, 64]


def test_the_nation_needs_at_least_what_its_peak_costs_at_best() -> None:
    """And at most what it would cost if everybody were alone, but for rounding."""
    what, load = measured(_contest(), {}), loads()[2]
    busy = cores(load, what)["ledger"]
    assert peak_per_s(load.a_year) * 2.0 / 1_000 <= busy <= peak_per_s(load.a_year) * 8.0 / 1_000 * 1.000_001


def test_a_ledger_process_ends_where_its_core_is_full() -> None:
    """Half of the ledgers' 2 ms for each settlement is one area's."""
    assert limits(measured(_contest(), {}))["ledger process"] == pytest.approx(1_000.0)


def test_what_a_settlement_stores_is_taken_from_growth_once_it_was_measured() -> None:
    """Before that, from an earlier short run."""
    growth = {"data": {"worlds": {"large": {"bytes_a_settlement": {"settlement": 1_000.0, "650100": 500.0}}}}}
    assert measured(_contest(), growth).bytes_stored == 1_500.0
    assert not measured(_contest(), {}).stored_is_measured


def test_the_page_shows_what_the_last_whole_run_gives() -> None:
    """docs/scale.md and bench/results/latest.json belong together; `make bench-capacity` brings them there."""
    latest = FOLDER / "latest.json"
    if not latest.exists():
        pytest.skip("no whole run of make bench has been made yet")
    found = json.loads(latest.read_text(encoding="utf-8"))
    assert shown(SCALE, COMMAND) == markdown(measured(found, kept("growth")))
