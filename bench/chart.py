"""A line chart as SVG: labelled axes, a legend, readable on light and on dark ground."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

WIDTH: Final = 760
HEIGHT: Final = 420
LEFT: Final = 70
RIGHT: Final = 20
TOP: Final = 40
BOTTOM: Final = 130
TICKS: Final = 5
LEGEND_ROW: Final = 20
COLOURS: Final = ("#d1495b", "#e8963a", "#5b8c5a", "#3a7ca5", "#8e6bbf", "#777777")
_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #24292f } .grid { stroke: #d0d7de } .axis { stroke: #57606a }
@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .grid { stroke: #30363d } .axis { stroke: #8b949e } }
"""


def line_chart(
    *,
    title: str,
    x_label: str,
    y_label: str,
    xs: Sequence[str],
    series: Mapping[str, Sequence[Mapping[str, float] | None]],
    by_powers: bool = False,
) -> str:
    """One line for each series over the named places; each point has median, min and max, or is missing.

    ``by_powers`` gives each power of ten the same height, for series that are far apart.
    """
    known = [point for points in series.values() for point in points if point]
    least, most = min(point["min"] for point in known), max(point["max"] for point in known)
    ticks = _powers(least, most) if by_powers else _steps(most)
    span_x, span_y = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def x_of(index: int) -> float:
        return LEFT + span_x * (index + 0.5) / len(xs)

    def y_of(value: float) -> float:
        if by_powers:
            return TOP + span_y * (1 - math.log(value / ticks[0]) / math.log(ticks[-1] / ticks[0]))
        return TOP + span_y * (1 - value / ticks[-1])

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text x="{LEFT}" y="22" font-weight="bold">{escape(title)}</text>',
        f'<text transform="translate(16 {TOP + span_y / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
        f'<text x="{LEFT + span_x / 2}" y="{TOP + span_y + 38}" text-anchor="middle">{escape(x_label)}</text>',
    ]
    for tick in ticks:
        y = y_of(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:,g}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{TOP + span_y}" y2="{TOP + span_y}"/>')
    for index, label in enumerate(xs):
        parts.append(f'<text x="{x_of(index):.1f}" y="{TOP + span_y + 18}" text-anchor="middle">{escape(label)}</text>')
    for number, (name, points) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [(x_of(index), point) for index, point in enumerate(points) if point]
        path = " ".join(f"{x:.1f},{y_of(point['median']):.1f}" for x, point in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, point in placed:
            low, middle, high = (y_of(point[key]) for key in ("min", "median", "max"))
            parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{colour}"/>')
            parts.append(f'<circle cx="{x:.1f}" cy="{middle:.1f}" r="4" fill="{colour}"/>')
        legend_x, legend_y = LEFT + number % 2 * span_x / 2, HEIGHT - 68 + number // 2 * LEGEND_ROW
        parts.append(f'<circle cx="{legend_x}" cy="{legend_y - 4}" r="5" fill="{colour}"/>')
        parts.append(f'<text x="{legend_x + 12}" y="{legend_y}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _steps(most: float) -> list[float]:
    """Round numbers at equal distances from nothing to beyond ``most``."""
    step = _round_step(most / TICKS)
    return [number * step for number in range(math.ceil(most / step) + 1)]


def _powers(least: float, most: float) -> list[float]:
    """The powers of ten around both."""
    low = math.floor(math.log10(least))
    return [10.0**power for power in range(low, max(math.ceil(math.log10(most)), low + 1) + 1)]


def _round_step(about: float) -> float:
    """1, 2 or 5 times a power of ten, not below ``about``."""
    power = 10.0 ** math.floor(math.log10(about))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= about)
