"""A chart shows every point where its scale says."""

from __future__ import annotations

import re

from bench.chart import line_chart


def _heights(series: dict[str, list[float]], *, by_powers: bool) -> list[float]:
    points = {name: [{"median": it, "min": it, "max": it} for it in values] for name, values in series.items()}
    drawn = line_chart(title="", x_label="", y_label="", xs=["1", "2"], series=points, by_powers=by_powers)
    return [float(y) for y in re.findall(r'<circle cx="[^"]+" cy="([^"]+)" r="4"', drawn)]


def test_equal_differences_are_equal_heights() -> None:
    """On the usual scale, which begins at nothing."""
    low, middle, high, higher = _heights({"a": [100, 200], "b": [300, 400]}, by_powers=False)
    assert low - middle == middle - high == high - higher > 0


def test_by_powers_equal_ratios_are_equal_heights() -> None:
    """So that what takes milliseconds is told apart beside what takes seconds."""
    low, middle, high, higher = _heights({"a": [2, 20], "b": [200, 2_000]}, by_powers=True)
    assert abs((low - middle) - (middle - high)) < 0.2
    assert abs((middle - high) - (high - higher)) < 0.2
