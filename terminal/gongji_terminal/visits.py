"""The visits that are open at a counter: each patient's ecToken, in a file that its owner alone may read.

A code works once, and `person`, `plan` and a second `plan` are commands of their own. The token is no part of the
journal and goes when the visit is paid, when the cashier signs out, or when its time is over.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Visit:
    """What a decoded credential is worth."""

    mdtrt_id: str
    psn_no: str
    ec_token: str = field(repr=False)
    expires: str
    """ISO 8601."""
    agent_ec_token: str = field(default="", repr=False)
    """代买药: of who fetches the medicine."""


class OpenVisits:
    """The folder of them, beside the journal."""

    def __init__(self, journal: Path) -> None:
        self._folder = journal.with_name(journal.name + ".visits")

    def keep(self, visit: Visit) -> None:
        """From now on `plan` finds it."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._file(visit.mdtrt_id)
        fresh = file.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as opened:
            json.dump(asdict(visit), opened)
        fresh.replace(file)

    def find(self, mdtrt_id: str, *, now: datetime) -> Visit | None:
        """The visit, if its token still counts."""
        try:
            visit = Visit(**json.loads(self._file(mdtrt_id).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None
        return visit if visit.mdtrt_id == mdtrt_id and datetime.fromisoformat(visit.expires) > now else None

    def end(self, mdtrt_id: str) -> None:
        """It is over; nothing if it was never open."""
        self._file(mdtrt_id).unlink(missing_ok=True)
        self._leave()

    def end_all(self, *, expired_at: datetime | None = None) -> None:
        """Every one, or every one whose time is over by then."""
        if expired_at is None:
            for half_written in self._folder.glob("*.new"):
                half_written.unlink(missing_ok=True)
        for file in self._folder.glob("*.json"):
            if expired_at is not None and self.find(file.stem, now=expired_at) is not None:
                continue
            file.unlink(missing_ok=True)
        self._leave()

    def _leave(self) -> None:
        """An empty folder tells nothing."""
        with suppress(OSError):
            self._folder.rmdir()

    def _file(self, mdtrt_id: str) -> Path:
        return self._folder / f"{mdtrt_id}.json"
