"""Flat memory: what a process needs once does not count, what it takes with every visit does."""

from __future__ import annotations

import pytest

from bench.memory import SHARE_MAX, growth_of


def _samples(megabytes: list[float]) -> list[dict[str, float]]:
    return [{"settlements": 5_000.0 * (turn + 1), "ledger": value} for turn, value in enumerate(megabytes)]


def test_a_process_that_fills_its_pools_once_is_flat() -> None:
    """It grows for the first half of the run and stays."""
    assert growth_of(_samples([80, 90, 95, 98, 100, 100, 100, 100, 100, 100]), "ledger")["share"] == pytest.approx(0.0)


def test_a_process_that_keeps_something_of_every_visit_is_not() -> None:
    """One megabyte in 5,000 visits is twenty in 100,000."""
    grown = growth_of(_samples([100 + float(turn) for turn in range(20)]), "ledger")
    assert grown["mb"] == pytest.approx(20.0)
    assert grown["share"] > SHARE_MAX
