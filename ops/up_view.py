"""What ``gongji up`` says: a table of what runs where, then problems and nothing else."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops.embedded.logs import Problem
from ops.embedded.processes import CannotStart
from ops.embedded.world import Running


class Voice:
    """Says things either to a person or, one JSON object a line, to a program."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._console = Console(highlight=False)
        self._problems = Console(highlight=False, stderr=True)

    def problem(self, problem: Problem) -> None:
        """One thing that went wrong, with its time."""
        if self._as_json:
            self._line({"event": "problem", "process": problem.process, "text": problem.text})
        else:
            now = time.strftime("%H:%M:%S")
            self._problems.print(f"[dim]{now}[/] [yellow]{problem.process}[/]", end=" ")
            self._problems.print(problem.text, markup=False)

    def ready(self, running: Sequence[Running], *, folder: Path, seconds: float) -> None:
        """What runs where, once it all does."""
        if self._as_json:
            processes = [
                {"name": one.name, "pid": one.pid, "address": one.address, "log": str(one.log)} for one in running
            ]
            self._line({"event": "ready", "seconds": round(seconds, 2), "data": str(folder), "processes": processes})
            return
        table = Table(title="Gongji 共济 is running", title_justify="left", box=None, pad_edge=False)
        for heading, style in (("process", "bold"), ("pid", "dim"), ("address", "cyan"), ("log", "dim")):
            table.add_column(heading, style=style, overflow="fold")
        for one in running:
            table.add_row(one.name, str(one.pid), one.address, _short(one.log))
        self._console.print(table)
        self._console.print(f"[dim]Ready in {seconds:.1f} s. Data in {_short(folder)}. Ctrl-C stops all of it.[/]")

    def stopping(self) -> None:
        """Said before the services drain."""
        if self._as_json:
            self._line({"event": "stopping"})
        else:
            self._console.print("\nStopping ...")

    def stopped(self) -> None:
        """Said when nothing runs any more."""
        if self._as_json:
            self._line({"event": "stopped"})
        else:
            self._console.print("Everything has stopped.")

    def refused(self, refusal: CannotStart) -> None:
        """What is in the way, and what to do."""
        if self._as_json:
            self._line({"event": "cannot_start", "text": str(refusal)})
        else:
            self._problems.print("[red]Gongji cannot start:[/]", end=" ")
            self._problems.print(str(refusal), markup=False)

    @staticmethod
    def _line(said: Mapping[str, object]) -> None:
        sys.stdout.write(json.dumps(said, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _short(path: Path) -> str:
    """The path as one would type it from here, when that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
