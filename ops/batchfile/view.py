"""What a person sees while a file is taken: a bar in a terminal, a plain line every few seconds elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from ops.batchfile.lines import Survey
from ops.batchfile.progress import Done, Progress

PLAIN_LINE_S: Final = 5.0


class View:
    """Tells how it goes. ``quiet`` tells nothing, for machines that read the summary."""

    def __init__(
        self,
        console: Console,
        *,
        quiet: bool = False,
        service: str = "identity",
        doing: str = "registering",
        done: str = "registered",
    ) -> None:
        """``doing`` and ``done`` say what becomes of a line, ``service`` who is told it."""
        self._console = console
        self._service = service
        self._doing = doing
        self._done = done
        self._quiet = quiet
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} rows/s, {task.fields[refused]} refused"),
            TimeRemainingColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._task = self._bar.add_task("reading", total=None, rate=0, refused=0)
        self._began = self._said = time.monotonic()
        self._from = 0
        self._lines = 0
        self._waiting = ""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While it is taken."""
        with self._bar:
            yield

    def begins(self, survey: Survey, progress: Progress) -> None:
        """What was found, and where it begins."""
        self._lines, self._from = survey.lines, progress.done.line
        self._began = self._said = time.monotonic()
        self._bar.update(self._task, description=self._doing, total=survey.lines, completed=progress.done.line)
        if not self._quiet:
            begin = f", going on behind line {progress.done.line:,}" if progress.resumed else ""
            self._console.print(f"{survey.lines:,} lines in {survey.encoding.upper()}{begin}")

    def at(self, done: Done) -> None:
        """So much is done."""
        self._waiting = ""
        now = time.monotonic()
        rate = int((done.line - self._from) / max(now - self._began, 0.001))
        self._bar.update(self._task, completed=done.line, rate=f"{rate:,}", refused=f"{done.refused:,}")
        if not self._quiet and not self._console.is_terminal and now - self._said >= PLAIN_LINE_S:
            self._said = now
            self._console.print(
                f"{done.line:,} of {self._lines:,} lines, {done.refused:,} refused, {rate:,} rows/s", soft_wrap=True
            )

    def waits(self, reason: str) -> None:
        """The service is asked again; said once for as long as it lasts."""
        if not self._quiet and self._waiting != reason:
            self._waiting = reason
            self._console.print(
                f"the {self._service} service does not answer ({reason}); trying again ...", soft_wrap=True
            )

    def ended(self, done: Done, report: Path) -> None:
        """The summary."""
        if self._quiet:
            return
        seconds = time.monotonic() - self._began
        rate = int((done.line - self._from) / max(seconds, 0.001))
        self._console.print(
            f"{done.new:,} {self._done}, {done.existed:,} known before, {done.refused:,} refused; "
            f"{seconds:.1f} s, {rate:,} rows/s",
            soft_wrap=True,
        )
        if done.under_way:
            self._console.print(
                f"{done.under_way:,} of them are accepted for good and on their way still; run it again to ask",
                soft_wrap=True,
            )
        if done.refused:
            self._console.print(f"refused lines with reasons: {report}", soft_wrap=True, markup=False)
