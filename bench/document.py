"""What a bench keeps and shows: JSON in bench/results, Markdown between the marks of a document in docs/."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parent / "results"
_DOCS: Final = FOLDER.parents[1] / "docs"
PERFORMANCE: Final = _DOCS / "performance.md"
SCALE: Final = _DOCS / "scale.md"
CUT: Final = " †"
CUT_MEANS: Final = (
    "† At least one of its readings was cut short: no more plans or families were ready, or too many were under way at"
    " once.\n"
)
Figures = Mapping[str, float]
"""Median, least and most of one figure."""


def machine() -> dict[str, Any]:
    """What a figure depends on; nothing tells which machine it was."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "system": platform.system(),
        "python": platform.python_version(),
    }


def marks(command: str) -> tuple[str, str]:
    """The two comments between which a command writes into a document."""
    return f"<!-- What follows is written by `{command}`. -->", f"<!-- Here ends what `{command}` writes. -->"


def filled(document: str, command: str, text: str) -> str:
    """The document with this text between the command's marks; RuntimeError if it has lost them."""
    begin, end = marks(command)
    before, has_begin, rest = document.partition(begin)
    _, has_end, after = rest.partition(end)
    if not has_begin or not has_end:
        raise RuntimeError(f"the document has lost the marks between which `{command}` writes")
    return f"{before}{begin}\n\n{text}\n{end}{after}"


def fill(path: Path, command: str, text: str) -> None:
    """Writes it so."""
    path.write_text(filled(path.read_text(encoding="utf-8"), command, text), encoding="utf-8")


def shown(path: Path, command: str) -> str:
    """What stands there."""
    begin, end = marks(command)
    return path.read_text(encoding="utf-8").partition(begin)[2].partition(end)[0].strip() + "\n"


def keep(found: Mapping[str, Any], name: str) -> Path:
    """``<name>.json`` in bench/results."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return path


def kept(name: str) -> dict[str, Any]:
    """What ``keep`` has written; empty if nothing was."""
    path = FOLDER / f"{name}.json"
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def spread_of(values: Sequence[float]) -> dict[str, float]:
    """Median, least and most."""
    return {"median": median(values), "min": min(values), "max": max(values)}


def span(figures: Figures, digits: int = 0) -> str:
    """``median (least–most)``."""
    low, high = figures["min"], figures["max"]
    return f"{figures['median']:,.{digits}f} ({low:,.{digits}f}–{high:,.{digits}f})"


def reading(cell: Mapping[str, Figures], key: str, digits: int = 0) -> str:
    """``span`` of one figure of a cell, marked where a reading was cut short."""
    return span(cell[key], digits) + (CUT if is_cut(cell) else "")


def is_cut(cell: Mapping[str, Figures]) -> bool:
    """Whether any of its readings ended before its time."""
    return "cut_short" in cell and cell["cut_short"]["max"] > 0


def cut_line(cells: Iterable[Mapping[str, Figures]]) -> str:
    """What the mark means, for below the tables; empty where none is marked."""
    return CUT_MEANS if any(map(is_cut, cells)) else ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, words: bool = False) -> str:
    """A table of Markdown: figures to the right, words to the left."""
    rule = ["---", *["---" if words else "---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *rows)) + "\n"


def verdict(*, is_met: bool) -> str:
    """Of an aim."""
    return "met" if is_met else "**not met**"
