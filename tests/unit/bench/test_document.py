"""A bench writes between its own marks of a document and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import capacity, commits, growth, report, scale, start
from bench.document import PERFORMANCE, SCALE, filled, marks, span, table

BEGIN, END = marks("make this")
OTHER_BEGIN, OTHER_END = marks("make that")
DOCUMENT = f"# Title\n\n{BEGIN}\n\nold\n\n{END}\n\nprose\n\n{OTHER_BEGIN}\n\nother\n\n{OTHER_END}\n"


def test_only_what_stands_between_the_marks_changes() -> None:
    """Prose and another command's part are as before; a second time changes nothing."""
    once = filled(DOCUMENT, "make this", "new\n")
    assert once == DOCUMENT.replace("\nold\n", "\nnew\n")
    assert filled(once, "make this", "new\n") == once


def test_a_document_without_the_marks_is_not_touched() -> None:
    """Whoever has removed a mark is told so."""
    with pytest.raises(RuntimeError, match="make those"):
        filled(DOCUMENT, "make those", "new")


@pytest.mark.parametrize(
    ("path", "command"),
    [
        (PERFORMANCE, report.COMMAND),
        (PERFORMANCE, commits.COMMAND),
        (PERFORMANCE, growth.COMMAND),
        (PERFORMANCE, start.COMMAND),
        (SCALE, capacity.COMMAND),
        (SCALE, scale.COMMAND),
    ],
)
def test_every_command_finds_its_marks(path: Path, command: str) -> None:
    """Once each, in the document that it fills."""
    document = path.read_text(encoding="utf-8")
    assert [document.count(mark) for mark in marks(command)] == [1, 1]


def test_a_table_has_as_many_columns_in_every_line() -> None:
    """Head, rule and rows."""
    lines = table(["", "a", "b"], [["x", span({"median": 2, "min": 1, "max": 3}), "4"]]).splitlines()
    assert lines == ["|  | a | b |", "| --- | ---: | ---: |", "| x | 2 (1–3) | 4 |"]
