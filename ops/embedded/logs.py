"""What went wrong, out of the log files that the processes write: each problem once, nothing else."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BAD_LEVELS: Final = frozenset({"error", "critical"})
_READ_MAX_BYTES: Final = 256 * 1024
_LINE_MAX_CHARS: Final = 300
_SHOWN_MAX: Final = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a person should know: which process it concerns, and one sentence."""

    process: str
    text: str


class LogTail:
    """Reads on in one process's log: JSON lines of level error or worse, and lines that are no JSON at all."""

    def __init__(self, process: str, log: Path) -> None:
        self._process = process
        self._log = log
        self._offset = log.stat().st_size if log.exists() else 0

    def new_problems(self) -> list[Problem]:
        """The problems written since the last look, at most five and a line about the rest."""
        texts = [text for line in self._new_lines() if (text := problem_in(line)) is not None]
        if len(texts) > _SHOWN_MAX:
            more = f"and {len(texts) - _SHOWN_MAX} more lines, see {self._log}"
            texts = [*texts[:_SHOWN_MAX], more]
        return [Problem(self._process, text) for text in texts]

    def _new_lines(self) -> list[str]:
        try:
            with self._log.open("rb") as file:
                size = file.seek(0, 2)
                if size < self._offset:
                    self._offset = 0  # The log was turned over.
                file.seek(self._offset)
                read = file.read(_READ_MAX_BYTES)
        except FileNotFoundError:
            return []
        whole, newline, _ = read.rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return whole.decode(errors="replace").splitlines()


def problem_in(line: str) -> str | None:
    """The sentence a person should see, or None if this line tells of nothing wrong."""
    text = line.strip()
    if not text:
        return None
    try:
        entry = json.loads(text)
    except ValueError:
        return text[:_LINE_MAX_CHARS]
    if not isinstance(entry, dict) or str(entry.get("level", "")).lower() not in _BAD_LEVELS:
        return None
    event = str(entry.get("event", text))
    trace = f" (trace {entry['trace_id']})" if entry.get("trace_id") else ""
    return f"{event}{trace}"[:_LINE_MAX_CHARS]
