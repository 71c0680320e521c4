"""What the tables of `make bench` say of the readings behind them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.contest import LEVELS, Plan, is_whole
from bench.document import CUT, CUT_MEANS
from bench.report import markdown

_KEYS = ("per_s", "p50_ms", "p90_ms", "p99_ms", "cpu_ms.all", "cpu_ms.postgres", "commits", "wal_bytes")


def _found(*, cut_short: int) -> dict[str, Any]:
    cell = {key: {"median": 2.0, "min": 1.0, "max": 3.0} for key in _KEYS}
    cut = {**cell, "cut_short": {"median": 0.0, "min": 0.0, "max": float(cut_short)}}
    return {
        "date": "2026-01-01",
        "machine": {"processors": 2, "python": "3.11"},
        "versions": {"postgresql": "18", "dbos": "3"},
        "plan": {"rounds": 5, "seconds": 3.0, "families": 12_000},
        "titles": {"settle": "Gongji, Settle", "dbos": "DBOS"},
        "closed": {"settle": {"1": cell, "64": cut}, "dbos": {"1": cell, "64": cell}},
        "opened": {"settle": {"0.5": cell}},
        "cold_ms": {},
        "targets": [],
        "verify": {"violations": 0, "rows_compared": 1},
    }


def test_a_reading_that_was_cut_short_is_marked() -> None:
    """Rate, both latencies and the cost of that cell, and a line that says what the mark means; no other cell."""
    text = markdown(_found(cut_short=1))
    assert text.count(CUT) == 4
    assert CUT_MEANS in text


def test_nothing_is_marked_where_every_reading_had_its_time() -> None:
    """Neither a cell nor a line below."""
    assert CUT.strip() not in markdown(_found(cut_short=0))


@pytest.mark.parametrize(
    "less",
    [
        {"rounds": 4},
        {"seconds": 2.9},
        {"families": 11_999},
        {"levels": LEVELS[:-1]},
        {"contenders": ("settle",)},
    ],
)
def test_a_run_with_less_of_anything_is_no_whole_one(less: dict[str, Any]) -> None:
    """The usual plan is whole, and so is one with more rounds."""
    assert not is_whole(replace(Plan(), **less))
    assert is_whole(replace(Plan(), rounds=7))
