"""Only what a person should know comes out of a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from ops.embedded.logs import LogTail, Problem, problem_in


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"level": "info", "event": "ready"}', None),
        ('{"level": "warning", "event": "slow"}', None),
        ('{"level": "error", "event": "no gateway"}', "no gateway"),
        ('{"level": "error", "event": "no gateway", "trace_id": "4bf9"}', "no gateway (trace 4bf9)"),
        ('{"level": "critical", "event": "quarantine"}', "quarantine"),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
        ("", None),
        ("[1, 2]", None),
    ],
)
def test_errors_and_foreign_lines_are_problems(line: str, expected: str | None) -> None:
    """A JSON line below error is no problem; an error is, and so is a line that is no JSON."""
    assert problem_in(line) == expected


def test_each_line_is_told_once_and_a_half_written_one_later(tmp_path: Path) -> None:
    """What was there before the tail began is not told; a line is told when it is whole."""
    log = tmp_path / "ledger.log"
    log.write_text("old\n", encoding="utf-8")
    tail = LogTail("ledger", log)
    with log.open("a", encoding="utf-8") as file:
        file.write("new\nhal")
    first = tail.new_problems()
    with log.open("a", encoding="utf-8") as file:
        file.write("f\n")
    assert (first, tail.new_problems(), tail.new_problems()) == (
        [Problem("ledger", "new")],
        [Problem("ledger", "half")],
        [],
    )


def test_a_flood_is_cut(tmp_path: Path) -> None:
    """Five lines of a flood are shown, then their number and where to read on."""
    log = tmp_path / "ledger.log"
    tail = LogTail("ledger", log)
    log.write_text("boom\n" * 40, encoding="utf-8")
    told = [problem.text for problem in tail.new_problems()]
    assert told == ["boom"] * 5 + [f"and 35 more lines, see {log}"]


def test_a_log_that_was_turned_over_is_read_from_its_start(tmp_path: Path) -> None:
    """A shorter file than before is a new file."""
    log = tmp_path / "ledger.log"
    log.write_text("long ago\n" * 9, encoding="utf-8")
    tail = LogTail("ledger", log)
    log.write_text("new\n", encoding="utf-8")
    assert tail.new_problems() == [Problem("ledger", "new")]
