"""How far a file has been taken, so that a run that was cut off goes on where it stood; the report of refused lines."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Self

from chassis.rpc.catalogue import texts_of
from ops.batchfile.lines import Survey, UnusableFileError

HEADER: Final = ("line", "reason", "field", "zh")
_BOM: Final = "\ufeff"
"""So that a spreadsheet shows the Chinese texts as they are."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A line that was not taken, and why; nothing of the line itself."""

    line: int
    reason: str
    field: str


@dataclass(slots=True)
class Done:
    """What stands behind a file's first lines: everything up to ``line`` is taken or reported."""

    digest: str
    line: int = 0
    end: int = 0
    new: int = 0
    existed: int = 0
    refused: int = 0
    report_bytes: int = 0
    under_way: int = 0
    """Of those taken, how many were certain to be done, but not done when they were answered."""

    @property
    def after(self) -> tuple[int, int] | None:
        """Where to go on; None at the beginning."""
        return (self.line, self.end) if self.line else None


@dataclass(slots=True)
class Progress:
    """The two files beside the one that is taken: ``FILE.progress`` while it is under way, ``FILE.refused.csv``."""

    path: Path
    done: Done
    resumed: bool = field(default=False)

    @classmethod
    def of(cls, path: Path, survey: Survey) -> Self:
        """Where an earlier run of this content stood, or its beginning; UnusableFileError if nothing can be kept."""
        kept = _kept(_beside(path, ".progress"), survey)
        resumed = kept is not None and kept.line > 0 and _size_of(report_of(path)) >= kept.report_bytes
        done = kept if resumed and kept is not None else Done(survey.digest)
        progress = cls(path, done, resumed)
        try:
            progress._cut_report()
        except OSError as error:
            raise _nothing_kept(path, error) from None
        return progress

    def add(
        self, *, line: int, end: int, new: int, existed: int, refused: Iterable[Refused], under_way: int = 0
    ) -> None:
        """Everything up to this line is done: the report first, then how far that is.

        UnusableFileError if either cannot be written; a run that begins after that goes on where this one stood.
        """
        refused = list(refused)
        try:
            self._report(refused)
            self.done.line, self.done.end = line, end
            self.done.new += new
            self.done.existed += existed
            self.done.under_way += under_way
            self.done.refused += len(refused)
            self._keep()
        except OSError as error:
            raise _nothing_kept(self.path, error) from None

    def finish(self) -> None:
        """The whole file is done: the next run begins anew."""
        _beside(self.path, ".progress").unlink(missing_ok=True)

    def _report(self, refused: list[Refused]) -> None:
        if refused:
            with report_of(self.path).open("a", encoding="utf-8", newline="") as file:
                if not self.done.report_bytes:
                    file.write(_BOM)
                    csv.writer(file).writerow(HEADER)
                csv.writer(file).writerows((e.line, e.reason, e.field, texts_of(e.reason).zh) for e in refused)
            self.done.report_bytes = report_of(self.path).stat().st_size

    def _cut_report(self) -> None:
        """Takes from the report what a run that was cut off wrote without noting it."""
        if not self.done.report_bytes:
            report_of(self.path).unlink(missing_ok=True)
        else:
            os.truncate(report_of(self.path), self.done.report_bytes)
        self._keep()

    def _keep(self) -> None:
        place = _beside(self.path, ".progress")
        unfinished = _beside(self.path, ".progress.new")
        unfinished.write_text(json.dumps(asdict(self.done)), encoding="utf-8")
        unfinished.replace(place)


def report_of(path: Path) -> Path:
    """The lines of a file that were refused; there is none if none was."""
    return _beside(path, ".refused.csv")


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _kept(path: Path, survey: Survey) -> Done | None:
    """What an earlier run noted of this content; None if there was none, or what it says cannot be."""
    try:
        kept = Done(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    limits = {"line": survey.lines, "end": survey.size_bytes}
    numbers = {name: value for name, value in asdict(kept).items() if name != "digest"}
    sound = all(type(value) is int and 0 <= value <= limits.get(name, value) for name, value in numbers.items())
    return kept if sound and kept.digest == survey.digest else None


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _nothing_kept(path: Path, error: OSError) -> UnusableFileError:
    return UnusableFileError(
        f"no report can be kept beside {path}: {error.strerror}. Make room and run the command again"
    )
