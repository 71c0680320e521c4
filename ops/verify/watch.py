"""`gongji verify --watch`: round after round, whole ones and ones that look at changes, until somebody stops it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from prometheus_client import Counter, Gauge

from chassis.db import DRIVER_ERRORS
from chassis.telemetry import REGISTRY
from ops.verify.report import INVARIANTS, Report
from ops.verify.run import Audit

VIOLATIONS: Final = Gauge(
    "gongji_verify_violations",
    "Violations that the last round of gongji verify found.",
    ["invariant"],
    registry=REGISTRY,
)
ROUNDS: Final = Counter("gongji_verify_rounds", "Rounds of gongji verify.", ["outcome"], registry=REGISTRY)


@dataclass(frozen=True, slots=True)
class Round:
    """One round. ``report`` is None, and ``problem`` says why, if a database could not be read."""

    number: int
    began_at: datetime
    took_s: float
    whole: bool
    report: Report | None
    problem: str = ""

    @property
    def violations(self) -> int:
        """As far as this round could be made."""
        return 0 if self.report is None else self.report.violations

    def as_json(self) -> dict[str, object]:
        """For machines."""
        told = {"round": self.number, "began_at": self.began_at.isoformat(), "took_s": round(self.took_s, 3)}
        if self.report is None:
            return {**told, "problem": self.problem}
        return {**told, "whole": self.whole, **self.report.as_json()}

    def as_line(self) -> str:
        """For a person."""
        when = f"{self.began_at.astimezone():%H:%M:%S}  round {self.number}"
        if self.report is None:
            return f"{when}  could not be made: {self.problem}"
        under_way = sum(self.report.waiting.values())
        extent = "everything" if self.whole else "what changed"
        verdict = f"{self.violations:,} VIOLATIONS" if self.violations else "every invariant holds"
        if self.report.unreadable:
            verdict += f", but {', '.join(sorted(self.report.unreadable))} could not be read"
        looked = f"{extent}, {self.report.compared:,} rows in {self.took_s:.1f} s, {under_way:,} under way"
        return f"{when}  {looked}: {verdict}"


async def rounds(audit: Audit, *, every_s: float, whole_every: int, count: int | None) -> AsyncIterator[Round]:
    """Rounds that begin ``every_s`` apart (or at once, if one takes longer): the first and every n-th are whole.

    A database that is away for a while does not end the watch. After a round that failed or found something the next
    one is whole too, so that what is wrong is told until it is mended.
    """
    number, since_whole = 0, whole_every
    while count is None or number < count:
        number += 1
        whole = since_whole >= whole_every
        began_at, began_s = datetime.now(UTC), time.monotonic()
        try:
            report, problem = await audit.round(whole=whole), ""
        except DRIVER_ERRORS as error:
            report, problem = None, f"{type(error).__name__}: {error}".splitlines()[0]
        since_whole = 1 if whole else since_whole + 1
        if report is None or report.violations or report.unreadable:
            since_whole = whole_every
        made = Round(number, began_at, time.monotonic() - began_s, whole, report, problem)
        _count(made)
        yield made
        if number != count:
            await asyncio.sleep(max(0.0, began_s + every_s - time.monotonic()))


def _count(made: Round) -> None:
    if made.report is None:
        ROUNDS.labels("unreadable").inc()
        return
    ROUNDS.labels("violated" if made.violations else "unreadable" if made.report.unreadable else "sound").inc()
    for name in INVARIANTS:
        VIOLATIONS.labels(name).set(made.report.checks[name].violations)
