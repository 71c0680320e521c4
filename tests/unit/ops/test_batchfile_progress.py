"""How far a file has been taken, on disk, whatever becomes of the run."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from ops.batchfile.lines import Survey, UnusableFileError
from ops.batchfile.progress import Progress, Refused, report_of


def begun(tmp_path: Path, digest: str = "digest") -> Progress:
    """A run over a file of this content."""
    return Progress.of(tmp_path / "people.csv", Survey(digest, 1000, 100, "utf-8"))


def reported(tmp_path: Path) -> list[list[str]]:
    """The rows of the report."""
    with report_of(tmp_path / "people.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_a_run_goes_on_where_the_last_one_stood(tmp_path: Path) -> None:
    """The same content: behind the last line noted, with its counts; other content: from the beginning."""
    first = begun(tmp_path)
    assert (first.resumed, first.done.after) == (False, None)
    first.add(line=11, end=110, new=7, existed=2, refused=[Refused(5, "NAME_MALFORMED", "psn_name")])
    second = begun(tmp_path)
    assert (second.resumed, second.done) == (True, first.done)
    assert (second.done.after, second.done.new, second.done.existed, second.done.refused) == ((11, 110), 7, 2, 1)
    third = begun(tmp_path, "another digest")
    assert (third.resumed, third.done.after, third.done.new) == (False, None, 0)
    assert not report_of(tmp_path / "people.csv").exists()


def test_the_report_says_line_reason_field_and_text(tmp_path: Path) -> None:
    """One header, one row for each refused line in order, the Chinese text of the catalogue, nothing else."""
    progress = begun(tmp_path)
    progress.add(line=6, end=60, new=1, existed=0, refused=[Refused(5, "NAME_MALFORMED", "psn_name")])
    progress.add(line=9, end=90, new=1, existed=0, refused=[Refused(8, "LINE_UNFINISHED", "")])
    assert reported(tmp_path) == [
        ["line", "reason", "field", "zh"],
        ["5", "NAME_MALFORMED", "psn_name", "姓名格式不符，请按证件填写。"],
        ["8", "LINE_UNFINISHED", "", "文件最后一行没有换行符，可能不完整，请核对后补全。"],
    ]


def test_what_was_reported_but_not_noted_is_not_reported_twice(tmp_path: Path) -> None:
    """A run killed between the report and its note writes these lines once in the end."""
    refused = [Refused(5, "NAME_MALFORMED", "psn_name")]
    first = begun(tmp_path)
    first.add(line=6, end=60, new=1, existed=0, refused=refused)
    note = (tmp_path / "people.csv.progress").read_bytes()
    first.add(line=9, end=90, new=1, existed=0, refused=[Refused(8, "LINE_MALFORMED", "")])
    (tmp_path / "people.csv.progress").write_bytes(note)
    second = begun(tmp_path)
    assert second.done.after == (6, 60)
    second.add(line=9, end=90, new=1, existed=0, refused=[Refused(8, "LINE_MALFORMED", "")])
    assert [row[0] for row in reported(tmp_path)] == ["line", "5", "8"]


def test_a_note_that_cannot_be_read_is_a_beginning(tmp_path: Path) -> None:
    """Half a note, or one of another release, makes the run begin anew, which harms nothing."""
    for note in ("", "{", "[]", '{"digest": "digest", "strange": 1}', "null"):
        (tmp_path / "people.csv.progress").write_text(note)
        assert begun(tmp_path).done.after is None


def test_a_finished_file_leaves_the_report_alone(tmp_path: Path) -> None:
    """No note is left, and the next run begins anew."""
    progress = begun(tmp_path)
    progress.add(line=6, end=60, new=1, existed=0, refused=[Refused(5, "NAME_MALFORMED", "psn_name")])
    progress.finish()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["people.csv.refused.csv"]
    assert not begun(tmp_path).resumed


@pytest.mark.parametrize(
    "wrong",
    [
        {"line": "11"}, {"line": -1}, {"line": None}, {"line": 1.5}, {"line": True}, {"end": 10**9}, {"end": -5},
        {"line": 10**6}, {"refused": -1}, {"new": "many"}, {"report_bytes": []}, {"report_bytes": -1},
    ],
)  # fmt: skip
def test_a_note_that_cannot_be_true_is_a_beginning(tmp_path: Path, wrong: dict[str, Any]) -> None:
    """Numbers that are none, or that lie outside of the file, skip no line and end no run."""
    noted = {"digest": "digest", "line": 11, "end": 110, "new": 9, "existed": 0, "refused": 0, "report_bytes": 0}
    place = tmp_path / "people.csv.progress"
    place.write_text(json.dumps(noted))
    assert begun(tmp_path).done.after == (11, 110)
    place.write_text(json.dumps(noted | wrong))
    assert begun(tmp_path).done.after is None


@pytest.mark.parametrize("kept_bytes", [None, 0, 20])
def test_a_report_that_was_taken_away_is_written_anew(tmp_path: Path, kept_bytes: int | None) -> None:
    """Whoever moved or cut the report of a run that was cut off gets a whole one: the run begins anew."""
    first = begun(tmp_path)
    first.add(line=6, end=60, new=1, existed=0, refused=[Refused(5, "NAME_MALFORMED", "psn_name")])
    report = report_of(tmp_path / "people.csv")
    if kept_bytes is None:
        report.unlink()
    else:
        report.write_bytes(report.read_bytes()[:kept_bytes])
    assert begun(tmp_path).done.after is None


@pytest.mark.parametrize("full", [".refused.csv", ".progress.new"])
def test_a_full_disk_ends_the_run_by_name(tmp_path: Path, full: str) -> None:
    """Neither a report nor a note is lost silently: the run stops, and says what to do."""
    progress = begun(tmp_path)
    (tmp_path / f"people.csv{full}").symlink_to("/dev/full")
    with pytest.raises(UnusableFileError, match="No space left on device"):
        progress.add(line=6, end=60, new=1, existed=0, refused=[Refused(5, "NAME_MALFORMED", "psn_name")])
