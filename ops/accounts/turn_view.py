"""What a person sees of the year-end job: a bar for each area in a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ops.accounts.year_turn import Turn

PLAIN_LINE_S: Final = 5.0


class TurnView:
    """Tells how far each area is. ``quiet`` tells nothing, for machines that read the summary."""

    def __init__(self, console: Console, *, quiet: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            console=console, disable=quiet or not console.is_terminal,
        )  # fmt: skip
        self._tasks: dict[str, TaskID] = {}
        self._said = time.monotonic()

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While it runs."""
        with self._bars:
            yield

    def at(self, turn: Turn) -> None:
        """So much of an area is turned."""
        if turn.area not in self._tasks:
            self._tasks[turn.area] = self._bars.add_task(turn.area, total=turn.before)
        self._bars.update(self._tasks[turn.area], completed=turn.turned)
        now = time.monotonic()
        if not self._quiet and not self._console.is_terminal and now - self._said >= PLAIN_LINE_S:
            self._said = now
            self._console.print(f"{turn.area}: {turn.turned:,} of {turn.before:,} accounts turned", soft_wrap=True)

    def ended(self, turn: Turn) -> None:
        """The summary of one area."""
        if self._quiet:
            return
        if turn.problem:
            text = f"{turn.problem}; {turn.turned:,} turned"
        else:
            others = max(turn.before - turn.turned - turn.left, 0)
            text = f"{turn.turned:,} accounts turned into {turn.year}, {others:,} by payments, {turn.left:,} left"
        self._console.print(f"{turn.area}: {text}", soft_wrap=True, markup=False)
